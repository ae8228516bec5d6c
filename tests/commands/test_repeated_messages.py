"""Warnings of a long run: the same one is not shown every half minute."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from aiperf_orch.commands.live_view import PlainLines
from aiperf_orch.commands.repeated_messages import RepeatFilter

START = datetime(2026, 11, 30, 10, 31, tzinfo=timezone.utc)


class _Clock:
    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time

    def pass_by(self, **span: float) -> None:
        self.time += timedelta(**span)


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def repeats(clock: _Clock) -> RepeatFilter:
    return RepeatFilter(clock)


def test_a_warning_every_half_minute_for_twelve_hours_is_shown_a_few_times(
    repeats: RepeatFilter, clock: _Clock
) -> None:
    shown = []
    for number in range(12 * 120):
        text = repeats.filtered(f"squeue failed: Unable to contact; asking again in {30 + number % 7}s")
        shown += [text] if text else []
        clock.pass_by(seconds=30)
    assert len(shown) == 8
    assert shown[0] == "squeue failed: Unable to contact; asking again in 30s"
    assert shown[1].endswith(" (11 times since 2026-11-30T10:31:00Z)")
    assert "times since 2026-11-30T10:31:00Z)" in shown[-1]


def test_another_warning_is_shown_at_once(repeats: RepeatFilter) -> None:
    assert repeats.filtered("node n1: 2 trials failed on it")
    assert repeats.filtered("node n2: 2 trials failed on it")
    assert repeats.filtered("node n1: 3 trials failed on it")
    assert not repeats.filtered("node n1: 2 trials failed on it")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("no answer; asking again in 2m30s", "no answer; asking again in 5m"),
        ("12 trial(s) wait to be submitted: full", "9 trial(s) wait to be submitted: full"),
        ("2 job(s) not signalled to end, as qk3f9-00001-1: no", "1 job(s) not signalled to end, as qk3f9-00042-2: no"),
        ("as qk3f9-w00001[17]: no", "as qk3f9-w00001[18]: no"),
    ],
)
def test_only_durations_counts_and_jobs_may_differ(repeats: RepeatFilter, first: str, second: str) -> None:
    assert repeats.filtered(first) == first
    assert repeats.filtered(second) is None


def test_after_an_hour_without_it_a_warning_is_new(repeats: RepeatFilter, clock: _Clock) -> None:
    assert repeats.filtered("away") == "away"
    clock.pass_by(minutes=61)
    assert repeats.filtered("away") == "away"


def test_only_the_latest_warnings_are_remembered(repeats: RepeatFilter) -> None:
    for number in range(3000):
        assert repeats.filtered(f"node n{number}: failed")
    assert not repeats.filtered("node n2999: failed")
    assert repeats.filtered("node n0: failed")


def test_a_log_has_a_repeated_warning_once(caplog: pytest.LogCaptureFixture) -> None:
    lines = PlainLines()
    for _ in range(50):
        lines.warn("squeue did not answer within 1m; asking again in 33s")
    assert len(caplog.records) == 1
