"""Makes right all that follows from other records, as a careful forger would.

Networks, operations and specifications follow from the proposals and the settings; begin lines from settings that leave
no choice; operations of epochs from images and networks; end lines, begins and ends in the journal from the events. An
honest package is its own derivation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from aiperf_orch.campaign.failure_policy import is_final
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.campaign.training_rules import PRECISIONS, halvings, trial_round, trial_seed
from aiperf_orch.network import counts
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit, apply
from aiperf_orch.network.seeds import SEEDS
from aiperf_orch.records.journal import Ended, entry_adapter
from aiperf_orch.records.operations import OperationsPerImage
from aiperf_orch.records.trial import DataRecord, TrainingRecord
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.placement import placement_settings
from aiperf_orch.settings.schedulers import ClusterSettings
from aiperf_orch.util.dataset_catalogue import known_digest
from aiperf_orch.util.errors import NetworkError
from package.forger.records import Line, Records, events_name

_Seed = tuple[str, tuple[int, int, int], int]


def derive(records: Records) -> None:
    """Derive all that follows from other records; what is too wrong for that stays as it is."""
    settings = records.settings()
    if settings is None:
        return
    for step in (_proposals, _begins, _epochs, _ends_of_runs, _journal, _specifications):
        with suppress(LookupError, TypeError, ValueError, AttributeError):
            step(records, settings)
    with suppress(LookupError, TypeError, ValueError, AttributeError):
        _finals(records, settings)


@lru_cache(maxsize=4000)
def _edited(seed: _Seed, edits: tuple[str, ...]) -> Graph:
    """The network after a chain of edits, each as JSON."""
    if not edits:
        return SEEDS[seed[0]](seed[1], seed[2])
    return apply(_edited(seed, edits[:-1]), Edit.from_json(json.loads(edits[-1])))


@lru_cache(maxsize=4000)
def _described(seed: _Seed, edits: tuple[str, ...]) -> tuple[str, dict[str, int], str]:
    """Hash, operations and JSON of the network after a chain of edits."""
    graph = _edited(seed, edits)
    return graph.hash, OperationsPerImage.of(counts.count(graph)).model_dump(), json.dumps(graph.to_json())


def _proposals(records: Records, settings: SiteSettings) -> None:
    chains: dict[int, tuple[str, ...]] = {}
    for item in records.items("submitting"):
        proposal = item["proposal"]
        if not proposal:
            continue
        proposal["round"] = trial_round(item["trial"], settings.campaign.concurrency)
        chain = (*chains.get(proposal["parent"], ()), *(json.dumps(edit) for edit in proposal["edits"]))
        chains[item["trial"]] = chain
        seed = settings.network.seed, settings.data.input_shape, settings.data.outputs
        with suppress(NetworkError, KeyError):  # an impossible edit, or no specification
            network_hash, operations, network = _described(seed, chain)
            proposal["network_hash"] = network_hash
            if proposal.get("layers") is not None:
                size = _edited(seed, chain)
                proposal.update(layers=size.depth, parameters=size.parameters)
                proposal["tensor_operations"] = OperationsPerImage.of(counts.count_tensor(size)).model_dump()
            proposal["operations"].update(operations)
            records.specs[item["trial"]]["network"] = json.loads(network)


def _begins(records: Records, settings: SiteSettings) -> None:
    """Change what the settings do not permit."""
    training, data = settings.training, settings.data
    proposals = {item["trial"]: item["proposal"] for item in records.items("submitting") if item["proposal"]}
    for begin in records.begins():
        begin["trainer"] = training.trainer
        if settings.simulated:
            begin["device"] = "simulated"
        elif begin["device"] == "simulated":
            begin["device"] = "an accelerator"
        if not settings.simulated:
            begin["versions"].setdefault("torch", "2.11.0")
            if begin["precision"] not in PRECISIONS[training.precision]:
                begin["precision"] = min(PRECISIONS[training.precision])
            begin["data_sha256"] = known_digest(data.name, data.input_shape, data.outputs) or begin["data_sha256"]
        begin["compiled"] &= training.compile
        begin["inherited"] &= training.inherit_weights and proposals[begin["trial"]]["parent"] is not None
        proposed = proposals[begin["trial"]]["hyperparameters"]["batch_size"]
        if begin["batch"] not in set(halvings(proposed)):
            begin["batch"] = proposed
        begin["workers"] = _workers(settings, len(begin["hosts"])) or begin["workers"]


def _workers(settings: SiteSettings, hosts: int) -> int | None:
    scheduler = settings.scheduler
    if settings.simulated or scheduler.template is not None:
        return None
    placement = placement_settings(scheduler, settings.campaign.concurrency)
    each = scheduler.workers_per_node
    if placement is not None:
        each = placement.workers
    elif each is None and isinstance(scheduler, ClusterSettings):
        each = scheduler.trial_gpus
    return None if each is None else each * hosts


def _epochs(records: Records, _settings: SiteSettings) -> None:
    operations = {
        item["trial"]: item["proposal"]["operations"] for item in records.items("submitting") if item["proposal"]
    }
    for lines in records.events.values():
        batch = None
        for line in lines:
            if line["type"] == "begin":
                batch = line["batch"]
            elif line["type"] == "epoch":
                each = operations[line["trial"]]
                line["ops"] = line["train_images"] * each["train"] + line["val_images"] * each["forward"]
                if batch is not None and line["batch"] not in set(halvings(batch)):
                    line["batch"] = batch
                batch = line["batch"]


def _runs(records: Records, trial: int) -> Iterator[tuple[int, int, list[Line]]]:
    """Attempt, run and counted lines of each run of a trial, in order."""
    for item in records.items("ended"):
        if item["trial"] == trial:
            for file in sorted(item["files"], key=lambda file: file["run"]):
                name = events_name(trial, item["attempt"], file["run"])
                lines = records.events.get(name, [])
                yield item["attempt"], file["run"], lines[: len(lines) - records.uncounted.get(name, 0)]


def _best(epochs: Iterator[Line] | list[Line]) -> dict[str, Any]:
    best = min(epochs, key=lambda epoch: (epoch["error"], epoch["epoch"]), default={})
    return {"best_error": best.get("error"), "best_epoch": best.get("epoch")}


def _ends_of_runs(records: Records, settings: SiteSettings) -> None:
    """The best epochs in end lines of trials; the end line of the controller has none."""
    deadline = _deadline(records, settings)
    for trial in records.specs:
        known: dict[int, Line] = {}
        for _, _, lines in _runs(records, trial):
            epochs = [line for line in lines if line["type"] == "epoch"]
            _count(known, epochs, deadline)
            for line in lines:
                if line["type"] == "end" and (epochs or line["best_epoch"] is not None):
                    first = min((epoch["epoch"] for epoch in epochs), default=0)
                    before = [epoch for number, epoch in known.items() if number < first]
                    line.update(_best([*before, *epochs] if epochs else list(known.values())))


def _deadline(records: Records, settings: SiteSettings) -> datetime | None:
    begins = [datetime.fromisoformat(begin["time"]) for begin in records.begins()]
    return min(begins) + timedelta(seconds=settings.campaign.duration) if begins else None


def _count(known: dict[int, Line], epochs: list[Line], deadline: datetime | None) -> None:
    """Count epochs, each by the earlier of two ends, and none that ended after the deadline."""
    for epoch in epochs:
        before = known.get(epoch["epoch"])
        late = deadline is not None and datetime.fromisoformat(epoch["end"]) > deadline
        if not late and (before is None or epoch["end"] < before["end"]):
            known[epoch["epoch"]] = epoch


def _journal(records: Records, settings: SiteSettings) -> None:
    """Begins and ends in the journal, from the events."""
    for item in records.items("began"):
        lines = records.events.get(events_name(item["trial"], item["attempt"], item["run"]), [])
        if lines and lines[0]["type"] == "begin":
            item.update({key: lines[0][key] for key in ("time", "hosts", "job")})
    deadline = _deadline(records, settings)
    for item in records.items("ended"):
        known: dict[int, Line] = {}
        begins: list[Line] = []
        progressed, last = False, None
        for attempt, run, lines in _runs(records, item["trial"]):
            if attempt > item["attempt"]:
                continue
            before = set(known)
            _count(known, [line for line in lines if line["type"] == "epoch"], deadline)
            if attempt == item["attempt"]:
                own = [line for line in lines if line["type"] == "begin"]
                begins, last = begins + own, (run, own)
                progressed = progressed or bool(set(known) - before)
        epochs = list(known.values())
        sums = {key: sum(epoch[key] for epoch in epochs) for key in ("train_images", "val_images", "ops")}
        item.update(sums, **_best(epochs), epochs=len(epochs), progressed=progressed)
        item["last_end"] = max((epoch["end"] for epoch in epochs), default=None)
        item["first_begin"] = min((begin["time"] for begin in begins), default=None)
        if last is not None and last[1]:
            item["hosts"] = last[1][-1]["hosts"]


def _specifications(records: Records, settings: SiteSettings) -> None:
    errors = {item["trial"]: item["best_error"] for item in records.items("ended") if item["final"]}
    training = settings.training
    for item in records.items("submitting"):
        proposal, spec = item["proposal"], records.specs.get(item["trial"])
        if proposal and spec:
            spec.update({key: value for key, value in proposal.items() if key in spec})
            spec.update(
                campaign=records.config["tag"],
                trial=item["trial"],
                seed=trial_seed(settings.campaign.seed, item["trial"]),
                epochs=training.epochs_of_round(proposal["round"]),
                patience=training.patience_of_round(proposal["round"]),
                data=DataRecord.model_validate(settings.data.without_paths()).model_dump(mode="json"),
                training=TrainingRecord.model_validate(training).model_dump(mode="json"),
                parent_error=errors.get(proposal["parent"]),
            )


def _finals(records: Records, settings: SiteSettings) -> None:
    """Whether each end is the last one of its trial, by the failure policy."""
    state, later = CampaignState(), [dict(entry) for entry in records.journal]
    for entry, line in zip(later, records.journal, strict=True):
        parsed = entry_adapter.validate_python({**entry, "seq": 0, "prev": "0" * 64}, strict=False)
        if isinstance(parsed, Ended):
            for end, item in zip(parsed.attempts, line["attempts"], strict=True):
                attempts = state.trials[end.trial].attempts
                final = is_final(end.reason, attempts, settings.campaign.max_attempts, progressed=end.progressed)
                item["final"] = final
                state.apply(parsed.model_copy(update={"attempts": [end.model_copy(update={"final": final})]}))
        else:
            state.apply(parsed)
