"""Times of schedulers as clock digits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiperf_orch.util.clock_time import format_clock_time, parse_clock_time

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("17", 17),
        ("5:07", 307),
        ("1:02:03", 3723),
        ("36:00:00", 129600),
        (" 2-03:04:05 ", 183845),
        ("90:00", 5400),
        ("", None),
        ("2-03", None),
        ("2-5:07", None),
        ("1:2:3:4", None),
        ("-5", None),
        ("1.5", None),
        ("UNLIMITED", None),
        ("\u0663", None),
        ("9" * 100, None),
    ],
)
def test_clock_digits_are_seconds(text: str, seconds: float | None) -> None:
    assert parse_clock_time(text) == seconds


@pytest.mark.parametrize(
    ("seconds", "days", "text"),
    [
        (0, False, "00:01:00"),
        (59.5, True, "0-00:01:00"),
        (60.1, False, "00:01:01"),
        (129600, False, "36:00:00"),
        (129600, True, "1-12:00:00"),
    ],
)
def test_a_time_limit_is_rounded_up(seconds: float, days: bool, text: str) -> None:
    assert format_clock_time(seconds, days=days) == text


@given(st.integers(60, 10**9), st.booleans())
def test_a_formatted_time_is_read_back(seconds: int, days: bool) -> None:
    assert parse_clock_time(format_clock_time(seconds, days=days)) == seconds
