"""Result of a campaign: the quantities of its tables, rules and report, computed once from the records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.events import LineFault, best_epoch
from aiperf_orch.campaign.snapshot import read_state
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.network.graph import Shape
from aiperf_orch.records.events import Epoch
from aiperf_orch.results.collected_trials import Collected, collect
from aiperf_orch.results.efficiency import Efficiency, efficiency_of
from aiperf_orch.results.metered import Metered, metered_of
from aiperf_orch.results.node_hours import NodeHours, node_hours_of
from aiperf_orch.results.node_speeds import NodeSpeed, node_speeds
from aiperf_orch.results.peak_share import PeakShare, peak_share_of
from aiperf_orch.results.score import Score, score_of, series
from aiperf_orch.results.stability import Stability, stability_of
from aiperf_orch.results.time_under_way import seconds_under_way
from aiperf_orch.util.errors import UsageError


@dataclass(frozen=True)
class Result:
    """Result of one campaign; it depends on the records only, not on the time of reading. Durations are in seconds.

    Attributes:
        directory: the campaign directory that was read.
        state: the state that the journal gives.
        collected: trials with their begin lines, end lines and counted epochs.
        score: at the end of the last epoch that counts.
        efficiency: of all epochs that count.
        started: the first begin of any trial; None before it.
        longest_epoch: duration of the longest epoch that counts; 0 without epochs.
        under_way: time in which at least one epoch was under way.
        duration: the time limit of the campaign.
        phase: running, stopped, paused or finished.
        simulated: whether the settings or any begin line say that trials were simulated.
        data: name of the data set.
        input_shape: height, width and channels of an image.
        classes: number of classes of the data set.
        data_digests: SHA-256 of the data listings that trials stated.
        precisions: precisions of all trials.
        training_sizes: numbers of training images of the epochs, including unreadable images.
        validation_sizes: numbers of validation images of the epochs.
        networks: number of different networks that ended an epoch.
        foreign_weights: trials that began with inherited weights although they have no parent.
        clock_skew: largest absolute clock skew that a begin line states.
        faults: messages about records that do not count.
    """

    directory: CampaignDirectory
    state: CampaignState
    collected: Collected
    score: Score
    efficiency: Efficiency
    started: datetime | None
    longest_epoch: float
    under_way: float
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
    faults: list[LineFault]

    @property
    def deadline(self) -> datetime | None:
        """The time after which no epoch counts; None before the first begin."""
        return self.started + timedelta(seconds=self.duration) if self.started else None

    @cached_property
    def series(self) -> list[tuple[float, Score]]:
        """The score over time: pairs of seconds since the start and the score; empty before an epoch has ended."""
        return series(self.started, self.collected.epochs, self.duration)

    @cached_property
    def best_epoch(self) -> Epoch | None:
        """The epoch with the smallest error of all trials, the earliest of equals; None before an epoch has ended."""
        return best_epoch(self.collected.epochs)

    @cached_property
    def concurrency_from(self) -> list[tuple[float, int]]:
        """Number of trials at once by the settings, and the seconds since the first begin from which it holds."""
        found: list[tuple[float, int]] = []
        for time, number in self.state.concurrency_history(self.directory.config.settings):
            seconds = (time - self.started).total_seconds() if time and self.started else 0.0
            found.append((max(seconds, found[-1][0] if found else 0.0), number))
        return found

    @cached_property
    def stability(self) -> Stability | None:
        """Evenness of the operations per second in the second half; None before an epoch with a duration has ended."""
        return stability_of(self.started, self.collected.epochs)

    @cached_property
    def node_speeds(self) -> list[NodeSpeed]:
        """Speed of each node relative to the others."""
        return node_speeds(self)

    @cached_property
    def peak_share(self) -> PeakShare | None:
        """Share of the accelerators' peak; None without an epoch or where the peak is not known."""
        return peak_share_of(self)

    @cached_property
    def meter(self) -> Metered | None:
        """Energy by a meter outside of the nodes; None without readings, or where it does not follow from them."""
        try:
            return metered_of(self)
        except UsageError:
            return None

    def slot_seconds(self, seconds: float) -> float:
        """Time of all slots that the settings gave in this number of seconds from the first begin on."""
        starts = [min(start, seconds) for start, _ in self.concurrency_from]
        spans = [end - start for start, end in pairwise([*starts, seconds])]
        return sum(span * number for span, (_, number) in zip(spans, self.concurrency_from, strict=True))

    @cached_property
    def node_hours(self) -> NodeHours | None:
        """Node-hours that were given, at work and idle; None where each trial is a job of its own."""
        history = self.state.concurrency_history(self.directory.config.settings)
        return node_hours_of(self.state, self.collected, self.directory.settings, history)


def compute_result(directory: CampaignDirectory) -> Result:
    """Compute the result of a campaign from its journal and events.

    Raises:
        RecordError: The journal is damaged or truncated, or the settings were changed.
    """
    return result_of(directory, read_state(directory))


def result_of(directory: CampaignDirectory, state: CampaignState) -> Result:
    """Compute the result of a campaign whose journal was read already, by the settings in force at its end."""
    directory = replace(directory, settings=state.settings(directory.config.settings))
    collected = collect(directory, state)
    epochs = collected.epochs
    begins = [begin for trial in collected.trials for begin in trial.begins]
    settings = directory.settings
    score = score_of(collected.start, epochs)
    duration = settings.campaign.duration
    deadline = collected.start + timedelta(seconds=duration) if collected.start and state.by_deadline else None
    return Result(
        directory=directory,
        state=state,
        collected=collected,
        score=score,
        efficiency=efficiency_of(epochs, score.seconds),
        started=collected.start,
        longest_epoch=max((epoch.end - epoch.start for epoch in epochs), default=timedelta()).total_seconds(),
        under_way=seconds_under_way(collected, deadline),
        duration=duration,
        phase=state.phase,
        simulated=settings.simulated or any(begin.is_simulated for begin in begins),
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
