"""Classification of the errors of qsub and qdel: one table, with the PBS version and the message of each error.

A row matches PBS's own text at the beginning of a message; text that a hook or wrapper of the site adds never matches.
An error without a row is temporary. The module imports little, since submitit loads it in every job.
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


class PbsErrorClass(Enum):
    """Consequence of an error."""

    PERMANENT = "the same request never succeeds"
    TEMPORARY = "the cause passes, or is not known"
    QUEUE_FULL = "a limit on jobs in the queue is reached"
    UNREACHABLE = "the outcome is not known: the request may have been served"
    JOB_GONE = "the job that it names has ended, is exiting, or is not known"


@dataclass(frozen=True, slots=True)
class PbsErrorRule:
    """One row of the table.

    Args:
        program: `qsub`, `qdel`, or empty for both.
        status: the exit status, which is the PBS error number & 255; None for any.
        message: a regular expression that matches the beginning of the message, after the name of the program.
        error_class: the class of the error.
        source: the captured message, or the name of the error in pbs_error.h of OpenPBS.
    """

    program: str
    status: int | None
    message: str
    error_class: PbsErrorClass
    source: str


_PERMANENT, _TEMPORARY, _FULL = PbsErrorClass.PERMANENT, PbsErrorClass.TEMPORARY, PbsErrorClass.QUEUE_FULL
_UNREACHABLE, _GONE = PbsErrorClass.UNREACHABLE, PbsErrorClass.JOB_GONE
_OPENPBS: Final = "OpenPBS 23.06.06"
_SOURCE: Final = "OpenPBS 23.06.06, pbs_error.h"
_LIMIT: Final = "would exceed|maximum number of jobs"
_KILLED: Final = range(129, 153)
"""Exit statuses of a shell whose qsub or qdel was killed by a signal; PBS's own are 0 to 125 and 153 to 255."""

