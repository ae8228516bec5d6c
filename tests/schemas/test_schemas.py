"""The shipped schemas: as the models make them, and as every file of campaigns and packages follows them."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import meta

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.package.packing import write_package
from aiperf_orch.records.probe import ANSWER, GREETING, report_name
from aiperf_orch.settings.yaml_text import parse_yaml
from placed_fixtures import build_placed_campaign
from schemas.make import schemas, text_of
from schemas.validation import SHIPPED, SHIPPED_NAMES, schema_of, validator

RELEASES = sorted((Path(__file__).parents[1] / "releases").glob("*/*.tar.gz"))
# pattern of each file's path -> its schema; None for tables, pages, logs, and what only one version reads
FILES: dict[str, str | None] = {
    r"campaign\.yaml": "campaign.json",
    r"trials/[0-9]{5,}\.json": "trial.json",
    r"journal\.jsonl": "journal-line.json",
    r"events/.*\.jsonl": "events-line.json",
    r"accounting\.jsonl": "accounting-line.json",
    r"meter\.json": "meter.json",
    r"manifest\.json": "manifest.json",
    r"system\.json": "system.json",
    r"agents/[^/]+/agent\.jsonl": "agent-line.json",
    r"agents/[^/]+/orders\.jsonl": "orders-line.json",
    r"agents/(controller|[^/]+/heartbeat)": "heartbeat.json",
    r"\.plan\.json": "plan.json",
    r"(jobs|agents|weights)/.*|controller\.lock|data\.index|.*\.(csv|html|log|txt)|stop\.request": None,
    r"journal\.snapshot|metrics\.prom": None,
}


def schema_for(name: str) -> str | None:
    """The schema of a file, by its path; a file that is in no row fails the test."""
    return next(schema for pattern, schema in FILES.items() if re.fullmatch(pattern, name))


def records_in(name: str, data: bytes) -> Iterator[Any]:
    if name.endswith(".yaml"):
        yield parse_yaml(data.decode(), name)[0]
    elif name.endswith(".jsonl"):
        yield from map(json.loads, data[: data.rfind(b"\n") + 1].splitlines())
    else:
        yield json.loads(data)


def checked(contents: Mapping[str, bytes]) -> set[str]:
    """Validate each record of these files; returns the schemas that were used."""
    used = set()
    for name, data in contents.items():
        schema = schema_for(name)
        for record in records_in(name, data) if schema else ():
            used.add(str(schema))
            errors = [
                f"{name}: {error.instance_path}: {error.message}"
                for error in validator(str(schema)).iter_errors(record)
            ]
            assert errors == []
    return used


def in_archive(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        members = [member for member in archive if member.isfile()]
        return {member.name.partition("/")[2]: _contents(archive, member) for member in members}


def _contents(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    return (archive.extractfile(member) or io.BytesIO()).read()


def in_folder(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.unit
def test_the_shipped_schemas_are_those_of_the_models() -> None:
    shipped = {name: (SHIPPED / name).read_text(encoding="utf-8") for name in SHIPPED_NAMES}
    made = {name: text_of(schema) for name, schema in schemas().items()}
    differing = sorted(name for name in shipped | made if shipped.get(name) != made.get(name))
    assert not differing, f"not as the models are: {', '.join(differing)}; run `python tests/schemas/make.py`"


@pytest.mark.unit
@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_a_schema_is_valid_and_has_portable_patterns(name: str) -> None:
    schema = schema_of(name)
    meta.validate(schema)
    assert schema["$id"] == f"urn:aiperf-orch:schema:{name.removesuffix('.json')}"
    assert schema["title"]
    assert schema["description"]
    text = text_of(schema)
    assert not re.search(r"\\\\[dwAZzb]|\(\?P", text), "not the same in ECMA 262, or for digits of other alphabets"
    assert "None" not in text, "Python's word for null"


@pytest.mark.parametrize("path", RELEASES, ids=lambda path: f"{path.parent.name}-{path.name.removesuffix('.tar.gz')}")
def test_files_of_a_release_follow_the_schemas(path: Path) -> None:
    used = checked(in_archive(path))
    assert used >= {"campaign.json", "trial.json", "journal-line.json", "events-line.json"}
    assert ".campaign." in path.name or used >= {"manifest.json", "system.json"}


def test_files_of_new_campaigns_and_packages_follow_the_schemas(
    true_campaign: CampaignDirectory,
    placed_campaign: CampaignDirectory,
    weighted_campaign: CampaignDirectory,
    tmp_path: Path,
) -> None:
    used = set()
    for number, campaign in enumerate((true_campaign, placed_campaign, weighted_campaign)):
        used |= checked(in_folder(campaign.path))
        for with_pseudonyms in (False, True):
            packed = tmp_path / f"{number}-{with_pseudonyms}.tar.gz"
            write_package(campaign, packed, with_pseudonyms=with_pseudonyms, with_weights=campaign is weighted_campaign)
            used |= checked(in_archive(packed))
    assert {"manifest.json", "system.json", "accounting-line.json"} <= used


@pytest.mark.parametrize("kind", ["slurm", "pbs", "agents"])
def test_settings_of_every_scheduler_follow_the_schema(kind: str, tmp_path: Path) -> None:
    allocations = {} if kind == "agents" else {"allocations": {"nodes": 2, "time_limit": "1h"}}
    made = build_placed_campaign(tmp_path / "campaign", {"kind": kind, "setup": [], **allocations})
    assert "campaign.json" in checked(in_folder(made.directory.path))


@pytest.mark.local
def test_files_of_a_campaign_on_an_agent_follow_the_schemas(write_site: Callable[..., Path], tmp_path: Path) -> None:
    site = write_site(scheduler__poll_interval="50ms", scheduler__job_per_trial=False)
    command = [sys.executable, "-m", "aiperf_orch.cli", "run", str(site), "--campaign-dir", str(tmp_path / "campaign")]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    used = checked(in_folder(tmp_path / "campaign"))
    assert {"agent-line.json", "orders-line.json", "heartbeat.json", "journal-line.json"} <= used


def test_the_report_of_the_probe_job_follows_its_schema(tmp_path: Path) -> None:
    for name in (GREETING, ANSWER):
        (tmp_path / name).write_text("a greeting", encoding="utf-8")
    command = [sys.executable, "-m", "aiperf_orch.trial.probe", str(tmp_path)]
    subprocess.run(command, check=True, timeout=300, env=os.environ | {"AIPERF_ORCH_JOB": "probe"})
    report = json.loads((tmp_path / report_name(0)).read_bytes())
    validator("probe-report.json").validate(report)
