"""Validation of an image tree before training: invalid trees, faults of the node, broken images."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from aiperf_orch.records.base import EndReason
from aiperf_orch.trial.data import decoding, imagenet, tree_validation
from aiperf_orch.trial.data.data_paths import LocatedDataSettings
from aiperf_orch.trial.data.dataset import Dataset
from aiperf_orch.trial.data.listing import list_tree
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from data_fixtures import BATCHES


def test_only_rank_0_lists_the_tree(tree: Path) -> None:
    class Two:
        size = 2

        def __init__(self, *, is_rank_0: bool, sent: list[Tensor]) -> None:
            self.is_rank_0, self.sent = is_rank_0, sent

        def broadcast(self, tensors: list[Tensor]) -> None:
            for tensor in tensors:
                if self.is_rank_0:
                    self.sent.append(tensor.clone())
                else:
                    tensor.copy_(self.sent.pop(0))

    sent: list[Tensor] = []
    listing = list_tree(tree, 3)
    cpu: Any = torch.device("cpu")
    first, second = Two(is_rank_0=True, sent=sent), Two(is_rank_0=False, sent=sent)
    assert tree_validation.broadcast_listing(lambda: listing, cpu, first) is listing  # type: ignore[arg-type]
    got = tree_validation.broadcast_listing(lambda: pytest.fail("rank 1 lists the tree"), cpu, second)  # type: ignore[arg-type]
    assert (got.digest, got.classes, got.counts) == (listing.digest, listing.classes, listing.counts)


@pytest.mark.parametrize("call", ["scandir", "stat"])
def test_folder_that_this_node_cannot_read_is_a_node_failure(
    tree: Path, opened: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(path: Any, **_: Any) -> None:
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    if call == "scandir":
        monkeypatch.setattr(os, "scandir", fail)
    else:
        monkeypatch.setattr(Path, "stat", fail)
    with pytest.raises(TrialFailedError, match=r"images/train.*Stale file handle\): the node is at fault") as raised:
        opened(tree)
    assert raised.value.reason is EndReason.NODE_FAILURE


def _empty_class(tree: Path) -> None:
    shutil.rmtree(tree / "train" / "cat")
    (tree / "train" / "cat").mkdir()


def _no_cats(tree: Path) -> None:
    for split in ("train", "val"):
        shutil.rmtree(tree / split / "cat")


def _no_folders(tree: Path) -> None:
    for name in ("ant", "bee", "cat"):
        shutil.rmtree(tree / "val" / name)
    (tree / "val" / "0.JPEG").write_bytes(b"flat")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: shutil.rmtree(tree), r"images/train: cannot be read \(No such file.*contains train and val"),
        (lambda tree: shutil.rmtree(tree / "val"), "images/val: cannot be read"),
        (_no_folders, "images/val: has no class folders"),
        (lambda tree: shutil.rmtree(tree / "val" / "bee"), "'bee' is in train but not in val"),
        (_no_cats, "2 class folders.*3 outputs.*2"),
        (_empty_class, "train/cat: contains no images"),
        (lambda tree: (tree / "val/bee/0.JPEG").write_bytes(b"no"), r"val/bee/0.JPEG: cannot be read \(Unidentified"),
    ],
)  # fmt: skip
def test_invalid_tree_is_refused_before_training(
    tree: Path, opened: Callable[..., Dataset], change: Callable[[Path], Any], message: str
) -> None:
    change(tree)
    with pytest.raises(TrialFailedError, match=message) as raised:
        opened(tree)
    assert raised.value.reason is EndReason.BAD_DATA


def _located(tree: Path, index: Path, **changes: Any) -> LocatedDataSettings:
    """Settings of a trial that writes the index of a tree."""
    fields: dict[str, Any] = {"name": "imagenet", "path": str(tree), "image_size": 32, "classes": 3, "loaders": 0}
    return LocatedDataSettings(**fields | changes, index=index, writes_index=True)


def test_first_trial_validates_every_validation_image(tree: Path, tmp_path: Path) -> None:
    settings = _located(tree, tmp_path / "data.index")
    whole = (tree / "val/bee/1.JPEG").read_bytes()
    (tree / "val/bee/1.JPEG").write_bytes(whole[: len(whole) // 2])
    for _ in range(2):  # the index is not written after a failure
        with pytest.raises(
            TrialFailedError, match=r"val/bee/1.JPEG: cannot be read \(OSError: image file is trunc"
        ) as raised:
            imagenet.ImageTree(settings, torch.device("cpu"), ProcessGroup())
        assert raised.value.reason is EndReason.BAD_DATA
    (tree / "val/bee/1.JPEG").write_bytes(whole)
    dataset = imagenet.ImageTree(settings, torch.device("cpu"), ProcessGroup())
    assert dataset.digest == list_tree(tree, 3).digest == list_tree(tree, 3, settings.index).digest


def test_data_missing_only_on_this_node_is_a_node_failure(
    tree: Path, tmp_path: Path, opened: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _located(tree, tmp_path / "data.index", max_broken=0)
    dataset = imagenet.ImageTree(settings, torch.device("cpu"), ProcessGroup())
    monkeypatch.setattr(
        decoding, "read_image", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error"))
    )
    with pytest.raises(TrialFailedError, match="fails on this node") as raised:
        list(dataset.training(BATCHES, seed=1))
    assert raised.value.reason is EndReason.NODE_FAILURE
    shutil.rmtree(tree)
    with pytest.raises(TrialFailedError, match="this node does not see the data") as raised:
        imagenet.ImageTree(settings, torch.device("cpu"), ProcessGroup())
    assert raised.value.reason is EndReason.NODE_FAILURE
