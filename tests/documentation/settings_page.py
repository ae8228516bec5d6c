"""The page of all settings, from the models of a site file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from aiperf_orch.settings.allocations import AllocationSettings
from aiperf_orch.settings.base import PRIVATE, Section, advanced_keys
from aiperf_orch.settings.changeable import CHANGEABLE
from aiperf_orch.settings.models import SCHEDULERS, SimulatedSettings, SiteSettings
from aiperf_orch.settings.schedulers import ClusterSettings, SchedulerSettings
from aiperf_orch.util.units import WRITTEN_DURATION, format_duration
from documentation.markdown import code, page, table, words

_HEADER = ("key", "value", "default", "meaning")
_MANY = 1_000_000  # an upper bound of a number from here on only keeps files readable, and is not stated
_INTRODUCTION = """
Each key of a site file, with its type, its default and its meaning. [The site file](../guides/site-file.md) explains
the format; `aiperf-orch run SITE --dry-run` prints all keys of one, and the origin of each value that is not a default.

- `*` marks an advanced key: it belongs to the part `advanced` of its section.
- **private** marks a key whose value never leaves the machine: packages and reports show a salted hash of it.
- (code) marks a value that goes into the batch script as it is. All other values are checked.
- A **duration** is written with its unit: `90s`, `12h`, `1h30m`, `1-12:00:00` (days first).
- On the command line a key is written with its section: `--set campaign.duration=2h`.
"""
_GUIDES = {
    "system": "[Places and divisions](../guides/committee.md#places)",
    "slurm": "[Slurm](../guides/slurm.md)",
    "pbs": "[PBS](../guides/pbs.md)",
    "agents": "[Agents that you start](../guides/allocations.md#agents-that-you-start)",
    "data": "[Data](../guides/data.md)",
    "search": "[Search: experiments and measurements](../research/search.md)",
    "training": "[Training: measurements](../research/training.md)",
}
_CLUSTERS = ("slurm", "pbs")


def settings_page() -> str:
    """The page `reference/settings.md`."""
    parts = [_INTRODUCTION]
    for name, field in SiteSettings.model_fields.items():
        model: Any = field.annotation
        if name == "scheduler":
            parts += _scheduler()
        else:
            parts += [f"## {name}", _about(name, model), _table(model, model.model_fields)]
    parts += [
        "### training.simulated",
        f"{words(SimulatedSettings.__doc__)} It is the advanced key `training.simulated`.",
        _table(SimulatedSettings, SimulatedSettings.model_fields),
        "## Settings that may change",
        "[`aiperf-orch set`](../guides/running.md#change-settings) changes these in a campaign that has begun. All "
        "others are refused with the reason.",
        table(
            ("setting", "a change takes effect on"), [(code(key), effect.value) for key, effect in CHANGEABLE.items()]
        ),
    ]
    return page("Settings", *parts)


def documented_models() -> list[tuple[str, type[BaseModel]]]:
    """Every model with settings, with the section in which its keys are written."""
    sections: list[tuple[str, Any]] = [
        (name, field.annotation) for name, field in SiteSettings.model_fields.items() if name != "scheduler"
    ]
    schedulers = [("scheduler", model) for model in SCHEDULERS.values()]
    parts = [("scheduler.allocations", AllocationSettings), ("training.simulated", SimulatedSettings)]
    return [*sections, *schedulers, *parts]


def _scheduler() -> list[str]:
    kinds = ", ".join(code(kind) for kind in SCHEDULERS)
    first = ("`kind`", kinds, "`local`", "how trials are started")
    shared = [key for key in SchedulerSettings.model_fields if key != "kind"]
    parts = [
        "## scheduler",
        "How trials are started and monitored. The section has the keys of every scheduler and those of its `kind`.",
        "### Every scheduler",
        _table(SchedulerSettings, shared, kinds=tuple(SCHEDULERS), first=[first]),
    ]
    for title, kinds_of in (("local", ["local"]), ("slurm and pbs", _CLUSTERS), ("agents", ["agents"])):
        base: Any = ClusterSettings if kinds_of == _CLUSTERS else SCHEDULERS[kinds_of[0]]
        parts += [f"### {title}", *_of_kinds(base, kinds_of, SchedulerSettings)]
        if base is ClusterSettings:
            parts += [
                "### allocations",
                f"{words(AllocationSettings.__doc__)} [Campaigns in few allocations](../guides/allocations.md) "
                f"explains "
                "them. `nodes` and `time_limit` are required.",
                _table(AllocationSettings, AllocationSettings.model_fields),
            ]
            for kind in _CLUSTERS:
                parts += [f"### {kind}", *_of_kinds(SCHEDULERS[kind], [kind], ClusterSettings)]
    return parts


def _of_kinds(model: type[Section], kinds: Sequence[str], base: type[Section]) -> list[str]:
    """The keys of a model that its base lacks, or has with another meaning."""
    keys = [
        key
        for key, field in model.model_fields.items()
        if key != "kind" and (key not in base.model_fields or base.model_fields[key].description != field.description)
    ]
    return [_about(kinds[0] if len(kinds) == 1 else "", model), _table(model, keys, kinds=tuple(kinds))]


def _about(name: str, model: type[BaseModel]) -> str:
    """The text of a section, with its guide."""
    return f"{words(model.__doc__)} {f'Guide: {_GUIDES[name]}' if name in _GUIDES else ''}".strip()


def _table(
    model: type[BaseModel],
    keys: Iterable[str],
    *,
    kinds: Sequence[str] = (),
    first: Sequence[Sequence[str]] = (),
) -> str:
    """A row for each of these keys; the default may differ between kinds of schedulers."""
    schema = model.model_json_schema()
    advanced = advanced_keys(model)
    rows = []
    for key in keys:
        field = model.model_fields[key]
        private = "**private**; " if field.json_schema_extra == PRIVATE else ""
        value = _kind_of_value(schema["properties"][key], schema.get("$defs", {}))
        default = _defaults(model, key, kinds, is_duration=value == "duration")
        rows.append((f"`{key}`{'*' if key in advanced else ''}", value, default, f"{private}{field.description}"))
    return table(_HEADER, [*first, *rows])


def _defaults(model: type[BaseModel], key: str, kinds: Sequence[str], *, is_duration: bool) -> str:
    """The default of a key; those of kinds of schedulers that have another one follow it, with their names."""
    own = _default(model.model_fields[key], is_duration=is_duration)
    others: dict[str, list[str]] = {}
    for kind in kinds:
        found = _default(SCHEDULERS[kind].model_fields[key], is_duration=is_duration)
        if found != own:
            others.setdefault(found, []).append(kind)
    return "; ".join([own, *(f"{', '.join(names)}: {found}" for found, names in others.items())])


def _default(field: FieldInfo, *, is_duration: bool) -> str:
    value = field.default
    if field.is_required():
        return "required"
    if isinstance(value, BaseModel):
        return "see below"
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return code(str(value).lower())
    return code(format_duration(value) if is_duration else value)


def _kind_of_value(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    """The type and the bounds of a value in words, from its JSON Schema."""
    if "anyOf" in schema:
        return " or ".join(_kind_of_value(each, parts) for each in schema["anyOf"] if each != {"type": "null"})
    if "$ref" in schema:
        return "part with keys"
    if "enum" in schema or "const" in schema:
        return ", ".join(code(each) for each in schema.get("enum", [schema.get("const")]))
    match schema.get("type"):
        case "string":
            return "duration" if schema.get("pattern") == WRITTEN_DURATION else "text"
        case "boolean":
            return "`true` or `false`"
        case "array":
            return f"list of {_kind_of_value(schema['items'], parts).replace('whole number', 'whole numbers')}"
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
