"""What an error of a Slurm command means for the request: one table of Slurm's sentences. Of waiting jobs is `reasons`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Final


class ErrorClass(Enum):
    """What an error of a Slurm command says of the request."""

    UNREACHABLE = "nothing is known: it may have been accepted all the same"
    FULL = "not now: a limit of jobs in the queue is reached"
    FEWER = "not so many by one call, perhaps; of a single job it is not known whether it passes"
    PASSING = "not now, or for a reason that is not known to be for good"
    FOR_GOOD = "not as it stands"


@dataclass(frozen=True, slots=True)
class Row:
    """A sentence of Slurm, with `*` for what changes in it, what it means, and the version that it was seen with."""

    sentence: str
    complaint: ErrorClass
    seen: str


def _rows(complaint: ErrorClass, seen: str, *sentences: str) -> tuple[Row, ...]:
    return tuple(Row(sentence, complaint, seen) for sentence in sentences)


_RUN: Final = "22.05.8"  # printed by a real one
_TEXT: Final = "22.05.8, not run"  # in the texts of its programs
_SOURCE: Final = "22.05 to 25.05"  # in Slurm's tables of errors and of reasons
_NEWER: Final = "25.05"  # in its table of errors, not in that of 22.05
_OLDER: Final = "22.05"  # in its table of errors, not in that of 25.05

ERRORS: Final = (
    # sentences after `Batch job submission failed: `
    *_rows(
        ErrorClass.FOR_GOOD,
        _RUN,
        "Invalid partition name specified",
        "Invalid account or account/partition combination specified",
        "Invalid qos specification",
        "Invalid feature specification",
        "Invalid license specification",
        "Invalid node name specified",
        "Requested reservation is invalid",
        "Requested node configuration is not available",
        "More processors requested than permitted",
        "Node count specification invalid",
        "Requested time limit is invalid (missing or exceeds some limit)",
    ),
    *_rows(
        ErrorClass.FOR_GOOD,
        _SOURCE,
        "No partition specified or system default partition",
        "Requested nodes not in this partition",
        "Job size specification needs to be provided",
        "Job script not specified",
        "Task distribution specification invalid",
        "Task count specification invalid",
        "CPU count specification invalid",
        "Memory required by task is not available",
        "Invalid generic resource (gres) specification",
        "Duplicate generic resource (gres) specification",
        "Invalid GRES specification (with and without type identification)",
        "Requested GRES option unsupported by configured SelectType plugin",
        "Invalid Trackable RESource (TRES) specification",
        "Invalid wckey specification",
        "Invalid mcs_label specified",
        "Invalid --nice value",
        "Invalid preferred feature specification",
        "Invalid cluster feature specification",
        "Invalid cluster name",
        "Job --batch option is invalid or not a subset of --constraint*",
        "Time limit specification required, but not provided",
        "Invalid time-min specification (exceeds job's time or other limits)",
        "Requested operation not supported on this system",
        "Multiple partition job request not supported when a partition is set in the association",
        "Environment is missing in job",
    ),
    *_rows(
        ErrorClass.FOR_GOOD,
        _NEWER,
        "Invalid or unknown association",
        "Invalid QOS specification, relative QOS can only be used in a single partition per cluster.",
        "Invalid extra constraints specification",
        "Requested topology configuration is not available",
        "Rejecting authentication of user nobody or group nobody",
        "RestrictedCoresPerGPU: *",
    ),
    *_rows(
        ErrorClass.PASSING,
        _RUN,
        "I/O error writing script/environment to file",
        "Required partition not available (inactive or drain)",
        "Unspecified error",  # what a job_submit plugin refuses by its own error: no words of the site's are looked at
    ),
    *_rows(
        ErrorClass.PASSING,
        _SOURCE,
        # a directory service that does not answer for a moment
        "User's group not permitted to use this partition",
        "Invalid user id",
        "Invalid group id",
        "Access/permission denied",
        "Access denied to requested reservation",
        "Requested reservation not usable now",
        "Requested reservation is in use",
        "Requested partition configuration not available now",
        "Required node not available (down, drained or reserved)",
        "Requested nodes are busy",
        "Partition in DOWN state",
        "Partition is in use",
        "System submissions disabled",
        "Requested operation is presently disabled",
        "Job can not start due to maintenance reservation.",
        "Requested account has breached requested QOS usage threshold",
        "Job dependency problem",
        "Circular job dependency",
        "Duplicate job id",
        "Error generating job credential",
        "Slurm internal error, contact system administrator",
        "Burst Buffer *",
        "Waiting for burst buffer",
        "Unable to connect to database",
        "No eligible clusters for federated job",
        "Job locked by another sibling",
        "Incompatible versions of client and server code",  # while a site updates Slurm
        "Plugin initialization failed",
    ),
    *_rows(
        ErrorClass.PASSING,
        _NEWER,
        "Rate limit exceeded, please retry *",
        "Unable to resolve user ID to user name",
        "Unable to resolve group ID to group name",
        "Lua script loading failed due to invalid syntax",  # a site edits its job_submit.lua
        "Lua function *",
        "Max powered up nodes reached",
    ),
    # limits: halving an array may meet them
    *_rows(
        ErrorClass.FEWER,
        _RUN,
        # the same sentence for limits of number, size and time; rows below know which
        "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "Invalid job array specification",  # longer than MaxArraySize or max_array_tasks
        "Pathname of a file, directory or other parameter too long",  # a script above max_script_size names all folders
    ),
    *_rows(ErrorClass.FEWER, "15.08", "Job violates accounting/QOS policy"),
    *_rows(ErrorClass.FULL, _SOURCE, "Resource temporarily unavailable"),
    *_rows(ErrorClass.FULL, _OLDER, "Unable to create job record, try again"),
    *_rows(ErrorClass.FULL, _NEWER, "MaxJobCount limit reached"),
    # which of accounting's limits it was, in a line before
    *_rows(ErrorClass.FULL, _RUN, "QOSMaxSubmitJobPerUserLimit"),
    *_rows(
        ErrorClass.FULL,
        _SOURCE,
        "AssocMaxSubmitJobLimit",
        "AssocGrpSubmitJobsLimit",
        "QOSGrpSubmitJobsLimit",
        "MaxSubmitJobsPerAccount",
    ),
    *_rows(ErrorClass.FOR_GOOD, _RUN, "QOSMaxWallDurationPerJobLimit", "QOSMaxCpuPerJobLimit"),
    *_rows(
        ErrorClass.FOR_GOOD,
        _SOURCE,
        "AssocMaxWallDurationPerJobLimit",
        "QOSMax*PerJob",
        "QOSMax*PerJobLimit",
        "QOSMax*PerNode",
        "QOSMin*",
        "AssocMax*PerJob",
        "AssocMax*PerJobLimit",
        "AssocMax*PerNode",
        "QOSNotAllowed",
    ),
    # limits of all jobs of a user or group together: others' ends, or the time, may meet them
    *_rows(ErrorClass.FEWER, _SOURCE, "QOSMax*PerUser*", "Max*PerAccount", "QOSGrp*", "AssocGrp*", "QOSUsageThreshold"),
    # the answer of slurmctld, or the way to it, was lost
    *_rows(
        ErrorClass.UNREACHABLE,
        _RUN,
        "Unable to contact slurm controller (*",
    ),
    *_rows(
        ErrorClass.UNREACHABLE,
        _SOURCE,
        "Socket timed out on send/recv operation",
        "Zero Bytes were transmitted or received",
        "Communication connection failure",
        "Communication shutdown failure",
        "Message send failure",
        "Message receive failure",
        "Unexpected message received",
        "Unexpected missing socket error",
        "Insane message length",
        "Header lengths are longer than data received",
        "Received zero length message",
        "Received message length < 0",
        "Failed to send entire message",
        "Can't find an address, check slurm.conf",
        "Slurm backup controller in standby mode",
        "Controller is in standby mode, try a different controller",
        "Protocol authentication error",
        "Invalid authentication credential",
        "Authentication credential invalid",
        "Cannot unpack credential",
        "Failed to connect to authentication agent",
        # the system's own
        "Operation now in progress",
        "Interrupted system call",
        "Broken pipe",
        "Connection refused",
        "Connection reset by peer",
        "Connection timed out",
        "No route to host",
        "Network is unreachable",
    ),
    *_rows(
        ErrorClass.UNREACHABLE,
        _NEWER,
        "Authentication credential expired",
        "Token Generation failed.",
        "Connection timed out *",
        "Connection rejected by handler",
        "Connection forced closed by quiesce timeout",
        "Process is shutting down and closing all communications",
        "Kernel reported delayed socket error after *",
    ),
    # what sbatch says by itself, without having asked
    *_rows(
        ErrorClass.FOR_GOOD,
        _RUN,
        "Invalid --* specification",
        "unrecognized option *",
        "This does not look like a batch script.*",
        "Batch script is empty!",
        "Batch script contains DOS line breaks*",
    ),
    *_rows(
        ErrorClass.FOR_GOOD,
        _TEXT,
        "invalid option -- *",
        "Batch script contains only whitespace!",
        "The Slurm controller does not allow scripts that*",
        "Invalid directive found in batch script: *",
    ),
    *_rows(
        ErrorClass.PASSING,
        _RUN,
        "Unable to open file *",
        "No cluster '*' known by database.",
        "'*' can't be reached now, or it is an invalid entry for --cluster.*",
    ),
    *_rows(
        ErrorClass.PASSING,
        _TEXT,
        "getcwd failed: *",
        "Job creation temporarily disabled, retrying",
        "cli_filter plugin terminated with error",
    ),
    *_rows(ErrorClass.FULL, _RUN, "Slurm temporarily unable to accept job, sleeping and retrying"),
    *_rows(ErrorClass.FULL, _TEXT, "Slurm job queue full, sleeping and retrying"),
    *_rows(ErrorClass.UNREACHABLE, _RUN, "Could not establish a configuration source"),
    *_rows(
        ErrorClass.UNREACHABLE,
        _TEXT,
        "Munge encode failed: *",
        "If munged is up, restart with --num-threads=*",
        "Currently unable to load job state information, retrying: *",
    ),
)
"""What Slurm's commands say when they fail, the first row that a sentence matches counts. Anything else may pass."""

