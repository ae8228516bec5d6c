"""An agent whose file system fails for a while: attempts go on, and what happened is written when it is back."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from agent.running_agent import RunningAgent
from aiperf_orch.agent.log_file import LogFile
from aiperf_orch.campaign import durable_files
from aiperf_orch.records.agents import AgentEnd, Exited, agent_line_adapter
from aiperf_orch.util.errors import AiperfError
from aiperf_orch.util.units import now
from failing_files import FailingOpen
from waiting import wait_for

A, B = "tag-00000-1", "tag-00001-1"


def _exit(name: str) -> Exited:
    return Exited(time=now(), name=name, status=0)


def _names(path: Path) -> list[str]:
    lines = [agent_line_adapter.validate_json(line) for line in path.read_bytes().splitlines()]
    return [line.name for line in lines if isinstance(line, Exited)]


def test_lines_wait_in_their_order_while_they_cannot_be_written(tmp_path: Path, monkeypatch: Any) -> None:
    log = LogFile(tmp_path / "log")
    for name in ("aaa", "bbb"):
        log.add(_exit(name))
    fsync = os.fsync
    failed: list[int] = []

    def failing(descriptor: int) -> None:
        if len(failed) < 2:
            failed.append(descriptor)
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(durable_files.os, "fsync", failing)
    for _ in range(2):
        with pytest.raises(AiperfError):
            log.write()
        assert not log.is_written
    log.add(_exit("ccc"))
    log.write()
    assert log.is_written
    assert _names(tmp_path / "log") == ["aaa", "bbb", "ccc"]


def test_the_remainder_of_a_failed_write_is_dropped(tmp_path: Path, monkeypatch: Any) -> None:
    log = LogFile(tmp_path / "log")
    log.add(_exit("aaa"))
    log.write()
    monkeypatch.setattr(durable_files.os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "gone")))
    monkeypatch.setattr(durable_files.os, "fsync", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "gone")))
    log.add(_exit("bbb"))
    with pytest.raises(AiperfError):
        log.write()
    assert len((tmp_path / "log").read_text().splitlines()) == 2  # the line is there, but that is not known
    monkeypatch.undo()
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", FailingOpen("log", at=1))
        with pytest.raises(AiperfError):
            log.write()
    log.write()
    assert _names(tmp_path / "log") == ["aaa", "bbb"]


def test_attempts_go_on_while_the_campaign_directory_is_gone(agent: RunningAgent, tmp_path: Path) -> None:
    agent.place_script(A, f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo done", at_once=1)
    agent.started(A)
    agent.place_script(B, "echo done", at_once=1)
    path, aside = agent.directory.path, tmp_path / "aside"
    heartbeat = agent.directory.agent_heartbeat(agent.name)
    wait_for(heartbeat.exists, "the agent has written a sign of life")
    path.rename(aside)
    try:
        path.touch()  # every open below it fails
        (tmp_path / "go").touch()
        log = aside / "agents" / agent.name / "agent.jsonl"
        wait_for(lambda: A in _names(log), "the exit is written, as the log was open")
        assert agent.process.poll() is None
    finally:
        path.unlink()
        aside.rename(path)
    assert agent.exited(A).status == 0
    assert agent.exited(B).status == 0
    assert agent.log(B) == "done\n"


def test_an_agent_that_cannot_write_keeps_its_lines(agent: RunningAgent, tmp_path: Path) -> None:
    agent.place_script(A, f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done")
    agent.started(A)
    size = agent.directory.agent_log(agent.name).stat().st_size
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    (tmp_path / "go").touch()
    wait_for(lambda: "cannot be written" in agent.output.read_text(), "the agent says that it cannot write")
    agent.process.terminate()
    assert not any(isinstance(line, Exited | AgentEnd) for line in agent.lines)
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert agent.ended().reason == "terminated"
    assert agent.exited(A).status == 0
