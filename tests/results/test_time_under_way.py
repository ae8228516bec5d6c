"""Tests of the time in which epochs were under way, without files. Times are minutes after the first begin."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, cast

import pytest

from aiperf_orch.campaign.trial_state import AttemptState, TrialState
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import Begin, End, Epoch
from aiperf_orch.records.journal import AttemptEnd
from aiperf_orch.results.collected_trials import Collected, TrialRecords, count_trials
from aiperf_orch.results.time_under_way import seconds_under_way

pytestmark = pytest.mark.unit

_START = datetime(2026, 1, 2, 3, tzinfo=timezone.utc)
_HOUR = timedelta(hours=1)


def _at(minutes: float) -> datetime:
    return _START + timedelta(minutes=minutes)


def _trial(*attempts: tuple[float | None, list[tuple[float, float]], float, str]) -> TrialRecords:
    """A trial of attempts: begin, starts and ends of epochs, time of the end line, end reason in the journal."""
    trial = TrialState(0, cast(Any, None), "")
    records = TrialRecords(trial, [], [], [])
    for attempt, (begin, epochs, end, reason) in enumerate(attempts, start=1):
        key: dict[str, int] = {"trial": 0, "attempt": attempt}
        ended = AttemptEnd(**key, reason=EndReason(reason), message="", final=attempt == len(attempts))
        trial.attempts.append(AttemptState(0, attempt, "", _START, end=ended))
        if begin is not None:
            records.begins.append(Begin.model_construct(**cast(Any, key), run=0, time=_at(begin)))
        for start, stop in epochs:
            number = 1 + len(records.epochs)
            records.epochs.append(_epoch(attempt, number, start, stop))
        records.ends.append(End(**key, run=0, time=_at(end), reason=EndReason.STOPPED))
    return records


def _epoch(attempt: int, number: int, start: float, end: float) -> Epoch:
    return Epoch(
        trial=0, attempt=attempt, run=0, epoch=number, start=_at(start), end=_at(end), train_images=4, val_images=10,
        loss=1.0, error=0.5, ops=220, batch=32,
    )  # fmt: skip


def _minutes(*trials: TrialRecords, by_deadline: bool = True) -> float:
    counted, start = count_trials(trials, _START, _HOUR)
    deadline = _START + _HOUR if by_deadline else None
    return seconds_under_way(Collected(counted, start, []), deadline) / 60


def _steady(first: float, last: float, length: float) -> list[tuple[float, float]]:
    """Epochs of a length, one after the other, from one time to another."""
    number = round((last - first) / length)
    return [(first + length * each, first + length * (each + 1)) for each in range(number)]


@pytest.mark.parametrize(
    ("epochs", "minutes"),
    [
        ([], 0),
        ([[(0, 10)]], 10),
        ([[(0, 10), (10, 20)]], 20),
        ([[(0, 10), (15, 20)]], 15),  # a gap
        ([[(0, 10)], [(0, 10)]], 10),  # at the same time
        ([[(0, 10)], [(5, 20)]], 20),  # overlapping
        ([[(0, 30)], [(5, 10), (12, 15)]], 30),  # within a longer one
        ([[(5, 10), (12, 15)], [(20, 30)], [(0, 13)]], 25),
        ([[(0, 1)], [(59, 60)]], 2),  # idle in between
        ([[(0, 0)], [(7, 7)]], 0),
        ([[(0, 10), (55, 61)]], 10),  # ended past the deadline: it does not count
    ],
)
def test_times_of_several_epochs_count_once(epochs: list[list[tuple[float, float]]], minutes: float) -> None:
    trials = [_trial((0, each, 60, "COMPLETED")) for each in epochs]
    assert _minutes(*trials, by_deadline=False) == minutes


_LONG = _trial((4, [(4, 32)], 32, "COMPLETED"))
_ENDED = "CAMPAIGN_ENDED"


@pytest.mark.parametrize(
    ("trials", "minutes"),
    [
        # epochs of ten minutes, the sixth of which is interrupted
        ([_trial((1, _steady(2, 52, 10), 60, _ENDED))], 58),
        ([_trial((1, _steady(2, 42, 10), 60, _ENDED))], 50),  # no longer than the others
        ([_trial((1, _steady(2, 52, 10), 60, "COMPLETED"))], 50),  # not interrupted
        ([_trial((1, _steady(2, 52, 10), 60, "LOST"))], 50),
        ([_trial((1, [(2, 22), (22, 26), (26, 32)], 60, _ENDED))], 40),  # the mean of 20, 4 and 6
        ([_trial((1, [(2, 32)], 60, _ENDED))], 30),  # one epoch shows nothing of another one
        ([_trial((1, [(2, 17), (17, 32)], 60, _ENDED))], 45),
        ([_trial((1, [], 60, _ENDED))], 0),
        # one epoch that is said to have lasted, in another trial and in the interrupted one
        ([_LONG, _trial((1, _steady(1, 32, 1), 60, _ENDED))], 32),
        ([_trial((1, [*_steady(1, 4, 1), (4, 32)], 60, _ENDED))], 31 + 31 / 4),
        # the end line, or the controller's, is before the deadline
        ([_trial((1, _steady(2, 32, 10), 35, _ENDED))], 33),
        ([_trial((1, _steady(2, 52, 10), 51, _ENDED))], 50),
        # several interrupted trials count once
        ([_trial((1, _steady(2, 52, 10), 60, _ENDED)), _trial((1, _steady(1, 56, 5), 60, _ENDED))], 59),
        # an earlier attempt: the last one began later, never began, or began past the deadline
        ([_trial((1, _steady(2, 12, 2), 12, "LOST"), (59, [], 60, _ENDED))], 11),
        ([_trial((1, _steady(2, 12, 2), 14, "LOST"), (None, [], 60, _ENDED))], 10),
        ([_trial((1, _steady(2, 12, 2), 12, "LOST"), (60.5, [], 61, _ENDED))], 10),
        # no controller at the deadline: the epoch that it interrupts ends later
        ([_trial((1, [*_steady(2, 52, 10), (52, 63)], 80, "COMPLETED"))], 58),
        ([_trial((1, [*_steady(2, 52, 10), (53, 90)], 90, "COMPLETED"))], 58),
        ([_trial((1, [*_steady(2, 52, 10), (61, 63)], 80, "COMPLETED"))], 50),
        ([_trial((1, [*_steady(2, 52, 10), (52, 63)], 64, "LOST"), (66, [], 70, _ENDED))], 58),
    ],
)
def test_an_interrupted_epoch_counts_as_its_trials_others(trials: list[TrialRecords], minutes: float) -> None:
    assert _minutes(*trials) == pytest.approx(minutes, abs=1e-9)


def test_only_a_deadline_interrupts_epochs() -> None:
    trial = _trial((1, _steady(2, 52, 10), 60, _ENDED))
    assert _minutes(trial, by_deadline=False) == 50


@pytest.mark.parametrize("minutes", [27, 30, 32, 35.99])
def test_epochs_of_less_than_36_minutes_never_suffice(minutes: float) -> None:
    """Whatever lengths the epochs are said to have: an interrupted one adds at most half of them."""
    for lengths in ([1.0], [0.5, 0.5], [0.01, 0.99], [0.99, 0.01], [0.4, 0.3, 0.3], [0.9, 0.05, 0.05]):
        ends = [minutes * sum(lengths[: each + 1]) for each in range(len(lengths))]
        epochs = list(zip([0.0, *ends], ends, strict=False))
        assert _minutes(_trial((0, epochs, 60, _ENDED))) < 54
