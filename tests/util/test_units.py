"""Parsing and formatting of durations, times and rates."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from aiperf_orch.util import units
from aiperf_orch.util.units import (
    Seconds,
    Timestamp,
    format_duration,
    format_number,
    format_ops,
    format_time,
    not_before,
    now,
    parse_duration,
    set_ahead,
    steady_clock,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12h", 43200),
        ("90s", 90),
        ("500ms", 0.5),
        ("1.5h", 5400),
        ("2d", 172800),
        ("0s", 0),
        ("1h30m", 5400),
        ("1d2h3m4s", 93784),
        ("1m500ms", 60.5),
        (" 10m ", 600),
        ("00:10:00", 600),
        ("1:02:03", 3723),
        ("36:00:00", 129600),
        ("1-12:00:00", 129600),
        ("0-00:00:01", 1),
        ("2-00", 172800),
        ("1-12", 129600),
        ("1-12:30", 131400),
        ("12H", 43200),
        ("12 h", 43200),
        ("1h 30m", 5400),
        ("90min", 5400),
        ("90 minutes", 5400),
        ("2 days", 172800),
        ("12 hours", 43200),
        ("30sec", 30),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert type(parse_duration(text)) is float


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "12", "1.5", 12, 1.5, "-5s", "+5s", "1x", "5 apples", "1:2", "12:00", "00:60:00",
        "00:00:60", "12M", "1-12:60", "nan",
        "inf", "NaNs", "infh", "1e3s", "h", "1h30", "1mo", "1h,30m", "-1-00:00:00", ".5h", "5.h", "9" * 500 + "h",
        "9" * 5000 + "-00:00:00", None, True, [], {},
    ],
)  # fmt: skip
def test_any_other_text_is_refused_with_examples(value: Any) -> None:
    with pytest.raises(ValueError, match="is not a duration such as 90s, 12h, 1h30m, 12:00:00 or 1-12:00:00"):
        parse_duration(value)


@pytest.mark.parametrize("number", ["12", 12, "1.5", 1.5])
def test_a_number_without_a_unit_is_refused_with_suggestions(number: Any) -> None:
    with pytest.raises(ValueError, match=f"'{number}' is not .*; did you mean {number}s, {number}m or {number}h\\?"):
        parse_duration(number)


def test_two_clock_parts_are_refused_with_suggestions() -> None:
    with pytest.raises(ValueError, match=r"'12:00' is not .*; did you mean 12h00m or 12m00s\?"):
        parse_duration("12:00")


@settings(deadline=None)
@given(st.text("0123456789.:-+_dhmsxé٣ ", max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert 0 <= seconds < 1e30


class Settings(BaseModel):
    duration: Seconds


@settings(deadline=None)
@given(st.floats(0, 1e9) | st.integers(0, 10**9).map(float))
def test_a_written_setting_is_read_back_exactly(seconds: float) -> None:
    text = Settings.model_construct(duration=seconds).model_dump()["duration"]
    assert text.endswith("s")
    assert parse_duration(text) == seconds
    assert Settings(duration=text).duration == seconds


def test_a_setting_is_written_with_its_unit() -> None:
    assert [Settings(duration=text).model_dump()["duration"] for text in ("12h", "500ms", "0.001ms")] == [
        "43200s",
        "0.5s",
        "0.000001s",
    ]
    with pytest.raises(ValidationError, match="did you mean 12s, 12m or 12h"):
        Settings.model_validate({"duration": 12})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "0.2s"),
        (4.5, "4.5s"),
        (5, "5s"),
        (45.4, "45s"),
        (59.4, "59s"),
        (59.7, "1m"),
        (60, "1m"),
        (150, "2m30s"),
        (3599.6, "1h"),
        (3600, "1h"),
        (3605, "1h"),
        (3900, "1h05m"),
        (43200, "12h"),
        (86400, "1d"),
        (93600, "1d02h"),
        (100 * 86400, "100d"),
        (-150, "-2m30s"),
    ],
)
def test_a_duration_is_formatted_with_two_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@settings(deadline=None)
@given(st.floats(0, 1e8))
def test_a_formatted_duration_is_close_to_its_value(seconds: float) -> None:
    read = parse_duration(format_duration(seconds))
    lost = 0.06 if seconds < 10 else 1 if seconds < 3600 else 60 if seconds < 86400 else 3600
    assert abs(read - seconds) <= lost


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 678_999, timezone.utc), "2026-01-02T03:04:05.678Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 0, timezone.utc), "2026-01-02T03:04:05.000Z"),
        (datetime(2026, 1, 2, 0, 4, 5, 0, timezone(timedelta(hours=2))), "2026-01-01T22:04:05.000Z"),
    ],
)
def test_a_time_is_written_in_utc_to_the_millisecond(time: datetime, text: str) -> None:
    assert format_time(time) == text


class Event(BaseModel):
    time: Timestamp


def test_a_time_in_a_record_has_a_zone_and_is_read_back() -> None:
    event = Event(time=now())
    assert Event.model_validate_json(event.model_dump_json()) == event
    with pytest.raises(ValidationError, match="with its zone"):
        Event.model_validate({"time": "2026-01-02T03:04:05.678"})


def test_now_is_utc_to_the_millisecond() -> None:
    time = now()
    assert time.utcoffset() == timedelta(0)
    assert time.microsecond % 1000 == 0
    assert abs(datetime.now(timezone.utc) - time) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("ops", "text"),
    [
        (0, "0 OPS"),
        (999, "999 OPS"),
        (1000, "1 Kilo-OPS"),
        (999_990, "1 Mega-OPS"),
        (2_500_000_000, "2.5 Giga-OPS"),
        (56.1e12, "56.1 Tera-OPS"),
        (194.53e15, "194.5 Peta-OPS"),
        (8.4e21, "8.4 Zetta-OPS"),
        (12_300 * 10**21, "12.3 Yotta-OPS"),
        (1e27, "1 Ronna-OPS"),
        (999.96e27, "1 Quetta-OPS"),
        (29_921e30, "29,921 Quetta-OPS"),
        (-72_749_507_956, "-72.75 Giga-OPS"),
    ],
)
def test_a_rate_is_formatted_with_the_papers_units(ops: float, text: str) -> None:
    assert format_ops(ops) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.12345, "0.1235"),
        (131.44, "131.4"),
        (9999.4, "9,999"),
        (9999.6, "10,000"),
        (29921.4, "29,921"),
        (-1e5, "-100,000"),
    ],
)
def test_a_number_is_written_without_an_exponent(number: float, text: str) -> None:
    assert format_number(number) == text


@given(st.floats(1, 1e30))
def test_every_rate_from_1_to_10_to_the_30_is_readable(ops: float) -> None:
    number, unit = format_ops(ops).split(" ")
    assert 1 <= float(number) < 1000
    assert unit.endswith("OPS")


class _SystemClock(datetime):
    """The system's clock, ahead by as much as a test sets it."""

    ahead = timedelta()

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return datetime.now(tz) + cls.ahead


