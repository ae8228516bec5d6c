"""Lines that are redrawn in place: what a terminal shows of them."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

import pytest
from rich.console import Console, ConsoleDimensions
from rich.text import Text

from aiperf_orch.commands.terminal_screen import Screen, standard_error_above
from terminal import Terminal

pytestmark = pytest.mark.unit


class _Shown:
    """A screen, and the terminal that it draws on."""

    def __init__(self, columns: int, rows: int, encoding: str = "utf-8") -> None:
        self._output = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
        self._read = 0
        self.console = Console(file=self._output, force_terminal=True, color_system="standard", _environ={})
        self.console.size = ConsoleDimensions(columns, rows)
        self.terminal = Terminal(columns, rows)
        self.screen = Screen(self.console)

    def draw(self, lines: Sequence[str]) -> list[str]:
        self.screen.draw([Text(line, style="red") for line in lines])
        return self.lines()

    def lines(self) -> list[str]:
        buffer = self._output.buffer
        assert isinstance(buffer, io.BytesIO)
        data = buffer.getvalue()
        self.terminal.feed(data[self._read :].decode())
        self._read = len(data)
        return self.terminal.lines()

    def resize(self, columns: int, rows: int) -> None:
        """Change the size; what the terminal makes of the lines is unknown."""
        self.lines()
        self.console.size = ConsoleDimensions(columns, rows)
        self.terminal = Terminal(columns, rows)
        self.terminal.feed("stale " * columns)


def _lines(number: int, name: str = "line") -> list[str]:
    return [f"{name} {each}" for each in range(number)]


def test_lines_replace_those_before() -> None:
    shown = _Shown(20, 10)
    assert shown.draw(_lines(6)) == _lines(6)
    assert shown.draw(_lines(3, "new")) == _lines(3, "new")
    assert shown.draw(_lines(1)) == _lines(1)
    assert shown.draw([]) == [""]
    assert shown.draw(_lines(9)) == _lines(9)


@pytest.mark.parametrize("number", [3, 9, 15])
def test_a_message_leaves_no_stale_line_at_any_height(number: int) -> None:
    shown = _Shown(20, 10)
    shown.draw(_lines(number))
    shown.screen.print_above(Text("a message that is longer than a line"))
    drawn = _lines(min(number, 9))
    message = ["a message that is ", "longer than a line"]
    assert shown.lines() == [*(line.rstrip() for line in message), *drawn][-10:]
    assert shown.draw(_lines(number, "new"))[-len(drawn) :] == _lines(len(drawn), "new")
    assert not any("line 0" in line for line in shown.lines())


def test_lines_that_fill_the_width_do_not_wrap() -> None:
    shown = _Shown(20, 10)
    for _ in range(3):
        assert shown.draw(["x" * 20, "y" * 40, "z"]) == ["x" * 20, "y" * 19 + "…", "z"]


@pytest.mark.parametrize(("columns", "rows"), [(10, 10), (40, 10), (20, 5), (20, 30)])
def test_after_a_resize_there_are_only_the_messages_and_the_lines(columns: int, rows: int) -> None:
    shown = _Shown(20, 10)
    shown.screen.print_above(Text("first"))
    shown.screen.print_above(Text("second"))
    shown.draw(_lines(4))
    assert not shown.screen.is_resized
    shown.resize(columns, rows)
    assert shown.screen.is_resized
    assert shown.draw(_lines(4)) == ["first", "second", *_lines(4)][-rows:]
    assert not shown.screen.is_resized


def test_a_message_after_a_resize_is_there_once() -> None:
    shown = _Shown(20, 10)
    shown.draw(_lines(4))
    shown.resize(30, 12)
    shown.screen.print_above(Text("message"))
    assert shown.lines() == ["message", *_lines(4)]


def test_closing_leaves_the_messages() -> None:
    shown = _Shown(20, 10)
    shown.screen.print_above(Text("message"))
    shown.draw(_lines(4))
    shown.screen.close()
    assert shown.lines() == ["message"]


def test_without_utf_8_a_character_is_one_column() -> None:
    shown = _Shown(20, 10, encoding="ascii")
    assert shown.draw(["a · b", "y" * 40]) == ["a ? b", "y" * 19 + "?"]


def test_lines_on_standard_error_are_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = _Shown(20, 10)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    before = sys.stderr
    with standard_error_above(shown.screen):
        shown.draw(_lines(2))
        print("one\x1b[2J", file=sys.stderr)
        print("two", end="", file=sys.stderr)
        assert shown.lines() == ["one\\x1b[2J", *_lines(2)]
    assert sys.stderr is before
    assert shown.lines() == ["one\\x1b[2J", "two", *_lines(2)]


def test_a_closed_terminal_is_no_error() -> None:
    shown = _Shown(20, 10)
    shown.console.file.close()
    shown.screen.draw([Text("line")])
