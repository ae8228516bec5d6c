"""Lines at the end of a terminal that are redrawn in place, with messages that scroll away above them."""

from __future__ import annotations

import io
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import RLock
from typing import Final, Literal, TextIO, cast

from rich.console import Console
from rich.text import Text

from aiperf_orch.util.text import visible_lines

_HIDE_CURSOR: Final = "\x1b[?25l"
_SHOW_CURSOR: Final = "\x1b[?25h"
_CLEAR_BELOW: Final = "\x1b[J"
_CLEAR_ALL: Final = "\x1b[H\x1b[2J"
_REMEMBERED: Final = 200
"""Messages that are printed again when the terminal's size has changed."""


class Screen:
    """Draws on a terminal; several threads may use it.

    Where the lines of an earlier drawing are after a change of the terminal's size differs between terminals: the
    whole screen is then cleared, and the latest messages are printed again.
    """

    def __init__(self, console: Console) -> None:
        """Draw nothing yet; `console` is of a terminal."""
        self._console = console
        self._renderer = Console(
            file=io.StringIO(), force_terminal=True, color_system=_color_system(console), no_color=console.no_color
        )
        self._lock = RLock()
        self._lines: list[str] = []
        self._messages: deque[Text] = deque(maxlen=_REMEMBERED)
        self._drawn_for = self.size

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows of the terminal at present."""
        return self._console.size.width, self._console.size.height

    @property
    def is_resized(self) -> bool:
        """Whether the terminal's size has changed since the last drawing."""
        return self.size != self._drawn_for

    def draw(self, lines: Sequence[Text]) -> None:
        """Replace the lines of the last drawing; those that do not fit are cropped."""
        with self._lock:
            width, height = self.size
            before = self._above() if self.is_resized else self._back()
            self._drawn_for = width, height
            self._lines = [self._rendered(line, width) for line in lines[: max(height - 1, 1)]]
            self._write(_HIDE_CURSOR + before + "\r\n".join(self._lines))

    def print_above(self, message: Text) -> None:
        """Print a message, of one or more lines, above the lines."""
        with self._lock:
            self._messages.append(message)
            before = self._above() if self.is_resized else self._back() + self._message(message)
            self._drawn_for = self.size
            self._write(before + "\r\n".join(self._lines))

    def close(self) -> None:
        """Erase the lines; messages stay."""
        with self._lock:
            self._write(self._back() + _SHOW_CURSOR)
            self._lines = []

    def _back(self) -> str:
        """Moves the cursor to the begin of the lines, and erases them and all below."""
        up = f"\x1b[{len(self._lines) - 1}A" if len(self._lines) > 1 else ""
        return f"\r{up}{_CLEAR_BELOW}"

    def _above(self) -> str:
        """Clears the screen, and prints the latest messages again that it has room for."""
        text, rows = "", self.size[1]
        for message in reversed(self._messages):
            text = self._message(message) + text
            if text.count("\n") >= rows:
                break
        return _CLEAR_ALL + text

    def _message(self, message: Text) -> str:
        lines = message.wrap(self._console, self.size[0])
        return "".join(f"{self._styled(line)}\r\n" for line in lines)

    def _rendered(self, line: Text, width: int) -> str:
        """A line of at most this number of columns."""
        cropped = line.copy()
        cropped.truncate(width, overflow="ellipsis")
        return self._styled(cropped)

    def _styled(self, line: Text) -> str:
        if not self._console.encoding.startswith("utf"):  # else one character would become several
            line = Text(line.plain.encode("ascii", "replace").decode(), style=line.style)
        with self._renderer.capture() as capture:
            self._renderer.print(line, end="", soft_wrap=True, highlight=False, markup=False)
        return capture.get()

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # a closed terminal ends no campaign
            self._console.file.write(text)
            self._console.file.flush()


def _color_system(console: Console) -> Literal["standard", "256", "truecolor", "windows"] | None:
    """The colours of a terminal, as another console takes them."""
    return cast(Literal["standard", "256", "truecolor", "windows"] | None, console.color_system)


class _StreamAbove(io.TextIOBase):
    """Text stream whose lines are printed above the lines of a screen."""

    def __init__(self, screen: Screen, stream: TextIO) -> None:
        self._screen, self._stream, self._rest = screen, stream, ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._screen.print_above(Text(visible_lines(line)))
        return len(text)

    def finish(self) -> None:
        """Print a last line that has no end."""
        if self._rest:
            self.write("\n")

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()


@contextmanager
def standard_error_above(screen: Screen) -> Iterator[None]:
    """Within the context whole lines that are written to standard error are printed above the lines of a screen."""
    before = sys.stderr
    stream = _StreamAbove(screen, before)
    sys.stderr = cast(TextIO, stream)
    try:
        yield
    finally:
        sys.stderr = before
        stream.finish()
