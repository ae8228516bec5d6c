"""Every field of every record of a package, for a random choice among them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from package.forger.records import ITEMS, Line, Records

_ITEMS: Final = {
    "submitting": "AttemptRecord",
    "submitted": "JobRecord",
    "began": "BeganRecord",
    "missing": "AttemptId",
    "cancelling": "AttemptId",
    "ended": "AttemptEnd",
    "allocating": "AllocationRecord",
    "allocated": "AllocationJob",
    "joined": "AgentRecord",
    "left": "AgentLeave",
    "allocation-ended": "AllocationEnd",
    "settings-changed": "SettingChange",
}
"""Type of a journal entry -> the name of the records in it."""
_INNER: Final = {
    "proposal": "ProposalRecord",
    "hyperparameters": "Hyperparameters",
    "operations": "OperationsPerImage",
    "files": "EventsFile",
    "edits": "Edit",
    "data": "DataRecord",
    "training": "TrainingRecord",
    "simulated": "SimulatedRecord",
}
"""Field that holds a record, or a list of them -> the name of those."""
_SEALED: Final = frozenset({"seq", "prev", "spec_sha256", "settings_sha256", "sha256", "size", "network"})
"""Fields that sealing and derivation write again."""
_CONSTANT: Final = frozenset({"type", "format"})


@dataclass(frozen=True)
class Field:
    """A field of one record.

    Attributes:
        record: name of the kind of record.
        name: of the field; dotted in the settings.
        holder: the dictionary that has it.
        key: of the field in it.
    """

    record: str
    name: str
    holder: dict[str, Any]
    key: str

    @property
    def value(self) -> Any:
        """The present value."""
        return self.holder[self.key]


def fields_of(records: Records) -> dict[tuple[str, str], list[Field]]:
    """(record, field) -> that field of all such records."""
    found: defaultdict[tuple[str, str], list[Field]] = defaultdict(list)
    for field in _all(records):
        found[field.record, field.name].append(field)
    return dict(found)


def _all(records: Records) -> Iterator[Field]:
    for entry in records.journal:
        own = {key: value for key, value in entry.items() if key not in ITEMS}
        yield from _fields(entry["type"].title(), entry, own)
        for key in ITEMS:
            for item in entry.get(key, ()):
                yield from _fields(_ITEMS[entry["type"]], item)
    for lines in records.events.values():
        for line in lines:
            yield from _fields(line["type"].title(), line)
    for spec in records.specs.values():
        yield from _fields("TrialSpec", spec)
    for line in records.accounting or ():
        yield from _fields("Accounting", line)
    yield from _settings("", records.config["settings"])


def _fields(record: str, holder: Line, own: Line | None = None) -> Iterator[Field]:
    for key, value in (holder if own is None else own).items():
        parts = value if isinstance(value, list) else [value]
        inner = [part for part in parts if isinstance(part, dict)] if key in _INNER else []
        for part in inner:
            yield from _fields(_INNER[key], part)
        if key not in _SEALED | _CONSTANT and (not inner or isinstance(value, list)):
            yield Field(record, key, holder, key)


def _settings(prefix: str, holder: dict[str, Any]) -> Iterator[Field]:
    for key, value in holder.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _settings(f"{name}.", value)
        else:
            yield Field("Settings", name, holder, key)
