"""Weights in a package: which are packed, what is refused, and what `verify` finds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory, read_spec
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.tensors import TensorType, state_tensors
from aiperf_orch.package import reading
from aiperf_orch.package.findings import Faults
from aiperf_orch.package.packing import write_package
from aiperf_orch.package.reading import open_package
from aiperf_orch.package.verify import verify
from aiperf_orch.util.errors import UsageError
from package_fixtures import TRUE_SETTINGS, TamperedPackage, add_attempt, build_true_campaign, weights_file

NAME = "weights/00003.safetensors"


def _set_weights(package: Any, data: bytes) -> None:
    """Replace the weights, and their hash in the end line and the manifest."""
    sha256 = hashlib.sha256(data).hexdigest()
    package.files[NAME] = data
    package.events("00003-1.0.jsonl", lambda lines: lines[-1].update(weights_sha256=sha256))
    package.manifest["best_weights"] = {"trial": 3, "sha256": sha256}


def _tensors(campaign: CampaignDirectory, trial: int) -> dict[str, TensorType]:
    """The tensors of a trial's network."""
    return state_tensors(Graph.from_json(read_spec(campaign.spec(trial))[0].network))


@pytest.mark.parametrize("with_pseudonyms", [False, True])
def test_a_package_has_the_weights_of_the_lowest_error(
    weighted_campaign: CampaignDirectory, tmp_path: Path, with_pseudonyms: bool
) -> None:
    for name in ("one.tar.gz", "other.tar.gz"):
        write_package(weighted_campaign, tmp_path / name, with_pseudonyms=with_pseudonyms, with_weights=True)
    assert (tmp_path / "one.tar.gz").read_bytes() == (tmp_path / "other.tar.gz").read_bytes()
    found = verify(tmp_path / "one.tar.gz")
    assert list(map(str, found.faults)) == []
    package = TamperedPackage(tmp_path / "one.tar.gz")
    assert package.files[NAME] == weighted_campaign.weights(3).read_bytes()
    assert package.manifest["files"][NAME] == package.manifest["best_weights"]["sha256"]


def test_without_weights_the_package_is_the_same_but_for_them(
    weighted_campaign: CampaignDirectory, weighted: Any, tmp_path: Path
) -> None:
    write_package(weighted_campaign, tmp_path / "p.tar.gz", with_pseudonyms=False)
    package = TamperedPackage(tmp_path / "p.tar.gz")
    del weighted.files[NAME], weighted.manifest["files"][NAME]
    assert (package.files, package.manifest) == (weighted.files, weighted.manifest)


def test_weights_that_are_gone_or_others_are_refused(weighted_campaign: CampaignDirectory, tmp_path: Path) -> None:
    weights = weighted_campaign.weights(3)
    data = weights.read_bytes()
    for change, message in (
        (lambda: weights.write_bytes(data[:-1] + b"\x01"), "is not the file whose SHA-256 the end line of its trial"),
        (weights.unlink, "does not exist, and the lowest error is of epoch 3 of trial 3; restore it"),
    ):
        change()
        with pytest.raises(UsageError, match=message) as refused:
            write_package(weighted_campaign, tmp_path / "p.tar.gz", with_pseudonyms=False, with_weights=True)
        assert str(refused.value).startswith(f"{weights}: ")
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "p.tar.gz").exists()


