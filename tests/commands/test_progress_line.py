"""Line of progress: nothing for short tasks and without a terminal, cleared at the end."""

import io

import pytest

from aiperf_orch.commands.progress_line import progress_line

pytestmark = pytest.mark.unit


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "times", "shown"),
    [
        (Terminal(), [0, 1, 1.9], ""),
        (Terminal(), [0, 1, 2.1], "\r\x1b[Kplan: 2 of 9 playbacks\r\x1b[K"),
        (Terminal(), [0, 2.1, 2.3, 2.7], "\r\x1b[Kplan: 1 of 9 playbacks\r\x1b[Kplan: 3 of 9 playbacks\r\x1b[K"),
        (io.StringIO(), [0, 3, 4], ""),
    ],
)
def test_a_long_task_on_a_terminal_is_shown(stream, times, shown, monkeypatch):
    monkeypatch.setattr("sys.stderr", stream)
    clock = {"now": times[0]}
    with progress_line("plan", "playbacks", lambda: clock["now"]) as show:
        for done, clock["now"] in enumerate(times[1:], start=1):
            show(done, 9)
    assert stream.getvalue() == shown


def test_the_line_is_cleared_after_an_error(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    times = [0, 5, 5]

    def fail():
        with progress_line("plan", "playbacks", lambda: times.pop(0)) as show:
            show(1, 9)
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        fail()
    assert stream.getvalue().endswith("9 playbacks\r\x1b[K")
