"""A command in a pseudo-terminal, and what a terminal shows of an output."""

from __future__ import annotations

import os
import pty
import re
import subprocess


def in_terminal(*command: str, columns: int) -> tuple[int, str]:
    """Run a command in a terminal of this width and 40 lines; returns its exit status and what it wrote."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": str(columns), "LINES": "40"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:
            break
        seen += chunk
    os.close(ours)
    return process.wait(60), seen.decode()


class Terminal:
    """What a terminal shows: lines wrap and scroll, and the few escapes that the live view uses."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self._cells = [[" "] * columns for _ in range(rows)]
        self._row = self._column = 0

    def lines(self) -> list[str]:
        """The screen's lines without trailing blanks, without the empty ones at its end."""
        text = "\n".join("".join(row).rstrip() for row in self._cells)
        return text.rstrip("\n").split("\n")

    def feed(self, output: str) -> None:
        """Show more output."""
        for escape, character in re.findall(r"\x1b\[([?\d;]*[A-Za-z])|(.|\n|\r)", output):
            if escape:
                self._escape(escape)
            elif character == "\r":
                self._column = 0
            elif character == "\n":
                self._down()
            else:
                self._put(character)

    def _put(self, character: str) -> None:
        if self._column == self.columns:
            self._column = 0
            self._down()
        self._cells[self._row][self._column] = character
        self._column += 1

    def _down(self) -> None:
        if self._row < self.rows - 1:
            self._row += 1
        else:
            self._cells = [*self._cells[1:], [" "] * self.columns]

    def _escape(self, escape: str) -> None:
        if escape.endswith("A"):
            self._row = max(self._row - int(escape[:-1] or 1), 0)
        elif escape == "H":
            self._row = self._column = 0
        elif escape == "J":
            self._cells[self._row][self._column :] = [" "] * (self.columns - self._column)
            self._cells[self._row + 1 :] = [[" "] * self.columns for _ in self._cells[self._row + 1 :]]
        elif escape == "2J":
            self._cells = [[" "] * self.columns for _ in self._cells]
        else:
            assert escape.endswith(("m", "l", "h")), f"unknown escape {escape!r}"