def test_weights_larger_than_a_package_may_have_are_refused(
    weighted_campaign: CampaignDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiperf_orch.package.packing.MOST_WEIGHTS", 1000)
    with pytest.raises(UsageError, match="a package has at most 1000 of weights"):
        write_package(weighted_campaign, tmp_path / "p.tar.gz", with_pseudonyms=False, with_weights=True)


def test_a_simulated_campaign_has_no_weights(true_campaign: CampaignDirectory, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no trained network; package it without --weights"):
        write_package(true_campaign, tmp_path / "p.tar.gz", with_pseudonyms=False, with_weights=True)


def test_weights_whose_hash_no_end_line_states_are_refused(tmp_path: Path) -> None:
    """The job of the best epoch was lost before its end line."""
    settings = {**TRUE_SETTINGS, "training": {**TRUE_SETTINGS["training"], "trainer": "torch"}}
    builder = build_true_campaign(tmp_path / "campaign", settings)
    add_attempt(builder, 0, 1, 0, {1: 50, 2: 40}, reason="LOST")
    with pytest.raises(UsageError, match="epoch 2 of trial 0, and no end line states the hash of its weights"):
        write_package(builder.directory, tmp_path / "p.tar.gz", with_pseudonyms=False, with_weights=True)


def test_repacked_weights_have_no_fault(weighted: Any, tmp_path: Path) -> None:
    _set_weights(weighted, weighted.files[NAME][:-4] + b"\x01\x02\x03\x04")
    assert list(map(str, verify(weighted.write(tmp_path / "again.tar.gz")).faults)) == []


def _one_changed(package: Any, _: CampaignDirectory) -> None:
    package.files[NAME] = package.files[NAME][:-4] + b"\x00\x00\x80\x3f"


def _other_trial(package: Any, _: CampaignDirectory) -> None:
    package.files["weights/00002.safetensors"] = package.files.pop(NAME)


def _no_number(package: Any, _: CampaignDirectory) -> None:
    _set_weights(package, package.files[NAME][:-4])


def _other_shapes(package: Any, campaign: CampaignDirectory) -> None:
    _set_weights(package, weights_file(_tensors(campaign, 0)))


def _lying_places(package: Any, campaign: CampaignDirectory) -> None:
    tensors = _tensors(campaign, 3)
    name, tensor = next(iter(tensors.items()))
    entry = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [0, 2**60]}
    _set_weights(package, weights_file(tensors, **{name: entry}))


@pytest.mark.parametrize(
    ("change", "id_", "message"),
    [
        (_one_changed, "weights.hash", "their SHA-256 is not that of events/00003-1.0.jsonl:5"),
        (_other_trial, "weights.trial", f"are not of the trial with the lowest error, whose weights are {NAME}"),
        (_no_number, "weights.header", "bytes of numbers; its tensors have"),
        (_other_shapes, "weights.header", "stated; the network has"),
        (_lying_places, "weights.header", "data_offsets 0 to 1152921504606846976"),
    ],
)
def test_manipulated_weights_have_one_fault(
    change: Callable[[Any, CampaignDirectory], None],
    id_: str,
    message: str,
    weighted: Any,
    weighted_campaign: CampaignDirectory,
    tmp_path: Path,
) -> None:
    change(weighted, weighted_campaign)
    faults = verify(weighted.write(tmp_path / "tampered.tar.gz")).faults
    assert [fault.id for fault in faults] == [id_], list(map(str, faults))
    assert faults[0].where.startswith("weights/")
    assert message in faults[0].message


def test_weights_of_a_simulated_campaign_are_a_fault(tampered: Any, tmp_path: Path) -> None:
    tampered.files[NAME] = b"3"
    faults = verify(tampered.write(tmp_path / "tampered.tar.gz")).faults
    assert [(fault.id, fault.message) for fault in faults] == [
        ("weights.trial", "are of no trial: no network was trained")
    ]


def test_a_package_has_the_weights_of_one_trial_only(weighted: Any, tmp_path: Path) -> None:
    weighted.files["weights/00000.safetensors"] = b"other"
    faults = verify(weighted.write(tmp_path / "tampered.tar.gz")).faults
    assert [fault.id for fault in faults] == ["package.path"]
    assert "the weights of one trial only" in faults[0].message


def test_weights_are_read_piece_by_piece(weighted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`verify` keeps the longest possible header of the weights only, and `evaluate` gets a copy of all."""
    sizes: list[int] = []
    read = reading._Stream.read

    def noted(stream: Any, size: int) -> bytes:
        sizes.append(size)
        return read(stream, size)

    monkeypatch.setattr(reading._Stream, "read", noted)
    weighted.files[NAME] = b"\x01" * (5 << 20)
    packed = weighted.write(tmp_path / "large.tar.gz")
    with open_package(packed, Faults(), tmp_path / "copy") as package:
        assert package is not None
        assert package.weights is not None
        assert (package.weights.size, len(package.weights.head)) == (5 << 20, 8 + (2 << 20))
        assert package.hashes[NAME] == hashlib.sha256(weighted.files[NAME]).hexdigest()
        assert NAME not in package.locations
    assert (tmp_path / "copy").read_bytes() == weighted.files[NAME]
    assert max(sizes) == 8 + (2 << 20)


def test_weights_beyond_their_limit_are_a_fault(weighted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [(name, 999 if "weights" in name.pattern else size, kept) for name, size, kept in reading._CONTENTS]
    monkeypatch.setattr(reading, "_CONTENTS", tuple(limits))
    weighted.files[NAME] = bytes(1000)
    faults = verify(weighted.write(tmp_path / "tampered.tar.gz")).faults
    assert [fault.id for fault in faults] == ["package.size"]
