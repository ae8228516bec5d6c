"""Messages for settings that are refused: where the setting stands, what is wrong, and an example that would pass."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from aiperf_orch.settings.base import ADVANCED, advanced_keys
from aiperf_orch.settings.coercion import key_of
from aiperf_orch.settings.comparison import flatten
from aiperf_orch.settings.examples import as_text, example
from aiperf_orch.settings.models import SCHEDULERS, SiteSettings
from aiperf_orch.settings.setting_facts import type_of, unit_of
from aiperf_orch.settings.site_document import Document
from aiperf_orch.settings.yaml_text import Key
from aiperf_orch.util.errors import UsageError

_MAX_FAULTS: Final = 20
_WORDING: Final = (
    ("Input should be", "must be"),
    ("a valid integer", "a whole number"),
    ("a valid boolean", "true or false"),
    ("a valid string", "text"),
    ("a valid list", "a list"),
    ("a valid number", "a number"),
    ("List should have", "must have"),
    ("String should have", "must have"),
    (" after validation", ""),
)
"""Pydantic's wording -> ours."""


def refusal(error: ValidationError, document: Document) -> UsageError:
    """The error for everything that is wrong in a document, one line for each key, up to a limit."""
    faults = [_explain(item, document) for item in error.errors()[:_MAX_FAULTS]]
    more = [f"and {error.error_count() - _MAX_FAULTS} more"] if error.error_count() > _MAX_FAULTS else []
    return UsageError("\n".join([*faults, *more]))


def _explain(error: Any, document: Document) -> str:
    location, kind = key_of(error)
    if not location:  # about several sections: the message begins with the key
        dotted, _, message = str(error["ctx"]["error"]).partition(": ")
        return f"{document.origin(tuple(dotted.split('.'))[:1])}: {dotted}: {message}"
    message = _wrong(error, _model_at(location[:-1], kind), str(location[-1]))
    if error["type"] == "union_tag_invalid":
        location = (*location, "kind")
    elif error["type"] == "value_error" and (named := _named_key(message, location, kind)):
        location, message = (*location, *named), message.partition(": ")[2]
    where = document.origin(location)
    dotted = ".".join(map(str, document.as_written(location)))
    if error["type"] == "extra_forbidden":
        return f"{where}: {dotted}: unknown key; {_hint(location, kind)}"
    message = f"{where}: {dotted}: {message}"
    if "for example " in message:
        return message
    return f"{message}; for example {_example(document, location, kind, error['input'], where)}"


def _named_key(message: str, location: Key, kind: str | None) -> Key | None:
    """The key with which a message about several keys begins, as `allocations.nodes: `; None for other messages."""
    parts = tuple(message.partition(": ")[0].split("."))
    return parts if parts[0] in _keys_in(location, kind) else None


def _wrong(error: Any, section: type[BaseModel] | None, key: str) -> str:
    """What is wrong with the value of a key; an item of a list has no section."""
    match error["type"]:
        case "union_tag_invalid":
            return f"must be one of {', '.join(SCHEDULERS)}, not {error['input'].get('kind')!r:.60}"
        case "union_tag_not_found":
            return f"a section with keys is expected, its kind one of {', '.join(SCHEDULERS)}"
        case "missing":
            return "is required"
        case "value_error":
            return str(error["ctx"]["error"])
        case "model_type":
            return f"a section with keys is expected, not {error['input']!r:.60}"
    message = str(error["msg"])
    for theirs, ours in _WORDING:
        message = message.replace(theirs, ours)
    if section and error["type"] == "float_type" and (unit := unit_of(section.model_fields[key])):
        message += f" in {unit}"
    if section and error["type"] == "list_type":
        message = f"must be a {type_of(section, key)}"
    if error["type"] in ("too_short", "too_long"):  # pydantic names the number of items
        return message
    return f"{message}, but the key has no value" if error["input"] is None else f"{message}, not {_shown(error)}"


def _shown(error: Any) -> str:
    """A refused value: a text in quotes, any other as YAML has it."""
    value = error["input"]
    return f"{value!r:.60}" if isinstance(value, str) else f"{as_text(value):.60}"


def _hint(location: Key, kind: str | None) -> str:
    """For an unknown key, the one that is probably meant, or else those that its section has."""
    model = _model_at(location[:-1], kind)
    known = list(model.model_fields) if model else []
    close = _elsewhere(location[-1]) or difflib.get_close_matches(str(location[-1]), known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    advanced = advanced_keys(model) if model else []
    first = f"known here: {', '.join(key for key in known if key not in advanced)}"
    return f"{first}; in its part {ADVANCED}: {', '.join(advanced)}" if advanced else first


def _example(document: Document, location: Key, kind: str | None, value: Any, where: str) -> str:
    """A setting that would pass, in the form of the wrong one: for a file, or with its option."""
    text = example(location, kind, value)
    key = ".".join(part for part in document.as_written(location) if isinstance(part, str))
    if where.startswith("--set "):
        return f"--set {shlex.quote(f'{key}={text}')}"
    return f"{where} {text}" if where.startswith("--") else f"{key.rpartition('.')[2]}: {text}"


def _keys_in(location: Key, kind: str | None) -> list[str]:
    """The keys of a section, and its part for advanced ones."""
    model = _model_at(location, kind)
    return [*model.model_fields, ADVANCED] if model else []


def _model_at(location: Sequence[str | int], kind: str | None) -> type[BaseModel] | None:
    """The model of a section; `kind` selects the scheduler's. None where there is no section."""
    model: Any = SCHEDULERS[kind] if kind else SiteSettings
    for part in location[1:] if kind else location:
        field = model.model_fields.get(str(part)) if model else None
        model = _model_of(field.annotation) if field else None
    return model if _is_model(model) else None


def _model_of(annotation: Any) -> Any:
    """The model of a setting that is a section, or a section or None; None for any other setting."""
    return next(filter(_is_model, (annotation, *get_args(annotation))), None)


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _elsewhere(name: str | int) -> list[str]:
    """Keys of that name in another section, or of another scheduler."""
    found = [key for key in flatten(SiteSettings().model_dump()) if key.rpartition(".")[2] == name]
    kinds = [kind for kind, model in SCHEDULERS.items() if name in model.model_fields]
    return found or [f"scheduler.{name} (of {' or '.join(kinds)})" for _ in kinds[:1]]
