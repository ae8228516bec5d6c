"""Validators of the shipped schemas, with the regular expressions of ECMA 262."""

from __future__ import annotations

import json
import re
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.protocols import Validator

SHIPPED = files("aiperf_orch.schemas")
SHIPPED_NAMES = sorted(item.name for item in SHIPPED.iterdir() if item.name.endswith(".json"))


@cache
def schema_of(name: str) -> Any:
    return json.loads((SHIPPED / name).read_text(encoding="utf-8"))


def ecma_pattern(pattern: str) -> str:
    """A pattern of ECMA 262 for Python, whose `$` also matches before a line break at the end."""
    return re.sub(r"\$(?=\)|$)", r"\\Z", pattern)


@cache
def validator(name: str, choice: int | None = None) -> Validator:
    """Validator of a file; with `choice` of one type of record, or of one scheduler, in a tenth of the time."""

    def converted(part: Any) -> Any:
        if isinstance(part, list):
            return [converted(item) for item in part]
        if not isinstance(part, dict):
            return part
        changed = {key: converted(value) for key, value in part.items()}
        if isinstance(part.get("pattern"), str):
            changed["pattern"] = ecma_pattern(part["pattern"])
        if "patternProperties" in changed:
            patterns = changed["patternProperties"].items()
            changed["patternProperties"] = {ecma_pattern(key): value for key, value in patterns}
        return changed

    checker = FormatChecker(formats=())
    checker.checks("date-time", raises=ValueError)(
        lambda value: not isinstance(value, str) or bool(datetime.fromisoformat(value))
    )
    whole = converted(schema_of(name))
    if choice is not None:
        chosen = whole if "oneOf" in whole else whole["$defs"]["SiteSettings"]["properties"]["scheduler"]
        chosen["oneOf"] = [chosen["oneOf"][choice]]
    return Draft202012Validator(whole, format_checker=checker)
