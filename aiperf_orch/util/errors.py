"""The one family of errors that a person sees.

Each carries the exit status that the command line ends with. A message says what was wrong, where (file, line,
key) and what to do; anything that reaches the terminal as a traceback instead is a bug.
"""


class AiperfError(Exception):
    """Base of every error of ours; ends a command with exit status 1."""

    exit_status = 1


class UsageError(AiperfError):
    """Wrong use: a setting, an argument or a directory that cannot be what was meant."""

    exit_status = 2


class NetworkError(UsageError):
    """A network that is not valid: a shape that does not fit, a cycle, an unknown layer, an impossible edit."""


class RecordError(AiperfError):
    """A record on disk that cannot be trusted: garbage in it, or a broken chain."""


class NewerVersionError(RecordError):
    """A file that a newer version of aiperf-orch wrote, in a way that this version does not understand."""


class TransientError(AiperfError):
    """A file could not be read or opened for now: nothing is known of it, so nothing is concluded, and it is tried again.

    Every error is one but "there is no such file", a full disk, and a path that leads to something else than a file.
    """


class LockedError(AiperfError):
    """Another controller holds the campaign."""


class SchedulerUnreachableError(AiperfError):
    """The scheduler did not answer in time; nothing is known, so nothing is concluded."""

    exit_status = 3


class NotFinishedError(AiperfError):
    """The campaign goes on: what was asked for can only be done when it has ended."""

    exit_status = 4


class UncleanExitError(AiperfError):
    """The user wanted to leave, and the file system keeps the controller from ending in order."""

    exit_status = 130


class SubmitRefusedError(AiperfError):
    """The scheduler refused the job, for a reason that is known to be for good; what it said is the message."""


class SubmitPostponedError(AiperfError):
    """The scheduler refused the job, for a reason that passes or is not known; what it said is the message."""


class QueueFullError(AiperfError):
    """The scheduler takes no more jobs for now; what it said is the message."""
