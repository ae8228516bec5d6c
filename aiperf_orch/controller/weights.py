"""Which trials' weights and checkpoints stay on disk: 40,000 ResNet-50s would be 4 TB."""

from __future__ import annotations

from collections.abc import Iterable, Set

from aiperf_orch.campaign.directory import CampaignDirectory


class WeightFiles:
    """The weights and checkpoints of trials that are over; those of other trials are not touched."""

    def __init__(self, directory: CampaignDirectory, over: Iterable[int]) -> None:
        """Take up the trials that are over, also those whose files a killed controller did not come to delete."""
        self._directory = directory
        self._kept: set[int] = set()
        self.over(over)

    def over(self, trials: Iterable[int]) -> None:
        """These trials will not go on: their checkpoints are deleted."""
        for trial in trials:
            self._kept.add(trial)
            self._directory.checkpoint(trial).unlink(missing_ok=True)

    def keep_only(self, inheritable: Set[int | None]) -> None:
        """Delete the weights of trials that are over and that nobody can inherit any more."""
        for trial in self._kept - inheritable:
            self._directory.weights(trial).unlink(missing_ok=True)
        self._kept &= inheritable
