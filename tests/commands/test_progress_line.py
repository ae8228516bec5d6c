"""Line of progress: nothing for short tasks and without a terminal, cleared at the end and before messages."""

from __future__ import annotations

import io
import logging
import time

import pytest

from aiperf_orch.commands.progress_line import progress_line
from aiperf_orch.util.progress import begin_part, followed, tracked

CLEAR = "\r\x1b[K"


class Terminal(io.StringIO):
    """A terminal that keeps what is written."""

    def isatty(self) -> bool:
        return True


def _wait_for(stream: io.StringIO, text: str) -> None:
    deadline = time.monotonic() + 20
    while text not in stream.getvalue():
        assert time.monotonic() < deadline, stream.getvalue()
        time.sleep(0.01)


@pytest.mark.unit
def test_parts_and_items_are_stated() -> None:
    with followed() as progress:
        assert str(progress) == ""
        begin_part("reading the journal")
        assert str(progress) == "reading the journal"
        seen = [str(progress) for _ in tracked(range(1200), "reading events")]
        assert seen[:2] == ["reading events: 0 of 1,200", "reading events: 1 of 1,200"]
        assert str(progress) == "reading events: 1,200 of 1,200"
    begin_part("nothing follows this")
    assert str(progress) == "reading events: 1,200 of 1,200"
    assert list(tracked("ab", "reading")) == ["a", "b"]


def _terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal as standard error; not by a fixture, after which pytest sets another one."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    return terminal


def test_a_long_task_on_a_terminal_is_shown_and_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _terminal(monkeypatch)
    with progress_line("verify", silent=0.0):
        begin_part("checking trials")
        _wait_for(stream, f"{CLEAR}verify: checking trials, ")
    assert stream.getvalue().endswith(CLEAR)


def test_the_line_is_cleared_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _terminal(monkeypatch)

    def fail() -> None:
        with progress_line("verify", silent=0.0):
            _wait_for(stream, "verify: ")
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        fail()
    assert stream.getvalue().endswith(CLEAR)


def test_a_message_comes_in_place_of_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _terminal(monkeypatch)
    logger = logging.getLogger("aiperf_orch")
    handler = logging.StreamHandler(stream)
    handler.setLevel(logging.INFO)
    installed = logger.handlers[:]
    logger.handlers[:] = [handler]
    try:
        with progress_line("package", silent=0.0):
            _wait_for(stream, "package: ")
            logger.warning("a message")
    finally:
        logger.handlers[:] = installed
    assert f"{CLEAR}a message\n" in stream.getvalue()
    assert handler.filters == []


@pytest.mark.parametrize(("output", "silent"), [(io.StringIO(), 0.0), (Terminal(), 60.0)])
def test_nothing_is_shown_without_a_terminal_or_of_a_short_task(
    output: io.StringIO, silent: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", output)
    with progress_line("verify", silent=silent):
        time.sleep(0.1)
    assert output.getvalue() == ""


def test_nothing_is_shown_beside_debug_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _terminal(monkeypatch)
    logger = logging.getLogger("aiperf_orch")
    handler = logging.StreamHandler(io.StringIO())
    handler.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        with progress_line("verify", silent=0.0):
            time.sleep(0.1)
    finally:
        logger.removeHandler(handler)
    assert stream.getvalue() == ""
