"""A campaign's result: everything that its tables, its verdict and the terminal say, computed once from the records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from aiperf_orch.campaign.consistency import read_state
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.network.graph import Shape
from aiperf_orch.results.collect import Collected, collect
from aiperf_orch.results.efficiency import Efficiency, efficiency_of
from aiperf_orch.results.score import Score, score_of


@dataclass(frozen=True)
class Result:
    """One campaign as its records have it, whenever they are read.

    Durations in seconds; `training_sizes` and `validation_sizes` are images an epoch,
    those that could not be read among them, `data_digests` what trials stated of their data; `networks` ended an epoch.
    """

    directory: CampaignDirectory
    state: CampaignState
    collected: Collected
    score: Score
    efficiency: Efficiency
    started: datetime | None
    longest_epoch: float
    duration: float
    phase: Phase
    simulated: bool
    data: str
    input_shape: Shape
    classes: int
    data_digests: frozenset[str]
    precisions: frozenset[str]
    training_sizes: frozenset[int]
    validation_sizes: frozenset[int]
    networks: int
    foreign_weights: list[int]
    clock_skew: float
    faults: list[str]


def compute_result(directory: CampaignDirectory) -> Result:
    """The result of a campaign from its journal and events.

    Raises:
        RecordError: when the journal is damaged or has lost its end, or the frozen settings were changed.
    """
    return result_of(directory, read_state(directory))


def result_of(directory: CampaignDirectory, state: CampaignState) -> Result:
    """The result of a campaign in this state."""
    collected = collect(directory, state)
    epochs = collected.epochs
    begins = [begin for trial in collected.trials for begin in trial.begins]
    settings = directory.settings
    score = score_of(collected.start, epochs)
    return Result(
        directory=directory,
        state=state,
        collected=collected,
        score=score,
        efficiency=efficiency_of(epochs, score.seconds),
        started=collected.start,
        longest_epoch=max(((epoch.end - epoch.start).total_seconds() for epoch in epochs), default=0.0),
        duration=settings.campaign.duration,
        phase=state.phase,
        simulated=settings.simulated,
        data=settings.data.name,
        input_shape=settings.data.input_shape,
        classes=settings.data.outputs,
        data_digests=frozenset(begin.data_sha256 for begin in begins if begin.data_sha256),
        precisions=frozenset(begin.precision for begin in begins),
        training_sizes=frozenset(epoch.train_images + epoch.skipped for epoch in epochs),
        validation_sizes=frozenset(epoch.val_images for epoch in epochs),
        networks=len({trial.trial.proposal.network_hash for trial in collected.trials if trial.epochs}),
        foreign_weights=[
            trial.trial.trial
            for trial in collected.trials
            if trial.trial.proposal.parent is None and any(begin.inherited for begin in trial.begins)
        ],
        clock_skew=max((abs(begin.clock_skew) for begin in begins), default=0.0),
        faults=collected.faults,
    )
