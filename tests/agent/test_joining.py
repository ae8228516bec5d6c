"""Agents that must not begin, and agents beside or after another one on the same host."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aiperf_orch
from agent.running_agent import RunningAgent, is_gone
from aiperf_orch.agent import former_agents
from aiperf_orch.agent.joining import JoinOptions, join
from aiperf_orch.campaign.agent_files import agent_names, follow_log
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.records.journal import Finished, Opened, Resumed, Stopped
from aiperf_orch.util.errors import AiperfError, UsageError
from campaign_builder import CampaignBuilder

A = "tag-00000-1"


def refusal(path: Path, *options: str, status: int = 2, **environment: str) -> str:
    """The message of an agent that must not begin."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "aiperf_orch.agent", str(path), *options],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )
    assert done.returncode == status, done.stderr
    message = done.stderr.splitlines()[-1]
    assert message.startswith("error: ")
    return message


def test_a_directory_that_is_no_campaign_is_refused(tmp_path: Path) -> None:
    assert "is not a campaign directory" in refusal(tmp_path)


def test_a_directory_that_others_can_write_is_refused(directory: CampaignDirectory) -> None:
    directory.path.chmod(0o770)
    assert "can be written by others" in refusal(directory.path)
    directory.path.chmod(0o700)


def test_a_campaign_with_a_job_a_trial_is_refused(campaign: Callable[..., CampaignBuilder]) -> None:
    message = refusal(campaign().path)
    assert "set scheduler.allocations, or scheduler.kind to agents" in message


@pytest.mark.parametrize(
    ("entry", "fields", "message"),
    [
        (Finished, {"reason": "the duration is over", "by_deadline": True}, "has finished, and needs no agents"),
        (Opened, {"host": "h", "pid": 1, "version": "99.0.0"}, "aiperf-orch 99.0.0 runs this campaign"),
    ],
)
def test_a_campaign_that_needs_no_agent_of_this_version(
    campaign: Callable[..., CampaignBuilder], entry: Any, fields: dict[str, Any], message: str
) -> None:
    built = campaign(scheduler__kind="agents", scheduler__poll_interval="50ms")
    built.write(entry, **fields)
    assert message in refusal(built.path)
    assert not agent_names(built.directory)


def test_an_agent_of_a_stopped_campaign_says_what_it_waits_for(
    campaign: Callable[..., CampaignBuilder], caplog: pytest.LogCaptureFixture
) -> None:
    built = campaign(scheduler__kind="agents")
    for entry, is_stopped in ((Stopped, True), (Resumed, False)):
        caplog.clear()
        built.write(entry)
        with pytest.raises(UsageError, match="ends too soon"):
            join(JoinOptions(built.path, ends_at=1000), {})
        assert ("this campaign is stopped: trials start when" in caplog.text) is is_stopped


def test_a_newer_campaign_is_refused(directory: CampaignDirectory) -> None:
    text = directory.config_file.read_text()
    newer = text.replace("version: 2", "version: 99").replace(
        f"aiperf-orch: {aiperf_orch.__version__}", "aiperf-orch: 99.0"
    )
    directory.config_file.write_text(newer)
    assert "reads formats up to 2" in refusal(directory.path)


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        (["--slots", "5000"], {}, "5000 slots do not fit"),
        (["--slots", "100001"], {}, "at most 100000"),
        (["--ends-at", "1000"], {}, "ends too soon to start a trial, in 0s: trials are warned 2m before"),
        ([], {"AIPERF_ORCH_ENDS_AT": "tomorrow"}, "AIPERF_ORCH_ENDS_AT: must be seconds since 1970"),
    ],
)
def test_an_allocation_without_room_is_refused(
    make_campaign: Callable[..., CampaignDirectory], options: list[str], environment: dict[str, Any], message: str
) -> None:
    directory = make_campaign(training__trainer="torch")
    assert message in refusal(directory.path, *options, **environment)
    assert not agent_names(directory)


def test_missing_accelerators_are_refused(make_campaign: Callable[..., CampaignDirectory]) -> None:
    directory = make_campaign(training__trainer="torch", scheduler__gpus_per_trial=2)
    assert "a trial wants 2 GPUs" in refusal(directory.path, CUDA_VISIBLE_DEVICES="0")


def test_the_command_line_says_why_it_refuses(aiperf: Any, directory: CampaignDirectory) -> None:
    done = aiperf("agent", directory.path, "--time-limit", "3")
    assert done.returncode == 2
    assert "--time-limit: '3' is not a duration" in done.stderr
    done = aiperf("agent", directory.path.parent)
    assert done.returncode == 2
    assert "is not a campaign directory" in done.stderr


