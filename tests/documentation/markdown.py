"""Parts of Markdown pages: tables, code, texts of docstrings."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence

GENERATED = "<!-- Generated from the code by tests/documentation/make.py: do not edit. -->"


def page(title: str, *parts: str) -> str:
    """A page of these parts, with a blank line between any two of them."""
    return "\n\n".join([f"# {title}", GENERATED, *(_wrapped(part.strip("\n")) for part in parts if part)]) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells without `|`; a line break in one becomes a blank."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def code(text: object) -> str:
    """A text as code."""
    return f"`{text}`"


def block(*lines: str) -> str:
    """Lines for a shell, as an indented block."""
    return "\n".join(f"    {line}" for line in lines)


def words(text: str | None) -> str:
    """A docstring, or a text with line breaks, as one paragraph."""
    return re.sub(r"\s+", " ", inspect.cleandoc(text or ""))


def sentence(text: str) -> str:
    """A text with a full stop at its end, and a capital letter at its beginning."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _wrapped(part: str) -> str:
    """A part whose paragraphs and items of lists have at most 120 columns."""
    lines: list[str] = []
    for paragraph in re.split(r"\n(?=- )|\n\n", part):
        if paragraph.startswith(("|", "#", "<!--", "    ")):
            lines += ["", paragraph]
            continue
        item = paragraph.startswith("- ")
        gap = [] if item and lines[-1:] and lines[-1].startswith(("- ", "  ")) else [""]
        wrapped = textwrap.wrap(
            re.sub(r"\s+", " ", paragraph),
            120,
            subsequent_indent="  " if item else "",
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines += [*gap, *wrapped]
    return "\n".join(lines).strip("\n")


def _cell(text: str) -> str:
    if "|" in text:
        raise ValueError(f"sites differ in how they show a | in a cell: {text!r}")
    return re.sub(r"\s+", " ", text)
