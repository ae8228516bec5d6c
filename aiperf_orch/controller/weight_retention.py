"""Retention of weights and checkpoints: files of trials that are over and have no further use are deleted.

Without it 40,000 ResNet-50s would take 4 TB.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from pathlib import Path

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.records.journal import AttemptEnd


class WeightRetention:
    """Deletes weights and checkpoints of trials that are over; files of other trials are not touched."""

    def __init__(self, directory: CampaignDirectory, ended: Iterable[int]) -> None:
        """Begin with the trials that are over, whose files an earlier controller may not have deleted."""
        self._directory = directory
        self._with_weights: set[int] = set()
        self._to_delete: set[Path] = set()
        self.end_trials(ended)

    def end_trials(self, trials: Iterable[int]) -> None:
        """Delete the checkpoints of trials that are over: they get no further attempt."""
        ended = set(trials)
        self._with_weights |= ended
        self._delete(map(self._directory.checkpoint, ended))

    def keep_only(self, wanted: Set[int | None]) -> None:
        """Delete the weights of trials that are over, except of these: a child may inherit them, or a package has them.

        Args:
            wanted: Numbers of trials; others in it are ignored.
        """
        self._delete(map(self._directory.weights, self._with_weights - wanted))
        self._with_weights &= wanted

    def _delete(self, paths: Iterable[Path]) -> None:
        """Delete files; those that cannot be deleted for now are tried again with the next ones."""
        self._to_delete = {path for path in {*self._to_delete, *paths} if not _deleted(path)}


def with_lowest_error(ends: Iterable[AttemptEnd]) -> list[AttemptEnd]:
    """Ends of trials with the lowest error, in the earliest epoch of those; several if they are equal.

    One of them has the weights that a package may hold. The search ranks trials by forecasts too, so that its best
    trials need not include it.
    """
    known = [end for end in ends if end.best_error is not None]
    best = min(map(_rank, known), default=None)
    return [end for end in known if _rank(end) == best]


def _rank(end: AttemptEnd) -> tuple[float, int]:
    return end.best_error or 0.0, end.best_epoch or 0


def _deleted(path: Path) -> bool:
    """Delete a file; returns whether it is gone."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True
