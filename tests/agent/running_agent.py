"""A real agent in a process of its own, with a controller's side: orders, the lock, and what the agent wrote."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from aiperf_orch.agent.processes import process_info
from aiperf_orch.campaign.agent_files import OrderWriter, agent_names, follow_log
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.lock import Lock
from aiperf_orch.records.agents import AgentBegin, AgentEnd, AgentLine, Dismiss, Exited, Place, Started, Stop
from waiting import wait_for

T = TypeVar("T")


class RunningAgent:
    """Starts an agent of a campaign; leaving the context ends it."""

    def __init__(
        self,
        directory: CampaignDirectory,
        *options: str,
        module: str = "aiperf_orch.agent",
        environment: dict[str, str] | None = None,
        generation: int = 1,
    ) -> None:
        self.directory = directory
        self.generation = generation
        before = set(agent_names(directory))
        self.output = directory.path.parent / f"agent-output-{len(before) + 1}"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", *module.split(), str(directory.path), *options],
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self.name: str = wait_for(lambda: self._found(before), "the agent has created its folder")
        wait_for(lambda: self.lines, "the agent has written its begin line")
        self.orders = OrderWriter(directory, self.name, lambda: self.generation)

    def _found(self, before: set[str]) -> str:
        assert self.process.poll() is None, self.output.read_text()
        return next(iter(set(agent_names(self.directory)) - before), "")

    def __enter__(self) -> RunningAgent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.orders.close()

    @property
    def lines(self) -> list[AgentLine]:
        return follow_log(self.directory, self.name).read_on()

    @property
    def begin(self) -> AgentBegin:
        begin = self.lines[0]
        assert isinstance(begin, AgentBegin)
        return begin

    def place(self, name: str, command: Sequence[str | Path], *, at_once: int = 100, **fields: Any) -> None:
        """Place an attempt with a folder of its own."""
        folder = self.directory.jobs_folder / name
        folder.mkdir(exist_ok=True)
        self.orders.append(
            Place,
            **{
                "name": name,
                "command": [os.fspath(word) for word in command],
                "folder": str(folder),
                "agents": [self.name],
                "hosts": [self.begin.host],
                "at_once": at_once,
            }
            | fields,
        )

    def place_script(self, name: str, script: str, **fields: Any) -> None:
        """Place an attempt that runs a shell script."""
        self.place(name, ["bash", "-c", script], **fields)

    def stop(self, name: str, *, force: bool = False) -> None:
        self.orders.append(Stop, name=name, force=force)

    def dismiss(self) -> None:
        self.orders.append(Dismiss, reason="the campaign has ended")

    def log(self, name: str) -> str:
        """Output of an attempt."""
        path = self.directory.jobs_folder / name / "log"
        return path.read_text() if path.exists() else ""

    def _wait(self, condition: Callable[[], T], event: str) -> T:
        """Wait for what the agent does; fails at once when it has ended without that."""

        def check() -> T:
            has_ended = self.process.poll() is not None
            found = condition()
            assert found or not has_ended, f"the agent ended before this: {event}\n{self.output.read_text()}"
            return found

        return wait_for(check, event)

    def wait_ready(self) -> None:
        """Wait until the template process is ready."""
        self._wait(lambda: "the template process is ready" in self.output.read_text(), "the template process is ready")

    def wait_output(self, name: str, text: str) -> str:
        """Wait for a text in the output of an attempt."""
        self._wait(lambda: text in self.log(name), f"{name} prints {text!r}")
        return self.log(name)

    def started(self, name: str) -> Started:
        """Wait until an attempt has started."""

        def find() -> Started | None:
            return next((line for line in self.lines if isinstance(line, Started) and line.name == name), None)

        found = self._wait(find, f"{name} has started")
        assert found is not None
        return found

    def exited(self, name: str) -> Exited:
        """Wait until an attempt is over."""

        def find() -> Exited | None:
            return next((line for line in self.lines if isinstance(line, Exited) and line.name == name), None)

        found = self._wait(find, f"{name} is over")
        assert found is not None
        return found

    def has_started(self, name: str) -> bool:
        return any(isinstance(line, Started) and line.name == name for line in self.lines)

    def ended(self, *, seconds: float = 60) -> AgentEnd:
        """Wait until the agent has ended; returns its end line."""
        self.process.wait(seconds)
        end = self.lines[-1]
        assert isinstance(end, AgentEnd), self.output.read_text()
        return end

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def hold(directory: CampaignDirectory) -> Lock:
    """Hold the campaign as a controller does."""
    return Lock.acquire(directory.lock, take_over=False)


def is_gone(pid: int) -> bool:
    return process_info(pid) is None
