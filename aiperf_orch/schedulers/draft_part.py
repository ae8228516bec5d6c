"""The part `allocations` of a drafted site file, as its templates take it."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Final

_WIDTH: Final = 114  # columns of a comment


@dataclass(frozen=True, slots=True)
class DraftPart:
    """The part `allocations` of a new site file.

    Attributes:
        why: why it is needed, or not.
        lines: its lines in YAML, without indent.
        is_needed: whether they are settings, and no comments.
    """

    why: str
    lines: tuple[str, ...]
    is_needed: bool

    @property
    def comment(self) -> list[str]:
        """The reason in lines."""
        return textwrap.wrap(self.why, _WIDTH, break_long_words=False, break_on_hyphens=False)