def test_a_second_agent_gets_other_cores_or_is_refused(
    make_campaign: Callable[..., CampaignDirectory], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make_campaign(training__trainer="torch")
    monkeypatch.setattr("aiperf_orch.agent.joining.own_cores", lambda: [4, 7, 9])
    first, second = (join(JoinOptions(directory.path, slots=1), {}).begin for _ in range(2))  # both are this process
    assert (first.core_ids, second.core_ids) == ([4], [7])
    assert second.agent.endswith(".2")
    assert second.predecessor is None
    with pytest.raises(
        UsageError, match=rf"2 slots do not fit: 1 cores .*; {first.agent}, {second.agent} already runs"
    ):
        join(JoinOptions(directory.path, slots=2), {})


def test_after_a_killed_agent_nothing_of_it_is_left(directory: CampaignDirectory) -> None:
    with RunningAgent(directory, "--slots", "1") as killed:
        killed.place_script(A, "sleep 1000 & (setsid sleep 1000 & echo $!); echo $! $$; wait")
        killed.wait_output(A, "\n")
        pids = [int(word) for word in killed.wait_output(A, str(killed.started(A).pid)).split()]
        killed.kill()
    with RunningAgent(directory, "--slots", "1") as successor:
        assert successor.begin.predecessor == killed.name
        assert len(pids) == 3
        assert all(is_gone(pid) for pid in pids)
        successor.place_script(A, "true")
        assert successor.exited(A).status == 0
        successor.dismiss()
        assert successor.ended().reason == "dismissed"
    with RunningAgent(directory) as third:
        assert third.begin.predecessor is None  # its successor has named it


def test_jobs_that_share_a_node_have_been_divided_by_the_batch_system(
    make_campaign: Callable[..., CampaignDirectory],
) -> None:
    directory = make_campaign(training__trainer="torch", scheduler__gpus_per_trial=1)
    variables: dict[str, Any] = {"CUDA_VISIBLE_DEVICES": "0"}  # under cgroups each job has a GPU 0 of its own
    with (
        RunningAgent(directory, environment=variables | {"AIPERF_ORCH_JOB_ID": "77"}) as first,
        RunningAgent(directory, environment=variables | {"AIPERF_ORCH_JOB_ID": "78"}) as second,
    ):
        assert first.begin.core_ids == second.begin.core_ids
        assert first.begin.gpu_ids == second.begin.gpu_ids == ["0"]
        assert "already runs here" in refusal(directory.path, AIPERF_ORCH_JOB_ID="78", **variables)


def test_an_agent_ends_when_its_directory_is_that_of_another_campaign(
    make_campaign: Callable[..., CampaignDirectory], tmp_path: Path
) -> None:
    directory = make_campaign(scheduler__advanced={"lost_after": "1s"})
    with RunningAgent(directory) as first:
        first.place_script(A, "sleep 1000")
        pid = first.started(A).pid
        directory.path.rename(tmp_path / "removed")
        successor = make_campaign(scheduler__advanced={"lost_after": "1s"})
        with RunningAgent(successor) as second:
            assert (second.name, successor.path) == (first.name, directory.path)
            second.place_script(A, "echo ready; sleep 1000")
            assert first.process.wait(60) == 1
            assert is_gone(pid)
            assert "another campaign was made in the directory of this one" in first.output.read_text()
            second.wait_output(A, "ready")
            assert len(second.lines) == 2  # its begin, and the start of its attempt
            second.stop(A)
            second.exited(A)


@pytest.mark.long
def test_agents_of_an_allocation_wait_for_a_file_system_that_is_away(
    directory: CampaignDirectory, preload: Callable[[str], Path], tmp_path: Path
) -> None:
    away = tmp_path / "away"
    away.touch()
    variables: dict[str, Any] = {
        "LD_PRELOAD": str(preload("unreadable")),
        "UNREADABLE": str(away),
        "UNREADABLE_PATH": str(directory.path),
    }
    assert "cannot be read for now" in refusal(directory.path, status=1, **variables)
    back = threading.Timer(8, away.unlink)  # longer than reading is repeated anywhere else
    back.start()
    with RunningAgent(directory, "--allocation", "tag-a00001", environment=variables) as agent:
        assert agent.begin.allocation == "tag-a00001"
    back.join()


@pytest.mark.parametrize(
    ("name", "end"), [("mkdir", ".1"), ("open", "agent.jsonl"), ("fsync", "agent.jsonl")], ids=["folder", "log", "line"]
)
def test_agents_of_an_allocation_wait_also_when_they_have_begun_to_join(
    directory: CampaignDirectory, monkeypatch: pytest.MonkeyPatch, name: str, end: str
) -> None:
    call = getattr(os, name)
    failed: list[str] = []

    def failing(path: Any, *arguments: Any, **options: Any) -> Any:
        file = Path(f"/proc/self/fd/{path}").resolve().as_posix() if isinstance(path, int) else os.fspath(path)
        if "/agents/" in file and file.endswith(end) and len(failed) < 2:
            failed.append(file)
            raise OSError(errno.EIO, "Input/output error")
        return call(path, *arguments, **options)

    monkeypatch.setattr(os, name, failing)
    monkeypatch.setattr(former_agents, "_BEGIN_SECONDS", 0.5)  # for which the first join's folder is looked at
    with pytest.raises(AiperfError, match="for now: Input/output error"):
        join(JoinOptions(directory.path, slots=1), {})  # a user sees it, and tries again
    begin = join(JoinOptions(directory.path, "tag-a00001", slots=1), {}).begin
    assert len(failed) == 2
    assert follow_log(directory, begin.agent).read_on() == [begin]
