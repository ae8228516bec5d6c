"""Time that a campaign still takes: by its pace where the number of its trials is bounded, else until its deadline."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from aiperf_orch.campaign.ended_trials import end_time, span_of
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.units import format_duration, format_second

_LEAST_PROGRESS: Final = 1.0
"""Trials that must have been trained before a pace is stated, parts of trials included."""


def estimated_seconds(
    state: CampaignState, settings: SiteSettings, shares: Iterable[float], time: datetime
) -> float | None:
    """Seconds until the last trial ends: at the pace since the controller began, and not before the last one can end.

    Args:
        state: State of the campaign.
        settings: The settings in force.
        shares: Trained share of each trial that is not over, from 0 to 1.
        time: The present time.

    Returns:
        None where the number of trials is not bounded, the campaign does not run, or too little has been trained.
    """
    total = settings.campaign.max_trials
    if total is None or state.first_begin is None or state.opened is None or state.phase is not Phase.RUNNING:
        return None
    begin, trained = max(state.first_begin, state.opened.time), list(shares)
    ended = [span_of(trial.end) for trial in state.trials.values() if trial.end and end_time(trial) >= begin]
    ended += state.older.spans_since(begin)
    done, elapsed = sum(trained) + len(ended), (time - begin).total_seconds()
    if done < _LEAST_PROGRESS or elapsed <= 0:
        return None
    left = max(total - state.trials_ended - sum(trained), 0.0)
    least_share = 0.0 if total > state.trials_known else min(trained, default=1.0)
    return max(left * elapsed / done, (1 - least_share) * _mean_duration(ended))


def progress_text(state: CampaignState, settings: SiteSettings, estimate: float | None, time: datetime) -> str:
    """`25 of 100 trials, about 2m20s left`, or the time until the deadline; empty where nothing is known yet.

    Args:
        state: State of the campaign.
        settings: The settings in force.
        estimate: As `estimated_seconds` returns it.
        time: The present time.
    """
    total, deadline = settings.campaign.max_trials, state.deadline(settings.campaign.duration)
    until = None if deadline is None else max((deadline - time).total_seconds(), 0.0)
    left = ""
    if state.phase is not Phase.FINISHED and deadline is not None and until is not None:
        if estimate is not None and estimate < until:
            left = f"about {format_duration(int(estimate))} left"
        else:
            left = f"{format_duration(int(until))} left until {format_second(deadline)}"
    trials = "" if total is None else f"{state.trials_ended:,} of {total:,} trials"
    return ", ".join(filter(None, [trials, left]))


def _mean_duration(spans: Iterable[timedelta | None]) -> float:
    """Mean of these spans in seconds, without those that are None; 0 where none is known."""
    known = [span for span in spans if span is not None]
    return (sum(known, timedelta()) / len(known)).total_seconds() if known else 0.0