TABLE: Final = (
    # rejected by a hook of the site, whose text is arbitrary: first, so that no other row matches it
    PbsErrorRule("qsub", 32, "", _TEMPORARY, f"{_OPENPBS}: Please give a project with -A (text of a hook)"),
    # the server does not run, or did not answer
    PbsErrorRule(
        "",
        None,
        r"connection refused\b",
        _UNREACHABLE,
        f"{_OPENPBS}: Connection refused, cannot connect to server (162)",
    ),
    PbsErrorRule(
        "",
        None,
        r"connection (timed out|reset by peer)\b",
        _UNREACHABLE,
        "as Connection refused: strerror(3) of connect(2)",
    ),
    PbsErrorRule("", None, r"no route to host\b", _UNREACHABLE, "as Connection refused: strerror(3) of connect(2)"),
    PbsErrorRule(
        "", None, r"unknown host\. ", _UNREACHABLE, f"{_OPENPBS}: Unknown Host. qsub: cannot connect to server vm (160)"
    ),
    PbsErrorRule(
        "", None, r"cannot connect to server\b", _UNREACHABLE, f"{_OPENPBS}: cannot connect to server vm (errno=15010)"
    ),
    PbsErrorRule(
        "", None, r"couldn't connect to cluster\b", _UNREACHABLE, f"{_OPENPBS}: Couldn't connect to cluster: vm"
    ),
    PbsErrorRule(
        "", None, r"pbsconf error\b", _UNREACHABLE, f"{_OPENPBS}: pbsconf error: pbs conf variables not found"
    ),
    PbsErrorRule(
        "",
        None,
        r"end of file\b",
        _UNREACHABLE,
        "PBS Pro, public reports: End of File (the server closed the connection)",
    ),
    PbsErrorRule(
        "", 13, "server connection table full", _UNREACHABLE, f"{_SOURCE}: PBSE_CONNFULL, Server connection table full"
    ),
    PbsErrorRule("", 57, "failed to save", _UNREACHABLE, f"{_SOURCE}: PBSE_SAVE_ERR, Failed to save job/resv"),
    PbsErrorRule("", 104, "", _UNREACHABLE, f"{_SOURCE}: PBSE_TRYAGAIN"),
    PbsErrorRule("", 158, "", _UNREACHABLE, f"{_SOURCE}: PBSE_TOOMANY, too many submit retries"),
    PbsErrorRule("", 162, "", _UNREACHABLE, f"{_SOURCE}: PBSE_SYSTEM, System error"),
    PbsErrorRule("", 163, "", _UNREACHABLE, f"{_SOURCE}: PBSE_INTERNAL, PBS server internal error"),
    PbsErrorRule("", 183, "", _UNREACHABLE, f"{_SOURCE}: PBSE_PROTOCOL, Batch protocol error"),
    PbsErrorRule("", 185, "", _UNREACHABLE, f"{_SOURCE}: PBSE_NOCONNECTS, No free connections"),
    PbsErrorRule("", 186, "", _UNREACHABLE, f"{_SOURCE}: PBSE_NOSERVER, No server specified"),
    PbsErrorRule("", 208, "", _UNREACHABLE, f"{_SOURCE}: PBSE_DISPROTO"),
    PbsErrorRule("", 212, "", _UNREACHABLE, f"{_SOURCE}: PBSE_SVRDOWN, Request not allowed: Server shutting down"),
    PbsErrorRule(
        "", 255, "", _UNREACHABLE, f"{_OPENPBS}: No such file or directory, cannot connect to server (no pbs.conf)"
    ),
    # limits of jobs in the queue
    PbsErrorRule("qsub", 38, _LIMIT, _FULL, f"{_OPENPBS}: would exceed complex's per-user limit"),
    PbsErrorRule(
        "qsub", 39, _LIMIT, _FULL, f"{_SOURCE}: PBSE_ENTLIMRESC, would exceed limit on resource ncpus in queue workq"
    ),
    PbsErrorRule(
        "qsub", 196, "resource temporarily", _FULL, f"{_SOURCE}: PBSE_RESCUNAV, Resource temporarily unavailable"
    ),
    PbsErrorRule("qsub", 198, _LIMIT, _FULL, f"{_SOURCE}: PBSE_MAXQUED, Maximum number of jobs already in queue"),
    PbsErrorRule(
        "qsub",
        None,
        r"would exceed (queue|complex)\b",
        _FULL,
        f"{_OPENPBS}: would exceed queue generic's per-user limit",
    ),
    # invalid requests
    PbsErrorRule("qsub", 1, "directive error:", _PERMANENT, f"{_OPENPBS}: directive error: -l walltime=10 # comment"),
    PbsErrorRule("qsub", 1, "invalid option", _PERMANENT, f"{_OPENPBS}: invalid option -- 'Q' (in a directive)"),
    PbsErrorRule("qsub", 1, "script contains cr, lf", _PERMANENT, f"{_OPENPBS}: script contains cr, lf"),
    PbsErrorRule("qsub", 1, "cannot send environment", _PERMANENT, f"{_OPENPBS}: cannot send environment with the job"),
    PbsErrorRule(
        "qsub",
        1,
        "standard input and output must be a terminal",
        _PERMANENT,
        f"{_OPENPBS}: standard input and output must be a terminal (-I in a directive)",
    ),
    PbsErrorRule("qsub", 2, "illegal -", _PERMANENT, f"{_OPENPBS}: illegal -N value"),
    PbsErrorRule("qsub", 2, "invalid option", _PERMANENT, f"{_OPENPBS}: invalid option -- 'Z'"),
    PbsErrorRule("qsub", 2, "job name is too long", _PERMANENT, f"{_OPENPBS}: Job name is too long"),
    PbsErrorRule(
        "qsub", 2, "cannot submit non-rerunable", _PERMANENT, f"{_OPENPBS}: cannot submit non-rerunable Array Job"
    ),
    PbsErrorRule("qsub", 2, "usage:", _PERMANENT, f"{_OPENPBS}: usage: qsub [-a date_time] …"),
    PbsErrorRule(
        "qsub", 3, "array job exceeds", _PERMANENT, f"{_OPENPBS}: Array job exceeds server or queue size limit"
    ),
    PbsErrorRule(
        "qsub", 4, "resource invalid in", _PERMANENT, f'{_SOURCE}: PBSE_INVALSELECTRESC, Resource invalid in "select"'
    ),
    PbsErrorRule(
        "qsub", 5, '"-lresource=" cannot be used', _PERMANENT, f'{_OPENPBS}: "-lresource=" cannot be used with "select"'
    ),
    PbsErrorRule(
        "qsub", 6, "cannot be used with select", _PERMANENT, f"{_OPENPBS}: Cannot be used with select or place: nodes"
    ),
    PbsErrorRule(
        "qsub", 154, "bad uid for job execution", _PERMANENT, f"{_OPENPBS}: Bad UID for job execution (-W bogus=1)"
    ),
    PbsErrorRule(
        "qsub", 166, "illegal attribute or resource", _PERMANENT, f"{_OPENPBS}: Illegal attribute or resource value"
    ),
    PbsErrorRule("qsub", 170, "unknown queue", _PERMANENT, f"{_OPENPBS}: Unknown queue"),
    PbsErrorRule("qsub", 187, "unknown resource", _PERMANENT, f"{_OPENPBS}: Unknown resource: nosuch"),
    PbsErrorRule(
        "qsub", 188, "job violates queue", _PERMANENT, f"{_OPENPBS}: Job violates queue and/or server resource limits"
    ),
    # temporary: an administrator, a directory service or a node resolves it
    PbsErrorRule(
        "qsub", 1, "script file:", _TEMPORARY, f"{_OPENPBS}: script file:: No such file or directory (of a file system)"
    ),
    PbsErrorRule(
        "qsub", 159, "", _TEMPORARY, f"{_OPENPBS}: Unauthorized Request (a list of users, or of groups as NSS has them)"
    ),
    PbsErrorRule(
        "qsub", 160, "", _TEMPORARY, f"{_SOURCE}: PBSE_BADHOST, Access from host not allowed, or unknown host"
    ),
    PbsErrorRule("qsub", 173, "", _TEMPORARY, f"{_OPENPBS}: Queue is not enabled"),
    PbsErrorRule("qsub", 174, "", _TEMPORARY, f"{_SOURCE}: PBSE_QACESS, Access to queue is denied"),
    PbsErrorRule("qsub", 175, "", _TEMPORARY, f"{_OPENPBS}: Bad UID for job execution (the server found no such user)"),
    PbsErrorRule("qsub", 191, "", _TEMPORARY, f"{_SOURCE}: PBSE_ROUTEREJ, Job rejected by all possible destinations"),
    PbsErrorRule(
        "qsub", 197, "", _TEMPORARY, f"{_OPENPBS}: Bad GID for job execution (the server found no such group)"
    ),
    PbsErrorRule("qdel", 222, "", _TEMPORARY, f"{_OPENPBS}: Server could not connect to MOM 3033.vm"),
    # the job to delete, or the predecessor of the job to submit
    PbsErrorRule("", 153, "", _GONE, f"{_OPENPBS}: Unknown Job Id 99999.vm"),
    PbsErrorRule("", 35, "", _GONE, f"{_OPENPBS}: Job has finished 34.vm"),
    PbsErrorRule("qsub", 206, "", _GONE, f"{_SOURCE}: PBSE_BADDEPEND, Invalid Job Dependency"),
    PbsErrorRule("qdel", 55, "", _GONE, f"{_OPENPBS}: Request invalid for finished array subjob 3000[0].vm"),
    PbsErrorRule("qdel", 168, "", _GONE, f"{_OPENPBS}: Request invalid for state of job 171.vm (exiting)"),
    PbsErrorRule("qdel", 237, "", _GONE, f"{_SOURCE}: PBSE_delProgress, Delete already in progress"),
    # invalid requests to qdel
    PbsErrorRule(
        "qdel",
        1,
        "illegally formed job identifier",
        _PERMANENT,
        f"{_OPENPBS}: illegally formed job identifier: garbage",
    ),
    PbsErrorRule("qdel", 2, "usage:", _PERMANENT, f"{_OPENPBS}: usage: qdel"),
    PbsErrorRule("qdel", 159, "", _PERMANENT, f"{_OPENPBS}: Unauthorized Request 171.vm (another user's job)"),
)


