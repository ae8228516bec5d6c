"""Check of trial specifications against the journal, the settings and the networks of parents.

Every network is rebuilt from the seed network through the edits of each trial, and its operations are counted again.
Events are checked in `check_events`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, Final

from aiperf_orch.campaign.directory import parse_spec
from aiperf_orch.campaign.format_versions import NEWER_VERSION
from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.campaign.network_limits import network_limits, seed_network
from aiperf_orch.campaign.training_rules import trial_round, trial_seed
from aiperf_orch.campaign.trial_state import TrialState
from aiperf_orch.network import counts
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit, apply
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.records.operations import OperationsPerImage
from aiperf_orch.records.trial import DataRecord, TrainingRecord, TrialSpec
from aiperf_orch.util.errors import NetworkError, NewerVersionError, RecordError
from aiperf_orch.util.progress import tracked

_PROPOSED: Final = ("round", "parent", "edits", "network_hash", "operations", "hyperparameters")
_MOST_LAYERS: Final = 3000
"""Layers of a network in a package; ten times the default limit of the search."""
_CHANNELS_OF_A_LAYER: Final = 1000
"""Channels that take as long to edit as a layer."""
_FREE_EFFORT: Final = 5_000_000
"""Layers of all networks to which edits are applied, for a package of any size; a few seconds."""
_EFFORT_PER_BYTE: Final = 2
"""The same for each byte of a package, several times as many as honest packages need."""
_TOO_MANY: Final = "the edits of this package are more than any search makes in it: no further network was rebuilt"


def check_trials(index: PackageIndex) -> None:
    """Check every specification and every network."""
    faults = index.faults
    state = index.result.state
    missing = next((number for number, trial in enumerate(state.trials) if trial != number), None)
    if missing is not None:
        why = f"trial {missing} is missing among its {len(state.trials)} trials"
        faults.add("journal.trials", str(MEMBERS.journal), why)
    _check_attempts(index)
    known = {str(MEMBERS.spec(trial)) for trial in state.trials}
    for name in sorted(index.package.hashes):
        if name.startswith(f"{MEMBERS.specs_folder}/") and name not in known:
            faults.add("trial.unlisted", name, "is of a trial that is not in the journal")
    networks = _Networks(index)
    training = TrainingRecord.model_validate(index.directory.settings.training)
    data: dict[int, DataRecord] = {}  # id of settings that were in force -> what they give
    for trial in tracked(state.trials.values(), "checking trials"):
        settings = index.settings_at(index.submitted[trial.attempts[0].key][0] - 1)
        if id(settings) not in data:
            data[id(settings)] = DataRecord.model_validate(settings.data.without_paths())
        networks.check(trial, _specification(index, trial, data[id(settings)], training))


def _check_attempts(index: PackageIndex) -> None:
    latest: dict[int, tuple[int, str]] = {}
    for line, record in index.attempts():
        before, sha256 = latest.get(record.trial, (0, record.spec_sha256))
        where = f"{MEMBERS.journal}:{line}"
        if record.attempt != before + 1:
            why = f"attempt {record.attempt} of trial {record.trial} follows attempt {before}: one is missing"
            index.faults.add("journal.attempts", where, why)
        if record.spec_sha256 != sha256:
            why = f"attempt {record.attempt} of trial {record.trial} has another specification than the one before"
            index.faults.add("journal.specification", where, why)
        latest[record.trial] = record.attempt, record.spec_sha256


def _specification(
    index: PackageIndex, trial: TrialState, data: DataRecord, training: TrainingRecord
) -> TrialSpec | None:
    """Read a specification and check it against journal and settings; None when it is missing or unreadable."""
    faults, name = index.faults, str(MEMBERS.spec(trial.trial))
    if name not in index.package.hashes:
        faults.add("trial.missing", name, f"is missing, and {index.at_submission(trial)} submitted it")
        return None
    if index.package.hashes[name] != trial.spec_sha256:
        faults.add("trial.hash", name, f"is not the specification of {index.at_submission(trial)}: its SHA-256 differs")
    try:
        spec = parse_spec(index.package.read(name), name, index.directory.config.writer)
    except RecordError as error:
        kind = NEWER_VERSION if isinstance(error, NewerVersionError) else "trial.format"
        faults.add(kind, name, str(error).removeprefix(f"{name}: "))
        return None
    proposal, settings = trial.proposal, index.directory.settings
    for field in _PROPOSED:
        if getattr(spec, field) != getattr(proposal, field):
            faults.add("trial.proposal", name, f"{field}: is not what was proposed in {index.at_submission(trial)}")
    _check_proposal(index, trial)
    expected = {
        "campaign": index.directory.config.tag,
        "trial": trial.trial,
        "seed": trial_seed(settings.campaign.seed, trial.trial),
        "epochs": settings.training.epochs_of_round(proposal.round),
        "patience": settings.training.patience_of_round(proposal.round),
        "data": data,
        "training": training,
        "parent_error": _parent_error(index, trial),
    }
    for field, value in expected.items():
        if getattr(spec, field) != value:
            faults.add(
                "trial.recipe", name, f"{field}: does not follow from the settings and the journal ({value!r:.60})"
            )
    return spec


def _check_proposal(index: PackageIndex, trial: TrialState) -> None:
    """Check the round, which follows from the number of the trial, and the bounds of the hyperparameters."""
    settings, proposal, where = index.directory.settings, trial.proposal, index.at_submission(trial)
    number = trial_round(trial.trial, index.directory.config.settings.campaign.concurrency)
    if proposal.round != number:
        why = f"trial {trial.trial}: round {proposal.round} stated; by its number and the settings it is {number}"
        index.faults.add("trial.round", where, why)
    point, search = proposal.hyperparameters, settings.search
    low, high = search.batch_size
    for name, within, bounds in (
        ("kernel_size", point.kernel_size in search.kernel_sizes, f"one of {search.kernel_sizes}"),
        ("dropout", point.dropout <= search.max_dropout, f"at most {search.max_dropout}"),
        ("batch_size", low <= point.batch_size <= high, f"from {low} to {high}"),
    ):
        if not within:
            why = f"trial {trial.trial}: {name}: {getattr(point, name)} stated; by the settings it is {bounds}"
            index.faults.add("trial.hyperparameters", where, why)


def _parent_error(index: PackageIndex, trial: TrialState) -> float | None:
    parent = index.result.state.trials.get(-1 if trial.proposal.parent is None else trial.proposal.parent)
    return parent.end.best_error if parent and parent.end else None


class _Networks:
    """Rebuilds networks, parents first. A graph is kept while later trials descend from it."""

    def __init__(self, index: PackageIndex) -> None:
        self._index = index
        settings = index.directory.settings
        self._seed = seed_network(settings)
        self._limits = replace(network_limits(settings), max_memory=None)  # an estimate, and no condition
        self._graphs: dict[int, Graph] = {}
        self._first_with: dict[str, int] = {}  # hash of a network -> the first trial that has it
        self._effort = _FREE_EFFORT + _EFFORT_PER_BYTE * index.package.size
        parents = (trial.proposal.parent for trial in index.result.state.trials.values())
        self._children = Counter(parent for parent in parents if parent is not None)

    def check(self, trial: TrialState, spec: TrialSpec | None) -> None:
        """Rebuild the network of a trial, and compare it with the specification and the proposal in the journal."""
        if self._effort < 0 or self._index.faults.is_full:
            return
        graph = self._rebuild(trial)
        if self._effort < 0:
            self._index.faults.add("network.effort", self._index.at_submission(trial), _TOO_MANY)
        if graph is None:
            return
        if self._children[trial.trial]:
            self._graphs[trial.trial] = graph
        add, name, proposal = self._index.faults.add, str(MEMBERS.spec(trial.trial)), trial.proposal
        if spec is not None and not (spec.network == graph.to_json() and _has_integers_only(spec.network)):
            add("network.rebuilt", name, "its network does not follow from its parent's network and its edits")
        if proposal.network_hash != graph.hash:
            add("network.hash", name, "network_hash is not the hash of the network that follows from its edits")
        first = self._first_with.setdefault(graph.hash, trial.trial)
        if first != trial.trial:
            why = f"trial {trial.trial} has the network of trial {first}, and the search proposes none twice"
            add("network.repeated", self._index.at_submission(trial), why)
        operations = counts.count(graph)
        for phase in ("forward", "train"):
            stated, counted = getattr(proposal.operations, phase), getattr(operations, phase)
            if stated != counted:
                add("network.operations", name, f"{phase}: {stated} operations stated, and its network needs {counted}")
        size: dict[str, object] = {"layers": graph.depth, "parameters": graph.parameters}
        size["tensor_operations"] = OperationsPerImage.of(counts.count_tensor(graph))
        for what, found in size.items():
            if getattr(proposal, what) not in (None, found):
                add("network.size", name, f"{what}: {getattr(proposal, what)} stated, and its network has {found}")
        exceeded = self._limits.exceeded(graph)
        if exceeded is not None:
            add("network.limits", name, f"exceeds the limits of the settings: {exceeded}")

    def _rebuild(self, trial: TrialState) -> Graph | None:
        parent, where = trial.proposal.parent, self._index.at_submission(trial)
        if parent is None:
            start = self._seed
        elif parent in self._graphs:
            start = self._graphs[parent]
            self._children[parent] -= 1
            if not self._children[parent]:
                del self._graphs[parent]
        else:
            why = f"trial {trial.trial} descends from trial {parent}, whose network is not known before it"
            self._index.faults.add("network.parent", where, why)
            return None
        if parent is not None and not self._ended_before(parent, trial):
            why = f"trial {trial.trial} descends from trial {parent}, which had not ended before"
            self._index.faults.add("network.parent", where, why)
        try:
            return self._edited(start, trial)
        except NetworkError as error:
            self._index.faults.add("network.edits", where, f"trial {trial.trial}: {error}")
            return None

    def _edited(self, graph: Graph, trial: TrialState) -> Graph | None:
        """The network after the edits of a trial; None where they leave the limits or take too long.

        An edit takes time with the number of layers, and one that widens with all channels, too. Edits only enlarge a
        network, so that none after the limit needs to be applied.
        """
        for edit in trial.proposal.edits:
            self._effort -= graph.depth + sum(shape[2] for shape in graph.shapes.values()) // _CHANNELS_OF_A_LAYER
            if self._effort < 0:
                return None
            graph = apply(graph, Edit.from_json(edit))
            if graph.depth > min(self._limits.max_layers, _MOST_LAYERS):
                break
        if graph.depth > _MOST_LAYERS:
            raise NetworkError(f"its network has more than {_MOST_LAYERS} layers")
        return graph

    def _ended_before(self, parent: int, trial: TrialState) -> bool:
        end = self._index.result.state.trials[parent].end
        if end is None:
            return False
        return self._index.ended[end.trial, end.attempt][0] < self._index.submitted[trial.attempts[0].key][0]


def _has_integers_only(network: dict[str, Any]) -> bool:
    """Whether the numbers of a network in JSON are integers; true and 1.0 are equal to 1."""
    layers = network["layers"]
    types = {type(value) for layer in layers for value in layer.values()}
    types.update([type(source) for layer in layers for source in layer["inputs"]], map(type, network["input_shape"]))
    return types <= {int, str, list}
