"""Job queue of PBS: builders of qstat commands, and parsers of their text output. Runs no command.

Text is parsed, not JSON: the JSON of qstat is invalid for some values, and shows only one of several requested jobs.
The module imports little, since submitit loads it in every job.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from aiperf_orch.util.whole_numbers import parse_whole_number

STATUS_UNKNOWN_JOB: Final = 153
"""Exit status of qstat for an id that the server does not know."""

STATUS_FINISHED: Final = 35
"""Exit status of qstat for a job that is only in the job history."""

PENDING_STATES: Final = frozenset("HQTW")
RUNNING_STATES: Final = frozenset("BERSU")
SUSPENDED_STATES: Final = frozenset("SU")
ENDED_STATES: Final = frozenset("FXM")  # M: moved to another server, so that this one never reports its end
SUBSTATE_DELETED: Final = 91
"""Substate of a job that was deleted."""

_SUBSTATE_SUSPENDED_BY_SCHEDULER: Final = 45  # 43: suspended by an operator
_NAME_LINE: Final = "\n    Job_Name = "
_CAN_NEVER_RUN: Final = "Can Never Run"
_TEMPORARY_REASONS: Final = (
    "No available resources on nodes",  # for place=scatter:excl while nodes are down or offline
    "Internal Scheduling Error",  # the PBS scheduler lost its connection to the server
)
"""Reasons after `Can Never Run` for which jobs do run later."""
_STARTS_REFUSED: Final = "job held, too many failed attempts to run"
"""Comment of a hold by the server after 20 refused starts; that of a manual hold is `Job held by NAME on DATE`."""
_NO_HISTORY: Final = "not configured to maintain job history"


@dataclass(frozen=True, slots=True)
class QstatJob:
    """A job as `qstat -f` shows it: its full id, and its attributes by name as text."""

    id: str
    attributes: Mapping[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        """Job name."""
        return self.attributes.get("Job_Name", "")

    @property
    def state(self) -> str:
        """One letter: B E F H M Q R S T U W X."""
        return self.attributes.get("job_state", "")

    @property
    def comment(self) -> str:
        """The comment of PBS on the job's state, for users."""
        return self.attributes.get("comment", "").strip()

    @property
    def exit_status(self) -> int | None:
        """128 + n and 256 + n are signals, negative numbers PBS's own codes; None if it never ran or has not ended."""
        return _parse_int(self.attributes.get("Exit_status"))

    @property
    def substate(self) -> int | None:
        """Numeric substate, which details the state; None if it is missing."""
        return _parse_int(self.attributes.get("substate"))

    @property
    def is_preempted(self) -> bool:
        """Whether the PBS scheduler, not a user, ended or suspended the job in favour of another one."""
        return self.substate == _SUBSTATE_SUSPENDED_BY_SCHEDULER or "terminated by Scheduler@" in self.comment

    @property
    def can_never_run(self) -> bool:
        """Whether the PBS scheduler reports that the job can never run.

        It also reports that while the nodes have not yet reported to a restarted server.
        """
        never = self.state == "Q" and self.comment.startswith(_CAN_NEVER_RUN)
        return never and not any(reason in self.comment for reason in _TEMPORARY_REASONS)

    @property
    def starts_refused(self) -> bool:
        """Whether the server holds the job permanently, since its nodes refused to start it 20 times."""
        return self.state == "H" and self.comment.startswith(_STARTS_REFUSED)

    @property
    def predecessors(self) -> tuple[str, ...]:
        """Ids of the jobs that it waits for, from `afterok:50.vm@vm:51.vm@vm`; `before...` entries are ignored."""
        kinds = (kind.partition(":") for kind in self.attributes.get("depend", "").split(","))
        ids = (each for kind, _, ids in kinds if kind.strip().startswith("after") for each in ids.split(":"))
        return tuple(each.partition("@")[0] for each in ids if each)

    @property
    def start_count(self) -> int:
        """Number of times that the server has started the job, refused starts included."""
        return _parse_int(self.attributes.get("run_count")) or 0

    @property
    def never_ran(self) -> bool:
        """Whether the job ended without a start."""
        return self.state in ENDED_STATES and self.start_count == 0 and "stime" not in self.attributes

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts on which it runs or ran, from `n1/0*2+n2/0*2`."""
        chunks = self.attributes.get("exec_host", "").split("+")
        return tuple(dict.fromkeys(host for chunk in chunks if (host := chunk.partition("/")[0])))

    @property
    def elapsed(self) -> float | None:
        """Walltime used so far in seconds, as of the latest report of its node; None if there was none."""
        parts = map(parse_whole_number, self.attributes.get("resources_used.walltime", "").split(":"))
        match list(parts):
            case [int(hours), int(minutes), int(seconds)]:
                return float((hours * 60 + minutes) * 60 + seconds)
        return None


def list_command() -> list[str]:
    """Command that lists all jobs that have not ended; without ids, each of which takes the server about 0.1 s."""
    return ["qstat", "-f"]


def jobs_command(jobs: list[str], *, history: bool = True) -> list[str]:
    """Command that shows some jobs by their ids.

    Args:
        jobs: job ids.
        history: whether to show ended jobs too; it fails if the server keeps no job history.
    """
    options = ["-x", "-f"] if history else ["-f"]
    return ["qstat", *options, *jobs]


def server_command() -> list[str]:
    """Command that shows the attributes of the server."""
    return ["qstat", "-B", "-f"]


def parse_jobs(output: str, names: Collection[str] | None = None) -> Iterator[QstatJob]:
    """Parse `qstat -f`; lines that belong to no job are skipped.

    Args:
        output: output of qstat.
        names: names of the jobs to parse; None for all. A listing contains the jobs of all users, and parsing only some
            of them is faster.
    """
    for block in ("\n" + output).split("\nJob Id: ")[1:]:
        if names is not None:
            line = block.find(_NAME_LINE)
            if line < 0 or block[line + len(_NAME_LINE) : block.find("\n", line + 1)] not in names:
                continue
        yield from (QstatJob(job, attributes) for job, attributes in parse_blocks("Job Id: " + block, "Job Id: "))


def is_complete(output: str) -> bool:
    """Whether an output of `qstat -f` is not truncated: an empty line follows each job."""
    return not output.strip() or output.endswith("\n\n")


def parse_unknown(errors: str) -> set[str]:
    """Numbers of the jobs that the server reports as unknown, from the standard error of qstat."""
    return {job_number(job) for job in re.findall(r"^qstat: Unknown Job Id (\S+)", errors, re.MULTILINE)}


def job_number(job: str) -> str:
    """A job id without its server: `123` from `123.pbs01.example.org`."""
    return job.partition(".")[0]


def reports_no_history(errors: str) -> bool:
    """Whether qstat reported that the server keeps no job history; it then shows no jobs at all."""
    return _NO_HISTORY in errors


def is_listed(output: str, job: str) -> bool:
    """Whether a listing contains a job with this id, of any name."""
    return f"\nJob Id: {job}\n" in f"\n{output}"


def parse_server(output: str) -> dict[str, str]:
    """Attributes of the first server in `qstat -B -f`; empty if there is none."""
    return dict(next((attributes for _, attributes in parse_blocks(output, "Server: ")), {}))


def parse_blocks(output: str, heading: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Parse blocks of `    key = value` lines under heading lines; a line that begins with a tab continues a value.

    Args:
        output: text to parse.
        heading: beginning of a heading line; the rest of that line is the name of the block.

    Yields:
        The name and the attributes of each block.
    """
    name: str | None = None
    last: str | None = None
    attributes: dict[str, str] = {}
    # not splitlines: a value may contain characters that it takes for line ends
    for line in output.split("\n"):
        if line.startswith(heading):
            if name is not None:
                yield name, attributes
            name, attributes, last = line[len(heading) :].strip(), {}, None
        elif line.startswith("\t") and last is not None:
            attributes[last] += line[1:]
        elif name is not None and line.startswith("    ") and (match := re.match(r" {4}([\w.-]+) = (.*)", line)):
            last = match[1]
            attributes.setdefault(last, match[2])
    if name is not None:
        yield name, attributes


def parse_submitted_id(output: str) -> str | None:
    """The job id that qsub printed; None if there is none.

    It is the last line that has the form of an id, since a hook or wrapper of the site may print more.
    """
    found = [line.strip() for line in output.splitlines() if re.fullmatch(r"\s*\d+(\[\d*\])?(\.\S+)?\s*", line)]
    return found[-1] if found else None


def submitit_id(job: str) -> str:
    """A full job id as submitit writes it: `123.server` is `123`, the array element `123[4].server` is `123_4`."""
    match = re.match(r"(\d+)(?:\[(\d*)\])?", job)
    if not match:
        return job
    return f"{match[1]}_{match[2]}" if match[2] else match[1]


def _parse_int(text: str | None) -> int | None:
    """Parse an integer of at most 9 digits; None if it is missing or malformed."""
    return int(text) if text is not None and re.fullmatch(r"-?\d{1,9}", text.strip(), re.ASCII) else None
