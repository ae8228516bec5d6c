r"""Escaping of untrusted text for a terminal, a page, a mail or a spreadsheet.

An unprintable character (control and direction characters, line separators, surrogates) becomes its code, `\x1b` or
`\u202e`; all others are unchanged.
"""

from __future__ import annotations

from typing import Final

_FORMULA: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def visible(text: str) -> str:
    """The text as one line without unprintable characters: line ends and tabs become codes, too."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _code(letter) for letter in text)


def visible_lines(text: str) -> str:
    """The text without unprintable characters except for line ends and tabs."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in "\n\t" else _code(letter) for letter in text)


def one_line(text: str) -> str:
    """The text as one line: white space becomes one space, other unprintable characters their codes."""
    return visible(" ".join(text.split()))


def escape_formula(cell: str) -> str:
    """A text for a cell of CSV; an apostrophe before one that a spreadsheet would take for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _code(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
