"""An agent that a user starts in a terminal, and ends by Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator

import pytest

from aiperf_orch.agent import announcements
from aiperf_orch.campaign.agent_files import OrderWriter, follow_log
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.records.agents import AgentEnd, Dismiss, Exited, Place
from waiting import wait_for

A = "tag-00000-1"
_CTRL_C = b"\x03"


class _Terminal:
    """An agent in the foreground of a terminal of its own."""

    def __init__(self, directory: CampaignDirectory) -> None:
        self._directory = directory
        self._ours, theirs = pty.openpty()
        self._seen = b""
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "aiperf_orch.cli", "agent", str(directory.path), "--slots", "2"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=os.environ | {"COLUMNS": "1000"},  # the messages are not broken into lines
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # Ctrl-C signals the processes in its foreground
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait("joined")
        self.name = "".join(re.findall(r" as (\S+): ", self.text))

    def _read(self) -> None:
        while True:
            try:
                self._seen += os.read(self._ours, 65536)
            except OSError:
                return

    @property
    def text(self) -> str:
        return self._seen.decode().replace("\r\n", "\n")

    def wait(self, text: str) -> None:
        wait_for(lambda: text in self.text or self.process.poll() is not None, f"the terminal shows {text!r}")
        assert text in self.text

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def place(self, script: str) -> None:
        folder = self._directory.jobs_folder / A
        folder.mkdir()
        orders = OrderWriter(self._directory, self.name, lambda: 1)
        command = ["bash", "-c", script]
        orders.append(
            Place, name=A, command=command, folder=str(folder), agents=[self.name], hosts=["n1"], at_once=2
        )  # fmt: skip
        orders.close()
        wait_for(lambda: (folder / "log").exists() and "ready" in (folder / "log").read_text(), "the trial runs")

    def ended(self) -> tuple[AgentEnd, Exited | None]:
        self.process.wait(60)
        self._reader.join(60)
        lines = follow_log(self._directory, self.name).read_on()
        assert isinstance(lines[-1], AgentEnd)
        return lines[-1], next((line for line in lines if isinstance(line, Exited)), None)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        self._reader.join(60)
        os.close(self._ours)


@pytest.fixture
def terminal(directory: CampaignDirectory) -> Iterator[_Terminal]:
    opened = _Terminal(directory)
    yield opened
    opened.close()


def test_it_says_what_it_joined_and_why_it_ended(terminal: _Terminal, directory: CampaignDirectory) -> None:
    orders = OrderWriter(directory, terminal.name, lambda: 1)
    orders.append(Dismiss, reason="the campaign is finished")
    orders.close()
    terminal.ended()
    assert f"joined {directory.path} as {terminal.name}: 2 slots of 1 core\n" in terminal.text
    assert terminal.text.endswith(
        f"agent {terminal.name} has ended (dismissed: the campaign is finished); it ran 0 trials\n"
    )


def test_ctrl_c_lets_trials_save_their_state(terminal: _Terminal) -> None:
    terminal.place("trap 'echo saved; exit 7' TERM; echo ready; while :; do sleep 0.05; done")
    terminal.press(_CTRL_C)
    end, exited = terminal.ended()
    assert (end.reason, end.message) == ("terminated", "by SIGINT")
    assert exited is not None
    assert exited.status == 7
    assert terminal.process.returncode == 0
    said = "SIGINT: 1 trial may save its state and end, for at most 1m; Ctrl-C again kills at once\n"
    assert said in terminal.text
    assert terminal.text.endswith("has ended (terminated: by SIGINT); it ran 1 trial\n")
    assert "Traceback" not in terminal.text


def test_a_second_ctrl_c_kills_what_does_not_end(terminal: _Terminal) -> None:
    terminal.place("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    terminal.press(_CTRL_C)
    terminal.wait("Ctrl-C again kills at once")
    terminal.press(_CTRL_C)
    _, exited = terminal.ended()
    assert exited is not None
    assert exited.signal == 9
    assert "SIGINT: trials are killed\n" in terminal.text


@pytest.mark.unit
@pytest.mark.parametrize(
    ("number", "running", "message"),
    [
        (2, 0, "SIGINT: the agent ends"),
        (2, 2, "SIGINT: 2 trials may save their state and end, for at most 1m; Ctrl-C again kills at once"),
        (15, 1, "SIGTERM: 1 trial may save its state and end, for at most 1m; SIGTERM again kills at once"),
    ],
)
def test_a_signal_says_what_another_one_does(number: int, running: int, message: str) -> None:
    assert announcements.terminating(number, running, 60.0) == message
