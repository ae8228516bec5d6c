"""The reference is what the code gives, and says something of everything."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from aiperf_orch.campaign.failure_policy import CAUSES, CONSEQUENCES
from aiperf_orch.cli import main
from aiperf_orch.committee.entries import RankingEntry, Status
from aiperf_orch.committee.ranking_rows import COLUMNS, NOT_SENT, rows_of
from aiperf_orch.committee.submission import Submission
from aiperf_orch.records.base import EndReason
from aiperf_orch.results.rules import RULE_SETS
from aiperf_orch.settings.setting_facts import models_with_settings
from aiperf_orch.util import errors
from documentation.commands_page import EXIT_STATUSES
from documentation.make import FOLDER, PAGES
from documentation.settings_page import settings_page
from documentation.shown_commands import ROOT

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_gives(name: str) -> None:
    committed = (FOLDER / name).read_text(encoding="utf-8")
    assert committed == PAGES[name](), "the code has changed: run python tests/documentation/make.py"


def test_the_reference_has_no_other_pages() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


@pytest.mark.parametrize(("section", "model"), [(section, model) for section, model, _ in models_with_settings()])
def test_each_setting_is_described(section: str, model: type[BaseModel]) -> None:
    page = settings_page()
    for key, field in model.model_fields.items():
        assert field.description or key == "kind", f"{section}.{key} has no description"
        assert f"| `{key}`" in page


@pytest.mark.parametrize("name", main.commands)
def test_each_option_is_described(name: str) -> None:
    page = PAGES["commands.md"]()
    section = re.split(r"^## ", page, flags=re.MULTILINE)
    own = next(part for part in section if part.startswith(f"{name}\n"))
    for option in main.commands[name].params:
        longest = max(option.opts, key=len)
        is_shown = isinstance(option, click.Option) and not option.hidden
        if is_shown and option.name not in ("verbose", "log_file"):
            assert f"{longest}" in own


def test_each_end_reason_has_a_cause_and_a_consequence() -> None:
    assert set(CAUSES) == set(CONSEQUENCES) == set(EndReason)


def test_each_exit_status_of_an_error_is_explained() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert {kind.exit_status for kind in kinds if hasattr(kind, "exit_status")} <= set(EXIT_STATUSES)


def test_each_rule_of_each_version_is_in_the_page() -> None:
    page = PAGES["rules.md"]()
    for version, rules in RULE_SETS.items():
        section = page.partition(f"## {version}\n")[2].partition("\n## ")[0]
        assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [rule.id for rule in rules.rules]


def test_the_columns_of_a_ranking_are_those_of_its_rows() -> None:
    entry = RankingEntry(Submission(Path("no package"), None, None), Status.UNREADABLE)
    assert list(rows_of([entry])[0]) == list(COLUMNS)


def test_each_status_of_a_ranking_is_explained() -> None:
    guide = (ROOT / "docs" / "guides" / "committee.md").read_text(encoding="utf-8")
    for status in [*(each.value for each in Status), NOT_SENT]:
        assert f"| `{status}` |" in guide


@pytest.mark.parametrize("name", main.commands)
def test_frequent_options_have_the_same_short_form_in_each_command(name: str) -> None:
    for option in main.commands[name].params:
        for long, short in (("--output", "-o"), ("--yes", "-y")):
            assert (long in option.opts) == (short in option.opts), f"{name}: {long}"
