"""The saved state: what is read from it and the journal's later lines is what the whole journal says."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign import saved_state
from aiperf_orch.campaign.drained_nodes import DrainedNodes
from aiperf_orch.campaign.ended_trials import EndedTrials
from aiperf_orch.campaign.failure_policy import FailureStreak, NodeFailures
from aiperf_orch.campaign.journal import read_contents
from aiperf_orch.campaign.saved_state import read_short_state, save_state, shortened
from aiperf_orch.campaign.snapshot import read_state
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.campaign.trial_state import AttemptState, TrialState
from aiperf_orch.campaign.workforce import Absence, AgentState, AllocationState, Workforce
from aiperf_orch.commands.status import show_status
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import (
    AttemptId,
    Cancelling,
    Drained,
    Missing,
    Opened,
    Paused,
    Resumed,
    Stopped,
)
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import RecordError
from campaign_builder import SMALL_IMAGES, SMALL_OPERATIONS, CampaignBuilder

pytestmark = pytest.mark.unit
Build = Callable[..., Any]

REASONS = ("COMPLETED", "EARLY_STOPPED", "NODE_FAILURE", "TRIAL_ERROR", "LOST", "TIME_LIMIT")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A campaign of 60 trials, with retries, pauses, changed settings, drained nodes and live attempts."""
    made = CampaignBuilder(
        tmp_path_factory.mktemp("made") / "campaign",
        SiteSettings.model_validate({"campaign": {"max_trials": 100}}),
        operations=SMALL_OPERATIONS,
        images=SMALL_IMAGES,
    )
    chosen = random.Random(1)
    made.write(Opened, host="login1", pid=1)
    for trial in range(60):
        _add_trial(made, trial, chosen)
        if trial % 20 == 19:
            made.write(Paused, reason="too many failures")
            made.write(Drained, request="a" * 16, user="ops", host="login1", nodes=[f"n{trial}"], now=True)
            made.write(Opened, host="login1", pid=2)
            made.write(Resumed)
    made.write(Stopped)
    return made


def _add_trial(made: Any, trial: int, chosen: random.Random) -> None:
    for attempt in (1, 2):
        made.submit(trial, attempt)
        begun = 10 * trial + 4 * attempt
        made.events(
            made.begin(begun, trial, attempt),
            made.epoch(attempt, begun + 2, chosen.randrange(11) / 10, trial, attempt),
            trial=trial,
            attempt=attempt,
        )
        made.began(begun, trial, attempt)
        if trial % 7 == 6:
            made.write(Missing, attempts=[AttemptId(trial=trial, attempt=attempt)])
            made.write(Cancelling, attempts=[AttemptId(trial=trial, attempt=attempt)], reason=EndReason.HUNG)
            return
        reason = chosen.choice(REASONS)
        made.ended(trial, attempt, reason=reason, final=attempt == 2 or reason in REASONS[:2], hosts=[f"n{trial % 3}"])
        if reason in REASONS[:2] or trial % 11 == 10:
            return


