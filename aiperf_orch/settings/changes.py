"""Changes of a campaign's settings: read from `KEY=VALUE`, checked, and applied to the settings before them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from aiperf_orch.settings.base import ADVANCED
from aiperf_orch.settings.changeable import CHANGEABLE, bound_fault, refusal_reason
from aiperf_orch.settings.coercion import validated
from aiperf_orch.settings.comparison import flatten
from aiperf_orch.settings.explanations import refusal
from aiperf_orch.settings.models import SCHEDULERS, SiteSettings
from aiperf_orch.settings.site_document import Document, Override
from aiperf_orch.util.errors import UsageError

_EXAMPLE: Final = "for example concurrency=8"
_NONE: Final = "no key may change"
_NO_ALLOCATIONS: Final = "this campaign has no allocations, and the way in which its trials run may not change"


def parse_changes(settings: SiteSettings, assignments: Iterable[str], campaign: Path) -> dict[str, Any]:
    """The settings that assignments change, and their values.

    Args:
        settings: The settings in force.
        assignments: `KEY=VALUE` each. A key may be given by its last parts, as `partition` or `allocations.total`.
        campaign: The campaign directory, for messages.

    Returns:
        Dotted key without `advanced` -> JSON value, without those that have this value already.

    Raises:
        UsageError: Naming the key that is unknown, may not change, is given twice, or has a wrong value.
    """
    document = Document(campaign, settings.model_dump(mode="json"))
    given: dict[str, str] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{assignment}: expected KEY=VALUE, {_EXAMPLE}")
        key = _resolve(settings, name.strip())
        if key in given:
            raise UsageError(f"{name.strip()}: {key} is given twice ({given[key]}): give it once")
        given[key] = assignment
        document.apply(Override(key, text, assignment))
    if not given:
        raise UsageError(f"no KEY=VALUE is given, {_EXAMPLE}")
    try:
        changed = validated(document.data, document.texts)
    except ValidationError as error:
        raise refusal(error, document) from None
    wrong = bound_fault(settings, changed)
    if wrong is not None:
        raise UsageError(wrong)
    before, after = _flat(settings), _flat(changed)
    return {key: after[key] for key in given if after[key] != before[key]}


def apply_changes(settings: SiteSettings, changes: Mapping[str, Any]) -> SiteSettings:
    """Settings with other values of some keys.

    Args:
        settings: The settings before.
        changes: Dotted key without `advanced` -> JSON value.

    Raises:
        UsageError: For a key that is unknown or may not change, and a value that is wrong.
    """
    data, known = settings.model_dump(mode="json"), _flat(settings)
    for key, value in changes.items():
        if key not in known:
            raise UsageError(f"{key}: this campaign has no such setting")
        reason = refusal_reason(key)
        if reason is not None:
            raise UsageError(f"{key}: may not change: {reason}")
        *sections, last = key.split(".")
        part = data
        for section in sections:
            part = part[section]
        part[last] = value
    try:
        changed = SiteSettings.model_validate(data)
    except ValidationError as error:
        raise refusal(error, Document(Path("settings"), data)) from None
    wrong = bound_fault(settings, changed)
    if wrong is not None:
        raise UsageError(wrong)
    return changed


def value_of(settings: SiteSettings, key: str) -> Any:
    """The JSON value of a setting, by its dotted key without `advanced`; None for a key that the settings lack."""
    return _flat(settings).get(key)


def _flat(settings: SiteSettings) -> dict[str, Any]:
    return flatten(settings.model_dump(mode="json"))


def _resolve(settings: SiteSettings, name: str) -> str:
    """The dotted key that a name of the command line stands for.

    Raises:
        UsageError: For a name that stands for no setting of this campaign, for several, or for one that may not change.
    """
    parts = [part for part in name.split(".") if part != ADVANCED]
    wanted = ".".join(parts)
    known = _flat(settings)
    found = [key for key in known if key == wanted or key.endswith(f".{wanted}")]
    may_change = [key for key in found if key in CHANGEABLE] or found
    fewest = min((key.count(".") for key in may_change), default=0)
    shortest = [key for key in may_change if key.count(".") == fewest]
    if shortest == ["scheduler.allocations"]:
        raise UsageError(f"{name}: {_NO_ALLOCATIONS}")
    if len(shortest) > 1 and shortest[0] not in CHANGEABLE:
        raise UsageError("\n".join(f"{key}: may not change: {refusal_reason(key)}" for key in shortest))
    if len(shortest) > 1:
        raise UsageError(f"{name}: may mean {' or '.join(shortest)}: give the whole key")
    if not shortest:
        raise UsageError(f"{name}: {_unknown(settings, wanted, list(known))}")
    reason = refusal_reason(shortest[0])
    if reason is not None:
        raise UsageError(f"{shortest[0]}: may not change: {reason}")
    return shortest[0]


def _unknown(settings: SiteSettings, wanted: str, known: list[str]) -> str:
    """What is wrong with a name that stands for no setting of a campaign, and which may be meant."""
    inside = [key for key in known if f".{key}".startswith(f".{wanted}.") or f".{wanted}." in key]
    changeable = [key for key in CHANGEABLE if key in known]
    if inside:
        keys = [key for key in CHANGEABLE if key in inside]
        return f"is a part with keys: give one of {', '.join(keys)}" if keys else f"is a part of which {_NONE}"
    kind = settings.scheduler.kind
    last = wanted.rpartition(".")[2]
    others = [other for other, model in SCHEDULERS.items() if last in model.model_fields and other != kind]
    if others and f"scheduler.{last}" in CHANGEABLE:
        return f"is a setting of the scheduler {' or '.join(others)}, and this campaign's is {kind}"
    if wanted.split(".")[-2:-1] == ["allocations"] or f"scheduler.allocations.{last}" in CHANGEABLE:
        return _NO_ALLOCATIONS
    names = {key: key for key in changeable} | {key.rpartition(".")[2]: key for key in changeable}
    close = difflib.get_close_matches(wanted, names, n=1)
    if close:
        return f"unknown key; did you mean {close[0]}?"
    return f"unknown key; these may change: {', '.join(changeable)}"
