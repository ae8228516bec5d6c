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
"""Exit status of qstat for an id that the server does not know."""

FINISHED: Final = 35
"""Exit status of qstat for a job that is only in the history."""

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
_STARTS_REFUSED: Final = "job held, too many failed attempts to run"
"""The comment of the server's own hold, after 20 refused starts; holds by hand say `Job held by NAME on DATE`."""
_NO_HISTORY: Final = "not configured to maintain job history"


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
    def cannot_run(self) -> bool:
        """Whether PBS's scheduler says that it can never run: so it is while nodes have not reported to a new server."""
        never = self.state == "Q" and self.comment.startswith(_CAN_NEVER_RUN)
        return never and not any(words in self.comment for words in _PASSES)

    @property
    def starts_refused(self) -> bool:
        """Whether the server itself holds it for good: its nodes refused to start it 20 times."""
        return self.state == "H" and self.comment.startswith(_STARTS_REFUSED)

    @property
    def follows(self) -> tuple[str, ...]:
        """Ids of the jobs that it waits for, from `afterok:50.vm@vm:51.vm@vm`; those that wait for it (`before`) are none."""
        kinds = (kind.partition(":") for kind in self.attributes.get("depend", "").split(","))
        parents = (each for kind, _, ids in kinds if kind.strip().startswith("after") for each in ids.split(":"))
        return tuple(parent.partition("@")[0] for parent in parents if parent)

    @property
    def starts(self) -> int:
        """How often the server has started it, refused starts among them."""
        return _whole(self.attributes.get("run_count")) or 0

    @property
    def never_ran(self) -> bool:
        """Whether it ended without a start."""
        return self.state in ENDED and self.starts == 0 and "stime" not in self.attributes

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


def jobs_command(jobs: list[str], *, history: bool = True) -> list[str]:
    """These jobs; with `history`, where PBS keeps one, also when they have ended."""
    return ["qstat", *(["-x"] if history else []), "-f", *jobs]


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


def parse_unknown(errors: str) -> set[str]:
    """The numbers of the jobs that the server says it does not know."""
    return {number_of(job) for job in re.findall(r"^qstat: Unknown Job Id (\S+)", errors, re.MULTILINE)}


def number_of(job: str) -> str:
    """What an id is without its server: `123` of `123.pbs01.example.org`."""
    return job.partition(".")[0]


def has_no_history(answer: str) -> bool:
    """Whether qstat said that the server keeps no ended jobs; it then shows nothing of living ones either."""
    return _NO_HISTORY in answer


def lists(output: str, job: str) -> bool:
    """Whether a listing has a job of this id, of whatever name."""
    return f"\nJob Id: {job}\n" in f"\n{output}"


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
