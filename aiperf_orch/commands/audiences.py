"""Commands by audience, in the order of `--help` and of the reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

AUDIENCES: Final[Mapping[str, tuple[str, ...]]] = {
    "Set up a site": ("init", "explain", "check", "bench-node", "data", "render", "plan", "completion"),
    "Run a campaign": ("run", "tick", "stop", "set", "drain", "agent", "trial"),
    "Watch a campaign": ("status", "log"),
    "Results": ("score", "report", "meter", "package", "mail", "scaling", "compare", "export-network", "ops"),
    "Committee": ("verify", "evaluate", "rank"),
}
"""Title -> names of commands."""
