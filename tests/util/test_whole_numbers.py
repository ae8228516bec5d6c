"""Whole numbers of commands' output, and texts that only look like one."""

from __future__ import annotations

import pytest

from aiperf_orch.util.whole_numbers import parse_whole_number

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("007", 7), ("9" * 18, 10**18 - 1), ("9" * 19, None), ("9" * 5000, None), ("", None), ("²", None),
     ("٣", None), ("-1", None), ("1_000", None), (" 1", None), ("1.0", None)],
)  # fmt: skip
def test_numbers_have_ascii_digits_and_a_limit(text: str, number: int | None) -> None:
    assert parse_whole_number(text) == number
