"""What Slurm's words mean to a person: why a job waits, and whether an error of sbatch is for now, for good, or unknown."""

from __future__ import annotations

import re
from enum import Enum
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


class Complaint(Enum):
    """What an error of a Slurm command says of the request."""

    UNREACHABLE = "nothing is known: it may have been accepted all the same"
    FULL = "not now: a limit of jobs in the queue is reached"
    REFUSED = "not as it stands"


_UNREACHABLE: Final = re.compile(
    r"unable to contact|socket timed out|connection (refused|timed out|reset)|zero bytes were transmitted|not connected|"
    r"communication (connection|shutdown)|backup controller|standby mode|no route to host|authentication|munge|"
    r"unexpected (message|error)|can't find an address|message (send|receive) (failure|timeout)|resolve",
    re.IGNORECASE,
)
_FULL: Final = re.compile(
    r"(Max|Grp)Submit|temporarily unable to accept|resource temporarily unavailable|maximum number of jobs",
    re.IGNORECASE,
)


def classify(message: str) -> Complaint:
    """What follows from what sbatch said when it failed."""
    if _FULL.search(message):
        return Complaint.FULL
    return Complaint.UNREACHABLE if _UNREACHABLE.search(message) else Complaint.REFUSED
