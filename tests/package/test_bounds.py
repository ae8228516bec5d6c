"""Bounds of the work that a package can demand: counted, not timed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.events import count_epochs
from aiperf_orch.network import morphisms
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.network.seeds import small_residual
from aiperf_orch.package import check_training, check_trials, findings
from aiperf_orch.package.package_index import MOST_ATTEMPTS, PackageIndex
from aiperf_orch.package.verify import Verification, verify
from aiperf_orch.records.events import Epoch
from package.package_changes import set_proposal


@pytest.fixture
def located(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The attempts whose events are searched for the lines of faults, once for each search."""
    searched: list[tuple[int, int]] = []
    locate = PackageIndex._locate

    def recording(self: PackageIndex, trial: int, attempt: int) -> Any:
        searched.append((trial, attempt))
        return locate(self, trial, attempt)

    monkeypatch.setattr(PackageIndex, "_locate", recording)
    return searched


@pytest.fixture
def edited(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """The networks to which edits are applied."""
    graphs: list[Graph] = []

    def recording(graph: Graph, edit: Edit) -> Graph:
        graphs.append(graph)
        return morphisms.apply(graph, edit)

    monkeypatch.setattr(check_trials, "apply", recording)
    return graphs


def checked(tampered: Any, tmp_path: Path) -> Verification:
    return verify(tampered.write(tmp_path / "tampered.tar.gz"))


def test_the_lines_of_an_attempt_are_searched_once(
    tampered: Any, tmp_path: Path, located: list[tuple[int, int]]
) -> None:
    tampered.settings("accelerator_peak_ops: 1000000000000.0", "accelerator_peak_ops: 1000000.0")
    found = checked(tampered, tmp_path)
    peaks = [fault.where for fault in found.faults if fault.id == "speed.peak"]
    assert len(peaks) == len(set(peaks)) == 11
    assert peaks[:2] == ["events/00000-1.0.jsonl:2", "events/00000-1.0.jsonl:3"]
    assert sorted(located) == sorted(set(located))


def test_no_lines_are_searched_for_faults_that_are_not_listed(
    tampered: Any, tmp_path: Path, located: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "_MOST_LISTED", 0)
    tampered.settings("accelerator_peak_ops: 1000000000000.0", "accelerator_peak_ops: 1000000.0")
    found = checked(tampered, tmp_path)
    assert found.more_faults >= 11
    assert located == []


def many_edits(number: int) -> list[dict[str, Any]]:
    """Edits of the seed network, each of which adds three layers."""
    relu = next(layer.id for layer in small_residual().layers if layer.kind == "relu")
    return [Edit("deeper", relu, kernel=3).to_json()] * number


def test_edits_end_at_the_limits_of_the_settings(tampered: Any, tmp_path: Path, edited: list[Graph]) -> None:
    set_proposal(0, edits=many_edits(500))(tampered, tmp_path)
    found = checked(tampered, tmp_path)
    assert "network.limits" in {fault.id for fault in found.faults}
    assert max(graph.depth for graph in edited) <= 63  # a child has one more edit
    assert len(edited) < 20 + 10


def test_edits_end_at_the_largest_network(
    tampered: Any, tmp_path: Path, edited: list[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_trials, "_MOST_LAYERS", 90)
    tampered.settings("max_layers: 60", "max_layers: 1000000")
    set_proposal(0, edits=many_edits(500))(tampered, tmp_path)
    found = checked(tampered, tmp_path)
    assert any("its network has more than 90 layers" in fault.message for fault in found.faults)
    assert max(graph.depth for graph in edited) <= 90


def test_all_edits_of_a_package_are_bounded(
    tampered: Any, tmp_path: Path, edited: list[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_trials, "_FREE_EFFORT", 1000)
    monkeypatch.setattr(check_trials, "_EFFORT_PER_BYTE", 0)
    tampered.settings("max_layers: 60", "max_layers: 1000000")
    set_proposal(0, edits=many_edits(500))(tampered, tmp_path)
    found = checked(tampered, tmp_path)
    assert [fault.where for fault in found.faults if fault.id == "network.effort"] == ["journal.jsonl:3"]
    assert sum(graph.depth for graph in edited) <= 1000


def test_wide_networks_count_as_more_than_their_layers(
    tampered: Any, tmp_path: Path, edited: list[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_trials, "_FREE_EFFORT", 1000)
    monkeypatch.setattr(check_trials, "_EFFORT_PER_BYTE", 0)
    set_proposal(0, edits=[Edit("wider", 1).to_json()] * 16)(tampered, tmp_path)
    found = checked(tampered, tmp_path)
    assert "network.effort" in {fault.id for fault in found.faults}
    assert 5 < len(edited) < 16


def test_no_network_is_rebuilt_after_the_faults_that_are_listed(
    tampered: Any, tmp_path: Path, edited: list[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "_MOST_LISTED", 0)
    checked(tampered, tmp_path)
    assert edited == []


def test_a_trial_with_more_attempts_than_there_can_be_is_refused(tampered: Any, tmp_path: Path) -> None:
    def change(entries: list[dict[str, Any]]) -> None:
        first = next(entry for entry in entries if entry["type"] == "submitting")
        attempt = {**first["attempts"][0], "proposal": None}
        attempts = [{**attempt, "attempt": number} for number in range(2, MOST_ATTEMPTS + 2)]
        entries.insert(-1, first | {"attempts": attempts})

    tampered.journal(change)
    found = checked(tampered, tmp_path)
    assert [(fault.id, fault.message) for fault in found.faults] == [
        ("journal.attempts", "trial 0 has 100 attempts; no campaign makes more than 99")
    ]


def test_epochs_before_the_runs_of_a_package_are_bounded(
    tampered: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []

    def recording(epochs: Iterable[Epoch]) -> dict[int, Epoch]:
        known = count_epochs(epochs)
        counted.append(len(known))
        return known

    monkeypatch.setattr(check_training, "count_epochs", recording)
    monkeypatch.setattr(check_training, "_STEPS_PER_BYTE", 0)
    monkeypatch.setattr(check_training, "_FREE_STEPS", 40)
    files = {}
    for run in range(20):  # each continues after the two epochs of the first one
        lines = [{**line, "run": run} for line in tampered.lines("events/00002-1.0.jsonl")]
        lines = lines[:3] if run == 0 else lines[:1]
        files[run] = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)
    tampered.files |= {f"events/00002-1.{run}.jsonl": data for run, data in files.items()}
    recorded = [
        {"run": run, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for run, data in files.items()
    ]
    tampered.each("ended", lambda item: item.update(files=recorded) if item["trial"] == 2 else None)
    found = checked(tampered, tmp_path)
    where = [fault.where for fault in found.faults if fault.id == "training.effort"]
    assert where == ["events/00002-1.10.jsonl"]  # the ten runs after the first one have four epochs each
    assert sum(counted) <= 60  # 91 without a bound, 12 of which are of other trials
