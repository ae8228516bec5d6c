"""Which trials' weights and checkpoints stay on disk: 40,000 ResNet-50s would be 4 TB."""

from __future__ import annotations

from collections.abc import Iterable, Set
from pathlib import Path

from aiperf_orch.campaign.directory import CampaignDirectory


class WeightRetention:
    """The weights and checkpoints of trials that are over; those of other trials are not touched."""

    def __init__(self, directory: CampaignDirectory, over: Iterable[int]) -> None:
        """Take up the trials that are over, also those whose files a killed controller did not come to delete."""
        self._directory = directory
        self._kept: set[int] = set()
        self._unwanted: set[Path] = set()
        self.over(over)

    def over(self, trials: Iterable[int]) -> None:
        """These trials will not go on: their checkpoints are deleted."""
        ended = set(trials)
        self._kept |= ended
        self._delete(map(self._directory.checkpoint, ended))

    def keep_only(self, inheritable: Set[int | None]) -> None:
        """Delete the weights of trials that are over and that nobody can inherit any more."""
        self._delete(map(self._directory.weights, self._kept - inheritable))
        self._kept &= inheritable

    def _delete(self, paths: Iterable[Path]) -> None:
        """Delete files; those that cannot be for now are tried again with the next ones."""
        self._unwanted = {path for path in {*self._unwanted, *paths} if not _is_deleted(path)}


def _is_deleted(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True