_PROGRAM: Final = re.compile(r"(?:sbatch|srun|squeue|scancel|scontrol|sacct|sacctmgr|sinfo): (?:(?:error|fatal): )?")
_VERDICT: Final = re.compile(
    r"(?:Batch job submission failed|allocation failure|slurm_load_\w+|slurm_\w+ error|scontrol_\w+ error|"
    r"Kill job error on job id [\d_+\[\]-]+): (.*)"
)
_FEWER_BY_LIMIT: Final = "Job violates accounting/QOS policy"


def classify(said: str) -> ErrorClass:
    """What follows from what a command of Slurm said when it failed, line by line.

    Slurm's own verdict counts, the last sentence behind `Batch job submission failed` and its like: a site's plugin may
    say anything before it. Only where there is none, what the command said by itself counts.
    """
    verdict, others = None, []
    for line in said.split("\n"):
        sentence = _PROGRAM.sub("", line.strip(), count=1)
        match = _VERDICT.fullmatch(sentence)
        if match:
            verdict = match[1]
        else:
            others.append(sentence)
    known = list(_known(others))
    if verdict is None:
        return known[-1].complaint if known else ErrorClass.PASSING
    if verdict.startswith(_FEWER_BY_LIMIT):
        limits = [row.complaint for row in known if row.sentence.startswith(("QOS", "Assoc", "Max"))]
        if limits:
            return limits[-1]
    return next((row.complaint for row in _known([verdict])), ErrorClass.PASSING)


def is_waiting(line: str) -> bool:
    """Whether sbatch says by this line that it was refused, and will try again by itself, for up to two minutes."""
    return line.rstrip().endswith("sleeping and retrying") and classify(line) is ErrorClass.FULL


def _known(sentences: list[str]) -> Iterator[Row]:
    """The rows of those sentences that are known."""
    for sentence in sentences:
        row = next((row for row in ERRORS if fnmatchcase(sentence, row.sentence)), None)
        if row is not None:
            yield row
