"""Redaction of records: private values are always replaced, names on request.

Records without private values are kept byte for byte. Otherwise their lines are rewritten, together with the hash chain
of the journal and the hashes of events files: the records are consistent, but differ from what the controller wrote.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal, TypeVar, get_origin

from pydantic import ValidationError

from aiperf_orch.campaign.commitment import SETTINGS_WITH_NAMES
from aiperf_orch.campaign.journal import rechained
from aiperf_orch.campaign.public_settings import redacted
from aiperf_orch.campaign.workforce import agents_in
from aiperf_orch.package.pseudonyms import Pseudonyms
from aiperf_orch.records.base import Record
from aiperf_orch.records.events import Begin, Epoch, event_adapter
from aiperf_orch.records.journal import (
    Allocated,
    AttemptEnd,
    Began,
    Created,
    Drained,
    Ended,
    Entry,
    EventsFile,
    Finished,
    Joined,
    Opened,
    SettingsChanged,
    Submitted,
)
from aiperf_orch.settings.models import private_keys
from aiperf_orch.settings.schedulers import ClusterSettings, PbsSettings, SchedulerSettings, SlurmSettings

AnyRecord = TypeVar("AnyRecord", bound=Record)
TEMPLATE_NOTE: Final = "# Rendered from a template of the site, which is not packed. Its salted SHA-256 is"
"""What stands in place of such a script, before the hash of its text."""
_LONG_ENOUGH: Final = 8  # characters; a shorter private value is only replaced as a separate word
_SECRET_VARIABLE: Final = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_KEY", re.IGNORECASE)
_ASSIGNED: Final = re.compile(r"""\b\w+=["']?([^\s"']{6,})""")
_HOSTS: Final = frozenset({"host", "hosts", "nodes"})
"""Fields of records that contain only a host name."""
_USERS: Final = frozenset({"user", "owner"})
"""Fields of records and of accounted jobs that contain only a user name."""
_VERIFIED: Final = frozenset({"name", "start", "end", "exit_code"})
"""Fields of an accounted job that `verify` checks and that contain no name of a host or user."""
_TEXTS: Final = frozenset({"device", "message", "reason", "state", "exit_code"})
"""Fields of records that can contain names or lines of a log."""


@dataclass
class Redactor:
    """Replacement of private values by salted hashes, and of names by pseudonyms.

    Args:
        salt: of the campaign, for the hashes.
        private: private values.
        names: pseudonyms; None keeps names.
    """

    salt: str
    private: Iterable[str] = ()
    names: Pseudonyms | None = None
    _pattern: re.Pattern[str] | None = None
    _shown: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        patterns = []
        for value in sorted(set(self.private), key=len, reverse=True):
            word = re.escape(value)
            short = rf"(?<!\S){word}(?!\S)" if value.isdigit() else rf"(?<![^\s=:,(\"']){word}(?![^\s,;:)\"'])"
            patterns.append(word if len(value) >= _LONG_ENOUGH else short)
            self._shown[value] = redacted(value, self.salt)
        self._pattern = re.compile("|".join(patterns)) if patterns else None

    def text(self, text: str) -> str:
        """Redact a text."""
        if self._pattern:
            text = self._pattern.sub(lambda found: self._shown[found[0]], text)
        return self.names.text(text) if self.names else text

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to replace."""
        return self._pattern is None and self.names is None

    def field(self, key: str, text: str) -> str:
        """Redact a field of a record; fields that contain neither names nor free text are returned unchanged."""
        agents = [text] if key == "agent" else agents_in(text) if key == "job" else []
        if agents:
            return ",".join(map(self._agent, agents))
        if self.names and key in _HOSTS:
            return self.names.host(text)
        if self.names and key in _USERS:
            return self.names.user(text)
        if self.names and key == "job":
            return self.names.job(text)
        return self.text(text) if key in _TEXTS | _HOSTS | _USERS | {"job"} else text

    def _agent(self, name: str) -> str:
        """Redact the host in the name of an agent, so that a name of this form remains."""
        host, _, number = name.rpartition(".")
        return self.names.agent(name) if self.names else f"{self.text(host).replace(':', '-')}.{number}"

    def record(self, record: AnyRecord) -> AnyRecord:
        """Redact a record; returns the same object when nothing was replaced."""
        changes = {}
        for key, described in type(record).model_fields.items():
            if get_origin(described.annotation) is Literal:
                continue
            value = getattr(record, key)
            changed = self._value(key, value)
            if changed is not value:
                changes[key] = changed
        return record.model_copy(update=changes) if changes else record

    def settings_changed(self, entry: SettingsChanged) -> SettingsChanged:
        """Redact the values of a change of settings as campaign.yaml is redacted."""
        changes = [
            change.model_copy(
                update={
                    "before": self.setting(change.key, change.before),
                    "after": self.setting(change.key, change.after),
                }
            )
            for change in entry.changes
        ]
        return entry if changes == entry.changes else entry.model_copy(update={"changes": changes})

    def setting(self, key: str, value: Any) -> Any:
        """Redact the value of a setting, by its dotted key: private ones by hashes, names in others by pseudonyms."""
        section, _, name = key.partition(".")
        if self.names and section == "scheduler" and name in SETTINGS_WITH_NAMES and isinstance(value, str):
            value = self.names.text(value)
        return redacted(value, self.salt) if (section, name) in private_keys() else value

    def events(self, data: bytes) -> bytes:
        """Redact the complete lines of an events file."""
        if self.is_empty:
            return data
        return b"".join(self._line(line) + b"\n" for line in data.split(b"\n")[:-1])

    def _line(self, line: bytes) -> bytes:
        try:
            event = event_adapter.validate_json(line)
        except ValidationError:
            return self.text(line.decode(errors="replace")).encode()
        if isinstance(event, Epoch):
            return line  # numbers and literals only
        changed = self.record(event)
        return line if changed is event else changed.to_line().encode()

    def accounting_line(self, line: str) -> str:
        """Redact a line of the scheduler's accounting; the job's `name` is that of the attempt and is kept."""
        try:
            job = json.loads(line)
        except ValueError:
            return self.text(line)
        if not isinstance(job, dict):
            return self.text(line)
        changed = {key: self._accounting_value(key, value) for key, value in job.items()}
        return line if changed == job else json.dumps(changed)

    def _accounting_value(self, key: str, value: Any) -> Any:
        if isinstance(value, list):
            return [self._accounting_value(key, item) for item in value]
        if not isinstance(value, str) or key in _VERIFIED:
            return value
        if self.names and key in _USERS:
            return self.names.user(value)
        return self.field(key, value) if key in _HOSTS | {"job"} else self.text(value)

    def _value(self, key: str, value: Any) -> Any:
        if isinstance(value, Record):
            return self.record(value)
        if isinstance(value, list):
            items = [self._value(key, item) for item in value]
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        if isinstance(value, str) and not isinstance(value, Enum):
            changed = self.field(key, value)
            return changed if changed != value else value
        return value


def redact_journal(
    entries: Iterable[Entry],
    redactor: Redactor,
    redact_file: Callable[[AttemptEnd, EventsFile], EventsFile],
    settings_sha256: str,
) -> list[Entry] | None:
    """Redact the entries of a journal and chain them again; None when nothing was replaced.

    Args:
        entries: of the journal.
        redactor: replaces private values and names.
        redact_file: returns size and SHA-256 of the redacted events file for those of the original one.
        settings_sha256: hash of the redacted settings.
    """
    found: list[Entry] = []
    any_changed = False
    for entry in entries:
        is_read = isinstance(entry, Finished)  # its reason contains no names, and `verify` reads it
        changed: Entry = entry if is_read else redactor.record(entry)
        if isinstance(changed, SettingsChanged):
            changed = redactor.settings_changed(changed)
        if isinstance(changed, Created) and changed.settings_sha256 != settings_sha256:
            changed = changed.model_copy(update={"settings_sha256": settings_sha256})
        if isinstance(changed, Ended):
            ends = [
                end.model_copy(update={"files": [redact_file(end, file) for file in end.files]})
                for end in changed.attempts
            ]
            if ends != changed.attempts:
                changed = changed.model_copy(update={"attempts": ends})
        any_changed = any_changed or changed is not entry
        found.append(changed)
    return rechained(found) if any_changed else None


def secrets_of(private: Iterable[str]) -> set[str]:
    """Texts to replace: values of private settings, and secrets in the environment of this process."""
    lines = {line.strip() for value in private for line in value.splitlines() if line.strip()}
    assigned = {value for line in lines for value in _ASSIGNED.findall(line)}
    environment = {value for name, value in os.environ.items() if _SECRET_VARIABLE.search(name)}
    return lines | assigned | {value for value in environment if len(value) >= _LONG_ENOUGH}


def names_of(
    entries: Iterable[Entry], begins: Iterable[Begin], users: Iterable[str], settings: Iterable[SchedulerSettings]
) -> Pseudonyms:
    """Collect the names of hosts, users, accounts and the cluster from records and settings of a campaign."""
    names = Pseudonyms()
    for entry in entries:
        if isinstance(entry, Opened | SettingsChanged):
            names.add_host(entry.host)
        if isinstance(entry, SettingsChanged):
            names.add_users([entry.user])
        if isinstance(entry, Drained):
            names.add_users([entry.user])
            for host in (entry.host, *entry.nodes):
                names.add_host(host)
        for job in entry.jobs if isinstance(entry, Submitted | Allocated) else ():
            if not agents_in(job.job):
                names.add_job(job.job)
        for agent in entry.agents if isinstance(entry, Joined) else ():
            names.add_agent(agent.agent)
            _add_attempt(names, [agent.host], agent.job)
        for began in entry.attempts if isinstance(entry, Began) else ():
            _add_attempt(names, began.hosts, began.job)
        for end in entry.attempts if isinstance(entry, Ended) else ():
            _add_attempt(names, end.hosts, "")
    for begin in begins:
        _add_attempt(names, begin.hosts, begin.job)
    names.add_users(users)
    for each in settings:
        _add_settings(names, each)
    return names


def _add_settings(names: Pseudonyms, settings: SchedulerSettings) -> None:
    if isinstance(settings, ClusterSettings):
        names.add("account", filter(None, [settings.account]))
        names.add_users(filter(None, [(settings.mail_user or "").partition("@")[0]]))
    if isinstance(settings, SlurmSettings):
        names.add("cluster", filter(None, [settings.cluster]))
        names.add("reservation", filter(None, [settings.reservation]))
        names.add_hosts(settings.exclude or "")
    if isinstance(settings, PbsSettings):
        names.add("account", filter(None, [settings.project]))
        names.add_host((settings.queue or "").partition("@")[2])


def _add_attempt(names: Pseudonyms, hosts: Iterable[str], job: str) -> None:
    for host in hosts:
        names.add_host(host)
    names.add_job(job)
