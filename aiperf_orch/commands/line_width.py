"""Lines no wider than the terminal, broken at spaces instead of within words."""

from __future__ import annotations

import re
import shutil
from typing import Final, TextIO

from aiperf_orch.util.text import text_width

_LABEL: Final = re.compile(r"(?:\S+(?: \S+)*  +| +)?")
"""A label before the text of a line, with at least two spaces after it, or an indentation."""
_COMMAND: Final = "aiperf-orch "


def fit_to(stream: TextIO, text: str) -> str:
    """The text with lines no wider than the stream, if that is a terminal."""
    return fit_lines(text, shutil.get_terminal_size().columns) if stream.isatty() else text


def fit_lines(text: str, columns: int) -> str:
    """Break lines that are wider than a terminal at spaces, and indent the rest of a line as its text.

    Unchanged are lines with a command, which can then be copied, rows of tables, and words that are too long.

    Args:
        text: Any number of lines.
        columns: Width of the terminal.
    """
    return "\n".join(part for line in text.split("\n") for part in _fitted(line, columns))


def _fitted(line: str, columns: int) -> list[str]:
    if text_width(line) <= columns:
        return [line]
    head = _LABEL.match(line).group()  # type: ignore[union-attr]  # it matches no text, too
    body = line[len(head) :]
    if _COMMAND in line or "  " in body or "\r" in line or len(head) > columns // 2:
        return [line]
    lines = [head]
    for number, word in enumerate(body.split(" ")):
        fits = text_width(lines[-1]) + 1 + text_width(word) <= columns
        if number and fits:
            lines[-1] += f" {word}"
        elif number:
            lines.append(" " * len(head) + word)
        else:
            lines[-1] += word
    return lines
