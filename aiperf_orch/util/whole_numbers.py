"""Whole numbers in what commands of a scheduler print. Imports nothing: jobs load it.

`int` accepts less than `str.isdigit` does (`²`), raises an error for more than 4,300 digits, and accepts `1_000`.
"""

from __future__ import annotations

_MOST_DIGITS = 18


def parse_whole_number(text: str) -> int | None:
    """The number of 1 to 18 ASCII digits; None for any other text."""
    is_number = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    return int(text) if is_number else None
