"""What Slurm's reasons of pending jobs mean: why a job waits, and whether it ever runs. Of errors is `complaints`."""

from __future__ import annotations

import re
from typing import Final

STUCK: Final = frozenset({"JobHoldMaxRequeue", "launch failed requeued held", "DependencyNeverSatisfied"})
"""Reasons of pending jobs that will never run by themselves."""

_WORDS: Final = {
    "None": "not looked at yet",
    "Priority": "jobs of higher priority are before it",
    "Resources": "waits for nodes to become free",
    "BeginTime": "its earliest start lies ahead",
    "Dependency": "waits for another job",
    "DependencyNeverSatisfied": "waits for a job that failed",
    "Licenses": "waits for a licence",
    "Reservation": "waits for its reservation to begin",
    "ReqNodeNotAvail": "nodes that it needs are down, drained or reserved",
    "NodeDown": "a node that it needs is down",
    "BadConstraints": "no node has what it asks for: look at nodes, constraint, memory and GPUs",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition takes no jobs to run",
    "PartitionNodeLimit": "it asks for more nodes than the partition allows or has up",
    "PartitionTimeLimit": "its time limit is above the partition's: lower scheduler.time_limit",
    "PartitionConfig": "it asks for more than the partition allows or has up now",
    "AccountNotAllowed": "the account may not use this partition",
    "AssociationJobLimit": "the account's limit of jobs is reached",
    "AssociationResourceLimit": "the account's limit of resources is reached",
    "AssociationTimeLimit": "the account's time is used up",
    "InvalidAccount": "the account is not valid",
    "InvalidQOS": "the QOS is not valid",
    "JobArrayTaskLimit": "so many elements of its array run as may",
    "JobHeldAdmin": "held by an administrator: `scontrol release` lets it go on",
    "JobHeldUser": "held by a user: `scontrol release` lets it go on",
    "JobHoldMaxRequeue": "was put back into the queue too often, and is held",
    "job requeued in held state": "was put back into the queue and is held: `scontrol release` lets it go on",
    "launch failed requeued held": "could not be started on its node, and is held",
    "MaxRequeueExceeded": "was put back into the queue too often",
    "MaxMemPerLimit": "it asks for more memory than is allowed",
    "NodeCap": "nodes are kept back",
    "QOSJobLimit": "the QOS's limit of jobs is reached",
    "QOSMaxJobsPerUserLimit": "you run as many jobs as the QOS allows a user",
    "QOSMaxSubmitJobPerUserLimit": "you have as many jobs in the queue as the QOS allows a user",
    "QOSNotAllowed": "this QOS may not be used here",
    "QOSResourceLimit": "the QOS's limit of resources is reached",
    "QOSTimeLimit": "the QOS's time is used up",
    "QOSUsageThreshold": "the QOS's threshold of use is not met",
    "Prolog": "its node is being prepared",
    "Cleaning": "its former run is being cleaned up",
    "SchedDefer": "the scheduler looks at jobs later",
}
_FAMILIES: Final = (
    (r"^(QOS|Assoc)(Max|Grp)Submit", "the limit of jobs in the queue is reached"),
    (r"^(QOS|Assoc)(Max|Grp)Jobs?", "the limit of jobs that run is reached"),
    (r"^(QOS|Assoc)(Max|Grp)(Cpu|CPU|Node|Mem|GRES|Billing|BB|License|Unknown)", "the limit of resources is reached"),
    (
        r"^(QOS|Assoc)(Max|Grp).*(Wall|Minutes|RunMinutes)",
        "the limit of time is reached, or its time limit is above it",
    ),
    (r"^(QOS|Assoc)Min", "it asks for less than it must"),
    (r"^ReqNodeNotAvail", _WORDS["ReqNodeNotAvail"]),
    (r"^Nodes_required_for_job_are", _WORDS["ReqNodeNotAvail"]),
    (r"^DOWN|^DRAIN", _WORDS["ReqNodeNotAvail"]),
)


def in_words(reason: str) -> str:
    """A pending reason as Slurm prints it, and what it means: `Resources: waits for nodes to become free`."""
    reason = reason.strip().strip("()")
    meaning = _WORDS.get(reason) or next((words for form, words in _FAMILIES if re.search(form, reason)), None)
    return f"{reason}: {meaning}" if meaning else reason
