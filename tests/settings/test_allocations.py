"""Settings of allocations: slots of a node, refusals of what cannot work, and the part's keys everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from aiperf_orch.commands.site_options import describe
from aiperf_orch.settings.comparison import differences
from aiperf_orch.settings.loading import LoadedSettings, load_site
from aiperf_orch.settings.models import SiteSettings, as_site_file
from aiperf_orch.settings.placement import placement_settings
from aiperf_orch.settings.schedulers import AgentsSettings, PbsSettings, SlurmSettings
from aiperf_orch.settings.site_document import Override
from aiperf_orch.util.errors import UsageError

pytestmark = pytest.mark.unit
Load = Callable[..., LoadedSettings]
FILE = """\
scheduler:
  kind: slurm
  cpus_per_task: 8
  gpus_per_node: 1
  allocations:
    nodes: 64
    time_limit: 12h
    cpus_per_node: 64
    gpus_per_node: 8
"""


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads the site file above with `--set` assignments."""

    def load(*assignments: str) -> LoadedSettings:
        (tmp_path / "site.yaml").write_text(FILE)
        return load_site(tmp_path / "site.yaml", [Override.parse(each) for each in assignments])

    return load


@pytest.mark.parametrize(
    ("trial", "allocation", "slots", "in_all"),
    [
        ({}, {"nodes": 4}, 1, 4),
        ({"gpus_per_node": 1}, {"nodes": 4, "gpus_per_node": 8}, 8, 32),
        ({"gpus_per_node": 3}, {"nodes": 4, "gpus_per_node": 8}, 2, 8),
        ({"gpus_per_node": 1, "cpus_per_task": 16}, {"nodes": 4, "gpus_per_node": 8, "cpus_per_node": 64}, 4, 16),
        ({"cpus_per_task": 16}, {"nodes": 4, "cpus_per_node": 64, "at_once": 3}, 4, 48),
        ({"gpus_per_node": 4, "nodes": 2}, {"nodes": 5, "gpus_per_node": 8}, 1, 2),
    ],
)
def test_slots_follow_from_the_requests_of_trial_and_node(
    trial: dict[str, Any], allocation: dict[str, Any], slots: int, in_all: int
) -> None:
    settings = SlurmSettings.model_validate({**trial, "allocations": {"time_limit": "2h", **allocation}})
    assert (settings.slots_per_node, settings.slots) == (slots, in_all)


