"""Plan of a campaign: the predicted quantities as a record, with what is not known and what would make it known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import aiperf_orch
from aiperf_orch.planning.bench_sample import BENCH
from aiperf_orch.planning.campaign_size import trial_size
from aiperf_orch.planning.playback import Played
from aiperf_orch.planning.prediction import LEVEL, Interval, Prediction, Target, predict, regulated
from aiperf_orch.planning.rankable import ERROR_LIMIT, missed_rules, rankable_from
from aiperf_orch.planning.samples import FileSample, Sample
from aiperf_orch.records.plan import Plan, PlanSource, Quantities, Quantity, TimeShare, TimeShares
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.units import format_duration, now

_NO_ERROR: Final = "known from an earlier campaign on this data set"
_NO_ENERGY: Final = "known from a campaign whose telemetry measured energy in every epoch"
_NO_FILES: Final = "known from the directory of an earlier campaign"
_MOST_NOTES: Final = 20  # on the sources
_TOO_SHORT: Final = "in some playbacks there is none within this duration: plan a longer campaign"


def make_plan(
    settings: SiteSettings,
    samples: Sequence[Sample],
    *,
    nodes: int,
    slots: int,
    seconds: float,
    notes: Sequence[str],
) -> Plan:
    """Predict a campaign.

    Args:
        settings: Of the site.
        samples: What was measured; at least one.
        nodes: Number of nodes.
        slots: Number of concurrent trials on them.
        seconds: Duration.
        notes: On the sources.

    Raises:
        UsageError: The campaign cannot be played with these samples.
    """
    epochs_of_round = settings.training.epochs_of_round
    target = Target(slots, seconds, epochs_of_round, ERROR_LIMIT)
    found = predict(samples, target)
    missed = list(missed_rules(settings))
    smallest = trial_size(settings)
    smallest_target = Target(min(smallest.per_node, slots), seconds, epochs_of_round, ERROR_LIMIT)
    return Plan(
        version=aiperf_orch.__version__,
        time=now(),
        nodes=nodes,
        slots=slots,
        duration=seconds,
        level=LEVEL,
        sources=[_source(each) for each in samples],
        quantities=_quantities(found, samples, settings, nodes, seconds),
        shares=_shares(found, samples, settings),
        missed_rules=missed,
        smallest=rankable_from(samples, smallest_target, smallest.nodes, missed),
        this_size=rankable_from(samples, target, nodes, missed),
        notes=[*_most_of(notes), *_notes(found, samples, slots)],
    )


def _most_of(notes: Sequence[str]) -> list[str]:
    """The first notes on the sources, and how many more there are."""
    more = len(notes) - _MOST_NOTES
    return [*notes[:_MOST_NOTES], *([f"and {more} more on the sources"] if more > 0 else [])]


def _source(sample: Sample) -> PlanSource:
    is_bench = sample.name == BENCH
    return PlanSource(
        kind="bench" if is_bench else "campaign",
        name=sample.name,
        slots=sample.slots,
        trials=0 if is_bench else len(sample.trials),
        epochs=0 if is_bench else sum(each.epochs for each in sample.trials),
    )


def _quantities(
    found: Prediction, samples: Sequence[Sample], settings: SiteSettings, nodes: int, seconds: float
) -> Quantities:
    files = [sample.files for sample in samples if sample.files is not None]

    def of_directory(part: int) -> Quantity:
        def of_playback(played: Played) -> float:
            return _files(files, played.trials, settings, nodes)[part]

        return _quantity(found.interval(of_playback) if files else None, _NO_FILES)

    has_errors = any(trial.errors for sample in samples for trial in sample.trials)
    no_error = _TOO_SHORT if has_errors else _NO_ERROR
    return Quantities(
        score=_quantity(found.interval(lambda played: played.score), _TOO_SHORT),
        error=_quantity(found.interval(lambda played: played.error), no_error),
        regulated_score=_quantity(found.interval(regulated), no_error),
        trials=_quantity(found.interval(lambda played: played.trials), _TOO_SHORT),
        epochs=_quantity(found.interval(lambda played: played.epochs), _TOO_SHORT),
        node_hours=Quantity(expected=nodes * seconds / 3600),
        energy=_quantity(found.interval(lambda played: played.energy), _NO_ENERGY),
        files=of_directory(0),
        bytes=of_directory(1),
        first_epoch=_quantity(found.interval(lambda played: played.first_epoch), _TOO_SHORT),
        first_trial=_quantity(found.interval(lambda played: played.first_trial), _TOO_SHORT),
    )


def _quantity(interval: Interval | None, missing: str) -> Quantity:
    if interval is None:
        return Quantity(missing=missing)
    return Quantity(expected=interval.expected, low=interval.low, high=interval.high)


def _files(files: Sequence[FileSample], trials: int, settings: SiteSettings, nodes: int) -> tuple[float, float]:
    """Files and bytes of the campaign directory at its end; each number is the mean of the sources."""
    number = size = 0.0
    kept = min(trials, settings.campaign.keep_weights)
    for each in files:
        weights = kept if each.weights_bytes else 0
        number += each.trial_files * trials + each.agent_files * nodes + weights + each.other_files
        size += each.trial_bytes * trials + each.agent_bytes * nodes + each.weights_bytes * weights
    return round(number / len(files)), round(size / len(files))


def _shares(found: Prediction, samples: Sequence[Sample], settings: SiteSettings) -> TimeShares:
    starting, idle = _share_of_starts(samples), found.share("idle")
    staging = TimeShare(share=0.0)
    if settings.data.stage is not None:
        where = "idle" if starting is None else "start_up"
        staging = TimeShare(missing=f"part of {where}: a trial copies the data before its begin line")
    return TimeShares(
        start_up=TimeShare(share=found.share("before") + idle * (starting or 0.0)),
        staging=staging,
        training=TimeShare(share=found.share("training")),
        validation=TimeShare(share=found.share("validation")),
        lost=TimeShare(share=found.share("lost")),
        idle=TimeShare(share=idle * (1.0 - (starting or 0.0))),
    )


def _share_of_starts(samples: Sequence[Sample]) -> float | None:
    """Share of the gaps in which the process of the next trial starts; None where a source does not have it."""
    starts = [start for sample in samples for start in sample.starts]
    gaps = [gap for sample in samples for gap in sample.gaps]
    if not all(sample.starts for sample in samples) or not sum(gaps):
        return None
    return min(sum(starts) / sum(gaps), 1.0)


def _notes(found: Prediction, samples: Sequence[Sample], slots: int) -> Iterator[str]:
    rounds = max(trial.round for sample in samples for trial in sample.trials) + 1
    trials = sum(each.trials for each in found.playbacks) / len(found.playbacks)
    if samples[0].name == BENCH:
        gap = samples[0].gaps[0]
        yield (
            f"between two trials of a slot {format_duration(gap)} are assumed, and that no trial stops early; "
            "other networks than the seed, and the gradients of several accelerators, may slow training down"
        )
    elif trials / slots > rounds + 1:
        yield f"the sources have {rounds} rounds: later ones are assumed to be like the last"
    if not found.has_spread:
        yield "one measurement has no spread: give more than one bench.json, or a campaign, for intervals"
    elif len(samples) == 1:
        yield (
            "one source does not show how campaigns differ from one another: in tests 70 % of the scores lay in such "
            "an interval, and 91 % with several campaigns of a size"
        )
    most = max(sample.slots for sample in samples)
    if slots > 4 * most and samples[0].name != BENCH:
        yield f"{slots:,} concurrent trials are predicted from {most:,}: the search may choose other networks"
