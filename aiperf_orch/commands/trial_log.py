"""`log`: the log of an attempt: its path, why the attempt ended, and the lines that explain it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiperf_orch.campaign.counted_epochs import trial_plan
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import file_exists, read_file
from aiperf_orch.campaign.events import read_attempt
from aiperf_orch.campaign.snapshot import CampaignSnapshot, read_further, read_snapshot
from aiperf_orch.campaign.trial_state import AttemptState, TrialState
from aiperf_orch.commands.attempt_facts import attempt_facts, find_attempt, find_trial, log_of
from aiperf_orch.commands.command_output import CommandOutput, ExitStatus
from aiperf_orch.commands.escaped_output import show
from aiperf_orch.controller.job_log import explanation, own_lines, tail
from aiperf_orch.records.events import End
from aiperf_orch.records.journal import AttemptEnd
from aiperf_orch.schedulers.batch_scripts import PBS_EARLY_LOG
from aiperf_orch.util.errors import TransientError
from aiperf_orch.util.text import visible

_log: Final = logging.getLogger(__name__)
_LINES: Final = 20
_TRACEBACK: Final = "Traceback (most recent call last):"
_INTERVAL: Final = 0.5  # seconds between two readings
_LABELS: Final = {"again": "run again", "message": "why"}


def show_log(campaign_dir: Path, trial: int, attempt: int | None, *, follow: bool) -> CommandOutput:
    """Show the log of an attempt.

    Args:
        campaign_dir: The campaign's directory; nothing in it is changed.
        trial: Number of the trial, from 0.
        attempt: Number of the attempt, from 1; None for the latest.
        follow: Print further lines until the attempt ends.

    Returns:
        The exit status: 0, or 1 where the attempt left no log.

    Raises:
        UsageError: When there is no such trial or attempt.
    """
    directory = CampaignDirectory.open(campaign_dir)
    snapshot = read_snapshot(directory)
    found = find_trial(directory, snapshot.state, trial)
    examined = find_attempt(directory, found, attempt)
    facts = attempt_facts(directory, found, examined)
    log = log_of(directory, examined)
    lines = tail(log, log.with_name(PBS_EARLY_LOG))
    over = facts["reason"] is not None
    if not lines and not file_exists(log) and (over or not follow):
        _log.error("%s", _without_log(directory, found, examined, facts))
        return CommandOutput(exit_status=ExitStatus.FAILED)
    show(_heading(found, facts), "table")
    if over or not follow:
        return CommandOutput("\n" + "".join(f"{line}\n" for line in explaining_lines(lines) or ["the log is empty"]))
    _follow(_Growth(log), directory, snapshot, found, examined)
    return CommandOutput()


def explaining_lines(lines: Sequence[str]) -> list[str]:
    """The lines of a log that explain an end: the last ones, from the begin of a traceback that reaches into them.

    The one that explains best comes first where it is not among them.

    Args:
        lines: The last lines of a log.
    """
    own = own_lines(lines)
    begins = [number for number, line in enumerate(own) if line.strip() == _TRACEBACK]
    first = max(len(own) - _LINES, 0)
    if begins:
        first = min(first, begins[-1])
    shown = own[first:]
    best = explanation(lines)
    return shown if not best or best in map(str.strip, shown) else [best, *shown]


def _heading(trial: TrialState, facts: dict[str, Any]) -> str:
    """Facts of the attempt, one a line."""
    named = {"trial": f"{trial.trial}, attempt {facts['attempt']} of {len(trial.attempts)}"} | {
        _LABELS.get(key, key): value for key, value in facts.items() if key != "attempt" and value is not None
    }
    if facts["reason"] is None:
        named["reason"] = "has not ended"
    return "".join(f"{key:<11}{visible(str(value))}\n" for key, value in named.items())


def _without_log(directory: CampaignDirectory, trial: TrialState, attempt: AttemptState, facts: dict[str, Any]) -> str:
    """In one line why there is no log."""
    what = f"{directory.path}: trial {trial.trial}, attempt {attempt.attempt}"
    if facts["reason"]:
        why = ": ".join(filter(None, [facts["reason"], facts["message"]]))
        return f"{what}: has no log {facts['log']}; it ended {why}"
    if facts["began"]:
        return f"{what}: has no log {facts['log']}, although it began on {facts['node']}"
    job = f"job {facts['job']}" if facts["job"] else "not submitted yet"
    return f"{what}: has not begun ({job}); `aiperf-orch status` says why it waits"


@dataclass
class _Growth:
    """What is appended to a log.

    Attributes:
        path: The log; it need not exist yet.
        size: Number of bytes that have been read.
        rest: The begin of a line that has no end yet.
    """

    path: Path
    size: int = 0
    rest: bytes = b""

    def read(self) -> Iterator[str]:
        """Whole lines since the last call; none while the file cannot be read."""
        try:
            data = read_file(self.path, offset=self.size, retry_for=0.0)
        except (FileNotFoundError, TransientError):
            return
        self.size += len(data)
        *whole, self.rest = (self.rest + data).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)


def _follow(
    growth: _Growth, directory: CampaignDirectory, snapshot: CampaignSnapshot, trial: TrialState, attempt: AttemptState
) -> None:
    """Print the last lines of the log, and further ones until the attempt ends."""
    show("\n", "table")
    end: End | AttemptEnd | None = None
    is_first = True
    while True:
        with suppress(TransientError):
            snapshot = read_further(directory, snapshot)
            end = attempt.end or _end_line(directory, trial, attempt)
        lines = list(growth.read())  # after the end was looked for: no line before it is missed
        show("".join(f"{line}\n" for line in (lines[-_LINES:] if is_first else lines)), "table")
        if end is not None:
            break
        is_first = False
        time.sleep(_INTERVAL)
    if growth.rest:
        show(growth.rest.decode(errors="replace") + "\n", "table")
    ended = ": ".join(filter(None, [end.reason.value, end.message]))
    _log.info("trial %d, attempt %d ended: %s", attempt.trial, attempt.attempt, ended)


def _end_line(directory: CampaignDirectory, trial: TrialState, attempt: AttemptState) -> End | None:
    """The end line of an attempt; only the last of its runs has one, and one that was killed has none."""
    runs = read_attempt(directory, attempt.trial, attempt.attempt, trial_plan(directory, trial))
    return next((run.end for run in reversed(runs) if run.end), None)
