r"""Text from records, files and other programs, made harmless for a terminal, a page, a mail or a spreadsheet.

A character that cannot be seen (control characters, escapes, those that turn the direction of a text, separators of
lines, halves of surrogate pairs) is shown as its code, `\x1b` or `\u202e`; all others stay as they are.
"""

from __future__ import annotations

from typing import Final

_FORMULA: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def visible(text: str) -> str:
    """The text in one line in which every character can be seen: line ends and tabs are codes, too."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _code(letter) for letter in text)


def visible_lines(text: str) -> str:
    """The text with its line ends and tabs, and every other character that cannot be seen as its code."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in "\n\t" else _code(letter) for letter in text)


def one_line(text: str) -> str:
    """The text in one line: white space of any kind becomes one space, what else cannot be seen its code."""
    return visible(" ".join(text.split()))


def escape_formula(cell: str) -> str:
    """A cell of text for CSV that no spreadsheet takes for a formula: one that could be begins with an apostrophe."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _code(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
