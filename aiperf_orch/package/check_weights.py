"""Check of the weights in a package: those of the recorded error, with the tensors of its network."""

from __future__ import annotations

from aiperf_orch.campaign.directory import parse_spec
from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.tensors import state_tensors
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.package.recorded_error import recorded_error
from aiperf_orch.package.weights_header import header_fault
from aiperf_orch.util.errors import NetworkError, RecordError


def check_weights(index: PackageIndex) -> None:
    """Check whose weights they are, their hash and their header. The numbers are checked by `evaluate` only."""
    weights, recorded = index.package.weights, recorded_error(index.result)
    if weights is None:
        return
    if recorded is None or index.result.simulated:
        index.faults.add("weights.trial", weights.name, "are of no trial: no network was trained")
        return
    if weights.name != recorded.weights_name:
        why = f"are not of the trial with the lowest error, whose weights are {recorded.weights_name}"
        index.faults.add("weights.trial", weights.name, why)
        return
    if index.package.hashes[weights.name] != recorded.weights_sha256:
        where = index.at_event(recorded.epoch.trial, recorded.epoch.attempt, "end")
        why = f"are not the weights of the lowest error: their SHA-256 is not that of {where}"
        index.faults.add("weights.hash", weights.name, why)
    network = _network(index, recorded.epoch.trial)
    if network is not None:
        fault = header_fault(weights.head, weights.size, state_tensors(network))
        if fault is not None:
            index.faults.add("weights.header", weights.name, fault)


def _network(index: PackageIndex, trial: int) -> Graph | None:
    """The network of a trial; None, where `check_trials` has found why, if it cannot be read."""
    name = str(MEMBERS.spec(trial))
    try:
        return Graph.from_json(parse_spec(index.package.read(name), name).network)
    except (FileNotFoundError, RecordError, NetworkError):
        return None
