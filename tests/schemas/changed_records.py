"""Records that are made from a schema, and copies of them with one change each."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aiperf_orch.campaign.config import CampaignConfig
from schemas.validation import ecma_pattern, schema_of

SCHEDULERS = ("local", "slurm", "pbs", "agents")
# a text for each pattern of a schema
TEXTS = (
    "0" * 64, "0" * 32, "0" * 16, "sha256:" + "0" * 64, "2026-01-02T03:04:05.678Z", "90s", "qk3f9-w00001[3]", "qk3f9",
    "n1.1", "torch", "2.11.0+cpu", "x", "campaign.duration",
)  # fmt: skip
ANYTHING: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 2, -1, 1.0, 0.5, 1.5, -0.5, 10**9 + 1, 2**63, 10**59, 10**60, 1e30, 10**400),
    *([], {}, [1], ["x"], [None], {"x": 1}, "", "x", "1", "0.5", "=x", "-x", "a b", "/x", "64G", "64gb", "LOST"),
    *("\x1b", "x\n", "\u00e9", "\u200b", "<b>", "true", "x" * 130, "x" * 5000, "0" * 63, "A" * 64, "x.1", "x.01"),
    *("n" * 120 + ".1", "n" * 121 + ".1", "qk3f9-1[12345678]", "90", "1h30m", "0s", "99999999s", "1767322845"),
    *("2026-01-02T03:04:05Z", "2026-01-02T03:04:05+01:00", "2026-01-02 03:04:05Z", "2026-01-02T03:04:05"),
    *("2026-02-30T00:00:00Z", "1999-12-31T23:59:59Z", "2199-12-31T23:59:59Z", "2200-01-01T00:00:00Z", "2026-01-02"),
    *("2026-01-02T03:04:05.1234567Z", "2000-01-01T00:30:00+01:00", "2199-12-31T23:30:00-01:00"),
)
DIGITS = {ord(digit): chr(0x0660 + number) for number, digit in enumerate("0123456789")}  # Arabic-Indic


@dataclass(frozen=True)
class Change:
    """A record that was changed at a path.

    Attributes:
        path: Keys and indices that lead to the change.
        value: What stands there; None also where a key was dropped.
        record: The changed record.
    """

    path: tuple[Any, ...]
    value: Any
    record: Any


def filled(part: Any, whole: Any) -> Any:
    """A value of a part of a schema, with every key; of an optional setting it is the default."""
    if "default" in part and part["default"] is not None:
        return copy.deepcopy(part["default"])
    if "$ref" in part:
        return filled(whole["$defs"][part["$ref"].rpartition("/")[2]], whole)
    if "const" in part or "enum" in part:
        return part.get("const") or part["enum"][0]
    if "anyOf" in part:
        return filled(part["anyOf"][0], whole)
    match part.get("type"):
        case "object":
            made = {key: filled(value, whole) for key, value in part.get("properties", {}).items()}
            for pattern, value in part.get("patternProperties", {}).items():
                made[text_for(pattern)] = filled(value, whole)
            return made
        case "array":
            return [filled(part["items"], whole)] * part.get("minItems", 1)
        case "integer":
            return max(part.get("minimum", 1), 1)
        case "number":
            return 0.5
        case "boolean":
            return True
        case "string":
            return text_for(part.get("pattern", ""))
    return None  # anything


def text_for(pattern: str) -> str:
    return next(text for text in TEXTS if re.search(ecma_pattern(pattern), text))


def records(name: str) -> Iterator[Any]:
    """A record of each type that a schema has, with every key; campaign.yaml with each scheduler's defaults."""
    whole = schema_of(name)
    if name == "campaign.json":
        made = {key: filled(value, whole) for key, value in whole["properties"].items() if key != "settings"}
        for kind in SCHEDULERS:
            settings = CampaignConfig.model_validate(made | {"settings": {"scheduler": {"kind": kind}}}).settings
            yield made | {"settings": settings.model_dump(mode="json")}
    else:
        for part in whole.get("oneOf", [whole]):
            yield filled(part, whole)


def changes(record: Any, below: tuple[str, ...] = ()) -> Iterator[Change]:
    """Every change of a record, or of the part of it at a path."""
    for path in list(paths(at(record, below), below)):
        present = at(record, path)
        if isinstance(present, dict):
            for key, value in (("unknown", 1), ("advanced", {})):
                yield Change((*path, key), value, replaced(record, (*path, key), value))
        if path:
            yield Change(path, None, replaced(record, path, None, drop=True))
            for value in (*ANYTHING, *variants(present)):
                yield Change(path, value, replaced(record, path, value))
        else:
            yield Change((), [], [])


def variants(value: Any) -> list[Any]:
    match value:
        case bool():
            return [int(value)]
        case int():
            return [str(value), value + 0.5, -value - 1]
        case float():
            return [str(value), -value, value + 1e9]
        case str():
            return [
                f"{value}\n",
                f"\n{value}",
                value.translate(DIGITS),
                re.sub(r"[0-9]([^0-9]*)$", "\u0663\\1", value),
                value.upper(),
                value * 200,
                [value],
            ]
        case list():
            return [value * 2, [*value, None], [*value, "x"], {"0": value}]
        case dict():
            return [list(value.items()), {}, {f"{key}\n": item for key, item in value.items()}]
    return []


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def replaced(record: Any, path: tuple[Any, ...], value: Any, *, drop: bool = False) -> Any:
    if not path:
        return value
    copied = copy.copy(record)
    if drop and len(path) == 1:
        del copied[path[0]]
    else:
        copied[path[0]] = value if len(path) == 1 else replaced(record[path[0]], path[1:], value, drop=drop)
    return copied
