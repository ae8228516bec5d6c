"""The workers that train one trial together: this one's rank, and how many there are.

One worker drives one accelerator, or the cores of a CPU; a trial on one accelerator has one worker and needs no
process group. What the workers say to each other is tensors only.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class World:
    """Where this worker stands: `rank` of `size` in all, `local_rank` of `local_size` on its node."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this worker writes the trial's files and reports its results."""
        return self.rank == 0
