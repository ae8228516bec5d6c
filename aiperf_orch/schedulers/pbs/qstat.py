"""PBS's queue: builders of qstat commands, and parsers of the text that it prints. Runs nothing.

Text, not JSON: qstat's JSON is invalid for some values, and of several ids shows one. Light on imports, since submitit
loads it in every job.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

NO_SUCH_JOB: Final = 153
"""Exit status of qstat and qdel for an id that the server does not know."""

FINISHED: Final = 35
"""Exit status of qstat for a job that is only in the history, and of qdel for one that has ended."""

NOTHING_TO_DELETE: Final = frozenset({NO_SUCH_JOB, FINISHED, 168, 237})
"""Exit statuses of qdel for a job that has ended, ends (168: its state allows no deletion) or is being deleted already."""

WAITING: Final = frozenset("HQTW")
RUNNING: Final = frozenset("BERSU")
SUSPENDED: Final = frozenset("SU")
ENDED: Final = frozenset("FXM")  # M went to another server: nobody here will hear of it again
DELETED: Final = 91
"""Substate of a job that was deleted."""

_SUSPENDED_BY_SCHEDULER: Final = 45  # 43 is by a person
_NAME_LINE: Final = "\n    Job_Name = "
_CAN_NEVER_RUN: Final = "Can Never Run"
_PASSES: Final = (
    "No available resources on nodes",  # of scatter:excl, while nodes are down or offline
    "Internal Scheduling Error",  # the server went away from its scheduler
)
"""What PBS's scheduler says after `Can Never Run` of jobs that do run later."""
_SYSTEM_HOLD: Final = "s"


@dataclass(frozen=True, slots=True)
class Job:
    """A job as `qstat -f` shows it: its full id, and its attributes by name as text."""

    id: str
    attributes: Mapping[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        """Its name."""
        return self.attributes.get("Job_Name", "")

    @property
    def state(self) -> str:
        """One letter: B E F H M Q R S T U W X."""
        return self.attributes.get("job_state", "")

    @property
    def comment(self) -> str:
        """What PBS says of it to a person."""
        return self.attributes.get("comment", "").strip()

    @property
    def exit_status(self) -> int | None:
        """128 + n and 256 + n are signals, negative codes PBS's own; None when it never ran, or has not ended."""
        return _whole(self.attributes.get("Exit_status"))

    @property
    def substate(self) -> int | None:
        """A number that says more than the state."""
        return _whole(self.attributes.get("substate"))

    @property
    def is_preempted(self) -> bool:
        """Whether it ended, or is suspended, for another job's sake: PBS's scheduler did it, not a person."""
        return self.substate == _SUSPENDED_BY_SCHEDULER or "terminated by Scheduler@" in self.comment

    @property
    def never_alone(self) -> bool:
        """Whether it will never run by itself: impossible, or held by the system, which its owner cannot release."""
        held = self.state == "H" and _SYSTEM_HOLD in self.attributes.get("Hold_Types", "")
        never = self.comment.startswith(_CAN_NEVER_RUN) and not any(words in self.comment for words in _PASSES)
        return never or (held and not self.attributes.get("depend"))

    @property
    def hosts(self) -> tuple[str, ...]:
        """Where it runs or ran, from `n1/0*2+n2/0*2`."""
        chunks = self.attributes.get("exec_host", "").split("+")
        return tuple(dict.fromkeys(host for chunk in chunks if (host := chunk.partition("/")[0])))

    @property
    def seconds(self) -> float | None:
        """How long it has run, as PBS last looked."""
        parts = self.attributes.get("resources_used.walltime", "").split(":")
        if len(parts) != 3 or not all(part.isdigit() for part in parts):
            return None
        hours, minutes, seconds = map(int, parts)
        return float((hours * 60 + minutes) * 60 + seconds)


def list_command() -> list[str]:
    """Every job that has not ended, in one question; never with ids, which take the server a tenth of a second each."""
    return ["qstat", "-f"]


def history_command(jobs: list[str]) -> list[str]:
    """These jobs, also when they have ended, where PBS keeps a history."""
    return ["qstat", "-x", "-f", *jobs]


def server_command() -> list[str]:
    """The server's attributes."""
    return ["qstat", "-B", "-f"]


def parse_jobs(output: str, names: Collection[str] | None = None) -> Iterator[Job]:
    """The jobs of `qstat -f`, of any name or of these alone; what belongs to none is passed over.

    A listing holds everybody's jobs: those of other names are not taken apart.
    """
    for block in ("\n" + output).split("\nJob Id: ")[1:]:
        if names is not None:
            line = block.find(_NAME_LINE)
            if line < 0 or block[line + len(_NAME_LINE) : block.find("\n", line + 1)] not in names:
                continue
        yield from (Job(ident, attributes) for ident, attributes in blocks("Job Id: " + block, "Job Id: "))


def is_whole(output: str) -> bool:
    """Whether an answer of `qstat -f` did not break off: an empty line follows every job."""
    return not output.strip() or output.endswith("\n\n")


def parse_server(output: str) -> dict[str, str]:
    """The attributes of the first server of `qstat -B -f`."""
    return dict(next((attributes for _, attributes in blocks(output, "Server: ")), {}))


def blocks(output: str, heading: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Headed blocks of `    key = value` lines; a line that begins with a tab goes on where the one before broke off."""
    ident: str | None = None
    last: str | None = None
    attributes: dict[str, str] = {}
    # not splitlines: a value may hold characters that it takes for line ends
    for line in output.split("\n"):
        if line.startswith(heading):
            if ident is not None:
                yield ident, attributes
            ident, attributes, last = line[len(heading) :].strip(), {}, None
        elif line.startswith("\t") and last is not None:
            attributes[last] += line[1:]
        elif ident is not None and line.startswith("    ") and (match := re.match(r" {4}([\w.-]+) = (.*)", line)):
            last = match[1]
            attributes.setdefault(last, match[2])
    if ident is not None:
        yield ident, attributes


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d{1,9}", text.strip()) else None


def submitted_id(output: str) -> str | None:
    """The id in what qsub printed, in its last line of that form (a site's hook or wrapper may print, too); None without one."""
    found = [line.strip() for line in output.splitlines() if re.fullmatch(r"\s*\d+(\[\d*\])?(\.\S+)?\s*", line)]
    return found[-1] if found else None


def submitit_id(job: str) -> str:
    """A full id in the form that submitit knows: `123.server` is `123`, an array's `123[4].server` is `123_4`."""
    match = re.match(r"(\d+)(?:\[(\d*)\])?", job)
    if not match:
        return job
    return f"{match[1]}_{match[2]}" if match[2] else match[1]
