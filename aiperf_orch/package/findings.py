"""What is wrong with a package, told one by one: a stable id for programs, a place and a sentence for people."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from aiperf_orch.util.text import visible

_MOST_LISTED: Final = 200
_LONGEST: Final = 400  # characters


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `where` is a file of the package, with its line where there is one: `events/00003-1.0.jsonl:4`."""

    id: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass
class Faults:
    """Collects faults; so many are listed, and the rest is only counted: a hostile package cannot fill a terminal."""

    listed: list[Fault] = field(default_factory=list)
    unlisted: int = 0

    def add(self, id: str, where: str, message: str) -> None:  # noqa: A002  the field's name
        """Note a fault. What a package's author could have written is made printable_line for a terminal."""
        if len(self.listed) < _MOST_LISTED:
            self.listed.append(Fault(id, printable_line(where), printable_line(message)))
        else:
            self.unlisted += 1

    def __bool__(self) -> bool:
        return bool(self.listed)


def printable_line(text: str) -> str:
    """Text as one line without control or direction characters, and not longer than anyone reads."""
    cut = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return visible(cut)
