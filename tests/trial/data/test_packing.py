"""Packing of image trees: what is packed, bad images, interruptions; verification of packed folders."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.trial.data import packing
from aiperf_orch.trial.data.image_files import ImageFiles
from aiperf_orch.trial.data.listing import SPLITS, list_tree
from aiperf_orch.trial.data.packed import open_packed
from aiperf_orch.trial.data.packed_check import verify_packed
from aiperf_orch.trial.data.packing import PackingFaultsError, pack
from aiperf_orch.trial.data.packing_command import main
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.util.errors import UsageError

SHARD = 10_000  # bytes; the tree has some 60,000


@pytest.fixture
def packed(tree: Path, tmp_path: Path) -> Path:
    """The tree, packed into several shards."""
    target = tmp_path / "packed"
    assert pack(tree, target, SHARD) == []
    return target


def test_shards_hold_the_files_of_the_tree_in_the_order_of_the_listing(tree: Path, packed: Path) -> None:
    listing, folder = list_tree(tree, None), open_packed(packed)
    assert folder.listing.digest == listing.digest
    assert len(folder.header.shards) > 2
    assert all(shard.bytes >= SHARD for shard in folder.header.shards[:-1])
    together = b"".join((packed / f"shard-{number:05d}").read_bytes() for number in range(len(folder.header.shards)))
    assert together == b"".join((tree / os.fsdecode(path)).read_bytes() for path, _ in listing.files())
    files = ImageFiles(os.fsencode(packed))
    for split in SPLITS:
        indices = packing.np.arange(listing.images(split))[::-1]
        for path, place in zip(listing.paths(split, indices), folder.places(split, indices), strict=True):
            assert files.read(place) == (tree / os.fsdecode(path)).read_bytes()
    files.close()
    names = {"aiperf-data.json", "crc32", "listing", *(f"shard-{n:05d}" for n in range(len(folder.header.shards)))}
    assert {path.name for path in packed.iterdir()} == names
    assert len({path.stat().st_mode for path in packed.iterdir()}) == 1
    assert not packed.with_name("packed.part").exists()
    assert verify_packed(packed).faults == verify_packed(packed, tree).faults == []


def test_number_of_shards_is_bounded(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MAX_SHARDS", 3)
    pack(tree, tmp_path / "packed", shard_bytes=1)
    assert len(open_packed(tmp_path / "packed").header.shards) <= 3


def test_all_bad_images_are_named_with_what_to_do(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (tree / "train/cat/5.JPEG").read_bytes()
    (tree / "val/cat/1.JPEG").write_bytes(whole[:300])
    (tree / "val/ant/0.JPEG").write_bytes(b"")
    (tree / "val/bee/0.JPEG").write_bytes(b"<html>not found</html>")
    (tree / "train/bee/2.JPEG").unlink()
    (tree / "train/bee/2.JPEG").symlink_to(tmp_path / "nowhere")
    (tree / "train/cat/5.JPEG").write_bytes(whole[: len(whole) // 2])
    assert main(["pack", str(tree), str(tmp_path / "packed")]) == 1
    error = capsys.readouterr().err
    for line in (
        "val/cat/1.JPEG: OSError: ",
        "val/ant/0.JPEG: UnidentifiedImageError: it is empty, or not an image",
        "val/bee/0.JPEG: UnidentifiedImageError: it is empty, or not an image",
        "train/bee/2.JPEG: FileNotFoundError: No such file",
        "train/cat/5.JPEG: OSError: ",
        "error: 5 images cannot be packed: repair or replace them, or remove them from the tree",
    ):
        assert line in error
    assert not (tmp_path / "packed").exists()

    for path in ("val/cat/1.JPEG", "val/ant/0.JPEG", "val/bee/0.JPEG"):
        (tree / path).write_bytes(whole)
    (tree / "train/bee/2.JPEG").unlink()
    assert main(["pack", str(tree), str(tmp_path / "packed")]) == 0
    output = capsys.readouterr()
    assert output.err.splitlines()[0].startswith("train/cat/5.JPEG: OSError: ")
    assert "warning: 1 training image cannot be decoded" in output.err
    assert "17 to train, 6 to validate, 3 classes" in output.out
    assert list_tree(tree, 3).digest in output.out
    assert verify_packed(tmp_path / "packed", tree).faults == []


def test_image_that_changes_while_it_is_packed_is_named(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, changed = packing._read, tree / "train/bee/3.JPEG"

    def read_later(root: bytes, path: bytes, size: int) -> Any:
        if path == b"train/bee/3.JPEG":
            changed.write_bytes(changed.read_bytes() + b"more")
        return read(root, path, size)

    monkeypatch.setattr(packing, "_read", read_later)
    with pytest.raises(PackingFaultsError) as raised:
        pack(tree, tmp_path / "packed", SHARD)
    [fault] = raised.value.faults
    assert fault.path == b"train/bee/3.JPEG"
    assert "it has changed" in fault.reason


def test_tree_that_changes_while_it_is_packed_is_refused(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, added = packing._write_shard, tree / "val/ant/9.JPEG"

    def write_and_add(*arguments: Any) -> Any:
        added.write_bytes((tree / "val/ant/0.JPEG").read_bytes())
        return write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(packing, "_write_shard", write_and_add)
        with pytest.raises(UsageError, match=r"has changed while .* same command again"):
            pack(tree, tmp_path / "packed", SHARD)
    assert pack(tree, tmp_path / "packed", SHARD) == []
    assert verify_packed(tmp_path / "packed", tree).faults == []


def test_packing_goes_on_where_it_was_killed(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import os, sys; from pathlib import Path; from aiperf_orch.trial.data import packing\n"
        "write = packing._write_shard\n"
        "def slow(source, path, files, counted):\n"
        "    if path.name == 'shard-00003': path.write_bytes(b'half'); print('here', flush=True); sys.stdin.read()\n"
        "    return write(source, path, files, counted)\n"
        "packing._write_shard = slow\n"
        f"packing.pack(Path(sys.argv[1]), Path(sys.argv[2]), {SHARD})\n"
    )
    command = [sys.executable, "-c", script, str(tree), str(tmp_path / "packed")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as packer:
        assert packer.stdout is not None
        assert packer.stdout.readline() == "here\n"
        with pytest.raises(UsageError, match="is being packed by another process"):
            pack(tree, tmp_path / "packed", SHARD)
        packer.send_signal(signal.SIGKILL)
    assert not (tmp_path / "packed").exists()
    write, written = packing._write_shard, []

    def count(source: Path, path: Path, *rest: Any) -> Any:
        written.append(path.name)
        return write(source, path, *rest)

    monkeypatch.setattr(packing, "_write_shard", count)
    assert pack(tree, tmp_path / "packed", SHARD) == []
    assert written[0] == "shard-00003"
    assert verify_packed(tmp_path / "packed", tree).faults == []


def test_shards_of_changed_images_are_written_again(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "val/ant/0.JPEG").write_bytes(b"")
    with pytest.raises(PackingFaultsError):
        pack(tree, tmp_path / "packed", SHARD)
    first, third = tree / "train/ant/0.JPEG", tree / "train/ant/2.JPEG"  # of a shard that was written
    assert (tmp_path / "packed.part" / "shard-00000.json").exists()
    swapped = first.read_bytes(), third.read_bytes()
    third.write_bytes(swapped[0])
    first.write_bytes(swapped[1])
    for name in ("train/cat/4.JPEG", "val/ant/0.JPEG"):
        (tree / name).write_bytes((tree / "val/ant/1.JPEG").read_bytes())
    assert pack(tree, tmp_path / "packed", SHARD) == []
    assert verify_packed(tmp_path / "packed", tree).faults == []


def test_existing_folder_and_full_disk_are_refused(
    tree: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"exists: it is packed: compare it by `aiperf-orch data verify`"):
        pack(tree, packed)
    with pytest.raises(UsageError, match="exists: name a new folder"):
        pack(tree, tree)
    with pytest.raises(TrialFailedError, match=r"nothing/train: cannot be read"):
        pack(tmp_path / "nothing", tmp_path / "other")
    assert not (tmp_path / "other.part").exists()
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UsageError, match=r"kB are needed, and 1 kB are free"):
        pack(tree, tmp_path / "other")


def _flipped(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def _replaced_header(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    header = json.loads((folder / "aiperf-data.json").read_bytes())
    change(header)
    (folder / "aiperf-data.json").write_text(json.dumps(header), encoding="utf-8")


def test_damaged_shard_is_found_with_its_image(packed: Path, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _flipped(packed / "shard-00001", -1)
    image, shard = verify_packed(packed).faults
    assert image.endswith("in shard-00001: is damaged: its CRC differs")
    assert shard == "shard-00001: is damaged: its SHA-256 differs"
    assert main(["verify", str(packed)]) == 1
    assert "fault            shard-00001" in capsys.readouterr().out


def test_tree_with_other_images_is_found(packed: Path, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _flipped(tree / "val/cat/1.JPEG", 200)
    [fault] = verify_packed(packed, tree).faults
    assert fault.startswith("val/cat/1.JPEG in shard-")
    assert f"is another image than that of {tree}" in fault
    (tree / "val/cat/1.JPEG").unlink()
    (tree / "val/cat/8.JPEG").write_bytes(b"new")
    assert main(["verify", str(packed), "--against", str(tree)]) == 1
    output = capsys.readouterr().out
    assert f"fault            {tree} has no val/cat/1.JPEG\n" in output
    assert f"fault            only {tree} has val/cat/8.JPEG\n" in output
    assert "verified         no: 2 faults\n" in output


def _truncate(name: str) -> Callable[[Path], object]:
    return lambda folder: os.truncate(folder / name, 100)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_truncate("shard-00000"), r"shard-00000 has 100 bytes instead of"),
        (lambda folder: (folder / "shard-00002").unlink(), r"shard-00002: cannot be read \(No such file"),
        (lambda folder: (folder / "listing").unlink(), r"listing: cannot be read \(No such file"),
        (_truncate("listing"), "damaged"),
        (lambda folder: (folder / "aiperf-data.json").write_bytes(b"{" * 100_000), "aiperf-data.json|not JSON|nested"),
        (lambda folder: (folder / "aiperf-data.json").write_bytes(b"0" * (2 << 20)), "has more than 1,048,576 bytes"),
        (lambda folder: _replaced_header(folder, lambda header: header.update(format=2)), "format 2, .* reads 1"),
        (
            lambda folder: _replaced_header(folder, lambda header: header["shards"][0].update(images=10**30)),
            r"shards\.0\.images",
        ),
        (
            lambda folder: _replaced_header(folder, lambda header: header["shards"][0].update(images=-1)),
            r"shards\.0\.images",
        ),
        (
            lambda folder: _replaced_header(folder, lambda header: header["shards"][1].update(bytes=1 << 50)),
            r"shard-00001 has 1,125,899,906,842,624 bytes, its images have",
        ),
        (lambda folder: _replaced_header(folder, lambda header: header["shards"].pop()), "its shards have .* images"),
        (
            lambda folder: _replaced_header(folder, lambda header: header["shards"][0].update(file="../../etc/passwd")),
            r"shards\.0\.file",
        ),
        (lambda folder: _replaced_header(folder, lambda header: header.update(shards=[])), "shards"),
    ],
)
def test_damaged_or_hostile_folder_is_refused(packed: Path, harm: Callable[[Path], object], message: str) -> None:
    harm(packed)
    with pytest.raises(TrialFailedError, match=message) as raised:
        open_packed(packed)
    assert "pack the tree again" in str(raised.value)


def _write_listing(folder: Path, text: bytes, counts: dict[str, list[int]]) -> None:
    listing = open_packed(folder).listing
    changed = packing.Listing(text, listing.classes, counts)
    (folder / "listing").write_bytes(changed.to_bytes())
    _replaced_header(folder, lambda header: header.update(listing_sha256=changed.digest))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"train/ant/0.JPEG ", b"train/ant/0.JPEG 9999999999999999999999", "more than 2,147,483,648 bytes"),
        (b"train/ant/0.JPEG ", b"train/ant/0.JPEG 9", "its images have"),
        (b"train/ant/0.JPEG ", b"train/ant/0.JPEG -", "no size"),
        (b"train/ant/0.JPEG ", b"train/ant/../../x ", None),
        (b"train/ant/0.JPEG ", b"train/ant/2.JPEG ", None),
        (b"train/ant/0.JPEG ", b"train/bee/0.JPEG ", None),
    ],
)
def test_hostile_listing_is_refused_or_found(packed: Path, old: bytes, new: bytes, message: str | None) -> None:
    listing = open_packed(packed).listing
    assert old in listing.text
    _write_listing(packed, listing.text.replace(old, new, 1), listing.counts)
    if message is None:
        [fault] = verify_packed(packed).faults
        assert "of the listing is not one that packing writes" in fault
    else:
        with pytest.raises(TrialFailedError, match=message):
            open_packed(packed)


def test_listing_that_grows_without_bound_is_refused(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aiperf_orch.trial.data import listing

    monkeypatch.setattr(listing, "_MAX_TEXT", 100)
    with pytest.raises(TrialFailedError, match="more than 100 bytes"):
        open_packed(packed)


def test_failing_file_system_is_a_node_failure(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, **_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(Path, "stat", fail)
    with pytest.raises(TrialFailedError, match="Input/output error") as raised:
        open_packed(packed)
    assert raised.value.reason.value == "NODE_FAILURE"


def test_ctrl_c_says_that_the_same_command_goes_on(tree: Path, tmp_path: Path) -> None:
    script = (
        "import sys, time; from aiperf_orch.trial.data import packing, packing_command\n"
        "def slow(*_): print('here', flush=True); time.sleep(60)\n"
        "packing._write_shard = slow\n"
        "sys.exit(packing_command.main(['pack', sys.argv[1], sys.argv[2]]))\n"
    )
    command = [sys.executable, "-c", script, str(tree), str(tmp_path / "packed")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as packer:
        assert packer.stdout is not None
        assert packer.stdout.readline() == "here\n"
        packer.send_signal(signal.SIGINT)
        _, error = packer.communicate(timeout=30)
    assert (packer.returncode, error) == (130, "interrupted: the same command goes on\n")
    assert not (tmp_path / "packed").exists()
