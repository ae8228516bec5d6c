"""Takes from records what must not leave the machine: private values always, and on request whoever they name.

Records in which nothing has to be taken stay as they are, byte for byte. Otherwise their lines are written anew, with
the journal's chain and its hashes of events: they are consistent again, and no longer what the controller wrote.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from aiperf_orch.campaign.disclosure import redacted
from aiperf_orch.records import AttemptEnd, Began, Begin, Ended, Entry, EventsFile, Opened, Record, event_adapter

AnyRecord = TypeVar("AnyRecord", bound=Record)
_LONG_ENOUGH: Final = 8  # characters; a shorter private value is only looked for as a word of its own
_SECRET_VARIABLE: Final = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_KEY", re.IGNORECASE)
_ASSIGNED: Final = re.compile(r"""\b\w+=["']?([^\s"']{6,})""")
_TEXTS: Final = frozenset({"host", "hosts", "nodes", "job", "message", "reason"})
"""The fields of records in which a host, a user or a line of a log can stand."""
_ACCOUNTED: Final = frozenset({"name", "start", "end", "state", "exit_code"})
"""The fields of an accounted job that `verify` judges."""


@dataclass
class Redactor:
    """Replaces private values by their salted hashes, and names by pseudonyms."""

    salt: str
    private: Iterable[str] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    _pattern: re.Pattern[str] | None = None
    _shown: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        patterns = []
        for value in sorted(set(self.private), key=len, reverse=True):
            word = re.escape(value)
            patterns.append(word if len(value) >= _LONG_ENOUGH else rf"(?<!\S){word}(?!\S)")
            self._shown[value] = redacted(value, self.salt)
        names = sorted(self.names, key=len, reverse=True)
        patterns += [rf"(?<![A-Za-z0-9_-]){re.escape(name)}(?![A-Za-z0-9_-])" for name in names]
        self._shown |= self.names
        self._pattern = re.compile("|".join(patterns)) if patterns else None

    def text(self, text: str) -> str:
        """The text without what must not leave."""
        return self._pattern.sub(lambda found: self._shown[found[0]], text) if self._pattern else text

    def record(self, record: AnyRecord) -> AnyRecord:
        """The record without it; the same object when there was nothing."""
        changes = {}
        for key in type(record).model_fields:
            value = getattr(record, key)
            changed = self._value(key, value)
            if changed is not value:
                changes[key] = changed
        return record.model_copy(update=changes) if changes else record

    def accounting(self, line: str) -> str:
        """A line of accounting.jsonl without it; its keys, and the names of jobs, are no names of hosts or users."""
        try:
            job = json.loads(line)
        except ValueError:
            return self.text(line)
        shown = {key: value if key in _ACCOUNTED else self._shown_value(value) for key, value in job.items()}
        return line if shown == job else json.dumps(shown)

    def _shown_value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._shown_value(item) for item in value]
        return self.text(value) if isinstance(value, str) else value

    def events(self, data: bytes) -> bytes:
        """The whole lines of an events file without it."""
        if self._pattern is None:
            return data
        return b"".join(self._line(line) + b"\n" for line in data.split(b"\n")[:-1])

    def _line(self, line: bytes) -> bytes:
        try:
            event = event_adapter.validate_json(line)
        except ValidationError:
            return self.text(line.decode(errors="replace")).encode() if self._pattern else line
        changed = self.record(event)
        return line if changed is event else changed.to_line().encode()

    def _value(self, key: str, value: Any) -> Any:
        if isinstance(value, Record):
            return self.record(value)
        if isinstance(value, list):
            items = [self._value(key, item) for item in value]
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        if key in _TEXTS and isinstance(value, str) and not isinstance(value, Enum):
            changed = self.text(value)
            return changed if changed != value else value
        return value


def redact_journal(
    entries: Iterable[Entry], redactor: Redactor, files: Callable[[AttemptEnd, EventsFile], EventsFile]
) -> list[Entry] | None:
    """The journal's entries without what must not leave, chained anew; None when nothing had to be taken.

    Args:
        entries: the journal.
        redactor: knows what must not leave.
        files: for a part of an events file that counts, what it is now.
    """
    found: list[Entry] = []
    any_changed, last = False, "0" * 64
    for entry in entries:
        changed: Entry = redactor.record(entry)
        if isinstance(changed, Ended):
            ends = [
                end.model_copy(update={"files": [files(end, file) for file in end.files]}) for end in changed.attempts
            ]
            if ends != changed.attempts:
                changed = changed.model_copy(update={"attempts": ends})
        any_changed = any_changed or changed is not entry
        changed = changed.model_copy(update={"prev": last})
        last = hashlib.sha256(changed.to_line().encode()).hexdigest()
        found.append(changed)
    return found if any_changed else None


def secrets_of(private: Iterable[str]) -> set[str]:
    """Every text that must not leave, of private settings and of this process's environment."""
    lines = {line.strip() for value in private for line in value.splitlines() if line.strip()}
    assigned = {value for line in lines for value in _ASSIGNED.findall(line)}
    environment = {value for name, value in os.environ.items() if _SECRET_VARIABLE.search(name)}
    return lines | assigned | {value for value in environment if len(value) >= _LONG_ENOUGH}


def pseudonyms(entries: Iterable[Entry], begins: Iterable[Begin], users: Iterable[str]) -> dict[str, str]:
    """A pseudonym for every host that a record names, in the order of their appearance, and for users.

    A host keeps its pseudonym with and without its domain, and the server that a job's id names is a host too.
    """
    hosts: dict[str, str] = {}

    def meet(name: str) -> None:
        short = name.partition(".")[0]
        if short and not short.isdigit():
            pseudonym = hosts.setdefault(short, f"host-{len(set(hosts.values())) + 1}")
            hosts.setdefault(name, pseudonym)

    for entry in entries:
        if isinstance(entry, Opened):
            meet(entry.host)
        for began in entry.attempts if isinstance(entry, Began) else ():
            for host in [*began.hosts, began.job.partition(".")[2]]:
                meet(host)
        for end in entry.attempts if isinstance(entry, Ended) else ():
            for host in end.hosts:
                meet(host)
    for begin in begins:
        for host in [*begin.hosts, begin.job.partition(".")[2]]:
            meet(host)
    named = {user: f"user-{number}" for number, user in enumerate(dict.fromkeys(users), start=1)}
    return named | hosts
