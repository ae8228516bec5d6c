"""The error that regulates a result's score, as its records state it: its epoch, its trial, the hash of its weights."""

from __future__ import annotations

from dataclasses import dataclass

from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.records.events import Begin, Epoch
from aiperf_orch.results.result import Result


@dataclass(frozen=True)
class RecordedError:
    """The epoch with the lowest error of all trials, or of one.

    Attributes:
        epoch: the epoch, whose trial is the best one.
        begin: the begin line of the run that measured it.
        weights_sha256: hash of the weights after that epoch; None where no end line states it, as when the job was
            killed, or when a later attempt of the trial overwrote them.
    """

    epoch: Epoch
    begin: Begin
    weights_sha256: str | None

    @property
    def weights_name(self) -> str:
        """Name that the weights have in a package."""
        return str(MEMBERS.weights(self.epoch.trial))

    @property
    def wrong_images(self) -> int:
        """Number of validation images that the network misclassified."""
        return round(self.epoch.error * self.epoch.val_images)


def recorded_error(result: Result, epoch: Epoch | None = None) -> RecordedError | None:
    """The error that regulates the score of a result; None without an epoch of a run that has begun.

    Args:
        result: The result.
        epoch: The best epoch of one trial, whose error is meant instead.
    """
    best = epoch or result.best_epoch
    if best is None:
        return None
    records = next(each for each in result.collected.trials if each.trial.trial == best.trial)
    begin = next((each for each in records.begins if (each.attempt, each.run) == (best.attempt, best.run)), None)
    if begin is None:
        return None
    hashes = [
        end.weights_sha256
        for end in records.ends
        if end.weights_sha256 and (end.best_epoch, end.best_error) == (best.epoch, best.error)
    ]
    return RecordedError(best, begin, hashes[-1] if hashes else None)
