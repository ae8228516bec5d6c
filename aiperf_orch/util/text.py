r"""Escaping of untrusted text for a terminal, a page, a mail or a spreadsheet.

An unprintable character (control and direction characters, line separators, surrogates) becomes its code, `\x1b` or
`\u202e`; all others are unchanged.
"""

from __future__ import annotations

import unicodedata
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


def text_width(text: str) -> int:
    """Columns that a text takes on a terminal: two for a wide (East Asian) character, none for a combining one."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def wrap_text(text: str, width: int) -> list[str]:
    """Wrap a text into lines of at most `width` columns, at white space and within longer words; one line or more."""
    lines = [""]
    for word in text.split():
        separator = " " if lines[-1] else ""
        if text_width(lines[-1] + separator + word) <= width:
            lines[-1] += separator + word
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and text_width(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


def escape_formula(cell: str) -> str:
    """A text for a cell of CSV; an apostrophe before one that a spreadsheet would take for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _code(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
