"""Request for a replay of the search: which proposals `verify` makes again."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """Choice of the trials that are proposed again.

    Attributes:
        most: maximum number of trials; None for all.
        draw: number that draws them; by default a random one, which cannot be known before.
        seconds: time after which no further proposal is made; by default a minute, and a tenth of a second for each
            proposal, several times as long as honest packages need.
    """

    most: int | None = None
    draw: int = field(default_factory=lambda: secrets.randbelow(10**9))
    seconds: float | None = None

    def time_limit(self, proposals: int) -> float:
        """Seconds for a number of proposals."""
        return self.seconds or 60 + proposals / 10
