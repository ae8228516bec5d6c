"""Manipulations of what trials state of their training; all that follows from it is made right again.

Each is of a simulated or of a trained package, and has exactly one kind of fault.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aiperf_orch.network import counts
from aiperf_orch.network.graph import Graph
from aiperf_orch.records.operations import OperationsPerImage
from package.package_changes import Change, change_events, repaired, set_proposal

TRUE, TRAINED = "tampered", "trained"


def _begins(**fields: Any) -> Change:
    """Change fields of every begin line."""

    def change(package: Any, _: Path) -> None:
        for name in [name for name in package.files if name.startswith("events/")]:
            package.events(name.removeprefix("events/"), lambda lines: lines[0].update(fields))

    return change


def _begin(trial: int, **fields: Any) -> Change:
    return change_events(f"{trial:05d}-1.0.jsonl", lambda lines: lines[0].update(fields))


def _epoch(trial: int, number: int, **fields: Any) -> Change:
    return change_events(f"{trial:05d}-1.0.jsonl", lambda lines: lines[number].update(fields))


def _relabelled(package: Any, _: Path) -> None:
    """The settings and specifications of a simulated campaign say that it was trained."""
    package.settings("trainer: simulated", "trainer: torch")
    for trial in range(4):
        package.spec(trial, lambda spec: spec["training"].update(trainer="torch"))


def _without_inheritance(package: Any, _: Path) -> None:
    """The settings and specifications of a campaign with inherited weights permit none."""
    package.settings("inherit_weights: true", "inherit_weights: false")
    for trial in range(4):
        package.spec(trial, lambda spec: spec["training"].update(inherit_weights=False))


def _without_epoch(trial: int, number: int) -> Change:
    return change_events(f"{trial:05d}-1.0.jsonl", lambda lines: lines.pop(number))


def _shorter(trial: int) -> Change:
    """The last epoch of a trial is gone, and its end line has the best of the others."""

    def change(lines: list[dict[str, Any]]) -> None:
        lines.pop(-2)
        best = min(lines[1:-1], key=lambda line: line["error"])
        lines[-1].update(best_error=best["error"], best_epoch=best["epoch"])

    return change_events(f"{trial:05d}-1.0.jsonl", change)


def _errors(trial: int, *wrong: int, reason: str = "COMPLETED", attempt: int = 1) -> Change:
    """Other errors of a trial, with their best in its end line."""

    def change(lines: list[dict[str, Any]]) -> None:
        for line, images in zip(lines[1:-1], wrong, strict=True):
            line["error"] = images / line["val_images"]
        best = min(lines[1:-1], key=lambda line: line["error"])
        lines[-1].update(best_error=best["error"], best_epoch=best["epoch"], reason=reason)

    def changed(package: Any, _: Path) -> None:
        package.events(f"{trial:05d}-{attempt}.0.jsonl", change)
        package.each("ended", lambda item: item.update(reason=reason) if _is(item, trial, attempt) else None)
        for child in range(4):
            parent = json.loads(package.files[f"trials/{child:05d}.json"])["parent"]
            if parent == trial:
                package.spec(child, lambda spec: spec.update(parent_error=min(wrong) / 360))

    return changed


def _is(item: dict[str, Any], trial: int, attempt: int) -> bool:
    return (item["trial"], item["attempt"]) == (trial, attempt)


def _images(trained: int, skipped: int) -> Change:
    """Other numbers of images of an epoch, with its operations."""

    def change(package: Any, _: Path) -> None:
        per_image = json.loads(package.files["trials/00003.json"])["operations"]
        fields = {"train_images": trained, "skipped": skipped}
        fields["ops"] = trained * per_image["train"] + 360 * per_image["forward"]
        package.events("00003-1.0.jsonl", lambda lines: lines[2].update(fields))

    return change


def _copied_epoch(package: Any, _: Path) -> None:
    """An epoch of another trial, with the share of its time that was measured."""
    of = package.lines("events/00000-1.0.jsonl")[1] | {"data_wait": 0.0123456789}
    copied = {key: of[key] for key in ("loss", "error", "data_wait")}
    for name in ("00000-1.0.jsonl", "00001-1.0.jsonl"):
        package.events(name, lambda lines: lines[1].update(copied))


def _copied_training(package: Any, folder: Path) -> None:
    """All epochs of another trial."""
    of = package.lines("events/00000-1.0.jsonl")
    _errors(3, 72, 36, 18)(package, folder)

    def change(lines: list[dict[str, Any]]) -> None:
        for line, copied in zip(lines[1:-1], of[1:-1], strict=True):
            line["loss"] = copied["loss"]

    package.events("00003-1.0.jsonl", change)
    best = package.lines("events/00002-1.0.jsonl")[-1]
    package.manifest["best_weights"] = {"trial": 2, "sha256": best["weights_sha256"]}


def _network_again(package: Any, _: Path) -> None:
    """The last trial descends from the parent of the one before it, by the same edits."""
    before = json.loads(package.files["trials/00002.json"])
    fields = {key: before[key] for key in ("parent", "edits", "network_hash", "operations")}
    network = Graph.from_json(before["network"])
    fields |= {"layers": network.depth, "parameters": network.parameters}
    fields["tensor_operations"] = OperationsPerImage.of(counts.count_tensor(network)).model_dump()
    set_proposal(3, **fields)(package, _)
    package.spec(3, lambda spec: spec.update(network=before["network"], parent_error=before["parent_error"]))
    ops = 1437 * before["operations"]["train"] + 360 * before["operations"]["forward"]
    package.events("00003-1.0.jsonl", lambda lines: [line.update(ops=ops) for line in lines if line["type"] == "epoch"])


def _spec(trial: int, **fields: Any) -> Change:
    return lambda package, _: package.spec(trial, lambda spec: spec.update(fields))


_HYPERPARAMETERS = {"kernel_size": 3, "dropout": 0.0, "batch_size": 32}
_Row = tuple[str, Change, str, str, str]
_ROWS: dict[str, _Row] = {
    # simulated or trained
    "a simulated campaign that is called trained": (
        TRUE, _relabelled, "trial.trainer", "events/00000-1.0.jsonl", "trainer: simulated stated",
    ),
    "a trained campaign with simulated trials": (
        TRAINED, _begin(2, trainer="simulated", device="simulated"),
        "trial.trainer", "events/00002-1.0.jsonl", "trainer: simulated stated",
    ),
    "a simulated device": (
        TRAINED, _begin(2, device="simulated"), "trial.trainer", "events/00002-1.0.jsonl", "device: simulated stated",
    ),
    "a real device in a simulated campaign": (
        TRUE, _begin(2, device="NVIDIA H100"), "trial.trainer", "events/00002-1.0.jsonl", "device: NVIDIA H100",
    ),
    "a training without torch": (
        TRAINED, _begin(2, versions={}), "trial.trainer", "events/00002-1.0.jsonl", "has no version of torch",
    ),
    # begin lines
    "a larger batch": (TRAINED, _begin(2, batch=64), "trial.batch", "events/00002-1.0.jsonl", "batch: 64 stated"),
    "a batch that no halving gives": (
        TRAINED, change_events("00002-1.0.jsonl", lambda lines: [line.update(batch=31) for line in lines[:-1]]),
        "trial.batch", "events/00002-1.0.jsonl", "batch: 31 stated",
    ),
    "a precision that no device selects": (
        TRAINED, _begins(precision="tf32"), "trial.precision", "events/00000-1.0.jsonl", "precision: tf32 stated",
    ),
    "compiled without a request": (
        TRAINED, _begin(2, compiled=True), "trial.compiled", "events/00002-1.0.jsonl", "compile: false",
    ),
    "weights of no parent": (
        TRAINED, _begin(0, inherited=True), "trial.inherited", "events/00000-1.0.jsonl", "has no parent",
    ),
    "weights that the settings do not permit": (
        TRAINED, _without_inheritance, "trial.inherited", "events/00002-1.0.jsonl", "inherit_weights: false",
    ),
    "a trial on two nodes": (
        TRAINED, _begin(0, hosts=["n1.example.org", "n2.example.org"]),
        "trial.nodes", "events/00000-1.0.jsonl", "2 hosts stated; a trial has 1",
    ),
    "a trial on no node": (TRAINED, _begin(0, hosts=[]), "trial.nodes", "events/00000-1.0.jsonl", "names none"),
    "other data everywhere": (
        TRAINED, _begins(data_sha256="1" * 64), "data.digest", "events/00000-1.0.jsonl", "digits has 30aa855c",
    ),
    # epochs
    "a first epoch dropped": (
        TRAINED, _without_epoch(0, 1), "epoch.gap", "events/00000-1.0.jsonl", "begins with epoch 2",
    ),
    "an epoch dropped": (
        TRAINED, _without_epoch(0, 2), "epoch.gap", "events/00000-1.0.jsonl", "epoch 2 is missing",
    ),
    "a batch that grows": (TRAINED, _epoch(0, 2, batch=64), "epoch.batch", "events/00000-1.0.jsonl", "64 after 32"),
    "too many images that cannot be read": (
        TRAINED, _images(1426, 11), "epoch.skipped", "events/00003-1.0.jsonl", "skipped: 11",
    ),
    "fewer images of an epoch": (
        TRAINED, _images(1400, 0), "epoch.sizes", "events/00003-1.0.jsonl", "1400 and 360 images",
    ),
    "an epoch of another trial": (
        TRAINED, _copied_epoch, "epoch.copied", "events/00001-1.0.jsonl", "those of an epoch of trial 0",
    ),
    "the training of another trial": (
        TRAINED, _copied_training, "epoch.copied", "events/00003-1.0.jsonl", "those of an epoch of trial 0",
    ),
    # ends
    "completed too early": (
        TRAINED, _shorter(3), "attempt.epochs", "events/00003-1.0.jsonl", "epoch 3 of its specification",
    ),
    "training beyond its patience": (
        TRAINED, _errors(0, 72, 72, 18), "attempt.patience", "events/00000-1.0.jsonl", "epoch 3 was trained although",
    ),
    "stopped while its error improved": (
        TRAINED, _errors(2, 40, 9, reason="EARLY_STOPPED"), "attempt.patience", "events/00002-1.0.jsonl",
        "had improved shortly before",
    ),
    "a better best after a retry": (
        TRAINED,
        change_events("00001-2.0.jsonl", lambda lines: lines[-1].update(best_error=0.0, best_epoch=3)),
        "attempt.best", "events/00001-2.0.jsonl", "best_error 0.0 at epoch 3",
    ),
    # proposals
    "a seed that was chosen": (
        TRAINED, _spec(3, seed=1), "trial.recipe", "trials/00003.json", "seed: does not follow",
    ),
    "a round that comes later": (
        TRAINED, set_proposal(3, round=5), "trial.round", "journal.jsonl:19", "round 5 stated",
    ),
    "a kernel beyond its bounds": (
        TRAINED, set_proposal(3, hyperparameters=_HYPERPARAMETERS | {"kernel_size": 9}),
        "trial.hyperparameters", "journal.jsonl:19", "kernel_size: 9",
    ),
    "a dropout beyond its bounds": (
        TRAINED, set_proposal(3, hyperparameters=_HYPERPARAMETERS | {"dropout": 0.9}),
        "trial.hyperparameters", "journal.jsonl:19", "dropout: 0.9",
    ),
    "a batch beyond its bounds": (
        TRAINED, set_proposal(3, hyperparameters=_HYPERPARAMETERS | {"batch_size": 512}),
        "trial.hyperparameters", "journal.jsonl:19", "batch_size: 512",
    ),
    "a network twice": (
        TRAINED, _network_again, "network.repeated", "journal.jsonl:19", "has the network of trial 2",
    ),
}  # fmt: skip

MANIPULATIONS_OF_TRAINING: dict[str, _Row] = {
    name: (package, repaired(change), id_, where, message)
    for name, (package, change, id_, where, message) in _ROWS.items()
}
