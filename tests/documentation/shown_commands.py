"""Commands of aiperf-orch that documents show, in blocks of code and within sentences."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK_LINE = re.compile(r"(?: {4}|\t)(.*)")
_FENCE = re.compile(r"\s*(```|~~~)")
_INLINE = re.compile(r"`(aiperf-orch [^`]+)`")
_PROGRAM = re.compile(r"(?:^|[\s;&|(]|\S/)aiperf-orch (?=[a-z])")
_END = re.compile(r"\s(?:&&|\|\||[|;&]|>|2>|#)(?:\s|/|&|$).*|[\"')]*$")
_PLACEHOLDERS = ("COMMAND",)


@dataclass(frozen=True)
class ShownCommand:
    """A command as a document shows it.

    Attributes:
        document: path below the root of the repository.
        line: number of its line, from 1.
        words: the arguments after `aiperf-orch`, as a shell splits them.
        whole: whether it stands in a block of code, and is meant to be run as it is.
    """

    document: str
    line: int
    words: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return f"{self.document}:{self.line}: aiperf-orch {' '.join(self.words)}"


def commands_in(document: Path) -> list[ShownCommand]:
    """The commands in a document, in their order."""
    name = str(document.relative_to(ROOT))
    found: list[ShownCommand] = []
    for number, text, whole in _lines(document.read_text(encoding="utf-8")):
        known = (words for words in _commands(text) if words[0] not in _PLACEHOLDERS)
        found.extend(ShownCommand(name, number, words, whole) for words in known)
    return found


def _lines(text: str) -> Iterator[tuple[int, str, bool]]:
    """Lines of code with their numbers: of blocks, continued ones as one line, and code within sentences."""
    fenced, begun, kept = False, 0, ""
    for number, line in enumerate(text.splitlines(), start=1):
        if _FENCE.match(line):
            fenced = not fenced
            continue
        block = line if fenced else (match[1] if (match := _BLOCK_LINE.match(line)) else None)
        if block is None:
            kept = ""
            for code in _INLINE.findall(line):
                yield number, code, False
            continue
        begun = begun if kept else number
        kept = f"{kept} {block.strip()}".strip()
        if kept.endswith("\\"):
            kept = kept[:-1]
            continue
        yield begun, kept, True
        kept = ""


def _commands(line: str) -> Iterator[tuple[str, ...]]:
    for match in _PROGRAM.finditer(line):
        text = _END.sub("", line[match.end() :])
        try:
            words = tuple(shlex.split(text))
        except ValueError as error:
            raise AssertionError(f"no command for a shell: {line!r}: {error}") from None
        if words:
            yield words
