"""Nodes that `check --every-node` examines, by what sinfo and pbsnodes print, and its jobs."""

from __future__ import annotations

from typing import Any

import pytest

from aiperf_orch.doctor.site_nodes import SiteNode, job_groups, parse_slurm_nodes, scheduler_on
from aiperf_orch.settings.models import SiteSettings

pytestmark = pytest.mark.unit
_SINFO = """\
n1|main*|idle
n1|short|idle
n2|main*|allocated
n3|main*|down*
n4|main*|drained
n5|main*|mixed~
g1|gpu|idle
broken line
"""


def _scheduler(**fields: Any) -> Any:
    return SiteSettings.model_validate({"scheduler": {"kind": "slurm", **fields}}).scheduler


@pytest.mark.parametrize(
    ("partition", "excluded", "nodes"),
    [
        (None, [], ["n1", "n2", "n3", "n4", "n5"]),
        ("gpu", [], ["g1"]),
        ("short,gpu", [], ["n1", "g1"]),
        ("main", ["n2", "n4"], ["n1", "n3", "n5"]),
        ("absent", [], []),
    ],
)
def test_the_nodes_are_those_of_the_partition(partition: str | None, excluded: list[str], nodes: list[str]) -> None:
    assert [node.name for node in parse_slurm_nodes(_SINFO, partition, excluded)] == nodes


def test_nodes_out_of_service_are_known() -> None:
    states = {node.name: (node.is_idle, node.out_of_service) for node in parse_slurm_nodes(_SINFO, None, [])}
    assert states == {
        "n1": (True, ""),
        "n2": (False, ""),
        "n3": (False, "down"),
        "n4": (False, "drained"),
        "n5": (False, ""),
    }


@pytest.mark.parametrize(
    ("fields", "groups"),
    [
        ({}, [("n1",), ("n3",), ("n2",)]),
        ({"allocations": {"nodes": 2, "time_limit": "1h"}}, [("n1", "n3"), ("n2",)]),
    ],
)
def test_jobs_have_one_node_or_those_of_an_allocation_idle_ones_first(
    fields: dict[str, Any], groups: list[tuple[str, ...]]
) -> None:
    nodes = [SiteNode("n1"), SiteNode("n2", is_idle=False), SiteNode("n3"), SiteNode("n4", out_of_service="down")]
    assert job_groups(_scheduler(cpus_per_task=1, **fields), nodes) == groups


@pytest.mark.parametrize(
    ("fields", "hosts", "line"),
    [
        ({"kind": "slurm"}, ["n1"], "#SBATCH --nodelist=n1"),
        ({"kind": "slurm", "exclude": "n9", "directives": ["--x"]}, ["n1"], "#SBATCH --x\n#SBATCH --nodelist=n1"),
        (
            {"kind": "slurm", "cpus_per_task": 1, "allocations": {"nodes": 2, "time_limit": "1h"}},
            ["n1", "n2"], "#SBATCH --nodelist=n1,n2",
        ),
        ({"kind": "pbs", "cpus": 2}, ["n1"], "#PBS -l select=1:ncpus=2:host=n1:mpiprocs=1"),
        ({"kind": "pbs", "cpus": 2, "chunk": "a=b"}, ["n1"], "#PBS -l select=1:ncpus=2:a=b:host=n1:mpiprocs=1"),
    ],
)  # fmt: skip
def test_the_script_of_a_job_names_its_nodes(
    fields: dict[str, Any], hosts: list[str], line: str, tmp_path: Any
) -> None:
    from aiperf_orch.schedulers.base import JobRequest

    settings = SiteSettings.model_validate({"scheduler": fields}).scheduler
    script = scheduler_on(settings, hosts).render(JobRequest("a-b", tmp_path, tmp_path, tmp_path, ("true",)))
    assert line in script
    assert "--exclude" not in script
