"""Tests of the rules by which epochs count, without files."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any, cast

import pytest

from aiperf_orch.records.events import Epoch
from aiperf_orch.results.collected_trials import Collected, TrialRecords, count_trials

pytestmark = pytest.mark.unit

_START = datetime(2026, 1, 2, 3, tzinfo=timezone.utc)
_HOUR = timedelta(hours=1)


def _at(seconds: float) -> datetime:
    return _START + timedelta(seconds=seconds)


def _epoch(number: int, end: float, *, trial: int = 0, attempt: int = 1) -> Epoch:
    return Epoch(
        trial=trial,
        attempt=attempt,
        run=0,
        epoch=number,
        start=_at(end - 1),
        end=_at(end),
        train_images=4,
        val_images=10,
        loss=1.0,
        error=0.5,
        ops=220,
        batch=32,
    )


def _trial(number: int, begins: list[float], epochs: list[Epoch]) -> TrialRecords:
    lines = cast(Any, [SimpleNamespace(time=_at(begin)) for begin in begins])
    return TrialRecords(cast(Any, SimpleNamespace(trial=number)), lines, epochs, [])


@pytest.mark.parametrize(
    ("first_begin", "begins", "start"),
    [
        (None, [[]], None),
        (None, [[5.0], [2.0, 9.0]], 2.0),
        (1.0, [[5.0]], 1.0),  # known to the journal only
        (7.0, [[5.0]], 5.0),
        (3.0, [[]], 3.0),
    ],
)
def test_the_start_is_the_first_begin(
    first_begin: float | None, begins: list[list[float]], start: float | None
) -> None:
    trials = [_trial(number, times, []) for number, times in enumerate(begins)]
    counted, found = count_trials(trials, None if first_begin is None else _at(first_begin), _HOUR)
    assert found == (None if start is None else _at(start))
    assert [records.epochs for records in counted] == [[] for _ in begins]


@pytest.mark.parametrize(("end", "counts"), [(3599.999, True), (3600.0, True), (3600.001, False), (9000.0, False)])
def test_an_epoch_counts_up_to_the_deadline(end: float, counts: bool) -> None:
    [records], _ = count_trials([_trial(0, [0.0], [_epoch(1, end)])], None, _HOUR)
    assert [epoch.epoch for epoch in records.epochs] == ([1] if counts else [])


def test_the_deadline_is_that_of_the_campaign_for_every_trial() -> None:
    trials = [_trial(0, [10.0], [_epoch(1, 20)]), _trial(1, [3000.0], [_epoch(1, 3610, trial=1), _epoch(2, 3611)])]
    counted, _ = count_trials(trials, None, _HOUR)
    assert [len(records.epochs) for records in counted] == [1, 1]


@pytest.mark.parametrize(
    ("ends", "attempts"),
    [
        ([(1, 5), (2, 9)], [1]),  # the earlier end counts
        ([(1, 9), (2, 5)], [2]),
        ([(1, 4000), (2, 3000)], [2]),  # the other one is past the deadline
        ([(1, 4000), (2, 4001)], []),
    ],
)
def test_an_epoch_of_several_attempts_counts_once(ends: list[tuple[int, float]], attempts: list[int]) -> None:
    epochs = [_epoch(1, end, attempt=attempt) for attempt, end in ends]
    [records], _ = count_trials([_trial(0, [0.0], epochs)], None, _HOUR)
    assert [epoch.attempt for epoch in records.epochs] == attempts


def test_epochs_of_a_trial_are_sorted_by_number() -> None:
    [records], _ = count_trials([_trial(0, [0.0], [_epoch(3, 7), _epoch(1, 5), _epoch(2, 6)])], None, _HOUR)
    assert [epoch.epoch for epoch in records.epochs] == [1, 2, 3]


def test_epochs_of_a_campaign_are_sorted_by_end_then_by_trial() -> None:
    trials = [_trial(0, [0.0], [_epoch(1, 4), _epoch(2, 8)]), _trial(1, [0.0], [_epoch(1, 4, trial=1)])]
    collected = Collected(trials, _START, [])
    assert [(epoch.trial, epoch.epoch) for epoch in collected.epochs] == [(0, 1), (1, 1), (0, 2)]
