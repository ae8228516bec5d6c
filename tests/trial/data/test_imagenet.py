"""An image tree: listed once, decoded alike by however many processes, refused when it is wrong, copied once to a node."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from torch import Tensor

from aiperf_orch.network import seeds
from aiperf_orch.records.base import EndReason
from aiperf_orch.settings.models import DataSettings, TrainingSettings
from aiperf_orch.trial.bench import specification
from aiperf_orch.trial.data import decoding, imagenet, staging
from aiperf_orch.trial.data.data_paths import PlacedData
from aiperf_orch.trial.data.dataset import SKIPPED, Dataset
from aiperf_orch.trial.data.listing import Listing, check_whole, list_tree
from aiperf_orch.trial.data.open_dataset import load_dataset
from aiperf_orch.trial.data.staging import staged
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.trial.training.torch_trainer import TorchTrainer

BATCHES = [np.array([17, 0, 4]), np.arange(5, 13)]


@pytest.fixture
def opened() -> Iterator[Callable[..., Dataset]]:
    """Opens trees, without loaders unless told; each is closed at the end."""
    sources = []

    def open_tree(root: Path, **changes: Any) -> Dataset:
        fields = {"name": "imagenet", "path": str(root), "image_size": 32, "classes": 3, "loaders": 0} | changes
        settings = DataSettings(**fields)
        network = seeds.small_residual(settings.input_shape, 3)
        sources.append(load_dataset(settings, network, torch.device("cpu"), ProcessGroup()))
        return sources[-1]

    yield open_tree
    for source in sources:
        source.close()


def _images(source: Dataset, seed: int) -> Tensor:
    return torch.cat([batch.images for batch in source.training(BATCHES, seed)])


def test_images_and_labels(tree: Path, opened: Callable[..., Dataset]) -> None:
    source = opened(tree)
    assert (source.train_images, source.val_images) == (18, 6)
    first, second = source.training(BATCHES, seed=1)
    assert first.labels.tolist() == [2, 0, 0]
    assert second.labels.tolist() == [0, 1, 1, 1, 1, 1, 1, 2]
    assert (first.images.shape, first.images.dtype) == ((3, 3, 32, 32), torch.float32)
    assert first.images.is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(_images(source, 1), _images(source, 2))


def test_the_same_seed_gives_the_same_batches_whatever_the_number_of_loaders(
    tree: Path, opened: Callable[..., Dataset]
) -> None:
    alone, helped = opened(tree), opened(tree, loaders=2)
    abandoned = helped.training(BATCHES, seed=9)
    next(abandoned)  # an epoch that is begun again, as after a want of memory
    assert torch.equal(_images(alone, 1), _images(helped, 1))
    for ours, theirs in zip(alone.validation([np.arange(6)]), helped.validation([np.arange(6)]), strict=True):
        assert torch.equal(ours.images, theirs.images)
        assert ours.labels.tolist() == theirs.labels.tolist() == [0, 0, 1, 1, 2, 2]
    reordered = torch.cat([batch.images for batch in helped.training([np.concatenate(BATCHES)], seed=1)])
    assert torch.equal(reordered, _images(alone, 1))


def test_validation_is_the_usual_resize_and_centre_crop(tree: Path, opened: Callable[..., Dataset]) -> None:
    [batch] = opened(tree, image_size=28).validation([np.arange(6)])
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    files = [tree / "val" / name / f"{number}.JPEG" for name in ("ant", "bee", "cat") for number in (0, 1)]
    for got, file in zip(batch.images, files, strict=True):
        image = Image.open(file).convert("RGB")
        assert image.width > image.height
        resized = image.resize((32 * image.width // image.height, 32), Image.Resampling.BILINEAR)
        left = round((resized.width - 28) / 2)
        expected = (np.asarray(resized.crop((left, 2, left + 28, 30))) / 255 - mean) / deviation
        one_level = 1.01 / 255 / deviation.min()  # the one resize rounds once, the two of here twice
        assert np.abs(got.permute(1, 2, 0).numpy() - expected).max() <= one_level


def test_crops_are_as_large_and_as_wide_as_they_should() -> None:
    chance = np.random.default_rng(3)
    areas, ratios = [], []
    for _ in range(2000):
        left, upper, right, lower = decoding.random_crop((500, 375), chance)
        assert 0 <= left < right <= 500
        assert 0 <= upper < lower <= 375
        areas.append((right - left) * (lower - upper) / (500 * 375))
        ratios.append((right - left) / (lower - upper))
    assert 0.075 < min(areas) < 0.1
    assert 0.9 < max(areas) <= 1
    assert 0.74 < min(ratios) < 0.8
    assert 1.25 < max(ratios) < 1.35
    assert decoding.random_crop((1000, 10), chance)[3] == 10  # no crop of that shape fits: the middle of it


def test_the_listing_is_made_once_and_made_anew_when_a_class_folder_changed(tree: Path, tmp_path: Path) -> None:
    index = tmp_path / "data.index"
    os.utime(tree / "train" / "bee", (0, 0))  # a file system's clock may tick seldom: what follows is later by it, too
    (tree / "train" / "ant" / "folder.jpg").mkdir()
    os.mkfifo(tree / "train" / "ant" / "pipe.jpg")  # no image: who reads it waits for ever
    listing = list_tree(tree, 3, index)
    listing.keep(index)
    assert listing.text.splitlines()[0] == b"train/ant/0.JPEG %d" % (tree / "train/ant/0.JPEG").stat().st_size
    assert (listing.images("train"), listing.images("val")) == (18, 6)
    assert listing.paths("val", np.array([5, 0])) == [b"val/cat/1.JPEG", b"val/ant/0.JPEG"]
    inside = tree / "train" / "ant" / "0.JPEG"
    inside.write_bytes(inside.read_bytes() + b"0")  # a folder's time does not tell: so the index was read
    assert list_tree(tree, 3, index).digest == listing.digest
    shutil.copy(inside, tree / "train" / "bee" / "more.JPEG")
    anew = list_tree(tree, 3, index)
    assert (anew.new, anew.images("train")) == (True, 19)
    anew.keep(index)
    assert not list_tree(tree, 3, index).new
    assert Listing.unpacked(anew.packed()).digest == anew.digest == list_tree(tree, 3).digest
    moved = tree.rename(tree.with_name("moved"))
    assert list_tree(moved, 3, index).new
    assert list_tree(moved, 3, index).digest == anew.digest
    index.write_bytes(index.read_bytes()[:-9])
    assert list_tree(moved, 3, index).digest == anew.digest


def test_only_the_first_worker_asks_the_file_system(tree: Path) -> None:
    class Two:
        size = 2

        def __init__(self, *, first: bool, sent: list[Tensor]) -> None:
            self.first, self.sent = first, sent

        def broadcast(self, tensors: list[Tensor]) -> None:
            for tensor in tensors:
                if self.first:
                    self.sent.append(tensor.clone())
                else:
                    tensor.copy_(self.sent.pop(0))

    sent: list[Tensor] = []
    listing = list_tree(tree, 3)
    cpu: Any = torch.device("cpu")
    first, second = Two(first=True, sent=sent), Two(first=False, sent=sent)
    assert imagenet._shared(lambda: listing, cpu, first) is listing  # type: ignore[arg-type]
    got = imagenet._shared(lambda: pytest.fail("it lists"), cpu, second)  # type: ignore[arg-type]
    assert (got.digest, got.classes, got.counts) == (listing.digest, listing.classes, listing.counts)


ODD = ["a\rb.jpg", "c\x0bd.jpg", "e\x0cf.jpg", "g\x85h.jpg", "i\u2028j.jpg", "k\x1cl.jpg"]


def test_names_may_hold_what_some_take_for_the_end_of_a_line(tree: Path, tmp_path: Path) -> None:
    for name in ODD:
        shutil.copy(tree / "train/ant/1.JPEG", tree / "train/ant" / name)
    listing = list_tree(tree, 3)
    assert listing.images("train") == 18 + len(ODD)
    assert len(list(listing.files())) == 24 + len(ODD)
    copy = staged(tree, listing, tmp_path / "disk")
    assert copy != tree
    assert {name for name in ODD if (copy / "train/ant" / name).exists()} == set(ODD)


def test_a_link_that_leads_nowhere_is_one_broken_image(
    tree: Path, tmp_path: Path, opened: Callable[..., Dataset]
) -> None:
    digest = list_tree(tree, 3).digest
    (tree / "train/ant/0.JPEG").unlink()  # the first that is looked at
    (tree / "train/ant/0.JPEG").symlink_to(tmp_path / "nowhere.jpg")
    assert list_tree(tree, 3).digest != digest
    for stage in (None, str(tmp_path / "disk")):
        source = opened(tree, max_broken=1, stage=stage)
        assert source.train_images == 18
        assert sum(batch.skipped for batch in source.training(BATCHES, seed=1)) == 1
    assert staged(tree, list_tree(tree, 3), tmp_path / "disk", max_broken=1) != tree
    with pytest.raises(TrialFailedError, match=r"ant/0.JPEG: cannot be read .*No such file") as raised:
        opened(tree, max_broken=0)
    assert raised.value.reason is EndReason.BAD_DATA
    (tree / "val/cat/1.JPEG").unlink()
    (tree / "val/cat/1.JPEG").symlink_to("1.JPEG")  # a circle
    with pytest.raises(TrialFailedError, match=r"val/cat/1.JPEG: cannot be read"):
        list(opened(tree, max_broken=1).validation([np.arange(6)]))


@pytest.mark.parametrize("call", ["scandir", "stat"])
def test_a_folder_that_this_node_cannot_read_is_the_nodes_fault(
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


_READING = """
import sys, torch
from aiperf_orch.settings.models import DataSettings
from aiperf_orch.trial.data.imagenet import ImageTree
from aiperf_orch.trial.runtime.process_group import ProcessGroup
import numpy as np
data = DataSettings(name="imagenet", path=sys.argv[1], image_size=16, classes=3, loaders=1)
if __name__ == "__main__":
    source = ImageTree(data, torch.device("cpu"), ProcessGroup())
    print(sum(len(batch.labels) for batch in source.training([np.arange(18)], 1)))
    source.close()
