"""The log of a job: the line that explains best why the job ended, and the end reason that a known line stands for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import JobEnd

_TAIL_BYTES: Final = 16_000  # a traceback may follow the line that explains
_LAUNCHER: Final = re.compile(r"(?:srun|slurmstepd(?:-\S+)?): |pbsdsh: ")
_LAUNCHER_ERROR: Final = re.compile(r"(?:srun|slurmstepd(?:-\S+)?): (?:error|fatal): ")
_CONSEQUENCE: Final = re.compile(  # launchers print these after any failure
    r"\S+: error: (?:\S+: tasks? [\d,-]+: (?!Out Of Memory)|\*\*\* STEP |Timed out waiting for job step|"
    r"Application launch failed)"
)
_KNOWN_LINES: Final = (
    # (line, reason, versions that print it), the most specific first; the group is the node that failed.
    # `JOB 12 ON n1 CANCELLED AT ...` alone does not say who cancelled the job, or whether it runs again
    (r"slurmstepd.*: Detected \d+ oom[_-]kill event.*", EndReason.OUT_OF_MEMORY, "Slurm 22.05 to 25.05, task/cgroup"),
    (r"slurmstepd.* exceeded (?:virtual )?memory limit \(.*", EndReason.OUT_OF_MEMORY, "Slurm 22.05.8, OverMemoryKill"),
    (r"slurmstepd.*: Exceeded job memory limit.*", EndReason.OUT_OF_MEMORY, "Slurm 22.05.8"),
    (r"srun: error: \S+: tasks? [\d,-]+: Out Of Memory", EndReason.OUT_OF_MEMORY, "Slurm 22.05, task/cgroup"),
    (r"=>> PBS: job killed: v?mem .* exceeded limit .*", EndReason.OUT_OF_MEMORY, "OpenPBS 23.06.06"),
    (r".*\*\*\* (?:JOB|STEP) .* DUE TO TIME LIMIT.*", EndReason.TIME_LIMIT, "Slurm 22.05.8"),
    (r"=>> PBS: job killed: walltime .* exceeded limit .*", EndReason.TIME_LIMIT, "OpenPBS 23.06.06"),
    (r".*\*\*\* (?:JOB|STEP) .* DUE TO PREEMPTION.*", EndReason.PREEMPTED, "Slurm 22.05.8"),
    (r".*\*\*\* (?:JOB|STEP) \S+ ON (\S+) .* DUE TO NODE FAILURE.*", EndReason.NODE_FAILURE, "Slurm 22.05"),
    (r".*\*\*\* (?:JOB|STEP) \S+ ON (\S+) UNCORRECTABLE MEMORY ERROR.*", EndReason.NODE_FAILURE, "Slurm 22.05"),
    (r"srun: error: Node failure on (\S+)", EndReason.NODE_FAILURE, "Slurm 22.05.8"),
    (r"srun: error: Task launch for StepId=\S+ failed on node (\S+): .*", EndReason.NODE_FAILURE, "Slurm 22.05"),
    (r"srun: error: task \d+ launch failed: Job prolog failed", EndReason.NODE_FAILURE, "Slurm 22.05"),
)
_NEXT_RUN: Final = (
    "aiperf-orch: run "  # the batch script's first line in a later run: lines before it ended another run
)
_SUBMITIT_FAILED: Final = "submitit.core.utils.FailedJobError"  # last line after a process that was killed silently
_SUBMITIT_ENDS: Final = re.compile(r"submitit (?:ERROR|INFO) \(.*\) - (?:Submitted job triggered|Job completed).*")
_REASONS: Final = ("ended: ", "aiperf-orch: the ")  # of the trial, and of the job's process, which `job_process` prints
_KILLED: Final = re.compile(r"^subprocess\.CalledProcessError: Command .* (died with .*|returned .*)$")


def last_line(*logs: Path) -> str:
    """The explanation in the first log that has any line, with the path of that log; else empty."""
    return next((f"{log} ends: {line}" for log in logs if (line := explanation(tail(log)))), "")


def tail(*logs: Path) -> list[str]:
    """The last lines of the latest run, from the first log that has any."""
    return next(filter(None, map(_tail, logs)), [])


def end_from_log(lines: Sequence[str]) -> JobEnd | None:
    """The end of a job, by a known line of its launcher; None where there is none."""
    known = _known_line(lines)
    if known is None:
        return None
    line, reason, node = known
    return JobEnd(reason, line, (node,) if node else ())


def explanation(lines: Sequence[str]) -> str:
    """The line that explains best why a job ended: a known one, else the last that is no mere consequence."""
    known = _known_line(lines)
    if known is not None:
        return known[0]
    found = without_submitit(lines)
    if lines and lines[-1] == _SUBMITIT_FAILED:
        found.extend(f"the trial's process {killed[1]}" for killed in map(_KILLED.match, lines) if killed)
    explaining = [line for line in found if not _LAUNCHER.match(line) or _is_launcher_error(line)]
    return (explaining or found or [""])[-1].strip()


def own_lines(lines: Sequence[str]) -> list[str]:
    """The lines without those that submitit and the launcher print after the end of a trial that gave its reason."""
    own = without_submitit(lines)
    ended = any(line.startswith(_REASONS) for line in own)
    while ended and _LAUNCHER.match(own[-1]) and not _is_launcher_error(own[-1]):
        own.pop()
    return own


def without_submitit(lines: Sequence[str]) -> list[str]:
    """The lines without those with which submitit ended a log up to version 0.1.0: a traceback, or its success."""
    ends = [number for number, line in enumerate(lines) if _SUBMITIT_ENDS.fullmatch(line)]
    if not ends:
        return list(lines)
    return [*lines[: ends[0]], *(line for line in lines[ends[0] :] if _LAUNCHER.match(line))]


def _is_launcher_error(line: str) -> bool:
    """Whether a launcher reports an error of its own, not the consequence of another one."""
    return _LAUNCHER_ERROR.match(line) is not None and _CONSEQUENCE.match(line) is None


def _known_line(lines: Sequence[str]) -> tuple[str, EndReason, str | None] | None:
    """The last known line, its reason, and the node that failed, None where the line names none."""
    for form, reason, _versions in _KNOWN_LINES:
        for line in reversed(lines):
            match = re.fullmatch(form, line.strip())
            if match:
                return line.strip(), reason, next(iter(match.groups()), None)
    return None


def _tail(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - _TAIL_BYTES, 0))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    lines = [line.rstrip() for line in text.split("\n") if line.strip()]
    runs = [number for number, line in enumerate(lines) if line.startswith(_NEXT_RUN)]
    return lines[runs[-1] + 1 :] if runs else lines