def test_without_allocations_there_are_no_slots() -> None:
    assert SlurmSettings().slots is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "nodes=65",
            "SITE:6: scheduler.allocations.nodes: an allocation has 64 node(s), and a trial wants 65 "
            "(scheduler.nodes); for example nodes: 65",
        ),
        (
            "gpus_per_node=9",
            "SITE:9: scheduler.allocations.gpus_per_node: a node of an allocation has 8 GPU(s), and a trial wants 9; "
            "for example gpus_per_node: 9",
        ),
        (
            "cpus_per_task=65",
            "SITE:8: scheduler.allocations.cpus_per_node: a node of an allocation has 64 core(s), and a trial wants "
            "65; for example cpus_per_node: 65",
        ),
        (
            "gpus_per_node=null",
            "SITE:9: scheduler.allocations.gpus_per_node: a trial requests no GPU, and these would stay idle: request "
            "those of one trial in the section scheduler, too; for example gpus_per_node: null",
        ),
        (
            "allocations.time_limit=2m",
            "--set scheduler.allocations.time_limit: scheduler.allocations.time_limit: must be longer than "
            "scheduler.warn_before, 2m; for example time_limit: 12h",
        ),
        (
            "requeue=true",
            "--set scheduler.requeue: scheduler.requeue: an allocation is not run again; for example requeue: false",
        ),
        (
            "launcher=none",
            "--set scheduler.launcher: scheduler.launcher: without srun only the first node of an allocation would get "
            "an agent; for example launcher: srun",
        ),
        (
            "allocations.nodez=2",
            "--set scheduler.allocations.nodez: scheduler.allocations.nodez: unknown key; did you mean nodes?",
        ),
        (
            "allocations={nodes: 2}",
            "--set scheduler.allocations: scheduler.allocations.time_limit: is required; "
            "for example --set scheduler.allocations.time_limit=12h",
        ),
        (
            "allocations.lookahead=few",
            "--set scheduler.allocations.lookahead: scheduler.allocations.lookahead: must be a whole number, not "
            "'few'; for example --set scheduler.allocations.lookahead=null",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_place_reason_example(
    load: Load, tmp_path: Path, change: str, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        load(f"scheduler.{change}")
    assert str(caught.value).replace(f"{tmp_path}/site.yaml", "SITE") == message


def test_cores_of_a_node_need_those_of_a_trial() -> None:
    with pytest.raises(ValidationError, match="cpus_per_node: the section scheduler does not say how many cores"):
        SlurmSettings.model_validate({"allocations": {"nodes": 2, "time_limit": "1h", "cpus_per_node": 64}})


def test_one_node_needs_no_launcher() -> None:
    settings = {"launcher": "none", "allocations": {"nodes": 1, "time_limit": "1h"}}
    assert SlurmSettings.model_validate(settings).slots == 1


def test_resources_of_pbs_are_those_of_a_trial_alone() -> None:
    with pytest.raises(ValidationError, match="resources: they request the nodes of one trial"):
        PbsSettings.model_validate({"resources": ["nodes=1"], "allocations": {"nodes": 2, "time_limit": "1h"}})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"setup": ["module load python"]}, "setup: is not run here, as agents are started manually"),
        ({"template": "/shared/own.sh.j2"}, "template: nothing is submitted"),
        ({"ports": [5000, 4000]}, "ports: the first, 5000, is above the last, 4000"),
    ],
)
def test_hand_started_agents_take_nothing_of_a_batch_script(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AgentsSettings.model_validate(given)


def test_keys_can_be_set_alone_and_keep_their_origins(load: Load, tmp_path: Path) -> None:
    loaded = load("scheduler.allocations.nodes=512", "scheduler.allocations.at_once='2'")
    assert isinstance(loaded.settings.scheduler, SlurmSettings)
    own = loaded.settings.scheduler.allocations
    assert own is not None
    assert (own.nodes, own.at_once, own.time_limit) == (512, 2, 12 * 3600)
    text = describe(loaded)
    assert "    nodes: 512  # --set scheduler.allocations.nodes\n" in text
    assert f"    time_limit: 43200s  # {tmp_path}/site.yaml:7\n" in text
    (tmp_path / "again.yaml").write_text(text)
    assert load_site(tmp_path / "again.yaml").settings == loaded.settings


def test_a_difference_names_the_key_of_the_part(load: Load) -> None:
    assert differences(load().settings, load("scheduler.allocations.nodes=32").settings) == [
        "scheduler.allocations.nodes: 64 there, 32 now"
    ]
    added = differences(load("scheduler.allocations=null").settings, load().settings)
    assert "scheduler.allocations.nodes: not set there, 64 now" in added


def test_allocations_written_as_a_site_file_are_read_back(load: Load) -> None:
    settings = load().settings
    assert SiteSettings.model_validate(as_site_file(settings)) == settings


def test_an_allocation_has_at_most_the_nodes_of_the_system(load: Load) -> None:
    with pytest.raises(UsageError, match=r"number_of_nodes: 60, but scheduler\.allocations\.nodes gives each alloc"):
        load("system.number_of_nodes=60")


@pytest.mark.parametrize(("wait", "expected"), [("15m", 30.0), ("1m", 15.0), ("20s", 5.0)])
def test_a_live_controller_is_never_silent_for_as_long_as_agents_wait(wait: str, expected: float) -> None:
    settings = placement_settings(AgentsSettings.model_validate({"wait_for_controller": wait}), 2)
    assert settings is not None
    assert settings.controller_interval == expected