@pytest.fixture
def system_clock(monkeypatch: pytest.MonkeyPatch) -> type[_SystemClock]:
    """A clock that can be set, in a process that knows of no time yet."""
    monkeypatch.setattr(units, "datetime", _SystemClock)
    monkeypatch.setattr(_SystemClock, "ahead", timedelta())
    monkeypatch.setattr(units, "_clock", units._Clock())
    return _SystemClock


_MOMENT = timedelta(seconds=30)


def test_time_continues_when_the_system_clock_is_set_back(system_clock: type[_SystemClock]) -> None:
    before = now()
    assert set_ahead() == 0
    system_clock.ahead = -timedelta(hours=1)
    assert before <= now() < before + _MOMENT
    assert set_ahead() == pytest.approx(3600, abs=30)
    assert before <= steady_clock()() < before + _MOMENT


def test_time_follows_a_clock_that_is_set_forward(system_clock: type[_SystemClock]) -> None:
    before = now()
    system_clock.ahead = timedelta(hours=1)
    assert timedelta(0) <= now() - before - timedelta(hours=1) < _MOMENT
    assert set_ahead() == 0


def test_time_starts_at_the_latest_known_time(system_clock: type[_SystemClock]) -> None:
    latest = now() + timedelta(minutes=30)
    not_before(latest)
    not_before(latest - timedelta(minutes=5))
    assert latest <= now() < latest + _MOMENT
    assert set_ahead() == pytest.approx(1800, abs=30)
    system_clock.ahead = timedelta(hours=1)
    assert now() > latest + timedelta(minutes=20)


def test_reading_the_clock_does_not_advance_it() -> None:
    for _ in range(100_000):
        found = now()
    assert abs(datetime.now(timezone.utc) - found) < _MOMENT
    assert set_ahead() == 0
