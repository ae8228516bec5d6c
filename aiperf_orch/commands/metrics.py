"""Metrics of a campaign for a site's monitoring: what `status --format openmetrics` prints.

The file of metrics in the campaign directory is written by `commands/metrics_file`.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import Phase
from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.live_view import count_trials
from aiperf_orch.commands.watch import WatchedCampaign
from aiperf_orch.commands.workforce_summary import count_slots, uses_agents
from aiperf_orch.controller.attempt_monitor import LiveAttempt
from aiperf_orch.controller.progress import FollowedCampaign, Progress, progress_of
from aiperf_orch.records.base import EndReason
from aiperf_orch.util.errors import SchedulerUnreachableError
from aiperf_orch.util.openmetrics import Metric, MetricType, Sample, render

_log: Final = logging.getLogger(__name__)


def show_metrics(campaign_dir: Path) -> CommandOutput:
    """The metrics of a campaign at present, from its files and one query of the queue.

    Raises:
        UsageError: When there is no campaign.
        RecordError: When its journal is damaged.
        TransientError: When its files cannot be read for now.
    """
    campaign = WatchedCampaign(CampaignDirectory.open(campaign_dir))
    campaign.read_on()
    try:
        campaign.query_queue()
    except SchedulerUnreachableError as error:
        _log.warning("the queue could not be queried: %s", error)
    return CommandOutput(metrics_text(campaign), form="openmetrics")


def metrics_text(campaign: FollowedCampaign) -> str:
    """The metrics of a campaign as text; what is not known has no line."""
    return render([*_result(campaign, progress_of(campaign)), *_work(campaign), *_times(campaign)])


class _Family:
    """Makes the metrics of one campaign, which all have its tag as a label."""

    def __init__(self, campaign: FollowedCampaign) -> None:
        self._tag = campaign.directory.config.tag

    def of(self, kind: MetricType, name: str, about: str, value: float | None, unit: str = "") -> Metric:
        """A metric with one value; None where it is not known."""
        samples = [] if value is None else [Sample(value, {"campaign": self._tag})]
        return Metric(f"aiperf_{name}", kind, about, samples, unit)

    def by(
        self, kind: MetricType, name: str, about: str, label: str, values: Mapping[str, float], unit: str = ""
    ) -> Metric:
        """A metric with a value for each value of a label."""
        samples = [Sample(value, {"campaign": self._tag, label: each}) for each, value in values.items()]
        return Metric(f"aiperf_{name}", kind, about, samples, unit)


def _result(campaign: FollowedCampaign, progress: Progress) -> Iterator[Metric]:
    family, gauge, counter = _Family(campaign), MetricType.GAUGE, MetricType.COUNTER
    yield family.of(
        gauge,
        "simulated",
        "Whether the campaign is simulated (1): no training takes place.",
        int(campaign.settings.simulated),
    )
    yield family.of(
        gauge,
        "score_operations_per_second",
        "Score so far.",
        progress.ops if progress.epochs else None,
        "operations_per_second",
    )
    yield family.of(counter, "operations", "Operations of the epochs that count.", progress.operations, "operations")
    yield family.of(counter, "epochs", "Epochs that count.", progress.epochs, "epochs")
    yield family.of(
        gauge, "best_error_ratio", "Lowest validation error so far, from 0 to 1.", progress.best_error, "ratio"
    )


def _work(campaign: FollowedCampaign) -> Iterator[Metric]:
    state, family, gauge = campaign.state, _Family(campaign), MetricType.GAUGE
    trials = {name.replace(" ", "_"): number for name, number in count_trials(campaign).items()}
    yield family.by(gauge, "trials", "Trials by state.", "state", trials)
    ends = Counter(end.reason for end in state.ends)
    reasons = {reason.value: ends[reason] for reason in EndReason}
    yield family.by(MetricType.COUNTER, "attempts", "Attempts that have ended, by end reason.", "reason", reasons)
    phases = {phase.value: int(phase is state.phase) for phase in Phase}
    yield family.by(gauge, "phase", "Phase of the campaign: 1 for the present one.", "phase", phases)

    working = [each for each in campaign.live_attempts.values() if each.begin is not None and not each.note]
    nodes = {host for each in working if each.begin for host in each.begin.hosts}
    yield family.of(gauge, "nodes_at_work", "Nodes on which trials run.", len(nodes))
    if uses_agents(campaign.settings):
        slots = count_slots(state, campaign.settings, [each.attempt for each in working])
        values = {"at_work": slots.at_work, "idle": slots.idle}
        yield family.by(gauge, "slots", "Slots of the agents that are present, by state.", "state", values)
    watts, measured = _power(working)
    yield family.by(
        gauge,
        "power_watts",
        "Mean power during the latest epoch of each running trial that measures it, summed, by component.",
        "component",
        watts,
        "watts",
    )
    yield family.by(
        gauge,
        "power_trials",
        "Running trials whose power is in aiperf_power_watts, by component.",
        "component",
        measured,
    )


def _power(running: list[LiveAttempt]) -> tuple[dict[str, float], dict[str, float]]:
    """Watts and number of trials by measured component; a trial counts from the first epoch of its attempt."""
    watts, trials = defaultdict[str, float](float), defaultdict[str, float](int)
    latest = [(live.attempt, live.epochs[-1]) for live in running if live.epochs]
    for epoch in (epoch for attempt, epoch in latest if epoch.attempt == attempt.attempt):
        seconds = (epoch.end - epoch.start).total_seconds()
        if epoch.energy is not None and epoch.energy_of is not None and seconds > 0:
            watts[epoch.energy_of] += epoch.energy / seconds
            trials[epoch.energy_of] += 1
    return dict(watts), dict(trials)


def _times(campaign: FollowedCampaign) -> Iterator[Metric]:
    latest = [campaign.state.latest, *(each.epochs[-1].end for each in campaign.live_attempts.values() if each.epochs)]
    event = max((time for time in latest if time is not None), default=None)
    family = _Family(campaign)
    for name, about, time in (
        ("begin", "Begin of the first trial.", campaign.state.first_begin),
        ("deadline", "End of the campaign by its duration.", campaign.deadline),
        ("last_event", "Latest line of the journal, or end of an epoch.", event),
    ):
        yield family.of(MetricType.GAUGE, f"{name}_timestamp_seconds", about, _unix_seconds(time), "seconds")


def _unix_seconds(time: datetime | None) -> float | None:
    return None if time is None else round(time.timestamp(), 3)
