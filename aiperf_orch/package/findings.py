"""Faults of a package, and remarks on it: a stable id for programs, a location and a message for readers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from aiperf_orch.util.text import visible

_MOST_LISTED: Final = 200
_LONGEST: Final = 400  # characters


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault or remark.

    `where` is a file of the package, with a line number if it has one: `events/00003-1.0.jsonl:4`.
    """

    id: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass
class Faults:
    """Collection of faults and remarks; those beyond a limit are only counted: a package cannot flood a terminal.

    Remarks tell a reader what is unusual or was not checked. They do not change the verdict.
    """

    listed: list[Fault] = field(default_factory=list)
    unlisted: int = 0
    remarks: list[Fault] = field(default_factory=list)

    def add(self, id: str, where: str, message: str) -> None:  # noqa: A002  the field's name
        """Add a fault. Text that the author of a package controls is made safe for a terminal."""
        if not self.is_full:
            self.listed.append(Fault(id, printable_line(where), printable_line(message)))
        else:
            self.unlisted += 1

    def remark(self, id: str, where: str, message: str) -> None:  # noqa: A002  the field's name
        """Add a remark, made safe as a fault is; those beyond the limit are dropped."""
        if len(self.remarks) < _MOST_LISTED:
            self.remarks.append(Fault(id, printable_line(where), printable_line(message)))

    @property
    def is_full(self) -> bool:
        """Whether further faults are only counted: what only describes them need not be computed."""
        return len(self.listed) >= _MOST_LISTED

    def __bool__(self) -> bool:
        return bool(self.listed)


def printable_line(text: str) -> str:
    """Text as one line of bounded length, without control characters and characters that change its direction."""
    cut = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return visible(cut)
