"""`evaluate` as a committee runs it: real campaigns, whose error comes out, or does not, or cannot be measured."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from aiperf_orch.package.evaluation import judge
from aiperf_orch.package.packing import write_package
from aiperf_orch.records.evaluation import Evaluation
from package_fixtures import TamperedPackage

_TIMEOUT = 600


def _campaign(aiperf: Any, folder: Path, **settings: Any) -> Path:
    """Run a campaign of one short trial; returns its package with weights."""
    site = folder / "site.yaml"
    common = {"campaign": {"duration": "30m", "max_trials": 1, "concurrency": 1, "seed": 4}}
    site.write_text(yaml.safe_dump({"training": {"warmup_epochs": [2], "epochs": 2}} | common | settings))
    done = aiperf("run", site, "--campaign-dir", folder / "campaign", timeout=_TIMEOUT)
    assert done.returncode == 0, done.stderr
    done = aiperf("package", folder / "campaign", "--output", folder / "p.tar.gz", "--weights", timeout=_TIMEOUT)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "p.tar.gz"


def _set_last_number(package: TamperedPackage, number: float, *, hidden: bool) -> None:
    """Change the last weight, a bias of the logits; `hidden` states the hash of the changed file in the records."""
    (name,) = (name for name in package.files if name.startswith("weights/"))
    package.files[name] = package.files[name][:-4] + struct.pack("<f", number)
    if hidden:
        sha256 = hashlib.sha256(package.files[name]).hexdigest()
        package.events("00000-1.0.jsonl", lambda lines: lines[-1].update(weights_sha256=sha256))
        package.manifest["best_weights"]["sha256"] = sha256


def test_the_error_of_digits_comes_out_and_that_of_a_changed_weight_does_not(aiperf: Any, tmp_path: Path) -> None:
    package = _campaign(aiperf, tmp_path)
    done = aiperf("evaluate", package, timeout=_TIMEOUT)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    first, *rows = done.stdout.splitlines()
    assert first == "the recorded error comes out"
    assert [row.split()[0] for row in rows] == ["package", "recorded", "measured", "difference"]
    assert rows[-1].endswith("0 images; 1 permitted (as recorded)")

    _set_last_number(changed := TamperedPackage(package), 1e3, hidden=False)
    done = aiperf("evaluate", changed.write(tmp_path / "changed.tar.gz"), timeout=_TIMEOUT)
    assert (done.returncode, done.stdout) == (2, "")
    assert "not verified, so not evaluated: weights.hash  weights/00000.safetensors" in done.stderr

    _set_last_number(unlisted := TamperedPackage(package), 1e3, hidden=False)
    unlisted.hashed = False
    done = aiperf("evaluate", unlisted.write(tmp_path / "unlisted.tar.gz"), timeout=_TIMEOUT)
    assert done.stderr.endswith("(2 faults in all: `aiperf-orch verify` lists them)\n")

    _set_last_number(hidden := TamperedPackage(package), 1e3, hidden=True)
    resealed = hidden.write(tmp_path / "resealed.tar.gz")
    assert aiperf("verify", resealed).returncode == 0
    done = aiperf("evaluate", resealed, "--format", "json", timeout=_TIMEOUT)
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert (found["comes_out"], found["measured"]["images"]) == (False, 360)
    assert found["measured"]["wrong_images"] > 300  # nearly all are of other classes than the last one
    assert found["difference"] == found["measured"]["wrong_images"] - found["recorded"]["wrong_images"]


@pytest.mark.long
def test_the_error_of_an_image_tree_comes_out_on_the_recorded_tree_only(
    aiperf: Any, tree: Path, tmp_path: Path
) -> None:
    data = {"name": "imagenet", "path": str(tree), "image_size": 16, "classes": 3, "loaders": 1}
    package = _campaign(aiperf, tmp_path, data=data, search={"batch_size": [6, 6]})
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)
    done = aiperf("evaluate", package, "--data", copy, timeout=_TIMEOUT)
    assert done.returncode == 0, done.stderr
    assert "of 6 images) on" in done.stdout

    with (copy / "val" / "ant" / "0.JPEG").open("ab") as file:
        file.write(b"\0")
    (tmp_path / "empty").mkdir()
    for options, message in (
        ([], "error: --data: is required: the data set imagenet lies in a folder\n"),
        (["--data", copy], f"error: --data {copy}: is not the recorded data set: the SHA-256 of its listing is "),
        (["--data", tmp_path / "empty"], f"error: {tmp_path / 'empty' / 'train'}: cannot be read"),
    ):
        done = aiperf("evaluate", package, *options, timeout=_TIMEOUT)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(message)


def test_what_cannot_be_evaluated_is_one_line(
    aiperf: Any, true_package: Path, trained_package: Path, weighted_campaign: Any, tmp_path: Path
) -> None:
    weighted = tmp_path / "weighted.tar.gz"
    write_package(weighted_campaign, weighted, with_pseudonyms=False, with_weights=True)
    (tmp_path / "text.tar.gz").write_text("hello")
    sha256 = hashlib.sha256(b"3").hexdigest()
    for package, options, message in (
        (true_package, [], "nothing to evaluate: no network was trained"),
        (trained_package, [], f"has no weights of the lowest error (recorded SHA-256: {sha256}); request a package"),
        (weighted, ["--data", tmp_path], "--data: the data set digits lies in no folder; evaluate without --data"),
        (tmp_path / "text.tar.gz", [], "not verified, so not evaluated: package.format"),
        (tmp_path / "missing.tar.gz", [], "cannot be read: No such file or directory"),
    ):
        done = aiperf("evaluate", package, *options)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.unit
@pytest.mark.parametrize(
    ("recorded", "measured", "images", "device", "precision", "expected"),
    [
        (10, 10, 360, "cpu", "bf16", (True, 0, 1, True)),
        (10, 11, 360, "cpu", "bf16", (True, 1, 1, True)),
        (10, 9, 360, "cpu", "bf16", (True, 1, 1, True)),
        (10, 12, 360, "cpu", "bf16", (False, 2, 1, True)),
        (10, 11, 360, "cpu", "fp32", (True, 1, 1, False)),
        (10, 12, 360, "cpu", "fp32", (False, 2, 1, False)),
        (10, 12, 50_000, "cpu", "bf16", (False, 2, 1, True)),
        (10, 260, 50_000, "NVIDIA H200", "bf16", (True, 250, 250, False)),
        (10, 261, 50_000, "cpu", "fp32", (False, 251, 250, False)),
    ],
)
def test_the_tolerance_is_one_image_on_the_same_kind_of_device(
    recorded: int, measured: int, images: int, device: str, precision: str, expected: tuple[bool, int, int, bool]
) -> None:
    known: Any = SimpleNamespace(wrong_images=recorded, begin=SimpleNamespace(device="cpu", precision="bf16"))
    found = judge(known, Evaluation(images=images, wrong_images=measured, device=device, precision=precision))
    assert (found.comes_out, found.difference, found.tolerance, found.same_conditions) == expected
