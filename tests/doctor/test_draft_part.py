"""The part `allocations` of drafted site files: settings where trials cannot be jobs, and comments elsewhere."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import pytest

from aiperf_orch.doctor import pbs_job_classes, slurm_job_classes
from aiperf_orch.schedulers.pbs.access_lists import Submitter
from aiperf_orch.schedulers.pbs.inventory import Complex, QueueOrServer
from aiperf_orch.schedulers.pbs.site_draft import draft as draft_pbs
from aiperf_orch.schedulers.slurm.inventory import Cluster, NodeGroup, Partition
from aiperf_orch.schedulers.slurm.site_draft import draft as draft_slurm
from aiperf_orch.settings.allocations import AllocationSettings
from aiperf_orch.settings.loading import load_site
from aiperf_orch.settings.schedulers import ClusterSettings
from doctor.large_sites import AURORA, FRONTIER, JADE, LUMI

pytestmark = pytest.mark.unit

ME: Final = Submitter("me", "staff", frozenset({"staff"}), frozenset({"login1"}))
SMALL: Final = Cluster(
    {"ClusterName": "lab"}, (Partition("main", True, "UP", None, None),), (NodeGroup("main", "idle", 4, 16, 64000, {}),)
)


def of_slurm(cluster: Cluster) -> str:
    part = partial(slurm_job_classes.draft_part, duration=12 * 3600.0, cluster=cluster)
    return draft_slurm(cluster, "site.yaml", part)


def of_pbs(found: Complex) -> str:
    part = partial(pbs_job_classes.draft_part, duration=12 * 3600.0, found=found, submitter=ME)
    return draft_pbs(found, "site.yaml", ME, part)


def loaded(text: str, tmp_path: Path) -> tuple[AllocationSettings | None, int | None, int]:
    """Allocations, their slots, and the concurrent trials of a draft."""
    (tmp_path / "site.yaml").write_text(text)
    settings = load_site(tmp_path / "site.yaml").settings
    assert isinstance(settings.scheduler, ClusterSettings)
    return settings.scheduler.allocations, settings.scheduler.slots, settings.campaign.concurrency


@pytest.mark.parametrize(
    ("cluster", "at_once", "nodes", "reason"),
    [
        (FRONTIER, 1, 9408, "at most 100 jobs of yours in the queue (MaxSubmitJobsPerUser=100 of QOS normal)"),
        (LUMI, 4, 700, "at most 200 jobs of yours at once (MaxJobsPerUser=200 of QOS standard-g)"),
    ],
)
def test_allocations_that_trials_need_are_drafted_as_settings(
    tmp_path: Path, cluster: Cluster, at_once: int, nodes: int, reason: str
) -> None:
    text = of_slurm(cluster)
    own, slots, concurrency = loaded(text, tmp_path)
    assert own is not None
    assert (own.at_once, own.nodes) == (at_once, nodes)
    assert slots == concurrency
    assert f"  # {reason}: {concurrency:,} concurrent trials need" in text


def test_allocations_that_are_not_needed_are_a_comment(tmp_path: Path) -> None:
    text = of_slurm(SMALL)
    assert loaded(text, tmp_path)[0] is None
    assert (
        "  # run all trials in few batch jobs; here a job for each trial fits: no limit on the number of your jobs was "
        "found\n  # allocations:\n  #   nodes: 4\n  #   time_limit: 12h30m\n"
    ) in text


def test_allocations_with_too_little_room_are_a_comment(tmp_path: Path) -> None:
    text = of_slurm(JADE)
    assert loaded(text, tmp_path)[0] is None
    assert "64 concurrent trials need\n  # allocations: 8 at once, of 1 node in partition small\n" in text


def test_allocations_of_another_queue_are_a_comment_with_its_name(tmp_path: Path) -> None:
    text = of_pbs(AURORA)
    assert loaded(text, tmp_path)[0] is None
    assert "  # queue: prod\n  # allocations:\n  #   nodes: 64\n  #   time_limit: 6h\n" in text


def test_a_limit_on_jobs_does_not_bound_trials_in_allocations(tmp_path: Path) -> None:
    queues = {
        name: QueueOrServer(name, dict(queue.attributes) | {"max_run": "[u:PBS_GENERIC=10]"})
        for name, queue in AURORA.queues.items()
        if name != "debug"
    }
    server = QueueOrServer("aurora", dict(AURORA.server.attributes) | {"default_queue": "prod"})
    text = of_pbs(Complex(server, queues, AURORA.nodes))
    own, slots, concurrency = loaded(text, tmp_path)
    assert own is not None
    assert (own.nodes, own.at_once) == (1088, 2)
    assert slots == concurrency == 2176 * 6
