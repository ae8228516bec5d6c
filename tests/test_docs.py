"""Documents name files, sections, commands, settings, end reasons and rules that exist, and all of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.cli import main
from aiperf_orch.records.base import EndReason
from aiperf_orch.results.rules import RULE_SETS
from aiperf_orch.settings.allocations import AllocationSettings
from aiperf_orch.settings.models import SCHEDULERS, SimulatedSettings, SiteSettings

_ROOT = Path(__file__).parents[1]
_DOCUMENTS = [
    *(_ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "contrib/README.md")),
    *sorted((_ROOT / "docs").rglob("*.md")),
]
_USER_DOCUMENTS = [_ROOT / "README.md", *sorted((_ROOT / "docs").glob("*.md"))]
_PATH = re.compile(
    r"`((?:[\w-]+/)+[\w.*-]+\.(?:py|j2|json|jsonl|md|yaml)|(?:aiperf_orch|tests|docs|benchmarks)/[\w/-]*)`"
)
_OF_A_CAMPAIGN = ("events/", "trials/", "jobs/", "weights/")


@pytest.mark.unit
@pytest.mark.parametrize("document", _DOCUMENTS, ids=lambda path: str(path.relative_to(_ROOT)))
def test_paths_in_a_document_exist(document: Path) -> None:
    for name in _PATH.findall(document.read_text(encoding="utf-8")):
        if name.startswith(_OF_A_CAMPAIGN):
            continue
        folders = (_ROOT, _ROOT / "aiperf_orch", _ROOT / "aiperf_orch" / "schedulers", document.parent)
        assert any([*folder.glob(name)] for folder in folders), f"{document.name}: {name} does not exist"


@pytest.mark.unit
@pytest.mark.parametrize("document", _DOCUMENTS, ids=lambda path: str(path.relative_to(_ROOT)))
def test_links_in_a_document_lead_to_files(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), f"{document.name}: {target} does not exist"


@pytest.mark.unit
@pytest.mark.parametrize("document", _DOCUMENTS, ids=lambda path: str(path.relative_to(_ROOT)))
def test_links_in_a_document_lead_to_headings(document: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", document.read_text(encoding="utf-8")):
        linked = document.parent / target if target else document
        assert anchor in _anchors(linked), f"{document.name}: {target}#{anchor} does not exist"


@pytest.mark.unit
@pytest.mark.parametrize("document", _USER_DOCUMENTS, ids=lambda path: str(path.relative_to(_ROOT)))
def test_lines_outside_of_tables_have_at_most_120_columns(document: Path) -> None:
    lines = document.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if len(line) > 120 and not line.startswith("|")]


@pytest.mark.unit
@pytest.mark.parametrize("document", ["README.md", "docs/commands.md"])
def test_each_command_is_documented(document: str) -> None:
    documented = set(re.findall(r"^\| `aiperf-orch ([\w-]+)", _text(document), re.MULTILINE))
    assert documented == set(main.commands)


@pytest.mark.unit
def test_each_setting_is_documented() -> None:
    sections = [field.annotation for name, field in SiteSettings.model_fields.items() if name != "scheduler"]
    models: list[Any] = [*filter(None, sections), *SCHEDULERS.values(), SimulatedSettings, AllocationSettings]
    documented = set(re.findall(r"`(?:\w+\.)?(\w+)`", _text("docs/site-file.md")))
    assert not {key for model in models for key in model.model_fields} - documented


@pytest.mark.unit
def test_each_end_reason_and_rule_is_documented() -> None:
    documented = set(re.findall(r"`(\w+)`", _text("docs/results.md")))
    assert not {reason.value for reason in EndReason} - documented
    assert not {rule.id for rules in RULE_SETS.values() for rule in rules.rules} - documented
    assert not [version for version in RULE_SETS if f"`{version}`" not in _text("docs/results.md")]


def _text(document: str) -> str:
    return (_ROOT / document).read_text(encoding="utf-8")


def _anchors(document: Path) -> set[str]:
    """Anchors of a document's headings, as code-hosting sites make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