"""


@pytest.mark.parametrize("length", [76, 200])
def test_images_are_loaded_however_long_the_path_of_temporary_files_is(tree: Path, tmp_path: Path, length: int) -> None:
    temporary = Path(f"{tmp_path}/{'t' * (length - len(str(tmp_path)) - 1)}")
    temporary.mkdir()
    assert len(str(temporary)) >= 76
    done = subprocess.run(
        [sys.executable, "-c", _READING, str(tree)],
        env=os.environ | {"TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "18\n"), done.stderr


def _empty_class(tree: Path) -> None:
    shutil.rmtree(tree / "train" / "cat")
    (tree / "train" / "cat").mkdir()


def _no_folders(tree: Path) -> None:
    for name in ("ant", "bee", "cat"):
        shutil.rmtree(tree / "val" / name)
    (tree / "val" / "0.JPEG").write_bytes(b"flat")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: shutil.rmtree(tree), r"images/train: cannot be read \(No such file.*holds train and val"),
        (lambda tree: shutil.rmtree(tree / "val"), "images/val: cannot be read"),
        (_no_folders, "images/val: has no class folders"),
        (lambda tree: shutil.rmtree(tree / "val" / "bee"), "'bee' is in train, and not in val"),
        (lambda tree: [shutil.rmtree(tree / split / "cat") for split in ("train", "val")], "2 class folders.*3 outputs.*2"),
        (_empty_class, "train/cat: holds no images"),
        (lambda tree: (tree / "val/bee/0.JPEG").write_bytes(b"no"), r"val/bee/0.JPEG: cannot be read \(Unidentified"),
    ],
)  # fmt: skip
def test_a_wrong_tree_is_told_before_training(
    tree: Path, opened: Callable[..., Dataset], change: Callable[[Path], Any], message: str
) -> None:
    change(tree)
    with pytest.raises(TrialFailedError, match=message) as raised:
        opened(tree)
    assert raised.value.reason is EndReason.BAD_DATA


@pytest.mark.parametrize(
    ("images", "image_size", "message"),
    [
        ((1_281_167, 50_000), 224, None),
        ((1_281_167, 49_999), 224, "/data/val: holds 49,999 images, ImageNet-1k has 50,000"),
        ((900_000, 50_000), 224, "/data/train: holds 900,000 images, ImageNet-1k has 1,281,167"),
        ((900, 100), 64, None),
    ],
)
def test_a_part_of_imagenet_is_not_trained_on_as_the_whole(
    images: tuple[int, int], image_size: int, message: str | None
) -> None:
    counts = {split: [count - 999, *[1] * 999] for split, count in zip(("train", "val"), images, strict=True)}
    listing = Listing(b"", [f"n{number:04d}" for number in range(1000)], counts)
    settings = DataSettings(name="imagenet", path="/data", image_size=image_size)
    if message is None:
        check_whole(Path("/data"), settings, listing)
        return
    with pytest.raises(TrialFailedError, match=message) as raised:
        check_whole(Path("/data"), settings, listing)
    assert raised.value.reason is EndReason.BAD_DATA


def test_a_broken_image_is_skipped_to_a_limit_and_ends_a_validation(
    tree: Path, opened: Callable[..., Dataset], capsys: pytest.CaptureFixture[str]
) -> None:
    source = opened(tree, max_broken=2, loaders=1)
    whole = (tree / "train/cat/5.JPEG").read_bytes()
    (tree / "train/cat/5.JPEG").write_bytes(whole[: len(whole) // 2])
    (tree / "train/bee/1.JPEG").unlink()
    first, second = source.training(BATCHES, seed=1)
    assert (first.skipped, first.labels.tolist()) == (1, [SKIPPED, 0, 0])
    assert (second.skipped, second.labels.tolist()) == (1, [0, 1, SKIPPED, 1, 1, 1, 1, 2])
    assert first.images[0].std((1, 2)).max() == 0
    assert "skipped train/cat/5.JPEG, which cannot be read: OSError: " in capsys.readouterr().err
    (tree / "train/bee/2.JPEG").write_bytes(b"")
    with pytest.raises(TrialFailedError, match=r"bee/2.JPEG: cannot.*max_broken allows 2") as raised:
        list(source.training(BATCHES, seed=1))
    assert raised.value.reason is EndReason.BAD_DATA
    (tree / "val/cat/1.JPEG").write_bytes(whole[:99])
    with pytest.raises(TrialFailedError, match=r"val/cat/1.JPEG: cannot be read"):
        list(source.validation([np.arange(6)]))


class _OfTwo(ProcessGroup):
    """The world of a worker whose only other one has the same to say."""

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor * 2


def test_the_limit_of_broken_images_is_that_of_all_workers_together(tree: Path) -> None:
    data = DataSettings(name="imagenet", path=str(tree), image_size=32, classes=3, loaders=0, max_broken=1)
    spec = specification(
        seeds.small_residual((32, 32, 3), 3), data, TrainingSettings(precision="fp32"), batch=8, epochs=2
    )
    (tree / "train/cat/5.JPEG").write_bytes(b"")
    with closing(TorchTrainer(spec, None, None)) as trainer:
        trainer.prepare()
        assert trainer.run_epoch(1, lambda: None).skipped == 1
        trainer._world = _OfTwo()
        with pytest.raises(
            TrialFailedError, match=r"2 images cannot be read, and data\.max_broken allows 1 in an epoch"
        ):
            trainer.run_epoch(2, lambda: None)


def test_the_first_trial_looks_at_every_image_that_validates(tree: Path, tmp_path: Path) -> None:
    fields = {"name": "imagenet", "path": str(tree), "image_size": 32, "classes": 3, "loaders": 0}
    settings = PlacedData(**fields, index=tmp_path / "data.index", keeps_index=True)
    whole = (tree / "val/bee/1.JPEG").read_bytes()
    (tree / "val/bee/1.JPEG").write_bytes(whole[: len(whole) // 2])
    for _ in range(2):  # what was found wrong is not forgotten
        with pytest.raises(
            TrialFailedError, match=r"val/bee/1.JPEG: cannot be read \(OSError: image file is trunc"
        ) as raised:
            imagenet.ImageTree(settings, torch.device("cpu"), ProcessGroup())
        assert raised.value.reason is EndReason.BAD_DATA
    (tree / "val/bee/1.JPEG").write_bytes(whole)
    source = imagenet.ImageTree(settings, torch.device("cpu"), ProcessGroup())
    assert source.digest == list_tree(tree, 3).digest == list_tree(tree, 3, settings.index).digest


def test_no_more_loaders_are_started_than_shared_memory_has_room_for(
    tree: Path, opened: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(imagenet.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 0, 1000))
    assert _images(opened(tree, loaders=2), 1).shape == (11, 3, 32, 32)
    assert "warning: of 2 processes that decode images 0 are started" in capsys.readouterr().err


_LOADING = """
import os, sys, torch
from aiperf_orch.settings.models import DataSettings
from aiperf_orch.trial.data.imagenet import ImageTree
from aiperf_orch.trial.runtime.process_group import ProcessGroup
data = DataSettings(name="imagenet", path=sys.argv[1], image_size=16, classes=3, loaders=1)
source = ImageTree(data, torch.device("cpu"), ProcessGroup())
print(*(worker.pid for worker in source._loader._iterator._workers), flush=True)
sys.stdin.read()
"""


def test_loaders_end_with_a_worker_that_is_killed(tree: Path) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", _LOADING, str(tree)], **pipes) as worker:  # type: ignore[call-overload]
        loader = psutil.Process(int(worker.stdout.readline()))
        server = loader.parent()
        worker.kill()
    _, alive = psutil.wait_procs([loader, server], timeout=60)
    assert not alive


def test_a_node_that_lacks_the_data_is_told_from_data_that_nobody_has(
    tree: Path, tmp_path: Path, opened: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"name": "imagenet", "path": str(tree), "image_size": 32, "classes": 3, "loaders": 0, "max_broken": 0}
    settings = PlacedData(**fields, index=tmp_path / "data.index", keeps_index=True)
    source = imagenet.ImageTree(settings, torch.device("cpu"), ProcessGroup())
    monkeypatch.setattr(
        decoding, "read_image", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error"))
    )
    with pytest.raises(TrialFailedError, match="fails on this node") as raised:
        list(source.training(BATCHES, seed=1))
    assert raised.value.reason is EndReason.NODE_FAILURE
    shutil.rmtree(tree)
    with pytest.raises(TrialFailedError, match="this node lacks it") as raised:
        imagenet.ImageTree(settings, torch.device("cpu"), ProcessGroup())
    assert raised.value.reason is EndReason.NODE_FAILURE


def test_a_node_copies_the_data_once(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listing, stage = list_tree(tree, 3), tmp_path / "disk"
    with ThreadPoolExecutor(4) as pool:
        roots = set(pool.map(lambda _: staged(tree, listing, stage), range(4)))
    [root] = roots
    assert root.parent == stage
    assert capsys.readouterr().err == f"copying 24 images to {stage}, once for this node\n"
    assert list_tree(root, 3).digest == listing.digest
    assert {path.name for path in stage.iterdir()} == {root.name, f".{root.name}.lock"}

    (root / "val" / "ant" / "0.JPEG").unlink()  # what clears old files away
    (root / "val" / "ant" / "1.JPEG").write_bytes(b"")
    assert staged(tree, listing, stage) == root
    assert "copying 2 images" in capsys.readouterr().err
    assert list_tree(root, 3).digest == listing.digest

    shutil.rmtree(root)
    copyfile = shutil.copyfile

    def copy(source: bytes, target: bytes) -> None:
        if source.endswith(b"train/bee/3.JPEG"):  # root may read anything
            raise PermissionError(errno.EACCES, "Permission denied", source)
        copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", copy)
    assert staged(tree, listing, stage) == tree
    assert "bee/3.JPEG: Permission denied): reading from" in capsys.readouterr().err
    assert staged(tree, listing, stage, max_broken=1) == root == staged(tree, listing, stage)
    assert [path.name for path in root.rglob("*.JPEG") if not path.stat().st_mode & 0o400] == ["3.JPEG"]

    root.chmod(0o777)  # anybody may have put images there
    assert staged(tree, listing, stage) == tree
    assert "warning: the data is not copied to this node" in capsys.readouterr().err


def test_a_full_disk_is_no_failure(
    tree: Path, tmp_path: Path, opened: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    source = opened(tree, stage=str(tmp_path / "disk"))
    assert len(list(source.training(BATCHES, seed=1))) == 2
    assert "warning: the data is not copied to this node" in capsys.readouterr().err
    monkeypatch.undo()
    copied = opened(tree, stage=str(tmp_path / "disk"))
    assert torch.equal(_images(copied, 1), _images(source, 1))
    damaged = next((tmp_path / "disk").glob("*/val/cat")) / "1.JPEG"
    for broken, reason, named in [
        (damaged, EndReason.NODE_FAILURE, f"{damaged}: cannot be read .*{tree} has it whole.*remove"),
        (tree / "val" / "cat" / "1.JPEG", EndReason.BAD_DATA, f"{tree}/val/cat/1.JPEG: cannot be read"),
    ]:
        broken.write_bytes(b"")
        with pytest.raises(TrialFailedError, match=named) as raised:
            list(copied.validation([np.arange(6)]))
        assert raised.value.reason is reason
    shutil.rmtree(tree)
    assert torch.equal(_images(copied, 2), _images(copied, 2))
