"""Listing of an image tree: index, unusual names, completeness of ImageNet."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from aiperf_orch.records.base import EndReason
from aiperf_orch.records.trial import DataRecord
from aiperf_orch.trial.data.listing import Listing, check_complete, list_tree
from aiperf_orch.trial.data.staging import stage_tree
from aiperf_orch.trial.runtime.trainer import TrialFailedError


def test_listing_is_updated_if_a_class_folder_changed(tree: Path, tmp_path: Path) -> None:
    index = tmp_path / "data.index"
    os.utime(tree / "train" / "bee", (0, 0))  # the time stamps of a file system may be coarse
    (tree / "train" / "ant" / "folder.jpg").mkdir()
    os.mkfifo(tree / "train" / "ant" / "pipe.jpg")  # not an image: reading it would block
    listing = list_tree(tree, 3, index)
    listing.write_index(index)
    assert listing.text.splitlines()[0] == b"train/ant/0.JPEG %d" % (tree / "train/ant/0.JPEG").stat().st_size
    assert (listing.images("train"), listing.images("val")) == (18, 6)
    assert listing.paths("val", np.array([5, 0])) == [b"val/cat/1.JPEG", b"val/ant/0.JPEG"]
    inside = tree / "train" / "ant" / "0.JPEG"
    inside.write_bytes(inside.read_bytes() + b"0")  # does not change the time of the folder: the index is read
    assert list_tree(tree, 3, index).digest == listing.digest
    shutil.copy(inside, tree / "train" / "bee" / "more.JPEG")
    updated = list_tree(tree, 3, index)
    assert (updated.is_new, updated.images("train")) == (True, 19)
    updated.write_index(index)
    assert not list_tree(tree, 3, index).is_new
    assert Listing.from_bytes(updated.to_bytes()).digest == updated.digest == list_tree(tree, 3).digest
    moved = tree.rename(tree.with_name("moved"))
    assert list_tree(moved, 3, index).is_new
    assert list_tree(moved, 3, index).digest == updated.digest
    index.write_bytes(index.read_bytes()[:-9])
    assert list_tree(moved, 3, index).digest == updated.digest


ODD = ["a\rb.jpg", "c\x0bd.jpg", "e\x0cf.jpg", "g\x85h.jpg", "i\u2028j.jpg", "k\x1cl.jpg"]


def test_names_may_contain_unusual_line_separators(tree: Path, tmp_path: Path) -> None:
    for name in ODD:
        shutil.copy(tree / "train/ant/1.JPEG", tree / "train/ant" / name)
    listing = list_tree(tree, 3)
    assert listing.images("train") == 18 + len(ODD)
    assert len(list(listing.files())) == 24 + len(ODD)
    copy = stage_tree(tree, listing, tmp_path / "disk")
    assert copy != tree
    assert {name for name in ODD if (copy / "train/ant" / name).exists()} == set(ODD)


@pytest.mark.parametrize(
    ("images", "image_size", "message"),
    [
        ((1_281_167, 50_000), 224, None),
        ((1_281_167, 49_999), 224, "/data/val: contains 49,999 images, ImageNet-1k has 50,000"),
        ((900_000, 50_000), 224, "/data/train: contains 900,000 images, ImageNet-1k has 1,281,167"),
        ((900, 100), 64, None),
    ],
)
def test_incomplete_imagenet_is_refused(images: tuple[int, int], image_size: int, message: str | None) -> None:
    counts = {split: [count - 999, *[1] * 999] for split, count in zip(("train", "val"), images, strict=True)}
    listing = Listing(b"", [f"n{number:04d}" for number in range(1000)], counts)
    settings = DataRecord(name="imagenet", path="/data", image_size=image_size)
    if message is None:
        check_complete(Path("/data"), settings, listing)
        return
    with pytest.raises(TrialFailedError, match=message) as raised:
        check_complete(Path("/data"), settings, listing)
    assert raised.value.reason is EndReason.BAD_DATA
