"""The page of all settings, from the models of a site file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel

from aiperf_orch.settings.allocations import AllocationSettings
from aiperf_orch.settings.base import PRIVATE, Section, advanced_keys
from aiperf_orch.settings.changeable import CHANGEABLE
from aiperf_orch.settings.models import SCHEDULERS, SimulatedSettings, SiteSettings
from aiperf_orch.settings.schedulers import ClusterSettings, SchedulerSettings
from aiperf_orch.settings.setting_facts import default_of, type_of
from documentation.markdown import code, page, table, words

_HEADER = ("key", "value", "default", "meaning")
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
    advanced = advanced_keys(model)
    rows = []
    for key in keys:
        field = model.model_fields[key]
        private = "**private**; " if field.json_schema_extra == PRIVATE else ""
        value = type_of(model, key, code)
        default = _defaults(model, key, kinds)
        rows.append((f"`{key}`{'*' if key in advanced else ''}", value, default, f"{private}{field.description}"))
    return table(_HEADER, [*first, *rows])


def _defaults(model: type[BaseModel], key: str, kinds: Sequence[str]) -> str:
    """The default of a key; those of kinds of schedulers that have another one follow it, with their names."""
    own = default_of(model, key, code)
    others: dict[str, list[str]] = {}
    for kind in kinds:
        found = default_of(SCHEDULERS[kind], key, code)
        if found != own:
            others.setdefault(found, []).append(kind)
    return "; ".join([own, *(f"{', '.join(names)}: {found}" for found, names in others.items())])