def classify(program: str, answer: CommandResult) -> PbsErrorClass:
    """Classify the error of a failed qsub or qdel.

    Args:
        program: `qsub` or `qdel`.
        answer: result of the command.
    """
    if answer.status < 0 or answer.status in _KILLED:
        return PbsErrorClass.UNREACHABLE  # perhaps after the server received the request
    message = re.sub(rf"^{program}:\s*", "", answer.error_line)
    rules = (rule for rule in TABLE if rule.program in ("", program) and rule.status in (None, answer.status))
    matching = (rule.error_class for rule in rules if re.match(rule.message, message, re.IGNORECASE))
    return next(matching, PbsErrorClass.TEMPORARY)


def make_error(program: str, answer: CommandResult) -> AiperfError:
    """Make the exception for a failed qsub or qdel; its message contains all that the command printed.

    Args:
        program: `qsub` or `qdel`.
        answer: result of the command.
    """
    printed = answer.error_line
    message = printed if program in printed else f"{program}: {printed}"
    match classify(program, answer):
        case PbsErrorClass.UNREACHABLE:
            return SchedulerUnreachableError(message)
        case PbsErrorClass.QUEUE_FULL:
            return QueueFullError(message)
        case PbsErrorClass.PERMANENT:
            return SubmitRefusedError(message)
        case _:
            return SubmitPostponedError(message)
