"""Checks every trial's specification: against the journal, the settings, and its parent's network.

Every network is rebuilt, from the seed network through each trial's edits, and its operations are counted again. What
the trials did is left to `check_events`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Final

from aiperf_orch.campaign.directory import parse_spec
from aiperf_orch.campaign.format_versions import NEWER_VERSION
from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.campaign.network_space import network_limits, seed_network
from aiperf_orch.campaign.trial_state import TrialState
from aiperf_orch.network import counts
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit, apply_all
from aiperf_orch.package.package_index import Evidence
from aiperf_orch.records.trial import DataRecord, TrainingRecord, TrialSpec
from aiperf_orch.util.errors import NetworkError, NewerVersionError, RecordError

_PROPOSED: Final = ("round", "parent", "edits", "network_hash", "operations", "hyperparameters")


def check_trials(evidence: Evidence) -> None:
    """Check every specification and every network."""
    faults = evidence.faults
    state = evidence.result.state
    missing = next((number for number, trial in enumerate(state.trials) if trial != number), None)
    if missing is not None:
        why = f"trial {missing} is missing among its {len(state.trials)} trials"
        faults.add("journal.trials", str(MEMBERS.journal), why)
    _check_attempts(evidence)
    known = {str(MEMBERS.spec(trial)) for trial in state.trials}
    for name in sorted(evidence.package.hashes):
        if name.startswith(f"{MEMBERS.specs_folder}/") and name not in known:
            faults.add("trial.unlisted", name, "is a trial that the journal does not know")
    networks = _Networks(evidence)
    for trial in state.trials.values():
        spec = _specification(evidence, trial)
        networks.check(trial, spec)


def _check_attempts(evidence: Evidence) -> None:
    latest: dict[int, tuple[int, str]] = {}
    for line, record in evidence.attempts():
        before, sha256 = latest.get(record.trial, (0, record.spec_sha256))
        where = f"{MEMBERS.journal}:{line}"
        if record.attempt != before + 1:
            why = f"attempt {record.attempt} of trial {record.trial} follows attempt {before}: one is missing"
            evidence.faults.add("journal.attempts", where, why)
        if record.spec_sha256 != sha256:
            why = f"attempt {record.attempt} of trial {record.trial} has another specification than the one before"
            evidence.faults.add("journal.specification", where, why)
        latest[record.trial] = record.attempt, record.spec_sha256


def _specification(evidence: Evidence, trial: TrialState) -> TrialSpec | None:
    """A trial's specification, held to the journal and the settings; None when there is none that can be read."""
    faults, name = evidence.faults, str(MEMBERS.spec(trial.trial))
    if name not in evidence.package.hashes:
        faults.add("trial.missing", name, f"is missing, and {evidence.at_submission(trial)} knows it")
        return None
    if evidence.package.hashes[name] != trial.spec_sha256:
        faults.add(
            "trial.hash", name, f"is not the specification of {evidence.at_submission(trial)}: its SHA-256 differs"
        )
    try:
        spec = parse_spec(evidence.package.read(name), name, evidence.directory.config.writer)
    except RecordError as error:
        kind = NEWER_VERSION if isinstance(error, NewerVersionError) else "trial.format"
        faults.add(kind, name, str(error).removeprefix(f"{name}: "))
        return None
    proposal, settings = trial.proposal, evidence.directory.settings
    for field in _PROPOSED:
        if getattr(spec, field) != getattr(proposal, field):
            faults.add("trial.proposal", name, f"{field}: is not what was proposed in {evidence.at_submission(trial)}")
    expected = {
        "campaign": evidence.directory.config.tag,
        "trial": trial.trial,
        "epochs": settings.training.epochs_of_round(proposal.round),
        "patience": settings.training.patience_of_round(proposal.round),
        "data": DataRecord.model_validate(settings.data.without_paths()),
        "training": TrainingRecord.model_validate(settings.training),
        "parent_error": _parent_error(evidence, trial),
    }
    for field, value in expected.items():
        if getattr(spec, field) != value:
            faults.add("trial.recipe", name, f"{field}: is not what the settings and the journal say ({value!r:.60})")
    return spec


def _parent_error(evidence: Evidence, trial: TrialState) -> float | None:
    parent = evidence.result.state.trials.get(-1 if trial.proposal.parent is None else trial.proposal.parent)
    return parent.end.best_error if parent and parent.end else None


class _Networks:
    """Rebuilds networks, parents first. A graph is kept as long as a later trial descends from it."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        settings = evidence.directory.settings
        self._seed = seed_network(settings)
        self._limits = replace(network_limits(settings), max_memory=None)  # an estimate, and no condition
        self._graphs: dict[int, Graph] = {}
        parents = (trial.proposal.parent for trial in evidence.result.state.trials.values())
        self._children = Counter(parent for parent in parents if parent is not None)

    def check(self, trial: TrialState, spec: TrialSpec | None) -> None:
        """Rebuild a trial's network, and compare with its specification and the journal's proposal."""
        graph = self._rebuild(trial)
        if graph is None:
            return
        if self._children[trial.trial]:
            self._graphs[trial.trial] = graph
        add, name, proposal = self._evidence.faults.add, str(MEMBERS.spec(trial.trial)), trial.proposal
        if spec is not None and spec.network != graph.to_json():
            add("network.rebuilt", name, "its network is not what its edits make of its parent's")
        if proposal.network_hash != graph.hash:
            add("network.hash", name, "network_hash is not the hash of the network that its edits make")
        operations = counts.count(graph)
        for phase in ("forward", "train"):
            stated, counted = getattr(proposal.operations, phase), getattr(operations, phase)
            if stated != counted:
                add("network.operations", name, f"{phase}: {stated} operations stated, and its network needs {counted}")
        exceeded = self._limits.exceeded(graph)
        if exceeded is not None:
            add("network.limits", name, f"beyond the settings' limits: {exceeded}")

    def _rebuild(self, trial: TrialState) -> Graph | None:
        parent, where = trial.proposal.parent, self._evidence.at_submission(trial)
        if parent is None:
            start = self._seed
        elif parent in self._graphs:
            start = self._graphs[parent]
            self._children[parent] -= 1
            if not self._children[parent]:
                del self._graphs[parent]
        else:
            why = f"trial {trial.trial} descends from trial {parent}, whose network is not known before it"
            self._evidence.faults.add("network.parent", where, why)
            return None
        if parent is not None and not self._ended_before(parent, trial):
            why = f"trial {trial.trial} descends from trial {parent}, which had not ended then"
            self._evidence.faults.add("network.parent", where, why)
        try:
            return apply_all(start, [Edit.from_json(edit) for edit in trial.proposal.edits])
        except NetworkError as error:
            self._evidence.faults.add("network.edits", where, f"trial {trial.trial}: {error}")
            return None

    def _ended_before(self, parent: int, trial: TrialState) -> bool:
        end = self._evidence.result.state.trials[parent].end
        if end is None:
            return False
        return self._evidence.ended[end.trial, end.attempt][0] < self._evidence.submitted[trial.attempts[0].key][0]
