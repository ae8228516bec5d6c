"""Retention of weights and checkpoints: files of trials that are over and have no further use are deleted.

Without it 40,000 ResNet-50s would take 4 TB.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from pathlib import Path

from aiperf_orch.campaign.directory import CampaignDirectory


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

    def keep_only(self, inheritable: Set[int | None]) -> None:
        """Delete the weights of trials that are over, except of those that a child may still inherit."""
        self._delete(map(self._directory.weights, self._with_weights - inheritable))
        self._with_weights &= inheritable

    def _delete(self, paths: Iterable[Path]) -> None:
        """Delete files; those that cannot be deleted for now are tried again with the next ones."""
        self._to_delete = {path for path in {*self._to_delete, *paths} if not _deleted(path)}


def _deleted(path: Path) -> bool:
    """Delete a file; returns whether it is gone."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True
