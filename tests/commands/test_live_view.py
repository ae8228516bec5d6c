"""The live view of a running campaign: its text at three sizes, and what is in view at any size."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.text import Text

from aiperf_orch.campaign.journal import read_journal
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.commands import live_view
from aiperf_orch.commands.live_layout import Outcome, Picture, RunningTrial, layout
from aiperf_orch.controller.attempt_monitor import monitor_attempt
from aiperf_orch.records.journal import Opened

pytestmark = pytest.mark.unit
Build = Callable[..., Any]
START = datetime(2026, 1, 2, 3, 0, tzinfo=timezone.utc)
GOLDEN = Path(__file__).parent / "golden"
FAILED = ("COMPLETED", "EARLY_STOPPED", "TRIAL_ERROR", "COMPLETED", "NODE_FAILURE", "STOPPED", "COMPLETED")
PRIORITY = "Priority: jobs of higher priority come first"
RESOURCES = "Resources: waits for nodes to become free"


@pytest.fixture
def busy(campaign: Build, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """What a controller has of a campaign on Slurm, 20 minutes after its begin."""

    def build(ended: int, running: int, waiting: int, **changes: Any) -> Any:
        made = campaign(scheduler__kind="slurm", training__warmup_epochs=[10], training__epochs=10, **changes)
        made.start = START
        made.write(Opened, host="login1", pid=1, at=0)
        for trial in range(ended):
            _end(made, trial, FAILED[trial % len(FAILED)])
        for trial in range(ended, ended + running):
            made.submit(
                trial, job=str(1000 + trial), parent=trial % ended if ended else None, edits=[{"kind": "wider"}]
            )
            count = trial % 10
            epochs = [made.epoch(each, 600 + 60 * each, (10 - each) / 10, trial) for each in range(1, count + 1)]
            made.events(made.begin(600, trial, hosts=[f"node{trial:04d}"]), *epochs, trial=trial)
            made.began(600, trial)
        for trial in range(ended + running, ended + running + waiting):
            made.submit(trial, job=str(1000 + trial))
        monkeypatch.setattr(live_view, "now", lambda: made.at(1200))
        controller = _controller(made)
        for number, live in enumerate(controller.live_attempts.values()):
            if live.begin is None:
                live.note = RESOURCES if number % 4 == 0 else PRIORITY
        return controller

    return build


def _end(made: Any, trial: int, reason: str) -> None:
    """A trial that ended a minute after the one before it; one of several kinds of failures is to be retried."""
    made.submit(trial, job=str(1000 + trial))
    failed = reason in ("TRIAL_ERROR", "NODE_FAILURE")
    epochs = [made.epoch(each, trial * 10 + each, 0.5 - each / 30 - trial / 1000, trial) for each in range(1, 11)]
    made.events(made.begin(trial * 10, trial, hosts=[f"n{trial}"]), *epochs[: 3 if failed else 10], trial=trial)
    made.began(trial * 10, trial)
    message = f"exit status 1, {made.path.name}/jobs/{trial:05d}-1/log ends: OSError: [Errno 5]" if failed else ""
    made.ended(trial, reason=reason, message=message, final=reason != "NODE_FAILURE")


def _controller(made: Any) -> Any:
    """What displays read of a controller."""
    state = CampaignState.of(read_journal(made.directory.journal))
    live = {key: monitor_attempt(made.directory, each, state.trials[each.trial]) for key, each in state.live.items()}
    for each in live.values():
        each.poll(made.directory)
    settings = made.directory.settings
    return SimpleNamespace(
        directory=made.directory,
        state=state,
        settings=settings,
        live_attempts=live,
        deadline=state.deadline(settings.campaign.duration),
    )


@pytest.mark.parametrize(
    ("width", "height", "numbers"), [(80, 24, (14, 16, 4)), (120, 40, (25, 12, 0)), (200, 50, (33, 60, 7))]
)
def test_the_text_of_the_live_view(
    busy: Callable[..., Any], width: int, height: int, numbers: tuple[int, int, int]
) -> None:
    shown = layout(live_view.picture(busy(*numbers, campaign__max_trials=100)), width, height)
    text = "".join(f"{line.plain}\n" for line in shown)
    assert text == (GOLDEN / f"live-{width}x{height}.txt").read_text()


def _picture(running: int, outcomes: int, waiting: str = "", headings: int = 3, node: str = "n1") -> Picture:
    return Picture(
        tuple(Text(f"heading {number}") for number in range(headings)),
        tuple(RunningTrial(each, "3/10", "12.34%", "11.11%", node, "c0ffee00 by wider") for each in range(running)),
        waiting,
        tuple(Outcome(each, "COMPLETED", "9.87%", 10, node, "4711", "") for each in range(1000, 1000 + outcomes)),
    )


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 50), (60, 16)])
@pytest.mark.parametrize("running", [0, 1, 12, 16, 60, 400])
@pytest.mark.parametrize("node", ["n1", "frontier01234.frontier.olcf.ornl.gov"])
def test_outcomes_are_in_view_at_any_size(width: int, height: int, running: int, node: str) -> None:
    lines = layout(_picture(running, 8, waiting="4 waiting: Priority", node=node), width, height)
    text = [line.plain for line in lines]
    assert len(lines) < height
    assert all(line.cell_len <= width for line in lines)
    assert sum("COMPLETED" in line for line in text) >= (3 if height < 24 else 5)
    assert text[:3] == ["heading 0", "heading 1", "heading 2"]
    assert text.count("4 waiting: Priority") == 1
    shown = sum(line.count("3/10") for line in text)
    more = next((int(line.split()[1]) for line in text if line.startswith("and ")), 0)
    assert shown + more == running
    assert not (more and shown < min(running, height // 3)), "room is left for more"


@pytest.mark.parametrize("height", [1, 2, 5, 8])
def test_a_tiny_terminal_is_no_error(height: int) -> None:
    assert 1 <= len(layout(_picture(30, 8), 20, height)) <= max(height - 1, 1)


def test_a_picture_is_laid_out_again_for_another_size() -> None:
    picture = _picture(3, 2)
    layout(picture, 5, 10)
    assert layout(picture, 80, 24)[0].plain == "heading 0"


def test_running_trials_beyond_those_that_are_listed_are_counted() -> None:
    picture = _picture(400, 0)
    beyond = Picture(picture.heading, picture.running, "", (), more_running=9600)
    text = [line.plain for line in layout(beyond, 80, 24)]
    shown = sum(line.count("3/10") for line in text)
    assert text[-1] == f"and {10_000 - shown:,} more running"


def test_columns_are_as_wide_as_what_stands_in_them() -> None:
    narrow = Picture((), (RunningTrial(7, "1/2", "1.00%", "", "n1", "x"),), "", ())
    wide = Picture((), (RunningTrial(7, "1/2", "1.00%", "", "node1234", "x"),), "", ())
    assert [line.plain for line in layout(narrow, 80, 24)] == [
        "running  epoch  error  best  node  network",
        "      7    1/2  1.00%        n1    x",
    ]
    assert layout(wide, 80, 24)[1].plain == "      7    1/2  1.00%        node1234  x"
    beside = layout(_picture(16, 0), 80, 12)
    assert len({line.cell_len for line in beside[4:-1]}) == 1, "blocks are aligned"


def test_empty_columns_of_outcomes_are_left_out() -> None:
    lines = layout(Picture((), (), "", (Outcome(1, "COMPLETED", "9.87%", 10, "n1", "", ""),)), 80, 24)
    assert lines[0].plain == "ended  outcome    error  epochs  node"


def test_failures_are_counted_and_in_colour(busy: Callable[..., Any]) -> None:
    controller = busy(7, 2, 0)
    counts = live_view.heading(controller)[1]
    [failed] = [counts.plain[span.start : span.end] for span in counts.spans if span.style == "red"]
    assert failed == "2 of 9 attempts failed"
    styles = {outcome.reason: outcome.style for outcome in live_view.picture(controller).outcomes}
    assert (styles["TRIAL_ERROR"], styles["NODE_FAILURE"], styles["STOPPED"]) == ("red", "yellow", "dim")
    best = live_view.picture(controller).outcomes[0]
    assert (best.trial, best.style) == (6, "green")


def test_what_waits_is_one_line_with_the_reasons(busy: Callable[..., Any]) -> None:
    controller = busy(0, 1, 8)
    assert live_view.waiting_line(controller) == f"8 waiting: 6 {PRIORITY}; 2 {RESOURCES}"
    for live in controller.live_attempts.values():
        live.note = "" if live.begin is None else live.note
    assert live_view.waiting_line(controller) == ""
    list(controller.live_attempts.values())[-1].note = PRIORITY
    assert live_view.waiting_line(controller) == f"8 waiting: 1 {PRIORITY}"


def test_without_a_bound_the_time_until_the_deadline_is_shown(busy: Callable[..., Any]) -> None:
    controller = busy(7, 2, 0, campaign__max_trials=None)
    assert live_view.heading(controller)[0].plain == "elapsed 20m · 40m left until 2026-01-02T04:00:00Z"


def test_many_failures_at_once_are_one_message(busy: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiperf_orch")
    controller = busy(0, 1, 0)
    lines = live_view.PlainLines()
    lines.show(controller)
    after = busy(30, 1, 0, name="another")
    lines._begins_seen = len(after.state.begins)
    lines.show(after)
    failed = [message for message in caplog.messages if "run it again" in message]
    assert len(failed) == 5
    assert failed[0].startswith("trial 2 failed on n2, job 1002: log ")
    [more] = [message for message in caplog.messages if "more failed" in message]
    assert more.startswith("3 attempts more failed: ")
    assert more.endswith(" --failed")


def test_messages_of_the_live_view_have_failures_of_this_controller_only(
    busy: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aiperf_orch")
    live_view.PlainLines().show(busy(7, 1, 0))
    assert not [message for message in caplog.messages if "failed" in message]
