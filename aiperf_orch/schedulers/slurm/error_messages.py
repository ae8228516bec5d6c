"""Classification of the errors of Slurm's commands: one table of Slurm's sentences, each with its consequence.

The reasons of pending jobs are in `pending_reasons`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Final


class ErrorClass(Enum):
    """Consequence of an error for the request."""

    UNREACHABLE = "the outcome is not known: the request may have been served"
    QUEUE_FULL = "a limit on jobs in the queue is reached"
    TOO_MANY = "fewer jobs by one call may be accepted; for a single job the error is temporary"
    TEMPORARY = "the cause passes, or is not known"
    PERMANENT = "the same request never succeeds"


@dataclass(frozen=True, slots=True)
class KnownSentence:
    """One row of the table.

    Attributes:
        sentence: a sentence of Slurm, with `*` for its variable parts.
        error_class: the class of the error.
        source: the version that printed it, or whose sources contain it.
    """

    sentence: str
    error_class: ErrorClass
    source: str


def _rows(error_class: ErrorClass, source: str, *sentences: str) -> tuple[KnownSentence, ...]:
    return tuple(KnownSentence(sentence, error_class, source) for sentence in sentences)


_PRINTED: Final = "22.05.8"  # printed by a real cluster
_IN_PROGRAM: Final = "22.05.8, not run"  # in the texts of its programs
_IN_SOURCE: Final = "22.05 to 25.05"  # in Slurm's tables of errors and of reasons
_SINCE_25_05: Final = "25.05"  # in its table of errors, not in that of 22.05
_UNTIL_22_05: Final = "22.05"  # in its table of errors, not in that of 25.05

ERRORS: Final = (
    # after `Batch job submission failed: `
    *_rows(
        ErrorClass.PERMANENT,
        _PRINTED,
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
        ErrorClass.PERMANENT,
        _IN_SOURCE,
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
        ErrorClass.PERMANENT,
        _SINCE_25_05,
        "Invalid or unknown association",
        "Invalid QOS specification, relative QOS can only be used in a single partition per cluster.",
        "Invalid extra constraints specification",
        "Requested topology configuration is not available",
        "Rejecting authentication of user nobody or group nobody",
        "RestrictedCoresPerGPU: *",
    ),
    *_rows(
        ErrorClass.TEMPORARY,
        _PRINTED,
        "I/O error writing script/environment to file",
        "Required partition not available (inactive or drain)",
        "Unspecified error",  # a refusal by the site's job_submit plugin, whose own text is ignored
    ),
    *_rows(
        ErrorClass.TEMPORARY,
        _IN_SOURCE,
        # a directory service that does not answer temporarily
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
        ErrorClass.TEMPORARY,
        _SINCE_25_05,
        "Rate limit exceeded, please retry *",
        "Unable to resolve user ID to user name",
        "Unable to resolve group ID to group name",
        "Lua script loading failed due to invalid syntax",  # a site edits its job_submit.lua
        "Lua function *",
        "Max powered up nodes reached",
    ),
    # limits that half of an array may meet
    *_rows(
        ErrorClass.TOO_MANY,
        _PRINTED,
        # the same sentence for limits on number, size and time; rows below distinguish them
        "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "Invalid job array specification",  # longer than MaxArraySize or max_array_tasks
        "Pathname of a file, directory or other parameter too long",  # a script above max_script_size names all folders
    ),
    *_rows(ErrorClass.TOO_MANY, "15.08", "Job violates accounting/QOS policy"),
    *_rows(ErrorClass.QUEUE_FULL, _IN_SOURCE, "Resource temporarily unavailable"),
    *_rows(ErrorClass.QUEUE_FULL, _UNTIL_22_05, "Unable to create job record, try again"),
    *_rows(ErrorClass.QUEUE_FULL, _SINCE_25_05, "MaxJobCount limit reached"),
    # the limit of accounting that was exceeded, in a preceding line
    *_rows(ErrorClass.QUEUE_FULL, _PRINTED, "QOSMaxSubmitJobPerUserLimit"),
    *_rows(
        ErrorClass.QUEUE_FULL,
        _IN_SOURCE,
        "AssocMaxSubmitJobLimit",
        "AssocGrpSubmitJobsLimit",
        "QOSGrpSubmitJobsLimit",
        "MaxSubmitJobsPerAccount",
    ),
    *_rows(ErrorClass.PERMANENT, _PRINTED, "QOSMaxWallDurationPerJobLimit", "QOSMaxCpuPerJobLimit"),
    *_rows(
        ErrorClass.PERMANENT,
        _IN_SOURCE,
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
    # limits on all jobs of a user or group together: the ends of other jobs, or time, may resolve them
    *_rows(
        ErrorClass.TOO_MANY,
        _IN_SOURCE,
        "QOSMax*PerUser*",
        "Max*PerAccount",
        "QOSGrp*",
        "AssocGrp*",
        "QOSUsageThreshold",
    ),
    # slurmctld's reply, or the connection to it, was lost
    *_rows(
        ErrorClass.UNREACHABLE,
        _PRINTED,
        "Unable to contact slurm controller (*",
    ),
    *_rows(
        ErrorClass.UNREACHABLE,
        _IN_SOURCE,
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
        # errors of the operating system
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
        _SINCE_25_05,
        "Authentication credential expired",
        "Token Generation failed.",
        "Connection timed out *",
        "Connection rejected by handler",
        "Connection forced closed by quiesce timeout",
        "Process is shutting down and closing all communications",
        "Kernel reported delayed socket error after *",
    ),
    # errors of sbatch itself, before it connects
    *_rows(
        ErrorClass.PERMANENT,
        _PRINTED,
        "Invalid --* specification",
        "unrecognized option *",
        "This does not look like a batch script.*",
        "Batch script is empty!",
        "Batch script contains DOS line breaks*",
    ),
    *_rows(
        ErrorClass.PERMANENT,
        _IN_PROGRAM,
        "invalid option -- *",
        "Batch script contains only whitespace!",
        "The Slurm controller does not allow scripts that*",
        "Invalid directive found in batch script: *",
    ),
    *_rows(
        ErrorClass.TEMPORARY,
        _PRINTED,
        "Unable to open file *",
        "No cluster '*' known by database.",
        "'*' can't be reached now, or it is an invalid entry for --cluster.*",
    ),
    *_rows(
        ErrorClass.TEMPORARY,
        _IN_PROGRAM,
        "getcwd failed: *",
        "Job creation temporarily disabled, retrying",
        "cli_filter plugin terminated with error",
    ),
    *_rows(ErrorClass.QUEUE_FULL, _PRINTED, "Slurm temporarily unable to accept job, sleeping and retrying"),
    *_rows(ErrorClass.QUEUE_FULL, _IN_PROGRAM, "Slurm job queue full, sleeping and retrying"),
    *_rows(ErrorClass.UNREACHABLE, _PRINTED, "Could not establish a configuration source"),
    *_rows(
        ErrorClass.UNREACHABLE,
        _IN_PROGRAM,
        "Munge encode failed: *",
        "If munged is up, restart with --num-threads=*",
        "Currently unable to load job state information, retrying: *",
    ),
)
"""The table. The first row that matches counts; a sentence without a row is temporary."""

_PROGRAM: Final = re.compile(r"(?:sbatch|srun|squeue|scancel|scontrol|sacct|sacctmgr|sinfo): (?:(?:error|fatal): )?")
_RESULT: Final = re.compile(
    r"(?:Batch job submission failed|allocation failure|slurm_load_\w+|slurm_\w+ error|scontrol_\w+ error|"
    r"Kill job error on job id [\d_+\[\]-]+): (.*)"
)
_POLICY_LIMIT: Final = "Job violates accounting/QOS policy"


def classify(message: str) -> ErrorClass:
    """Classify the message of a failed command, line by line.

    Slurm's own result counts: the last sentence after `Batch job submission failed` and similar prefixes. A site's
    plugin may print any text before it. Only without such a sentence do the other lines count.
    """
    result, others = None, []
    for line in message.split("\n"):
        sentence = _PROGRAM.sub("", line.strip(), count=1)
        match = _RESULT.fullmatch(sentence)
        if match:
            result = match[1]
        else:
            others.append(sentence)
    known = list(_known(others))
    if result is None:
        return known[-1].error_class if known else ErrorClass.TEMPORARY
    if result.startswith(_POLICY_LIMIT):
        limits = [row.error_class for row in known if row.sentence.startswith(("QOS", "Assoc", "Max"))]
        if limits:
            return limits[-1]
    return next((row.error_class for row in _known([result])), ErrorClass.TEMPORARY)


def is_retrying(line: str) -> bool:
    """Whether sbatch states by this line that the queue is full and that it retries, for up to two minutes."""
    return line.rstrip().endswith("sleeping and retrying") and classify(line) is ErrorClass.QUEUE_FULL


def _known(sentences: list[str]) -> Iterator[KnownSentence]:
    """Yield the rows of those sentences that have one."""
    for sentence in sentences:
        row = next((row for row in ERRORS if fnmatchcase(sentence, row.sentence)), None)
        if row is not None:
            yield row
