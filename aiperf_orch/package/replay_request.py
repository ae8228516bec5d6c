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
    """

    most: int | None = None
    draw: int = field(default_factory=lambda: secrets.randbelow(10**9))
