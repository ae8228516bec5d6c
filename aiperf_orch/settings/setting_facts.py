"""Facts of each setting for readers, from the models of a site file: meaning, type, unit, default.

The command `explain`, shell completion and docs/reference/settings.md share them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from aiperf_orch.settings.allocations import AllocationSettings
from aiperf_orch.settings.base import ADVANCED, PRIVATE, Unit, advanced_keys
from aiperf_orch.settings.models import SCHEDULERS, SimulatedSettings, SiteSettings
from aiperf_orch.util.units import WRITTEN_DURATION, format_duration

_MANY: Final = 1_000_000  # an upper bound of a number from here on only keeps files readable, and is not stated
_CLUSTERS: Final = ("slurm", "pbs")
_PARTS: Final[tuple[tuple[str, type[BaseModel], tuple[str, ...]], ...]] = (
    ("scheduler.allocations", AllocationSettings, _CLUSTERS),
    ("training.simulated", SimulatedSettings, ()),
)
Quote = Callable[[object], str]


@dataclass(frozen=True)
class SettingFacts:
    """What there is to know of a setting.

    Attributes:
        key: Dotted key without `advanced`, for example `scheduler.poll_interval`.
        meaning: Its description.
        type: Type and bounds of its values in words.
        unit: Unit of its values; empty where they have none.
        default: The default in words, as a site file writes it; `required` and `none` where there is no value.
        is_advanced: Whether it belongs to its section's part `advanced`.
        is_private: Whether its value never leaves the machine.
        kinds: Kinds of schedulers for which all of this holds; empty for settings of other sections.
    """

    key: str
    meaning: str
    type: str
    unit: str
    default: str
    is_advanced: bool
    is_private: bool
    kinds: tuple[str, ...] = ()

    @property
    def written_key(self) -> str:
        """The dotted key as a site file has it: `scheduler.advanced.poll_interval`."""
        section, _, rest = self.key.partition(".")
        return f"{section}.{ADVANCED}.{rest}" if self.is_advanced else self.key


def models_with_settings() -> list[tuple[str, type[BaseModel], tuple[str, ...]]]:
    """Every model with settings: the dotted key of its section, the model, and the kinds of schedulers it is for."""
    models: list[tuple[str, Any, tuple[str, ...]]] = []
    for name, field in SiteSettings.model_fields.items():
        if name == "scheduler":
            models += [(name, model, (kind,)) for kind, model in SCHEDULERS.items()]
        else:
            models.append((name, field.annotation, ()))
        models += [part for part in _PARTS if part[0].startswith(f"{name}.")]
    return models


def all_settings() -> list[SettingFacts]:
    """The facts of all settings in the order of the models; kinds of schedulers with the same facts share one entry."""
    found: dict[SettingFacts, tuple[str, ...]] = {}
    for section, model, kinds in models_with_settings():
        for facts in _of_model(section, model):
            found[facts] = (*found.get(facts, ()), *kinds)
    order = list(dict.fromkeys(facts.key for facts in found))
    merged = [replace(facts, kinds=kinds) for facts, kinds in found.items()]
    return sorted(merged, key=lambda facts: order.index(facts.key))


def setting_keys() -> list[str]:
    """The dotted key of each setting, without those of parts with keys."""
    parts = [section for section, _, _ in _PARTS]
    keys = [f"{section}.{key}" for section, model, _ in models_with_settings() for key in model.model_fields]
    return [key for key in dict.fromkeys(keys) if key not in parts]


def type_of(model: type[BaseModel], key: str, quote: Quote = str) -> str:
    """The type and the bounds of a setting's values in words.

    Args:
        model: The model of its section.
        key: The key in that section.
        quote: How a literal value is shown.
    """
    schema = _schema(model)
    return _type_in_words(schema["properties"][key], schema.get("$defs", {}), quote)


def default_of(model: type[BaseModel], key: str, quote: Quote = str) -> str:
    """The default of a setting in words; arguments as of `type_of`."""
    field = model.model_fields[key]
    value = field.default
    if field.is_required():
        return "required"
    if isinstance(value, BaseModel):
        return "see its keys"
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return quote(str(value).lower())
    return quote(format_duration(value) if type_of(model, key) == "duration" else value)


def unit_of(field: FieldInfo) -> str:
    """The unit of a setting's values; empty where they have none."""
    return next((unit.name for unit in _units([*field.metadata, field.annotation])), "")


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _of_model(section: str, model: type[BaseModel]) -> Iterator[SettingFacts]:
    advanced = advanced_keys(model)
    inside = section in [f"{name}.{key}" for name, key in _advanced_parts()]
    for key, field in model.model_fields.items():
        yield SettingFacts(
            key=f"{section}.{key}",
            meaning=field.description or "how trials are started",
            type=", ".join(SCHEDULERS) if (section, key) == ("scheduler", "kind") else type_of(model, key),
            unit=unit_of(field),
            default="local" if (section, key) == ("scheduler", "kind") else default_of(model, key),
            is_advanced=key in advanced or inside,
            is_private=field.json_schema_extra == PRIVATE,
        )


def _advanced_parts() -> list[tuple[str, str]]:
    """Section and key of the parts that belong to the part `advanced` of their section."""
    sections: dict[str, Any] = {name: field.annotation for name, field in SiteSettings.model_fields.items()}
    sections["scheduler"] = SCHEDULERS["slurm"]
    parts = [path.split(".") for path, _, _ in _PARTS]
    return [(section, key) for section, key in parts if key in advanced_keys(sections[section])]


def _units(marks: list[Any]) -> Iterator[Unit]:
    """The units among annotations and within them."""
    for mark in marks:
        if isinstance(mark, Unit):
            yield mark
        yield from _units([*getattr(mark, "__metadata__", ()), *get_args(mark)])


def _type_in_words(schema: Mapping[str, Any], parts: Mapping[str, Any], quote: Quote) -> str:
    if "anyOf" in schema:
        return " or ".join(_type_in_words(each, parts, quote) for each in schema["anyOf"] if each != {"type": "null"})
    if "$ref" in schema:
        return "part with keys"
    if "enum" in schema or "const" in schema:
        return ", ".join(quote(each) for each in schema.get("enum", [schema.get("const")]))
    match schema.get("type"):
        case "string":
            return "duration" if schema.get("pattern") == WRITTEN_DURATION else "text"
        case "boolean":
            return f"{quote('true')} or {quote('false')}"
        case "array":
            items = _type_in_words(schema["items"], parts, quote)
            return f"list of {items.replace('whole number', 'whole numbers')}"
        case "integer" | "number" as kind:
            return f"{'whole number' if kind == 'integer' else 'number'}{_bounds(schema)}"
    raise ValueError(f"no words for {schema}")


def _bounds(schema: Mapping[str, Any]) -> str:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    least = f"above {above:,}" if above is not None else f"at least {low:,}" if low is not None else ""
    if high is None or high >= _MANY:
        return f", {least}" if least else ""
    return f", {low:,} to {high:,}" if low is not None else f", {least}, at most {high:,}"
