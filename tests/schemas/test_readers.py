"""Readers accept a record exactly when the schema of its file does; the differences that remain are listed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from pydantic import ValidationError

from aiperf_orch.campaign.config import CampaignConfig
from aiperf_orch.campaign.directory import parse_spec
from aiperf_orch.package.check_accounting import AccountedTimes
from aiperf_orch.package.manifest import Manifest
from aiperf_orch.records.agents import Heartbeat, agent_line_adapter, order_adapter
from aiperf_orch.records.events import event_adapter
from aiperf_orch.records.journal import entry_adapter
from aiperf_orch.records.meter import MeterFacts
from aiperf_orch.records.plan import Plan
from aiperf_orch.records.probe import NodeReport
from aiperf_orch.util.errors import AiperfError
from aiperf_orch.util.units import parse_duration
from schemas.changed_records import SCHEDULERS, Change, changes, records
from schemas.validation import SHIPPED_NAMES, schema_of, validator

READERS: dict[str, Callable[[Any], object]] = {
    "campaign.json": CampaignConfig.model_validate,
    "trial.json": lambda value: parse_spec(json.dumps(value).encode(), "00000.json"),
    "journal-line.json": lambda value: entry_adapter.validate_json(json.dumps(value), strict=True),
    "events-line.json": lambda value: event_adapter.validate_json(json.dumps(value), strict=True),
    "accounting-line.json": lambda value: AccountedTimes.model_validate_json(json.dumps(value), strict=True),
    "meter.json": lambda value: MeterFacts.model_validate_json(json.dumps(value), strict=True),
    "manifest.json": lambda value: Manifest.model_validate(value, strict=True),
    "agent-line.json": lambda value: agent_line_adapter.validate_json(json.dumps(value), strict=True),
    "orders-line.json": lambda value: order_adapter.validate_json(json.dumps(value), strict=True),
    "heartbeat.json": lambda value: Heartbeat.model_validate_json(json.dumps(value), strict=True),
    "plan.json": lambda value: Plan.model_validate_json(json.dumps(value), strict=True),
    "probe-report.json": lambda value: NodeReport.model_validate_json(json.dumps(value), strict=True),
}
WITHOUT_READER = {"system.json"}  # `verify` compares it with what follows from the records
CHOOSING = {"type", "kind", "scheduler", "settings"}  # keys by which a record, or a part of it, is chosen
CASES = [
    *((name, None) for name in READERS if name != "campaign.json"),
    *(("campaign.json", kind) for kind in SCHEDULERS),
]


def refusal(name: str, record: Any) -> str | None:
    """Why the reader of a file refuses a record; None where it accepts it."""
    try:
        READERS[name](record)
    except (ValidationError, AiperfError) as error:
        return str(error)
    return None


def _is_duration(text: Any) -> bool:
    try:
        return isinstance(text, str) and parse_duration(text) > 0
    except ValueError:
        return False


def _says(pattern: str) -> Callable[[Change, str | None], bool]:
    """Cases in which the reader refuses a record that the schema accepts, with words that match the pattern."""
    return lambda _, refused: refused is not None and re.search(pattern, refused) is not None


DIFFERENCES: dict[str, Callable[[Change, str | None], bool]] = {
    "a schema takes 1.0 for a whole number": lambda change, refused: (
        isinstance(change.value, float) and change.value.is_integer() and _says("valid integer")(change, refused)
    ),
    "a schema bounds no number of digits": lambda change, refused: (
        change.value == 10**400 and _says("valid number|finite number|valid integer")(change, refused)
    ),
    "campaign.yaml: durations as in site files": lambda change, refused: refused is None and _is_duration(change.value),
    "campaign.yaml: parts `advanced` as in site files": lambda change, refused: (
        refused is None and change.path[-1] == "advanced"
    ),
    "durations of more than a year": _says("at most a year|less than or equal to 31622400"),
    "times near the bounds that are given with an offset": _says("equal to 2000-01-01|less than 2200-01-01"),
    "unprintable characters beyond those of Latin-1": _says("one line of printable characters"),
    "campaign.yaml: rules for several settings": _says(r"Value error, [a-z_.]+: .*; for example"),
}
"""What a schema cannot say, or says in a narrower form than the reader, and which changes and refusals are cases of it.

docs/development/formats.md explains them.
"""


@cache
def differences(name: str, kind: str | None) -> dict[str, list[str]]:
    """Changed records on which reader and schema differ, by the listed difference; others are below ""."""
    found: dict[str, list[str]] = {}
    has_choices = "oneOf" in schema_of(name) or name == "campaign.json"
    for number, record in enumerate(records(name)):
        if kind is not None and SCHEDULERS[number] != kind:
            continue
        own = validator(name, number if has_choices else None)
        assert refusal(name, record) is None
        assert own.is_valid(record), list(own.iter_errors(record))
        for change in changes(record, ("settings", "scheduler") if number and kind else ()):  # the rest is the same
            fitting = validator(name) if not change.path or change.path[-1] in CHOOSING else own
            refused, valid = refusal(name, change.record), fitting.is_valid(change.record)
            if (refused is None) == valid:
                continue
            why = next((why for why, is_case in DIFFERENCES.items() if is_case(change, refused)), "")
            words = f"accepts it, the reader does not: {refused}" if valid else "refuses it, the reader does not"
            where = ".".join(map(str, change.path))
            found.setdefault(why, []).append(f"record {number}: {where}: {change.value!r:.80}: the schema {words}")
    return found


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_reader_accepts_what_its_schema_does(name: str, kind: str | None) -> None:
    assert differences(name, kind).get("", []) == []


def test_every_listed_difference_occurs() -> None:
    occurring = differences("campaign.json", "agents").keys() | differences("heartbeat.json", None).keys()
    occurring |= differences("probe-report.json", None).keys() | differences("campaign.json", "local").keys()
    assert occurring == DIFFERENCES.keys()


def test_every_schema_has_a_reader() -> None:
    assert set(SHIPPED_NAMES) == READERS.keys() | WITHOUT_READER
