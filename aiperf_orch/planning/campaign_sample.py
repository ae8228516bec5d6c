"""Sample of an earlier campaign: its trials, the gaps between them, and its files."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import accumulate
from operator import attrgetter
from pathlib import Path
from statistics import fmean

from aiperf_orch.campaign.layout import Layout
from aiperf_orch.planning.samples import FileSample, Sample, TrialSample
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import Begin, Epoch
from aiperf_orch.results.collected_trials import TrialRecords
from aiperf_orch.results.result import Result
from aiperf_orch.util.errors import UsageError

_CUT_OFF = frozenset({EndReason.CAMPAIGN_ENDED, EndReason.STOPPED, EndReason.CANCELLED})


def sample_of(path: Path, result: Result, files: FileSample | None) -> Sample:
    """The sample of a campaign.

    Args:
        path: Its directory or package, for messages.
        result: Its result.
        files: Its files; None for a package.

    Raises:
        UsageError: No epoch of it counts.
    """
    settings, records = result.directory.settings, result.collected.trials
    if not result.collected.epochs or result.started is None:
        raise UsageError(
            f"{path}: no epoch of this campaign has ended, so that nothing can be predicted from it: give one that "
            "has, or a measured node (bench-node SITE --format json)"
        )
    runs = sorted(_runs(records), key=attrgetter("begin.time"))
    slots = min(settings.campaign.concurrency, len(runs))
    gaps, starts = _gaps(runs, slots)
    return Sample(
        name=result.directory.config.tag,
        slots=settings.campaign.concurrency,
        trials=[
            _trial_sample(each, settings.training.epochs_of_round(each.trial.proposal.round))
            for each in records
            if each.epochs or (each.begins and not _is_cut_off(each))
        ],
        offsets=[_seconds(result.started, run.begin.time) for run in runs[:slots]],
        gaps=gaps,
        starts=starts,
        validation_images=max(result.validation_sizes),
        files=files,
    )


class _Run:
    """A run of a trial: its begin line, and the end of its work."""

    def __init__(self, begin: Begin, end: datetime, *, is_open: bool) -> None:
        self.begin, self.end, self.is_open = begin, end, is_open


def _runs(records: Sequence[TrialRecords]) -> Iterator[_Run]:
    """All runs. One without an end line lasts to its last epoch."""
    for trial in records:
        ends = {(end.attempt, end.run): end.time for end in trial.ends}
        for begin in trial.begins:
            key = (begin.attempt, begin.run)
            last = max((epoch.end for epoch in _epochs_of(trial, key)), default=begin.time)
            yield _Run(begin, max(ends.get(key, last), begin.time), is_open=key not in ends)


def _epochs_of(trial: TrialRecords, key: tuple[int, int]) -> Iterator[Epoch]:
    return (epoch for epoch in trial.epochs if (epoch.attempt, epoch.run) == key)


def _gaps(runs: Sequence[_Run], slots: int) -> tuple[list[float], list[float]]:
    """Seconds from the end of a run to the begin of the one that took its slot, and from process start to begin.

    Which slot a run had is not needed: the first end makes room for the first run after the initial ones, and so on.
    Pairs change with another assignment of slots; their sum does not.
    """
    ends = sorted(run.end for run in runs)
    following = runs[slots:]
    gaps = [max(_seconds(end, run.begin.time), 0.0) for end, run in zip(ends, following, strict=False)]
    starts = [
        _seconds(run.begin.started, run.begin.time)
        for run in following
        if run.begin.started is not None and run.begin.started <= run.begin.time
    ]
    return gaps, starts if len(starts) == len(following) else []


def _trial_sample(records: TrialRecords, planned: int) -> TrialSample:
    epochs, proposal = records.epochs, records.trial.proposal
    runs = list(_runs([records]))
    occupied = math.fsum(_seconds(run.begin.time, run.end) for run in runs)
    before = period = 0.0
    if epochs:
        before = max(_seconds(runs[0].begin.time, epochs[0].start), 0.0)
        period = _period(epochs)
    operations = sum(epoch.ops for epoch in epochs)
    validated = sum(epoch.val_images for epoch in epochs) * proposal.operations.forward
    joules = [epoch.energy for epoch in epochs if epoch.energy is not None]
    return TrialSample(
        trial=records.trial.trial,
        round=proposal.round,
        parent=proposal.parent,
        planned=planned,
        epochs=len(epochs),
        is_complete=not _is_cut_off(records),
        before=before,
        period=period,
        after=0.0 if _is_cut_off(records) else max(occupied - before - len(epochs) * period, 0.0),
        gaps=max(len(runs), 1),
        ops=operations / len(epochs) if epochs else 0.0,
        validation=validated / operations if operations else 0.0,
        energy=fmean(joules) if joules and len(joules) == len(epochs) else None,
        errors=tuple(accumulate((epoch.error for epoch in epochs), min)),
    )


def _period(epochs: Sequence[Epoch]) -> float:
    """Mean seconds from the start of an epoch to the start of the next one of its run."""
    spans = []
    for epoch, after in zip(epochs, [*epochs[1:], None], strict=True):
        same_run = after is not None and (after.attempt, after.run) == (epoch.attempt, epoch.run)
        spans.append(_seconds(epoch.start, after.start if after is not None and same_run else epoch.end))
    return max(fmean(spans), 0.0)


def _is_cut_off(records: TrialRecords) -> bool:
    """Whether the trial would have gone on: it runs, or was ended from outside."""
    return records.trial.end is None or records.trial.end.reason in _CUT_OFF


def _seconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()


def count_files(layout: Layout, trials: int, agents: int) -> FileSample:
    """Count the files of a campaign directory.

    Args:
        layout: The directory.
        trials: Number of its trials, at least one.
        agents: Number of its agents.
    """
    of_trials = [_folder(each) for each in (layout.specs_folder, layout.events_folder, layout.jobs_folder)]
    files, size = (sum(each[part] for each in of_trials) for part in (0, 1))
    agent_files, agent_bytes = _folder(layout.agents_folder)
    weights_files, weights_bytes = _folder(layout.weights_folder)
    journal = layout.journal.stat().st_size
    return FileSample(
        trial_files=files / trials,
        trial_bytes=(size + journal) / trials,
        agent_files=agent_files / agents if agents else 0.0,
        agent_bytes=agent_bytes / agents if agents else 0.0,
        weights_bytes=weights_bytes / weights_files if weights_files else 0.0,
        other_files=sum(each.is_file() for each in layout.path.iterdir()),
    )


def _folder(path: Path) -> tuple[int, int]:
    """Number and bytes of the files below a folder; one that is missing has none, and a file may vanish meanwhile."""
    number = size = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                size += Path(folder, name).stat().st_size
                number += 1
    return number, size
