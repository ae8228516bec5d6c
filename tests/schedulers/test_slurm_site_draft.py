"""Drafts of site files for Slurm: every draft loads, and its values fit the cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.schedulers.slurm.accounting_limits import Association, Limit, LimitKind, Qos
from aiperf_orch.schedulers.slurm.inventory import Cluster, NodeGroup, Partition
from aiperf_orch.schedulers.slurm.site_draft import draft
from aiperf_orch.settings.loading import load_site
from aiperf_orch.settings.models import SiteSettings

pytestmark = pytest.mark.unit

CONFIG = {"ClusterName": "big", "SLURM_VERSION": "23.11.4"}
GPU = Partition("gpu", False, "UP", 86400.0, None)
CPU = Partition("cpu", True, "UP", None, None)
SHORT = Partition("short", False, "UP", 60.0, 1)
NODES = (
    NodeGroup("gpu", "idle", 3, 64, 512000, {"a100": 4}, ("ib",)),
    NodeGroup("gpu", "down*", 1, 64, 512000, {"a100": 4}),
    NodeGroup("gpu", "mixed", 1, 32, 256000, {"v100": 2}),
    NodeGroup("cpu", "idle", 100, 128, 256000, {}),
    NodeGroup("short", "idle", 1, 2, 1, {}),
)


def drafted(tmp_path: Path, *args: Any, **fields: Any) -> tuple[SiteSettings, str]:
    text = draft(Cluster(*args, **fields), "site.yaml")
    (tmp_path / "site.yaml").write_text(text)
    return load_site(tmp_path / "site.yaml").settings, text


def test_a_trial_gets_one_gpu_and_its_share_of_a_node(tmp_path: Path) -> None:
    settings, text = drafted(tmp_path, CONFIG, (CPU, GPU, SHORT), NODES)
    scheduler: Any = settings.scheduler
    assert (scheduler.partition, scheduler.gpu_type, scheduler.gpus_per_node) == ("gpu", "a100", 1)
    assert (scheduler.cpus_per_task, scheduler.memory) == (16, "128000M")
    assert scheduler.time_limit == 4 * 3600
    assert settings.campaign.concurrency == 12  # of the nodes that are in service
    assert settings.system.name == "big"
    assert "# partition: cpu" in text
    assert "a100, v100" in text
    assert "# constraint: ib" in text


def test_without_gpus_a_trial_gets_a_node(tmp_path: Path) -> None:
    settings, _ = drafted(tmp_path, CONFIG, (CPU, SHORT), NODES)
    scheduler: Any = settings.scheduler
    assert (scheduler.partition, scheduler.exclusive, scheduler.cpus_per_task) == ("cpu", True, 128)
    assert (scheduler.memory, scheduler.gpus_per_node, settings.campaign.concurrency) == ("0", None, 100)


def test_a_partition_with_a_short_limit_gets_short_jobs(tmp_path: Path) -> None:
    settings, _ = drafted(tmp_path, CONFIG, (SHORT,), NODES)
    scheduler: Any = settings.scheduler
    assert (scheduler.time_limit, scheduler.warn_before) == (60.0, 15.0)


@pytest.mark.parametrize("partitions", [(), (GPU,)])
def test_a_cluster_without_nodes_still_gets_a_file(tmp_path: Path, partitions: tuple[Partition, ...]) -> None:
    settings, _ = drafted(tmp_path, CONFIG, partitions, ())
    assert settings.campaign.concurrency == 1


def test_accounts_and_qos_are_comments(tmp_path: Path) -> None:
    associations = (
        Association("science", "", ("normal", "few"), "normal"),
        Association("art", "", ("normal",), ""),
    )
    few = Qos(
        "few",
        (
            Limit("QOS few", "GrpTRES", LimitKind.RUNNING_RESOURCE, 12, "cpu"),
            Limit("QOS few", "MaxJobsPerUser", LimitKind.RUNNING, 1),
            Limit("QOS few", "MaxSubmitJobsPerUser", LimitKind.QUEUED, 3),
            Limit("QOS few", "MaxWall", LimitKind.WALL, 1800.0),
        ),
    )
    qos = (Qos("normal"), few, Qos("secret"))
    _, text = drafted(tmp_path, CONFIG, (GPU,), NODES, associations, qos)
    assert "yours: art, science" in text
    assert "# qos: few" in text
    assert "1 running jobs of a user, 3 in the queue, jobs up to 30m, also GrpTRES" in text
    assert "secret" not in text


def test_the_default_account_comes_first(tmp_path: Path) -> None:
    associations = tuple(Association(name, "", (), "") for name in ("zoology", "science", "art"))
    _, text = drafted(tmp_path, CONFIG, (GPU,), NODES, associations, default_account="science")
    assert "# account: science " in text
    assert "yours: science, art, zoology" in text


@pytest.mark.parametrize("name", ["1e3", "no", "null", "a\nkind: local", "a: b", "# x", "Ä", "08"])
def test_a_name_cannot_add_settings(tmp_path: Path, name: str) -> None:
    config = {"ClusterName": name, "SLURM_VERSION": name}
    text = draft(Cluster(config, (GPU,), NODES, without_accounting=name), name)
    (tmp_path / "site.yaml").write_text(text)
    if name.isprintable():
        assert load_site(tmp_path / "site.yaml").settings.system.name == name
    assert "\nkind: local" not in text
