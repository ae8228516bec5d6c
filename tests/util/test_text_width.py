"""Tests of the width and the wrapping of texts on a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiperf_orch.util.text import text_width, visible, wrap_text

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "width"), [("", 0), ("abc", 3), ("北京", 4), ("e\u0301", 1), ("\uff21\uff22", 4), ("ｱ", 1)]
)
def test_the_columns_of_a_text(text: str, width: int) -> None:
    assert text_width(text) == width


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", [""]),
        ("a name", ["a name"]),
        ("a long name", ["a long", "name"]),
        ("abcdefghij", ["abcdef", "ghij"]),
        ("ab  cdefghij k", ["ab", "cdefgh", "ij k"]),
        ("超级计算机", ["超级计", "算机"]),
    ],
)
def test_lines_break_at_spaces_and_within_long_words(text: str, lines: list[str]) -> None:
    assert wrap_text(text, 6) == lines


@given(st.text())
def test_no_line_is_wider_and_no_letter_is_lost(text: str) -> None:
    shown = visible(text)
    lines = wrap_text(shown, 7)
    assert all(text_width(line) <= 7 for line in lines)
    assert "".join("".join(lines).split()) == "".join(shown.split())
