"""Slurm's reasons of pending jobs: their meaning, and whether the job can start without intervention.

Errors of Slurm's commands are in `error_messages`.
"""

from __future__ import annotations

import re
from typing import Final

STUCK: Final = frozenset({"JobHoldMaxRequeue", "launch failed requeued held", "DependencyNeverSatisfied"})
"""Reasons of pending jobs that will not start without intervention."""

_MEANINGS: Final = {
    "None": "not considered by the scheduler yet",
    "Priority": "jobs of higher priority come first",
    "Resources": "waits for nodes to become free",
    "BeginTime": "its earliest start time is not reached",
    "Dependency": "waits for another job",
    "DependencyNeverSatisfied": "waits for a job that failed",
    "Licenses": "waits for a licence",
    "Reservation": "waits for its reservation to begin",
    "ReqNodeNotAvail": "nodes that it needs are down, drained or reserved",
    "NodeDown": "a node that it needs is down",
    "BadConstraints": "no node has what it requests: check nodes, constraint, memory and GPUs",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition starts no jobs",
    "PartitionNodeLimit": "it requests more nodes than the partition allows or has in service",
    "PartitionTimeLimit": "its time limit is above the partition's: lower time_limit in the site file",
    "PartitionConfig": "it requests more than the partition allows or has in service",
    "AccountNotAllowed": "the account is not permitted in this partition",
    "AssociationJobLimit": "the account's limit of jobs is reached",
    "AssociationResourceLimit": "the account's limit of resources is reached",
    "AssociationTimeLimit": "the account's time is used up",
    "InvalidAccount": "the account is not valid",
    "InvalidQOS": "the QOS is not valid",
    "JobArrayTaskLimit": "its array has as many running elements as are permitted",
    "JobHeldAdmin": "held by an administrator: `scontrol release` releases it",
    "JobHeldUser": "held by a user: `scontrol release` releases it",
    "JobHoldMaxRequeue": "was requeued too often, and is held",
    "job requeued in held state": "was requeued and is held: `scontrol release` releases it",
    "launch failed requeued held": "could not be started on its node, and is held",
    "MaxRequeueExceeded": "was requeued too often",
    "MaxMemPerLimit": "it requests more memory than is allowed",
    "NodeCap": "nodes are reserved",
    "QOSJobLimit": "the QOS's limit of jobs is reached",
    "QOSMaxJobsPerUserLimit": "you run as many jobs as the QOS allows a user",
    "QOSMaxSubmitJobPerUserLimit": "you have as many jobs in the queue as the QOS allows a user",
    "QOSNotAllowed": "this QOS is not permitted here",
    "QOSResourceLimit": "the QOS's limit of resources is reached",
    "QOSTimeLimit": "the QOS's time is used up",
    "QOSUsageThreshold": "the QOS's usage threshold is not met",
    "Prolog": "its node is being prepared",
    "Cleaning": "its former run is being cleaned up",
    "SchedDefer": "the scheduler defers jobs",
}
_PATTERNS: Final = (
    (r"^(QOS|Assoc)(Max|Grp)Submit", "the limit on jobs in the queue is reached"),
    (r"^(QOS|Assoc)(Max|Grp)Jobs?", "the limit on running jobs is reached"),
    (r"^(QOS|Assoc)(Max|Grp)(Cpu|CPU|Node|Mem|GRES|Billing|BB|License|Unknown)", "the limit on resources is reached"),
    (
        r"^(QOS|Assoc)(Max|Grp).*(Wall|Minutes|RunMinutes)",
        "the limit on time is reached, or its time limit exceeds it",
    ),
    (r"^(QOS|Assoc)Min", "it requests less than the minimum"),
    (r"^ReqNodeNotAvail", _MEANINGS["ReqNodeNotAvail"]),
    (r"^Nodes_required_for_job_are", _MEANINGS["ReqNodeNotAvail"]),
    (r"^DOWN|^DRAIN", _MEANINGS["ReqNodeNotAvail"]),
)


def describe_pending(state: str, reason: str) -> str:
    """Return why a job that is not running waits: the meaning of its reason, or of its state where that says more.

    Args:
        state: Slurm's word for the state, such as PENDING.
        reason: The reason as squeue prints it.
    """
    if state == "CONFIGURING":  # it has its nodes, so that its reason is None
        return f"{state}: its nodes are being started"
    return describe_reason(reason)


def describe_reason(reason: str) -> str:
    """Return a reason as Slurm prints it, with its meaning: `Resources: waits for nodes to become free`."""
    reason = reason.strip().strip("()")
    meaning = _MEANINGS.get(reason) or next((text for pattern, text in _PATTERNS if re.search(pattern, reason)), None)
    return f"{reason}: {meaning}" if meaning else reason
