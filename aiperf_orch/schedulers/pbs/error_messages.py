"""What an error of qsub or qdel means: one table, each row with the version and the message that it was seen with.

A row is for PBS's own sentence at its place in the message. Words that a site's hook or wrapper adds decide nothing.
What no row knows passes: it is tried again. Light on imports, since submitit loads it in every job.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from aiperf_orch.util.errors import (
    AiperfError,
    QueueFullError,
    SchedulerUnreachableError,
    SubmitPostponedError,
    SubmitRefusedError,
)

if TYPE_CHECKING:
    from aiperf_orch.schedulers.command import CommandResult


class Meaning(Enum):
    """What follows from an error."""

    FOR_GOOD = "no waiting changes it"
    PASSING = "it passes, or its reason is not known"
    FULL = "a limit is reached that counts jobs in the queue"
    UNREACHABLE = "nothing is known: the request may have been served all the same"
    GONE = "the job that it names has ended, ends already, or is not known"


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of error.

    Args:
        program: `qsub`, `qdel`, or empty for both.
        status: the exit status, which is PBS's error & 255; None for any.
        message: a regular expression for the beginning of the message, without the name of the program.
        meaning: what follows.
        seen: where it comes from: the captured message, or the name of the error in OpenPBS's pbs_error.h.
    """

    program: str
    status: int | None
    message: str
    meaning: Meaning
    seen: str


_GOOD, _PASSING, _FULL = Meaning.FOR_GOOD, Meaning.PASSING, Meaning.FULL
_AWAY, _GONE = Meaning.UNREACHABLE, Meaning.GONE
_OPENPBS: Final = "OpenPBS 23.06.06"
_SOURCE: Final = "OpenPBS 23.06.06, pbs_error.h"
_LIMIT: Final = "would exceed|maximum number of jobs"
_BY_SIGNAL: Final = range(129, 153)
"""Exit statuses of a shell whose qsub or qdel was killed; PBS's own errors are 153 to 255 and 0 to 125."""

