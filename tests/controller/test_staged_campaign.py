"""A campaign on packed images, which each of four nodes of a real Slurm copies to its own disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import Phase
from aiperf_orch.controller.controller import Controller
from aiperf_orch.controller.loop import run
from aiperf_orch.results.result import compute_result
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.trial.data.listing import list_tree
from aiperf_orch.trial.data.packing import pack
from controller.following import check_verifies

TRIALS, READERS = 6, 2
pytestmark = [pytest.mark.slurm, pytest.mark.long]


@pytest.fixture
def disks(slurm: Any, short_path: Path) -> Any:
    """A folder that is on a disk of its own on each node."""
    folder = short_path / "disk"
    folder.mkdir()
    if not slurm.hide(folder):
        pytest.skip("the nodes have no disks of their own: this system allows no mounts")
    yield folder
    slurm.show(folder)
    folder.rmdir()


def test_each_node_copies_packed_images_once_and_the_package_verifies(
    slurm: Any, disks: Path, tree: Path, tmp_path: Path
) -> None:
    pack(tree, tmp_path / "packed", shard_bytes=10_000)
    settings = SiteSettings.model_validate(
        {
            "scheduler": {
                "kind": "slurm",
                "cpus_per_task": 2,
                "memory": "1000M",
                "time_limit": "10m",
                "exclusive": True,
                "poll_interval": "100ms",
                "query_interval": "1s",
            },
            "data": {
                "name": "imagenet",
                "path": str(tmp_path / "packed"),
                "stage": str(disks),
                "stage_readers": READERS,
                "image_size": 32,
                "classes": 3,
                "loaders": 1,
            },
            "campaign": {"concurrency": len(slurm.nodes), "max_trials": TRIALS},
            "search": {"batch_size": [4, 8]},
            "training": {"warmup_epochs": [2], "epochs": 2, "precision": "fp32"},
        }
    )
    directory = CampaignDirectory.create(tmp_path / "campaign", settings, {})
    controller = Controller(directory, make_scheduler(settings.scheduler), resume=True, warn=print)
    try:
        phase = run(controller, observe=lambda: None, stop_wanted=lambda: False, leave_wanted=lambda: False)
    finally:
        controller.close()
    logs = [path.read_text() for path in directory.path.glob("jobs/*/log")]
    assert phase is Phase.FINISHED, "\n".join(logs)
    result = compute_result(directory)
    assert result.data_digests == {list_tree(tree, 3).digest}, "the digest is that of the tree"
    hosts = {host for trial in result.collected.trials for begin in trial.begins for host in begin.hosts}
    copied = [log for log in logs if " shards in " in log]
    assert len(hosts) == len(slurm.nodes)
    assert len(copied) == len(hosts), "a copy for each node, which all of its trials use"
    assert not [log for log in logs if "reading from" in log]
    assert not list(disks.iterdir()), "the copies are on the nodes"
    assert len(list((directory.path / "read-slots").iterdir())) <= READERS
    check_verifies(directory.path)
