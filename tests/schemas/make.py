"""Makes the JSON Schemas in `aiperf_orch/schemas/` from the models of the records: `python tests/schemas/make.py`."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from aiperf_orch.campaign.config import CampaignConfig
from aiperf_orch.package.check_accounting import AccountedTimes
from aiperf_orch.package.manifest import Manifest
from aiperf_orch.records.agents import Heartbeat, agent_line_adapter, order_adapter
from aiperf_orch.records.events import event_adapter
from aiperf_orch.records.journal import entry_adapter
from aiperf_orch.records.meter import MeterFacts
from aiperf_orch.records.plan import Plan
from aiperf_orch.records.probe import NodeReport
from aiperf_orch.records.trial import TrialSpec
from aiperf_orch.settings.models import SystemSettings
from aiperf_orch.util.units import WRITTEN_DURATION, exact_duration

FOLDER = Path(__file__).parents[2] / "aiperf_orch" / "schemas"
JsonSchema = dict[str, Any]
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BEYOND = "The readers check more than a schema can say: docs/development/formats.md, Schemas."


def schemas() -> dict[str, JsonSchema]:
    """Each schema, by the name of its file."""
    made = {
        "campaign.json": _schema_of(CampaignConfig, "Content of campaign.yaml"),
        "trial.json": _schema_of(TrialSpec, "trials/NNNNN.json, the specification of a trial"),
        "journal-line.json": _schema_of(entry_adapter, "A line of journal.jsonl"),
        "events-line.json": _schema_of(event_adapter, "A line of events/*.jsonl"),
        "accounting-line.json": _schema_of(AccountedTimes, "A line of accounting.jsonl"),
        "meter.json": _schema_of(MeterFacts, "meter.json, what a site states of its energy meter"),
        "manifest.json": _schema_of(Manifest, "manifest.json of a package"),
        "system.json": _system(),
        "agent-line.json": _schema_of(agent_line_adapter, "A line of agents/*/agent.jsonl"),
        "orders-line.json": _schema_of(order_adapter, "A line of agents/*/orders.jsonl"),
        "heartbeat.json": _schema_of(Heartbeat, "agents/*/heartbeat, and agents/controller"),
        "plan.json": _schema_of(Plan, "Output of `plan`, also a part of campaign.yaml"),
        "probe-report.json": _schema_of(NodeReport, "report-RANK.json, the report of a task of the probe job"),
    }
    return {name: _with_header(name, schema) for name, schema in made.items()}


def text_of(schema: JsonSchema) -> str:
    """A schema as its file has it."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _with_header(name: str, schema: JsonSchema) -> JsonSchema:
    head = {"$schema": _DIALECT, "$id": f"urn:aiperf-orch:schema:{name.removesuffix('.json')}"}
    return head | {key: schema[key] for key in ("title", "description")} | schema


def _schema_of(model: type[BaseModel] | TypeAdapter[Any], title: str) -> JsonSchema:
    adapter: TypeAdapter[Any] = model if isinstance(model, TypeAdapter) else TypeAdapter(model)
    schema = adapter.json_schema()
    for part in _parts(schema):
        _complete(part)
    if isinstance(model, TypeAdapter):
        _require(schema, "type")
    elif "scheduler" in (settings := schema.get("$defs", {}).get("SiteSettings", {}).get("properties", {})):
        _require(schema, "kind", settings["scheduler"]["oneOf"][1:])  # without a kind it is the first one
    about = schema.get("description", "One record: which one, its `type` says.")
    return schema | {"title": title, "description": f"{about}\n\n{_BEYOND}"}


def _system() -> JsonSchema:
    """Schema of system.json, whose keys are those of the settings' section `system` with two other names."""
    schema = _schema_of(SystemSettings, "system.json of a package")
    keys = {f"system_{key}" if key in ("name", "id") else key: value for key, value in schema["properties"].items()}
    for key, value in keys.items():
        value.pop("default", None)
        if key != "system_id" and "anyOf" in value:  # what is not known is left out
            known = next(choice for choice in value.pop("anyOf") if choice != {"type": "null"})
            keys[key] = known | value
    keys["framework"] = {"type": "string", "description": "Versions of PyTorch that trials stated, with commas."}
    return schema | {"properties": keys, "required": ["system_name", "system_id", "submitter", "framework"]}


def _parts(schema: Any) -> Iterator[JsonSchema]:
    """The schema and every part of it that is a schema."""
    if isinstance(schema, list):
        for item in schema:
            yield from _parts(item)
    elif isinstance(schema, dict):
        yield schema
        for key, value in schema.items():
            if key in ("properties", "patternProperties", "$defs"):
                for item in value.values():
                    yield from _parts(item)
            elif key in ("items", "anyOf", "oneOf", "allOf", "additionalProperties"):
                yield from _parts(value)


def _complete(part: JsonSchema) -> None:
    """Bring one schema of pydantic in line with the reader, and describe its properties."""
    part.pop("discriminator", None)  # of OpenAPI
    part.pop("private", None)
    if "patternProperties" in part:
        part.setdefault("additionalProperties", False)
    for value in part.get("properties", {}).values():
        value.pop("title", None)
        if value.get("pattern") == WRITTEN_DURATION and "default" in value:
            value["default"] = exact_duration(value["default"])
    if "description" in part and "properties" in part:
        summary, attributes = _read_docstring(part["description"])
        part["description"] = summary
        for name, text in attributes.items():
            if name in part["properties"]:
                part["properties"][name]["description"] = text
    elif "description" in part:
        part["description"] = part["description"].replace("None", "null")


def _read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """The text before `Attributes:`, and the description of each attribute."""
    before, _, after = inspect.cleandoc(text).partition("\nAttributes:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", after, re.MULTILINE)
    return _in_json(before.strip()), {name: _in_json(re.sub(r"\s+", " ", about)) for name, about in found}


def _in_json(text: str) -> str:
    """A description with JSON's word for None."""
    return re.sub(r"\bNone\b", "null", text)


def _require(schema: JsonSchema, key: str, choices: list[JsonSchema] | None = None) -> None:
    """Let each of these choices have the key by which a reader chooses, which pydantic leaves optional."""
    for choice in choices or schema["oneOf"]:
        model = schema["$defs"][choice["$ref"].rpartition("/")[2]]
        model["required"] = [key, *(name for name in model.get("required", []) if name != key)]


def main() -> None:
    """Write the schemas, and remove others."""
    FOLDER.mkdir(exist_ok=True)
    made = schemas()
    for path in FOLDER.glob("*.json"):
        if path.name not in made:
            path.unlink()
    for name, schema in made.items():
        (FOLDER / name).write_text(text_of(schema), encoding="utf-8")


if __name__ == "__main__":
    main()
