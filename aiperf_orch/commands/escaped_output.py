"""Output without control characters: no record, file name or output of another program can control the terminal.

Standard error, and standard output if it is a terminal, pass through `VisibleStream`. Text for users passes through
`show` on its way into a file or a pipe too; CSV and JSON are written unchanged.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO, cast

import click

from aiperf_orch.commands.line_width import fit_to
from aiperf_orch.util.text import visible_lines


class VisibleStream(io.TextIOBase):
    """Text stream that writes control characters and other invisible characters as codes."""

    def __init__(self, stream: TextIO) -> None:
        self.wrapped = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Encoding of the wrapped stream; click bypasses a stream that has none."""
        return self.wrapped.encoding or "utf-8"

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """Error handler of the wrapped stream."""
        return self.wrapped.errors or "strict"

    def write(self, text: str) -> int:
        """Write a text; line ends and tabs stay, other invisible characters become codes."""
        self.wrapped.write(visible_lines(text))
        return len(text)

    def flush(self) -> None:
        """Flush the wrapped stream."""
        if not self.wrapped.closed:
            self.wrapped.flush()

    def close(self) -> None:
        """Close the wrapped stream."""
        self.wrapped.close()

    def fileno(self) -> int:
        """File descriptor of the wrapped stream."""
        return self.wrapped.fileno()

    def isatty(self) -> bool:
        """Whether the wrapped stream is a terminal."""
        return self.wrapped.isatty()

    def writable(self) -> bool:
        """True."""
        return True

    def __del__(self) -> None:
        """Leave the wrapped stream open, which belongs to the caller."""


class MessageStream(VisibleStream):
    """Visible stream of messages, whose lines are no wider than the terminal."""

    def write(self, text: str) -> int:
        """Write a text; lines that are too wide are broken at spaces."""
        super().write(fit_to(self.wrapped, text))
        return len(text)


@contextmanager
def visible_streams() -> Iterator[None]:
    """Within the context standard error, and standard output on a terminal, show no control characters."""
    before = sys.stdout, sys.stderr
    if sys.stdout.isatty():
        sys.stdout = cast(TextIO, VisibleStream(unwrapped(sys.stdout)))
    sys.stderr = cast(TextIO, MessageStream(unwrapped(sys.stderr)))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def unwrapped(stream: TextIO) -> TextIO:
    """The wrapped stream, for a program that draws by its own escapes and cleans its text itself."""
    return cast(VisibleStream, stream).wrapped if isinstance(stream, VisibleStream) else stream


def show(text: str, form: str = "table") -> None:
    """Print the output of a command: a table with invisible characters as codes, other forms unchanged."""
    click.echo(fit_to(sys.stdout, visible_lines(text)) if form == "table" else text, nl=False)
