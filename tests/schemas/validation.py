"""Validators of the shipped schemas, with the regular expressions of ECMA 262."""

from __future__ import annotations

import copy
import json
import re
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema_rs import Draft202012Validator

SHIPPED = files("aiperf_orch.schemas")
SHIPPED_NAMES = sorted(item.name for item in SHIPPED.iterdir() if item.name.endswith(".json"))


@cache
def schema_of(name: str) -> Any:
    return json.loads((SHIPPED / name).read_text(encoding="utf-8"))


def ecma_pattern(pattern: str) -> str:
    """A pattern of ECMA 262 for Python, whose `$` also matches before a line break at the end."""
    return re.sub(r"\$(?=\)|$)", r"\\Z", pattern)


@cache
def validator(name: str, choice: int | None = None) -> Draft202012Validator:
    """Validator of a file; with `choice` of one type of record, or of one scheduler."""
    whole = copy.deepcopy(schema_of(name))
    if choice is not None:
        chosen = whole if "oneOf" in whole else whole["$defs"]["SiteSettings"]["properties"]["scheduler"]
        chosen["oneOf"] = [chosen["oneOf"][choice]]
    return Draft202012Validator(whole, formats={"date-time": _is_date_time}, validate_formats=True)


def _is_date_time(text: str) -> bool:
    try:
        return bool(datetime.fromisoformat(text))
    except ValueError:
        return False
