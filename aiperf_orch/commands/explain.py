"""`explain`: meaning, type, unit and default of a setting, and where a site file sets it."""

from __future__ import annotations

import difflib
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.settings.base import ADVANCED
from aiperf_orch.settings.changeable import CHANGEABLE, refusal_reason
from aiperf_orch.settings.examples import as_text, example
from aiperf_orch.settings.models import SCHEDULERS, SiteSettings
from aiperf_orch.settings.setting_facts import SettingFacts, all_settings
from aiperf_orch.settings.site_document import Document
from aiperf_orch.util.errors import UsageError

_PRIVATE: Final = "its value never leaves the machine: packages and reports show a salted hash of it"
_MAX_WIDTH: Final = 100
_LABEL: Final = 10  # columns
_NEAREST: Final = 3  # keys
_ALIKE: Final = 0.8  # ratio of difflib from which on several keys are named
_ABSENT: Final = object()


def explain_key(name: str, site: Path | None) -> CommandOutput:
    """Explain a setting, or list the keys of a section.

    Args:
        name: A dotted key, with or without `advanced`, the last parts of one, or a section.
        site: Site file whose value is shown; it may have errors elsewhere. None without one.

    Raises:
        UsageError: There is no such key, or the site file cannot be read.
    """
    document = None if site is None else Document.read(site, ())
    known = all_settings()
    wanted = ".".join(part for part in name.split(".") if part != ADVANCED)
    keys = _matching(wanted, {facts.key for facts in known})
    inside = [facts for facts in known if facts.key.startswith(f"{wanted}.")]
    if not keys and not inside:
        raise UsageError(f"{name}: unknown key; {_nearest(wanted, known)}")
    found = [facts for facts in known if facts.key in keys]
    parts = ["\n".join(_explained(facts, document)) for facts in _of_kind(found, document)]
    keys_of_parts = [facts for facts in known if any(facts.key.startswith(f"{key}.") for key in keys)]
    if listed := inside or keys_of_parts:
        parts.append(_list(_of_kind(listed, document), document))
    return CommandOutput("\n\n".join(parts) + "\n")


def _matching(wanted: str, known: set[str]) -> set[str]:
    """The key of this name, or else those that end with it and have the fewest parts."""
    if wanted in known or wanted in SiteSettings.model_fields:
        return known & {wanted}
    found = {key for key in known if wanted and key.endswith(f".{wanted}")}
    fewest = min((key.count(".") for key in found), default=0)
    return {key for key in found if key.count(".") == fewest}


def _nearest(wanted: str, known: Sequence[SettingFacts]) -> str:
    """For an unknown name, the keys that may be meant, or else the sections."""
    names = {facts.key.rpartition(".")[2]: facts.key for facts in reversed(known)}  # the first key of that name
    names |= {facts.key: facts.key for facts in known} | {section: section for section in SiteSettings.model_fields}
    tried = dict.fromkeys([wanted, wanted.rpartition(".")[2]])
    close = [names[each] for text in tried for each in difflib.get_close_matches(text, names, _NEAREST, _ALIKE)]
    close = close or [names[each] for text in tried for each in difflib.get_close_matches(text, names, 1)]
    if close:
        return f"did you mean {' or '.join([*dict.fromkeys(close)][:_NEAREST])}?"
    return f"the sections are {', '.join(SiteSettings.model_fields)}: `aiperf-orch explain SECTION` lists their keys"


def _kind(document: Document) -> str:
    scheduler = document.data.get("scheduler")
    return str(scheduler.get("kind", "local")).lower() if isinstance(scheduler, dict) else "local"


def _of_kind(found: Sequence[SettingFacts], document: Document | None) -> list[SettingFacts]:
    """The facts for the site's scheduler; of settings that it lacks, those for the other ones."""
    if document is None:
        return [*found]
    kind = _kind(document)
    its = {facts.key for facts in found if kind in facts.kinds}
    return [facts for facts in found if not facts.kinds or kind in facts.kinds or facts.key not in its]


def _explained(facts: SettingFacts, document: Document | None) -> Iterator[str]:
    """The lines about a setting."""
    yield f"{facts.written_key}{_of_kinds(facts)}"
    yield from _wrapped(facts.meaning, "  ")
    for label, text in _rows(facts, document):
        yield from _wrapped(text, f"  {label:<{_LABEL}}")
    yield "  example"
    yield from textwrap.indent(_example(facts), "    ").splitlines()


def _rows(facts: SettingFacts, document: Document | None) -> Iterator[tuple[str, str]]:
    yield "type", facts.type
    if facts.unit:
        yield "unit", facts.unit
    yield "default", facts.default
    if facts.is_private:
        yield "private", _PRIVATE
    if facts.key in CHANGEABLE:
        yield "change", f"`aiperf-orch set` may change it; it takes effect on {CHANGEABLE[facts.key].value}"
    else:
        yield "change", f"not in a campaign that has begun: {refusal_reason(facts.key)}"
    if document is not None:
        yield "set", _where(facts, document)


def _where(facts: SettingFacts, document: Document) -> str:
    """Where a site file sets a setting, and its value there."""
    value = _value(facts.key, document)
    if value is not _ABSENT:
        return f"{document.origin(tuple(facts.key.split('.')))}: {as_text(value)}"
    if facts.kinds and _kind(document) not in facts.kinds:
        return f"not in {document.path}, whose scheduler.kind is {_kind(document)}"
    return f"not in {document.path}"


def _value(key: str, document: Document) -> Any:
    value: Any = document.data
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return _ABSENT
        value = value[part]
    return value


def _example(facts: SettingFacts) -> str:
    """A site file with only this setting."""
    kind = facts.kinds[0] if facts.kinds else None
    *sections, last = facts.written_key.split(".")
    lines = [f"{'  ' * depth}{section}:" for depth, section in enumerate(sections)]
    return "\n".join([*lines, f"{'  ' * len(sections)}{last}: {example(facts.key.split('.'), kind)}"])


def _list(listed: Sequence[SettingFacts], document: Document | None) -> str:
    """For each key its default, or where a site file sets it, and its meaning; of the site's scheduler only."""
    lines = []
    for facts in listed:
        if document is not None and facts.kinds and _kind(document) not in facts.kinds:
            continue
        value = facts.default if facts.default == "required" else f"default {facts.default}"
        if document is not None and _value(facts.key, document) is not _ABSENT:
            value = f"set by {_where(facts, document)}"
        lines += [f"{facts.written_key}{_of_kinds(facts)}", f"    {value}", *_wrapped(facts.meaning, " " * 4)]
    return "\n".join(lines)


def _of_kinds(facts: SettingFacts) -> str:
    """The kinds of schedulers of a setting that not all of them have."""
    return f"  ({', '.join(facts.kinds)})" if facts.kinds and len(facts.kinds) < len(SCHEDULERS) else ""


def _wrapped(text: str, beginning: str) -> list[str]:
    width = min(shutil.get_terminal_size().columns, _MAX_WIDTH)
    return textwrap.wrap(text, width, initial_indent=beginning, subsequent_indent=" " * len(beginning))