def _save(made: Any, lines: int | None = None) -> Path:
    """Save the state after so many lines of the journal."""
    journal = made.directory.journal
    data = journal.read_bytes()
    try:
        journal.write_bytes(b"".join(data.splitlines(keepends=True)[:lines]))
        contents = read_contents(journal)
    finally:
        journal.write_bytes(data)
    save_state(made.directory.saved_state, CampaignState.of(contents.entries), contents.position)
    return made.directory.saved_state


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each reading used the saved state."""
    found: list[bool] = []
    read_on = saved_state._read_on

    def noted(directory: Any) -> Any:
        state = read_on(directory)
        found.append(state is not None)
        return state

    monkeypatch.setattr(saved_state, "_read_on", noted)
    return found


@pytest.mark.parametrize("seed", range(8))
def test_saved_state_and_tail_are_the_whole_journal(made: Any, used: list[bool], seed: int) -> None:
    lines = len(made.journal_lines())
    expected = shortened(read_state(made.directory))
    for cut in random.Random(seed).sample(range(1, lines + 1), 12):
        _save(made, cut)
        assert read_short_state(made.directory) == expected, cut
    assert used == [True] * 12


def test_a_state_read_from_a_saved_one_is_saved_again(made: Any, used: list[bool]) -> None:
    """Nothing is lost by a second shortening, and live attempts are those of their trials."""
    _save(made, 60)
    state = read_short_state(made.directory)
    save_state(made.directory.saved_state, state, read_contents(made.directory.journal).position)
    assert read_short_state(made.directory) == state == shortened(read_state(made.directory))
    assert used == [True, True]
    assert all(state.trials[key.trial].attempts[key.attempt - 1] is live for key, live in state.live.items())


@pytest.mark.parametrize("cut", [1, 30, 150])
def test_status_is_the_same_with_it(made: Any, used: list[bool], cut: int) -> None:
    made.directory.saved_state.unlink(missing_ok=True)
    before = show_status(made.path, "table").text
    _save(made, cut)
    assert show_status(made.path, "table").text == before
    assert used == [False, True]


def test_a_torn_last_line_is_not_read(made: Any, used: list[bool]) -> None:
    _save(made)
    expected = read_short_state(made.directory)
    data = made.directory.journal.read_bytes()
    try:
        made.directory.journal.write_bytes(data + b'{"seq":')
        assert read_short_state(made.directory) == expected
    finally:
        made.directory.journal.write_bytes(data)
    assert used == [True, True]


def _body_changed(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"failures":', b'"failures":1', 1))


def _heading_changed(**fields: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        first, _, rest = path.read_bytes().partition(b"\n")
        path.write_bytes(json.dumps(json.loads(first) | fields).encode() + b"\n" + rest)

    return change


@pytest.mark.parametrize(
    "change",
    [
        Path.unlink,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(b"\x80\x04." + path.read_bytes()),
        lambda path: path.write_bytes(b"[" * 100_000),
        _body_changed,
        _heading_changed(format=saved_state.SAVED_FORMAT + 1),
        _heading_changed(version="0.0.1"),
        _heading_changed(position=None),
        _heading_changed(position={"lines": 1, "size": 10**18, "last": "0" * 64, "sha256": "0" * 64}),
        _heading_changed(position={"lines": -1, "size": -5, "last": "0" * 64, "sha256": "0" * 64}),
    ],
    ids=["none", "empty", "torn", "binary", "nested", "body", "format", "version", "position", "beyond", "negative"],
)
def test_what_is_no_saved_state_is_not_used(made: Any, used: list[bool], change: Callable[[Path], None]) -> None:
    change(_save(made, 90))
    assert read_short_state(made.directory) == shortened(read_state(made.directory))
    assert used == [False]


def test_a_changed_line_of_the_journal_is_found(made: Any, used: list[bool]) -> None:
    _save(made)
    data = made.directory.journal.read_bytes()
    try:
        made.directory.journal.write_bytes(data.replace(b'"version":"', b'"version":"1', 1))
        with pytest.raises(RecordError, match=r"journal.jsonl:2: seq 1 does not follow"):
            read_short_state(made.directory)
    finally:
        made.directory.journal.write_bytes(data)
    assert used == [False]


def test_a_shorter_journal_is_read_whole(made: Any, used: list[bool]) -> None:
    _save(made)
    data = made.directory.journal.read_bytes()
    try:
        made.directory.journal.write_bytes(b"".join(data.splitlines(keepends=True)[:-1]))
        assert read_short_state(made.directory).phase is Phase.RUNNING
    finally:
        made.directory.journal.write_bytes(data)
    assert used == [False]


def test_a_missing_end_of_the_journal_is_found(made: Any, used: list[bool]) -> None:
    _save(made)
    file = made.directory.events(0, 3, 0)
    file.touch()
    try:
        with pytest.raises(RecordError, match="lines are missing at its end"):
            read_short_state(made.directory)
    finally:
        file.unlink()
    assert used == [True]


def test_the_saved_state_of_another_campaign_is_not_used(made: Any, campaign: Build, used: list[bool]) -> None:
    other = campaign("other")
    other.trial(0, [(1, 0.5)])
    other.directory.saved_state.write_bytes(_save(made).read_bytes())
    assert len(read_short_state(other.directory).trials) == 1
    assert used == [False]


def test_the_format_is_raised_with_the_fields_of_the_state() -> None:
    """A change of these fields needs another `SAVED_FORMAT`, which is written here with the hash of the fields."""
    kinds = (
        CampaignState, EndedTrials, TrialState, AttemptState, NodeFailures, FailureStreak, Workforce, AllocationState,
        AgentState, Absence, DrainedNodes,
    )  # fmt: skip
    text = "\n".join(f"{kind.__name__}.{field.name}: {field.type}" for kind in kinds for field in fields(kind))
    assert (saved_state.SAVED_FORMAT, hashlib.sha256(text.encode()).hexdigest()[:8]) == (2, "a5103d31")
