"""Escaping of untrusted text for terminals and spreadsheets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiperf_orch.util.text import escape_formula, one_line, visible, visible_lines

_ANY = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("n1.example.org", "n1.example.org"),
        ("Zürich 日本語 Ωμέγα 🚀", "Zürich 日本語 Ωμέγα 🚀"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("a\rb\x08\x7f", r"a\rb\x08\x7f"),
        ("\u202egpj.exe\u2066\u2069", r"\u202egpj.exe\u2066\u2069"),
        ("\u2028\u2029\x85", r"\u2028\u2029\x85"),
        ("\udc80", r"\udc80"),
        ("\U000e0041", r"\U000e0041"),
        ("[red]no markup[/red]", "[red]no markup[/red]"),
    ],
)
def test_an_unprintable_character_becomes_its_code(text: str, shown: str) -> None:
    assert (visible(text), visible_lines(text)) == (shown, shown)


def test_line_ends_and_tabs_stay_in_multi_line_text_only() -> None:
    assert visible("a\n\tb") == r"a\n\tb"
    assert visible_lines("a\n\tb\r\n") == "a\n\tb\\r\n"
    assert one_line(" a\n\t b\x1b \x85c ") == r"a b\x1b c"


@given(_ANY)
def test_escaped_text_has_no_terminal_sequences(text: str) -> None:
    assert visible(text).isprintable()
    assert all(letter.isprintable() or letter in "\n\t" for letter in visible_lines(text))
    assert one_line(text).isprintable()
    visible_lines(text).encode()


@given(_ANY)
def test_no_cell_is_a_formula(text: str) -> None:
    cell = escape_formula(text)
    assert cell in (text, f"'{text}")
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
