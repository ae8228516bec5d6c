"""Private paths of data: used by trials, but not part of specifications and packages."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import yaml

from aiperf_orch.campaign.directory import read_spec
from aiperf_orch.trial.data.data_paths import LocatedDataSettings, with_data_paths
from aiperf_orch.trial.data.listing import list_tree


def test_campaign_on_an_image_tree_keeps_its_path_private(
    tree: Path, tmp_path: Path, aiperf: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    site, campaign = tmp_path / "site.yaml", tmp_path / "campaign"
    data = {"name": "imagenet", "path": str(tree), "image_size": 16, "classes": 3, "loaders": 1}
    settings = {
        "data": data | {"stage": str(tmp_path / "disk")},
        "campaign": {"duration": "10m", "max_trials": 1, "concurrency": 1},
        "training": {"warmup_epochs": [1], "epochs": 1},
        "search": {"batch_size": [6, 6]},
    }
    site.write_text(yaml.safe_dump(settings))
    assert aiperf("run", site, "--campaign-dir", campaign, timeout=240).returncode == 0
    digest = list_tree(tree, 3).digest
    [row] = csv.DictReader((campaign / "result.csv").open())
    assert (row["epochs"], row["train_images"], row["data"], row["data_sha256"]) == ("1", "18", "imagenet", digest)
    assert "data" in row["missed_rules"].split()
    assert (campaign / "data.index").stat().st_size > 0
    assert len(list((tmp_path / "disk").iterdir())) == 2  # the copy, and its lock

    package = tmp_path / "package.tar.gz"
    done = aiperf("package", campaign, "--output", package, timeout=120)
    assert done.returncode == 0, done.stderr
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    subprocess.run(["tar", "xzf", package, "-C", unpacked], check=True, timeout=60)
    files = [path.read_bytes() for path in unpacked.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not any(str(tree).encode() in content for content in files)

    path = campaign / "trials" / "00000.json"
    assert json.loads(path.read_text())["data"]["path"] is None
    spec, _ = read_spec(path)
    found = with_data_paths(spec, path, manual=True).data
    assert isinstance(found, LocatedDataSettings)
    assert (found.path, found.index, found.writes_index) == (str(tree), campaign / "data.index", False)
    elsewhere = with_data_paths(spec, path, manual=True, data=tmp_path / "other").data
    assert (elsewhere.path, elsewhere.stage) == (str(tmp_path / "other"), None)
    alone = tmp_path / "alone" / "spec.json"
    alone.parent.mkdir()
    alone.write_bytes(path.read_bytes())
    assert with_data_paths(spec, alone, manual=True, data=tree).data.path == str(tree)


def test_check_validates_the_data_on_the_node(
    tree: Path, tmp_path: Path, aiperf: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    site = tmp_path / "site.yaml"
    data = {"name": "imagenet", "path": str(tree), "image_size": 16, "classes": 3}
    site.write_text(yaml.safe_dump({"data": data, "campaign": {"concurrency": 1}}))
    (tree / "val" / "ant" / "0.JPEG").write_bytes(b"no image")
    done = aiperf("check", site, timeout=120)
    assert "fault    data: " in done.stdout
    assert "val/ant/0.JPEG: cannot be read" in done.stdout
    assert "check data.path, and its contents on the nodes" in done.stdout