TABLE: Final = (
    # a hook's text is the site's: first, so that no other row reads it
    Row("qsub", 32, "", _PASSING, f"{_OPENPBS}: Please give a project with -A (a hook's own text)"),
    # the server is away, or did not answer
    Row("", None, r"connection refused\b", _AWAY, f"{_OPENPBS}: Connection refused, cannot connect to server (162)"),
    Row("", None, r"connection (timed out|reset by peer)\b", _AWAY, "as Connection refused: strerror(3) of connect(2)"),
    Row("", None, r"no route to host\b", _AWAY, "as Connection refused: strerror(3) of connect(2)"),
    Row("", None, r"unknown host\. ", _AWAY, f"{_OPENPBS}: Unknown Host., cannot connect to server (160)"),
    Row("", None, r"cannot connect to server\b", _AWAY, f"{_OPENPBS}: cannot connect to server vm (errno=15010)"),
    Row("", None, r"couldn't connect to cluster\b", _AWAY, f"{_OPENPBS}: Couldn't connect to cluster: vm"),
    Row("", None, r"pbsconf error\b", _AWAY, f"{_OPENPBS}: pbsconf error: pbs conf variables not found"),
    Row(
        "",
        None,
        r"end of file\b",
        _AWAY,
        "PBS Pro, public reports: qsub: End of File (the server closed the connection)",
    ),
    Row("", 13, "server connection table full", _AWAY, f"{_SOURCE}: PBSE_CONNFULL, Server connection table full"),
    Row("", 57, "failed to save", _AWAY, f"{_SOURCE}: PBSE_SAVE_ERR, Failed to save job/resv"),
    Row("", 104, "", _AWAY, f"{_SOURCE}: PBSE_TRYAGAIN"),
    Row("", 158, "", _AWAY, f"{_SOURCE}: PBSE_TOOMANY, too many submit retries"),
    Row("", 162, "", _AWAY, f"{_SOURCE}: PBSE_SYSTEM, System error"),
    Row("", 163, "", _AWAY, f"{_SOURCE}: PBSE_INTERNAL, PBS server internal error"),
    Row("", 183, "", _AWAY, f"{_SOURCE}: PBSE_PROTOCOL, Batch protocol error"),
    Row("", 185, "", _AWAY, f"{_SOURCE}: PBSE_NOCONNECTS, No free connections"),
    Row("", 186, "", _AWAY, f"{_SOURCE}: PBSE_NOSERVER, No server specified"),
    Row("", 208, "", _AWAY, f"{_SOURCE}: PBSE_DISPROTO"),
    Row("", 212, "", _AWAY, f"{_SOURCE}: PBSE_SVRDOWN, Request not allowed: Server shutting down"),
    Row("", 255, "", _AWAY, f"{_OPENPBS}: No such file or directory, cannot connect to server (no pbs.conf)"),
    # limits of jobs in the queue
    Row("qsub", 38, _LIMIT, _FULL, f"{_OPENPBS}: would exceed complex's per-user limit"),
    Row("qsub", 39, _LIMIT, _FULL, f"{_SOURCE}: PBSE_ENTLIMRESC, would exceed limit on resource ncpus in queue workq"),
    Row("qsub", 196, "resource temporarily", _FULL, f"{_SOURCE}: PBSE_RESCUNAV, Resource temporarily unavailable"),
    Row("qsub", 198, _LIMIT, _FULL, f"{_SOURCE}: PBSE_MAXQUED, Maximum number of jobs already in queue"),
    Row(
        "qsub",
        None,
        r"would exceed (queue|complex)\b",
        _FULL,
        f"{_OPENPBS}: would exceed queue generic's per-user limit",
    ),
    # what the request itself is refused for
    Row("qsub", 1, "directive error:", _GOOD, f"{_OPENPBS}: directive error: -l walltime=10 # comment"),
    Row("qsub", 1, "invalid option", _GOOD, f"{_OPENPBS}: invalid option -- 'Q' (in a directive)"),
    Row("qsub", 1, "script contains cr, lf", _GOOD, f"{_OPENPBS}: script contains cr, lf"),
    Row("qsub", 1, "cannot send environment", _GOOD, f"{_OPENPBS}: cannot send environment with the job"),
    Row("qsub", 1, "standard input and output must be a terminal", _GOOD, f"{_OPENPBS}: of -I in a directive"),
    Row("qsub", 2, "illegal -", _GOOD, f"{_OPENPBS}: illegal -N value"),
    Row("qsub", 2, "invalid option", _GOOD, f"{_OPENPBS}: invalid option -- 'Z'"),
    Row("qsub", 2, "job name is too long", _GOOD, f"{_OPENPBS}: Job name is too long"),
    Row("qsub", 2, "cannot submit non-rerunable", _GOOD, f"{_OPENPBS}: cannot submit non-rerunable Array Job"),
    Row("qsub", 2, "usage:", _GOOD, f"{_OPENPBS}: usage: qsub [-a date_time] …"),
    Row("qsub", 3, "array job exceeds", _GOOD, f"{_OPENPBS}: Array job exceeds server or queue size limit"),
    Row("qsub", 4, "resource invalid in", _GOOD, f'{_SOURCE}: PBSE_INVALSELECTRESC, Resource invalid in "select"'),
    Row("qsub", 5, '"-lresource=" cannot be used', _GOOD, f'{_OPENPBS}: "-lresource=" cannot be used with "select"'),
    Row("qsub", 6, "cannot be used with select", _GOOD, f"{_OPENPBS}: Cannot be used with select or place: nodes"),
    Row("qsub", 154, "bad uid for job execution", _GOOD, f"{_OPENPBS}: of -W bogus=1, an unknown attribute"),
    Row("qsub", 166, "illegal attribute or resource", _GOOD, f"{_OPENPBS}: Illegal attribute or resource value"),
    Row("qsub", 170, "unknown queue", _GOOD, f"{_OPENPBS}: Unknown queue"),
    Row("qsub", 187, "unknown resource", _GOOD, f"{_OPENPBS}: Unknown resource: nosuch"),
    Row("qsub", 188, "job violates queue", _GOOD, f"{_OPENPBS}: Job violates queue and/or server resource limits"),
    # known to pass: an administrator, a directory service or a node changes it
    Row("qsub", 1, "script file:", _PASSING, f"{_OPENPBS}: script file:: No such file or directory (of a file system)"),
    Row("qsub", 159, "", _PASSING, f"{_OPENPBS}: Unauthorized Request (a list of users, or of groups as NSS has them)"),
    Row("qsub", 160, "", _PASSING, f"{_SOURCE}: PBSE_BADHOST, Access from host not allowed, or unknown host"),
    Row("qsub", 173, "", _PASSING, f"{_OPENPBS}: Queue is not enabled"),
    Row("qsub", 174, "", _PASSING, f"{_SOURCE}: PBSE_QACESS, Access to queue is denied"),
    Row("qsub", 175, "", _PASSING, f"{_OPENPBS}: Bad UID for job execution (the server found no such user)"),
    Row("qsub", 191, "", _PASSING, f"{_SOURCE}: PBSE_ROUTEREJ, Job rejected by all possible destinations"),
    Row("qsub", 197, "", _PASSING, f"{_OPENPBS}: Bad GID for job execution (the server found no such group)"),
    Row("qdel", 222, "", _PASSING, f"{_OPENPBS}: Server could not connect to MOM 3033.vm"),
    # the job that the command names: that is to be deleted, or to be followed
    Row("", 153, "", _GONE, f"{_OPENPBS}: Unknown Job Id 99999.vm"),
    Row("", 35, "", _GONE, f"{_OPENPBS}: Job has finished 34.vm"),
    Row("qsub", 206, "", _GONE, f"{_SOURCE}: PBSE_BADDEPEND, Invalid Job Dependency"),
    Row("qdel", 55, "", _GONE, f"{_OPENPBS}: Request invalid for finished array subjob 3000[0].vm"),
    Row("qdel", 168, "", _GONE, f"{_OPENPBS}: Request invalid for state of job 171.vm (it ends already)"),
    Row("qdel", 237, "", _GONE, f"{_SOURCE}: PBSE_delProgress, Delete already in progress"),
    # what qdel refuses for good
    Row("qdel", 1, "illegally formed job identifier", _GOOD, f"{_OPENPBS}: illegally formed job identifier: garbage"),
    Row("qdel", 2, "usage:", _GOOD, f"{_OPENPBS}: usage: qdel"),
    Row("qdel", 159, "", _GOOD, f"{_OPENPBS}: Unauthorized Request 171.vm (another user's job)"),
)


def meaning_of(program: str, answer: CommandResult) -> Meaning:
    """What a failed qsub or qdel means; what no row of the table knows is passing."""
    if answer.status < 0 or answer.status in _BY_SIGNAL:
        return Meaning.UNREACHABLE  # it was killed, perhaps after the server had taken the request
    said = re.sub(rf"^{program}:\s*", "", answer.error_line)
    rows = (row for row in TABLE if row.program in ("", program) and row.status in (None, answer.status))
    return next((row.meaning for row in rows if re.match(row.message, said, re.IGNORECASE)), Meaning.PASSING)


def complaint_of(program: str, answer: CommandResult) -> AiperfError:
    """The error to raise for a failed qsub or qdel, with all that it said."""
    said = answer.error_line
    message = said if program in said else f"{program}: {said}"
    match meaning_of(program, answer):
        case Meaning.UNREACHABLE:
            return SchedulerUnreachableError(message)
        case Meaning.FULL:
            return QueueFullError(message)
        case Meaning.FOR_GOOD:
            return SubmitRefusedError(message)
        case _:
            return SubmitPostponedError(message)
