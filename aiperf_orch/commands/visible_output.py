"""What commands print: nothing that a record, a file's name or another program holds can drive the terminal.

All of standard error, and of standard output where it is a terminal, passes through `VisibleStream`. What is printed
for people passes through `show` also on its way into a file or a pipe; CSV and JSON get there as they are.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO, cast

import click

from aiperf_orch.util.text import visible_lines


class VisibleStream(io.TextIOBase):
    """A text stream that shows control characters and their like as codes."""

    def __init__(self, stream: TextIO) -> None:
        self.wrapped = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The wrapped stream's; click writes past a stream that has none."""
        return self.wrapped.encoding or "utf-8"

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """The wrapped stream's."""
        return self.wrapped.errors or "strict"

    def write(self, text: str) -> int:
        """Write a text with every character visible; line ends and tabs stay."""
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
        """The wrapped stream's descriptor."""
        return self.wrapped.fileno()

    def isatty(self) -> bool:
        """Whether the wrapped stream is a terminal."""
        return self.wrapped.isatty()

    def writable(self) -> bool:
        """Always."""
        return True

    def __del__(self) -> None:
        """Leave the wrapped stream open: it is not ours."""


@contextmanager
def visible_streams() -> Iterator[None]:
    """Within the context standard error shows no control character, nor does a terminal's standard output."""
    before = sys.stdout, sys.stderr
    if sys.stdout.isatty():
        sys.stdout = _visible(sys.stdout)
    sys.stderr = _visible(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def unwrapped(stream: TextIO) -> TextIO:
    """The stream below, for a program that makes what it writes visible itself and draws by escapes of its own."""
    return cast(VisibleStream, stream).wrapped if isinstance(stream, VisibleStream) else stream


def show(text: str, form: str = "table") -> None:
    """Print a command's result: `csv` and `json` as they are, all else with every character visible."""
    click.echo(text if form in ("csv", "json") else visible_lines(text), nl=False)


def _visible(stream: TextIO) -> TextIO:
    return cast(TextIO, VisibleStream(unwrapped(stream)))
