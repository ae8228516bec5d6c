"""Agents that must not begin, and agents beside or after another one on the same host."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import aiperf_orch
from agent.running_agent import RunningAgent, is_gone
from aiperf_orch.campaign.agent_files import agent_names
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.records.journal import Finished, Opened
from campaign_builder import CampaignBuilder

A = "tag-00000-1"


def refusal(path: Path, *options: str, **environment: str) -> str:
    """The message of an agent that must not begin."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "aiperf_orch.agent", str(path), *options],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
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
        (["--ends-at", "1000"], {}, "ends too soon"),
        ([], {"AIPERF_ORCH_ENDS_AT": "tomorrow"}, "AIPERF_ORCH_ENDS_AT: must be seconds since 1970"),
    ],
)
def test_an_allocation_without_room_is_refused(
    make_campaign: Callable[..., CampaignDirectory], options: list[str], environment: dict[str, str], message: str
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


def test_a_second_agent_gets_other_cores_or_is_refused(make_campaign: Callable[..., CampaignDirectory]) -> None:
    directory = make_campaign(training__trainer="torch")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("the agents need a core each")
    with RunningAgent(directory, "--slots", "1") as first:
        with RunningAgent(directory, "--slots", "1") as second:
            assert (first.begin.core_ids, second.begin.core_ids) == ([cores[0]], [cores[1]])
            assert second.name.endswith(".2")
            assert second.begin.predecessor is None
        assert f"{first.name} already runs here" in refusal(directory.path, "--slots", str(len(cores)))


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
