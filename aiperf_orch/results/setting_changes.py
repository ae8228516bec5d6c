"""Changes of a campaign's settings and nodes as tables and the report show them: private values are left out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiperf_orch.campaign.drained_nodes import is_same_node
from aiperf_orch.records.journal import Drained
from aiperf_orch.results.result import Result
from aiperf_orch.settings.models import private_keys


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """Change of one setting.

    Attributes:
        time: When it came into force.
        user: Who made it.
        key: Dotted key without `advanced`.
        before: Value before, for readers.
        after: Value from then on, for readers.
    """

    time: datetime
    user: str
    key: str
    before: str
    after: str


def change_rows(result: Result) -> list[ChangeRow]:
    """All changes of the settings, in the order of the journal."""
    return [
        ChangeRow(
            entry.time, entry.user, change.key, _shown(change.key, change.before), _shown(change.key, change.after)
        )
        for entry in result.state.settings_changes
        for change in entry.changes
    ]


def drained_count(result: Result) -> int | None:
    """Number of nodes that were drained at any time; None without any."""
    known: list[str] = []
    for node in (node for entry in result.state.drained.history if not entry.undo for node in entry.nodes):
        if not any(is_same_node(node, other) for other in known):
            known.append(node)
    return len(known) or None


def drain_effect(entry: Drained) -> str:
    """What an entry means for the trials of its nodes, for readers."""
    if entry.undo:
        return "may get trials again"
    return "no further trials; running ones end and go on elsewhere" if entry.now else "no further trials"


def format_setting(value: Any) -> str:
    """A setting's JSON value for readers."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if value is None:
        return "none"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _shown(key: str, value: Any) -> str:
    section, _, name = key.partition(".")
    return "(private)" if value and (section, name) in private_keys() else format_setting(value)
