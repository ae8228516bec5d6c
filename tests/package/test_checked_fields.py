"""Each field of each record of a package is held by a check, or has a reason why none can hold it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import aiperf_orch.package
from aiperf_orch.records import agents, base, events, journal, meter, operations, probe, trial, workforce

_READ = "read: a line that contradicts it is a fault when it is read"
_PLACE = _READ  # of the file's name
_CHAIN = "read: the chain of the journal"
_FREE = "none: free text, shown and not computed with"
_OWN = "none: only the node knows it"
_SITE = "none: only the site knows it"

CHECKED: dict[str, dict[str, str]] = {
    "Begin": {
        "type": _READ, "trial": _PLACE, "attempt": _PLACE, "run": _PLACE,
        "time": "attempt.time", "hosts": "trial.nodes", "job": "attempt.began",
        "spec_sha256": _READ, "trainer": "trial.trainer", "device": "trial.trainer",
        "batch": "trial.batch", "precision": "trial.precision", "cores": _OWN, "inherited": "trial.inherited",
        "workers": "trial.workers", "compiled": "trial.compiled", "data_sha256": "data.digest",
        "versions": "trial.trainer", "clock_skew": "none: a rule limits it", "set_ahead": _OWN,
        "agent": "placement.agent", "allocation": "placement.agent", "slot": "placement.slot",
        "started": "placement.time",
    },
    "Epoch": {
        "type": _READ, "trial": _PLACE, "attempt": _PLACE, "run": _PLACE,
        "epoch": "epoch.gap", "start": "epoch.time", "end": "epoch.time",
        "train_images": "epoch.sizes", "val_images": "epoch.sizes", "skipped": "epoch.skipped",
        "loss": "epoch.copied", "error": "epoch.copied", "batch": "epoch.batch", "ops": _READ,
        "data_wait": "epoch.copied", "energy": "none: the settings do not state the power of a device",
        "energy_of": "none: only the telemetry knows it",
    },
    "End": {
        "type": _READ, "trial": _PLACE, "attempt": _PLACE, "run": _PLACE,
        "time": "attempt.time", "reason": "attempt.reason", "best_error": "attempt.best", "best_epoch": "attempt.best",
        "weights_sha256": "weights.hash", "message": _FREE,
    },
    "_Entry": {
        "seq": _CHAIN, "prev": _CHAIN, "time": "journal.time",
        "generation": "none: it counts the controllers, and none of its values is computed with",
    },
    "Created": {
        "type": _READ, "settings_sha256": "settings.hash", "version": "journal.version", "format": "journal.version",
        "search": "none: the replay of proposals depends on it",
        "plan": "journal.version",
    },
    "Opened": {
        "type": _READ, "host": _OWN, "pid": _OWN, "version": "none: only the writer knows it",
        "search": "none: the replay of proposals depends on it",
        "templates": "none: the comparison of scripts depends on it",
    },
    "Submitting": {"type": _READ, "attempts": "journal.attempts"},
    "AttemptRecord": {
        "trial": "journal.trials", "attempt": "journal.attempts", "name": "attempt.name",
        "spec_sha256": "trial.hash", "proposal": "trial.proposal", "after": "campaign.concurrency",
    },
    "ProposalRecord": {
        "round": "trial.round", "parent": "network.parent", "edits": "network.rebuilt", "network_hash": "network.hash",
        "operations": "network.operations", "hyperparameters": "trial.hyperparameters",
        "layers": "network.size", "parameters": "network.size", "tensor_operations": "network.size",
    },
    "Hyperparameters": {
        "kernel_size": "trial.hyperparameters", "dropout": "trial.hyperparameters",
        "batch_size": "trial.hyperparameters",
    },
    "OperationsPerImage": {"forward": "network.operations", "train": "network.operations"},
    "Submitted": {"type": _READ, "jobs": "journal.order"},
    "JobRecord": {"trial": "journal.order", "attempt": "journal.order", "job": "attempt.job"},
    "Began": {"type": _READ, "attempts": "attempt.began"},
    "BeganRecord": dict.fromkeys(("trial", "attempt", "run", "time", "hosts", "job"), "attempt.began"),
    "Missing": {"type": _READ, "attempts": "journal.order"},
    "AttemptId": {"trial": "journal.order", "attempt": "journal.order"},
    "Cancelling": {
        "type": _READ, "attempts": "journal.order",
        "reason": "none: what follows from it is the reason of the end, which is checked",
    },
    "Ended": {"type": _READ, "attempts": "journal.order"},
    "AttemptEnd": {
        "trial": "journal.order", "attempt": "journal.order", "reason": "attempt.reason", "message": _FREE,
        "final": "attempt.final", "files": "attempt.runs", "hosts": "attempt.sums", "progressed": "attempt.sums",
        **dict.fromkeys(("epochs", "train_images", "val_images", "ops", "best_error", "best_epoch"), "attempt.sums"),
        "first_begin": "attempt.sums", "last_end": "attempt.sums",
        "predicted_error": "none: a forecast, of which another machine has other last digits; proposals follow from it",
    },
    "EventsFile": {"run": "attempt.runs", "size": "events.hash", "sha256": "events.hash"},
    "Allocating": {"type": _READ, "allocations": "agent.allocation"},
    "AllocationRecord": {
        "name": "agent.allocation", "nodes": "allocation.nodes",
        "slots": "none: what was expected of a node; its agent states what there is",
        "after": "none: the scheduler decides when it starts",
    },
    "Allocated": {"type": _READ, "jobs": "journal.order"},
    "AllocationJob": {"name": "journal.order", "job": "placement.agent"},
    "Joined": {"type": _READ, "agents": "agent.record"},
    "AgentRecord": {
        "agent": "agent.record", "allocation": "agent.allocation", "job": "placement.agent", "host": "placement.agent",
        "slots": "agent.slots", "cores": "agent.slots", "gpus": "agent.slots", "core_ids": "agent.overlap",
        "time": "placement.time", "ends_at": "none: the end of the agent is checked",
    },
    "Left": {"type": _READ, "agents": "journal.order"},
    "AgentLeave": {
        "agent": "journal.order", "time": "placement.time", "reason": "placement.time", "message": _FREE,
    },
    "AllocationEnded": {"type": _READ, "allocations": "journal.order"},
    "AllocationEnd": {"name": "journal.order", "reason": _FREE, "message": _FREE},
    "SettingsChanged": {
        "type": _READ, "request": "none: it only names the request", "user": _FREE, "host": _OWN,
        "changes": "settings.change",
    },
    "SettingChange": {"key": "settings.change", "before": "settings.before", "after": "settings.change"},
    "Drained": {
        "type": "journal.phase", "request": "none: it only names the request", "user": _OWN, "host": _OWN,
        **dict.fromkeys(("nodes", "now", "undo"), "campaign.drained"),
    },
    "Paused": {"type": "journal.phase", "reason": _FREE},
    "Resumed": {"type": "journal.phase"},
    "Stopped": {"type": "journal.open"},
    "Finished": {"type": "journal.open", "reason": "campaign.finished", "by_deadline": "campaign.duration"},
    "MeterFacts": {
        "nodes": "meter.readings", "sha256": "meter.readings", "instrument": _FREE,
        **dict.fromkeys(("source", "subsystems", "point", "accuracy", "sampling", "idle_watts"), _SITE),
    },
    "TrialSpec": {
        "version": _READ, "campaign": "trial.recipe", "trial": "trial.recipe", "seed": "trial.recipe",
        "epochs": "trial.recipe", "patience": "trial.recipe", "data": "trial.recipe", "training": "trial.recipe",
        "parent_error": "trial.recipe", "network": "network.rebuilt",
        **dict.fromkeys(("round", "parent", "edits", "network_hash", "operations"), "trial.proposal"),
        "hyperparameters": "trial.proposal",
    },
    "DataRecord": dict.fromkeys(trial.DataRecord.model_fields, "trial.recipe"),
    "TrainingRecord": dict.fromkeys(trial.TrainingRecord.model_fields, "trial.recipe"),
    "SimulatedRecord": dict.fromkeys(trial.SimulatedRecord.model_fields, "trial.recipe"),
}  # fmt: skip
"""Record and field -> the fault that a wrong value causes, `read: ...`, or `none: ` and the reason."""

_BASES = {"Record", "_ExtendedRecord", "_Event", "SettingsRecord", "TrainingSetup", "EpochMeasurements"}
_BASES |= {"NodeMeasurements"}
_NOT_IN_PACKAGES = {agents: "files of agents stay at the site", probe: "the report of the probe job is no record"}


def _records() -> dict[str, Any]:
    """Every record of a package, by its name."""
    found: dict[str, Any] = {}
    for module in (base, events, journal, meter, operations, trial, workforce):
        for name, value in vars(module).items():
            is_record = isinstance(value, type) and (issubclass(value, BaseModel) or dataclasses.is_dataclass(value))
            if is_record and value.__module__ == module.__name__ and name not in _BASES:
                found[name] = value
    return found


def _fields(record: Any) -> set[str]:
    known = (
        {field.name for field in dataclasses.fields(record)}
        if dataclasses.is_dataclass(record)
        else set(record.model_fields)
    )
    inherited = set(journal._Entry.model_fields) if issubclass(record, journal._Entry) else set()
    return known - (inherited if record is not journal._Entry else set())


def test_every_record_is_listed() -> None:
    assert set(CHECKED) == set(_records())


@pytest.mark.parametrize("name", CHECKED)
def test_every_field_has_a_check_or_a_reason(name: str) -> None:
    assert set(CHECKED[name]) == _fields(_records()[name])


def test_every_named_fault_is_one_of_verify() -> None:
    folder = Path(aiperf_orch.package.__file__).parent
    sources = [*folder.glob("*.py"), *(folder.parent / "campaign").glob("*.py")]
    known = set(re.findall(r'"([a-z]+\.[a-z_]+)"', "".join(file.read_text(encoding="utf-8") for file in sources)))
    named = {check for fields in CHECKED.values() for check in fields.values()}
    assert {check for check in named if not check.startswith(("read: ", "none: "))} <= known
