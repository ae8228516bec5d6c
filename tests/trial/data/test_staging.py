"""Staging: the copy of an image tree on the node's disk."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aiperf_orch.records.base import EndReason
from aiperf_orch.trial.data import staging
from aiperf_orch.trial.data.dataset import Dataset
from aiperf_orch.trial.data.listing import list_tree
from aiperf_orch.trial.data.staging import stage_tree
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from data_fixtures import BATCHES, training_images


def test_tree_is_copied_once_to_a_node(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listing, stage = list_tree(tree, 3), tmp_path / "disk"
    with ThreadPoolExecutor(4) as pool:
        roots = set(pool.map(lambda _: stage_tree(tree, listing, stage), range(4)))
    [root] = roots
    assert root.parent == stage
    assert capsys.readouterr().err == f"copying 24 images to {stage}, once for this node\n"
    assert list_tree(root, 3).digest == listing.digest
    assert {path.name for path in stage.iterdir()} == {root.name, f".{root.name}.lock"}

    (root / "val" / "ant" / "0.JPEG").unlink()  # as by a service that removes old files
    (root / "val" / "ant" / "1.JPEG").write_bytes(b"")
    assert stage_tree(tree, listing, stage) == root
    assert "copying 2 images" in capsys.readouterr().err
    assert list_tree(root, 3).digest == listing.digest

    shutil.rmtree(root)
    copyfile = shutil.copyfile

    def copy(dataset: bytes, target: bytes) -> None:
        if dataset.endswith(b"train/bee/3.JPEG"):  # simulated, because root may read all files
            raise PermissionError(errno.EACCES, "Permission denied", dataset)
        copyfile(dataset, target)

    monkeypatch.setattr(shutil, "copyfile", copy)
    assert stage_tree(tree, listing, stage) == tree
    assert "bee/3.JPEG: Permission denied): reading from" in capsys.readouterr().err
    assert stage_tree(tree, listing, stage, max_broken=1) == root == stage_tree(tree, listing, stage)
    assert [path.name for path in root.rglob("*.JPEG") if not path.stat().st_mode & 0o400] == ["3.JPEG"]

    root.chmod(0o777)  # other users may have written images
    assert stage_tree(tree, listing, stage) == tree
    assert "warning: the data is not copied to this node" in capsys.readouterr().err


def test_training_continues_without_a_copy_on_a_full_disk(
    tree: Path, tmp_path: Path, opened: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    dataset = opened(tree, stage=str(tmp_path / "disk"))
    assert len(list(dataset.training(BATCHES, seed=1))) == 2
    assert "warning: the data is not copied to this node" in capsys.readouterr().err
    monkeypatch.undo()
    copied = opened(tree, stage=str(tmp_path / "disk"))
    assert torch.equal(training_images(copied, 1), training_images(dataset, 1))
    damaged = next((tmp_path / "disk").glob("*/val/cat")) / "1.JPEG"
    for broken, reason, named in [
        (damaged, EndReason.NODE_FAILURE, f"{damaged}: cannot be read .*the original in {tree} can.*remove"),
        (tree / "val" / "cat" / "1.JPEG", EndReason.BAD_DATA, f"{tree}/val/cat/1.JPEG: cannot be read"),
    ]:
        broken.write_bytes(b"")
        with pytest.raises(TrialFailedError, match=named) as raised:
            list(copied.validation([np.arange(6)]))
        assert raised.value.reason is reason
    shutil.rmtree(tree)
    assert torch.equal(training_images(copied, 2), training_images(copied, 2))
