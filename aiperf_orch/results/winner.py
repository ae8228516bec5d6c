"""The winner of a campaign: the trial with the lowest error, the network that won, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiperf_orch.campaign.directory import parse_spec
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.network.graph import Graph
from aiperf_orch.records.journal import ProposalRecord
from aiperf_orch.results.result import Result
from aiperf_orch.util.errors import AiperfError

_SHOWN_ANCESTORS: Final = 6
"""Trials of a lineage that are named; of a longer one the first and the last three."""


@dataclass(frozen=True, slots=True)
class Winner:
    """The trial with the lowest error of a campaign.

    Attributes:
        trial: Its number.
        epoch: The epoch of this error.
        error: The error, a fraction.
        lineage: Its ancestors, the first descendant of the seed network first, and itself.
        proposal: Its proposal.
        layers: Number of layers as `network.max_layers` counts them; None where neither proposal
            nor specification tell.
        parameters: Number of trainable parameters; None as above.
    """

    trial: int
    epoch: int
    error: float
    lineage: tuple[int, ...]
    proposal: ProposalRecord
    layers: int | None
    parameters: int | None


def winner_of(result: Result) -> Winner | None:
    """The winner of a campaign; None before an epoch has ended."""
    best = result.best_epoch
    if best is None:
        return None
    proposal = result.state.trials[best.trial].proposal
    layers, parameters = proposal.layers, proposal.parameters
    if layers is None and (graph := network_of(result, best.trial)) is not None:
        layers, parameters = graph.depth, graph.parameters
    return Winner(
        best.trial,
        best.epoch,
        best.error,
        lineage_of(result.state, best.trial),
        proposal,
        layers,
        parameters,
    )


def lineage_of(state: CampaignState, trial: int) -> tuple[int, ...]:
    """The ancestors of a trial, the first descendant of the seed network first, and the trial itself."""
    lineage = [trial]
    while (parent := state.trials[lineage[-1]].proposal.parent) is not None:
        if parent not in state.trials or parent >= lineage[-1]:  # a journal that no controller wrote
            break
        lineage.append(parent)
    return tuple(reversed(lineage))


def winner_lines(winner: Winner) -> list[str]:
    """Trial, error, lineage, size, operations and hyperparameters of the winner, as lines of the summary."""
    point, operations = winner.proposal.hyperparameters, winner.proposal.operations
    size = [] if winner.layers is None else [f"{winner.layers:,} layers, {winner.parameters:,} parameters"]
    size.append(f"operations per image: {operations.train:,} to train, {operations.forward:,} to validate")
    hyperparameters = [f"batch size {point.batch_size}", f"dropout {point.dropout:.4g}"]
    if winner.proposal.used_kernel_size is not None:
        hyperparameters.append(f"kernel size {winner.proposal.used_kernel_size}")
    return [
        f"winner           trial {winner.trial}, error {winner.error:.2%} at epoch {winner.epoch}",
        f"                 lineage: {_chain(winner.lineage)}",
        *(f"                 {text}" for text in (*size, ", ".join(hyperparameters))),
    ]


def _chain(lineage: tuple[int, ...]) -> str:
    """`seed > 2 > 4 > 7`; of a long lineage the number of the trials that are left out."""
    names = list(map(str, lineage))
    if (left_out := len(names) - _SHOWN_ANCESTORS) > 1:
        half = _SHOWN_ANCESTORS // 2
        names[half:-half] = [f"({left_out} more)"]
    return " > ".join(["seed", *names])


def network_of(result: Result, trial: int) -> Graph | None:
    """The network of a trial, from its specification; None where that cannot be read."""
    path = result.directory.spec(trial)
    try:
        return Graph.from_json(parse_spec(result.directory.read(path), str(path)).network)
    except (OSError, AiperfError):
        return None
