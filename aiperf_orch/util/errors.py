"""Errors that are shown to users, each with the exit status of the command.

A message states what is wrong, where (file, line, key) and what to do. A traceback on the terminal is a bug.
"""


class AiperfError(Exception):
    """Base of all errors; ends a command with exit status 1."""

    exit_status = 1


class UsageError(AiperfError):
    """Wrong use: a setting, an argument or a directory that is not valid."""

    exit_status = 2


class NetworkError(UsageError):
    """An invalid network: a shape that does not fit, a cycle, an unknown layer, an impossible edit."""


class RecordError(AiperfError):
    """A record on disk that is damaged: not valid, or not chained to the one before."""


class NewerVersionError(RecordError):
    """A file that a newer version of aiperf-orch wrote, in a way that this version does not understand."""


class TransientError(AiperfError):
    """A file cannot be read or opened for now; nothing is known of it, and the action is repeated.

    All errors are transient except for a missing file, a full disk, and a path that is not a regular file.
    """


class LockedError(AiperfError):
    """Another controller holds the campaign."""


class SchedulerUnreachableError(AiperfError):
    """The scheduler did not answer in time; nothing is known of its jobs."""

    exit_status = 3


class NotFinishedError(AiperfError):
    """The campaign still runs, and the action is possible only after its end."""

    exit_status = 4


class UncleanExitError(AiperfError):
    """The user interrupted the command, and the file system prevents an orderly end of the controller."""

    exit_status = 130


class SubmitRefusedError(AiperfError):
    """The scheduler refused the job for a permanent reason; the message is the scheduler's."""


class SubmitPostponedError(AiperfError):
    """The scheduler refused the job for a temporary or unknown reason; the message is the scheduler's."""


class QueueFullError(AiperfError):
    """The scheduler accepts no more jobs for now; the message is the scheduler's."""
