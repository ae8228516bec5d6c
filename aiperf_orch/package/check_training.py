"""Check of the course of training: epochs without a gap, batches, images, early stopping, and what end lines state.

The epochs of a run follow one another. A run begins with the first epoch, or continues after an epoch of an earlier
run: from all events of that run, also those that its process wrote after the controller had ended the attempt and that
therefore do not count. What a run derives from earlier runs (early stopping, its best epoch) is accepted if it follows
from their counted epochs, or from all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from aiperf_orch.campaign.counted_epochs import trial_plan
from aiperf_orch.campaign.events import best_epoch, count_epochs, read_attempt
from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.campaign.training_rules import Patience, halvings
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import Begin, End, Epoch
from aiperf_orch.results.collected_trials import TrialRecords
from aiperf_orch.util.dataset_catalogue import exact_sizes

_Fault = tuple[str, str]
_FREE_STEPS: Final = 5_000_000
"""Epochs before all runs of a package, for a package of any size; some seconds."""
_STEPS_PER_BYTE: Final = 5
"""The same for each byte of a package; a trial of 20,000 epochs that is requeued 300 times needs half of it."""
_TOO_MANY: Final = "its trials are continued more often than in any campaign: no further run was checked"


@dataclass(frozen=True, slots=True)
class _Run:
    """One run that began: its begin line, its epochs in order, and its own end line.

    `before` are the possible epochs of earlier runs, by number: those that the controller had read, or all.
    """

    begin: Begin
    epochs: list[Epoch]
    end: End | None
    before: Sequence[dict[int, Epoch]]

    def histories(self) -> Iterator[list[Epoch]]:
        """Possible epochs from which a run with own epochs continued."""
        for known in self.before:
            yield [epoch for epoch in known.values() if epoch.epoch < self.epochs[0].epoch]


def check_training(index: PackageIndex) -> None:
    """Check all runs of all trials."""
    training = index.directory.settings.training
    sizes = _sizes(index)
    steps = _FREE_STEPS + _STEPS_PER_BYTE * index.package.size
    for records in index.trials:
        proposal = records.trial.proposal
        limit = training.epochs_of_round(proposal.round)
        patience = training.patience_of_round(proposal.round)
        for run in _runs(index, records):
            where = str(MEMBERS.events(run.begin.trial, run.begin.attempt, run.begin.run))
            steps -= sum(map(len, run.before))
            if steps < 0:
                index.faults.add("training.effort", where, _TOO_MANY)
                return
            found = [
                *_gaps(run),
                *_measurements(index, run, sizes),
                *_stops(run, limit, lambda: Patience(patience, training.min_delta)),  # noqa: B023  called at once
                *_best(run),
            ]
            for kind, why in found:
                index.faults.add(kind, where, why)


def _sizes(index: PackageIndex) -> tuple[int, int] | None:
    """Number of training and of validation images of every epoch; those of the first epoch where it is not known."""
    if index.directory.settings.simulated:
        return None
    data = index.directory.settings.data
    known = exact_sizes(data.name, data.outputs)
    first = next((epoch for records in index.trials for epoch in records.epochs), None)
    return known or ((first.train_images + first.skipped, first.val_images) if first else None)


def _runs(index: PackageIndex, records: TrialRecords) -> Iterator[_Run]:
    """The runs of a trial that began, in order."""
    own: dict[tuple[int, int], list[Epoch]] = {}
    for epoch in [*records.epochs, *records.uncounted]:
        own.setdefault((epoch.attempt, epoch.run), []).append(epoch)
    ends = {(end.attempt, end.run): end for end in records.ends}
    several = len(records.begins) > 1
    everything = _all_epochs(index, records) if several else {}
    counted: dict[int, Epoch] = {}
    written: dict[int, Epoch] = {}
    for begin in records.begins:
        key = begin.attempt, begin.run
        epochs = sorted(own.get(key, ()), key=attrgetter("epoch"))
        yield _Run(begin, epochs, ends.get(key), [counted, written] if several else [{}])
        counted = count_epochs([*counted.values(), *epochs])
        written = count_epochs([*written.values(), *everything.get(key, epochs)])


def _all_epochs(index: PackageIndex, records: TrialRecords) -> dict[tuple[int, int], list[Epoch]]:
    """(attempt, run) -> all epochs in the file, also those that do not count."""
    plan = trial_plan(index.directory, records.trial)
    return {
        (run.attempt, run.run): run.epochs
        for attempt in records.trial.attempts
        for run in read_attempt(index.directory, *attempt.key, plan)
    }


def _gaps(run: _Run) -> Iterator[_Fault]:
    numbers = [epoch.epoch for epoch in run.epochs]
    if not numbers:
        return
    first = numbers[0]
    if first > 1 and not any(first - 1 in known for known in run.before):
        yield "epoch.gap", f"begins with epoch {first}, and no earlier run has epoch {first - 1}"
    if numbers != list(range(first, first + len(numbers))):
        missing = next(number for number, stated in enumerate(numbers, start=first) if number != stated)
        yield "epoch.gap", f"epoch {missing} is missing between epochs {first} and {numbers[-1]}"


def _measurements(index: PackageIndex, run: _Run, sizes: tuple[int, int] | None) -> Iterator[_Fault]:
    """Images, duration, and the batch, which is only halved from one epoch to the next."""
    settings = index.directory.settings
    batch = run.begin.batch
    for epoch in run.epochs:
        name = f"epoch {epoch.epoch}"
        if epoch.batch not in halvings(batch):
            yield "epoch.batch", f"{name}: batch: {epoch.batch} after {batch}, which is only halved"
        batch = epoch.batch
        if epoch.skipped > settings.data.max_broken:
            why = f"{name}: skipped: {epoch.skipped}, and the settings have max_broken: {settings.data.max_broken}"
            yield "epoch.skipped", why
        stated = epoch.train_images + epoch.skipped, epoch.val_images
        if sizes is not None and stated != sizes:
            why = f"{name}: {stated[0]} and {stated[1]} images; the data set has {sizes[0]} and {sizes[1]}"
            yield "epoch.sizes", why
        if epoch.end <= epoch.start and not settings.simulated:
            yield "epoch.time", f"{name}: has no time in it"


def _stops(run: _Run, limit: int, new_patience: Callable[[], Patience]) -> Iterator[_Fault]:
    """A run trains until its last epoch, or until its error has not improved for a number of epochs."""
    reason = run.end.reason if run.end else None
    last = run.epochs[-1].epoch if run.epochs else None
    if reason is EndReason.COMPLETED and limit not in ({last} if last else {n for known in run.before for n in known}):
        yield "attempt.epochs", f"reason: COMPLETED, and epoch {limit} of its specification was not trained"
    if reason is EndReason.EARLY_STOPPED and last == limit:
        yield "attempt.epochs", f"reason: EARLY_STOPPED, and it trained all {limit} epochs"
    early = "reason: EARLY_STOPPED, and its error had improved shortly before"
    if not run.epochs:  # it stopped after any of the epochs before it
        known = [_exhausted_at(new_patience(), (), list(before.values())) for before in run.before]
        if reason is EndReason.EARLY_STOPPED and not any(at is not None for at in known):
            yield "attempt.patience", early
        return
    outcomes = [_exhausted_at(new_patience(), history, run.epochs) for history in run.histories()]
    if all(at is not None and at < len(run.epochs) for at in outcomes):
        number = run.epochs[min(at for at in outcomes if at is not None)].epoch
        yield "attempt.patience", f"epoch {number} was trained although the error had not improved for long enough"
    if reason is EndReason.EARLY_STOPPED and all(at != len(run.epochs) for at in outcomes):
        yield "attempt.patience", early


def _exhausted_at(patience: Patience, history: Sequence[Epoch], epochs: Sequence[Epoch]) -> int | None:
    """Number of epochs after the history at which the patience is first exhausted; None if it never is."""
    for epoch in history:
        patience.add(epoch.error)
    for number, epoch in enumerate(epochs):
        if patience.exhausted:
            return number
        patience.add(epoch.error)
    return len(epochs) if patience.exhausted else None


def _best(run: _Run) -> Iterator[_Fault]:
    """An end line states the best of the epochs that the run knew."""
    if run.end is None:
        return
    stated = run.end.best_error, run.end.best_epoch
    bests: list[Epoch | None] = [None]
    if run.epochs:
        bests = [best_epoch([*history, *run.epochs]) for history in run.histories()]
    else:  # it continued after any of the epochs before it
        for known in run.before:
            bests.append(None)
            for epoch in known.values():
                bests.append(best_epoch([each for each in (bests[-1], epoch) if each]))
    possible = [(best.error, best.epoch) if best else (None, None) for best in bests]
    if stated not in possible:
        expected = f"by its epochs {possible[-1][0]} at {possible[-1][1]}"
        yield "attempt.best", f"best_error {stated[0]} at epoch {stated[1]} stated; {expected}"
