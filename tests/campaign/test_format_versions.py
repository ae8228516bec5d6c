"""Files of a newer version: recognised before field validation, and reported as newer, never as damaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

import aiperf_orch
from aiperf_orch.campaign import format_versions
from aiperf_orch.campaign.config import CampaignConfig
from aiperf_orch.campaign.directory import CampaignDirectory, parse_spec
from aiperf_orch.campaign.events import RunEvents, TrialPlan, read_attempt
from aiperf_orch.campaign.format_versions import (
    FORMATS,
    JOURNAL,
    NEWER_VERSION,
    explain_newer,
    format_of_package,
    newer_writer,
    package_format,
)
from aiperf_orch.campaign.journal import read_journal
from aiperf_orch.controller.locked_campaign import HeldCampaign
from aiperf_orch.records.journal import Created, Opened, entry_adapter
from aiperf_orch.records.plan import Plan
from aiperf_orch.records.trial import TrialSpec
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import NewerVersionError, RecordError

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def this_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiperf_orch, "__version__", "0.2.0")


@pytest.mark.parametrize(
    ("writer", "newer"),
    [
        ("0.1.0", False),
        ("0.2.0", False),
        ("0.2", False),
        ("0.2.0rc1", False),
        ("0.2.0.1", True),
        ("0.2.1", True),
        ("0.10.0", True),
        ("1", True),
        ("0.3.0rc1", True),
        ("0.3.0.dev0", True),
        ("0.2.0.dev0", False),
        ("0.2.0a1", False),
        ("0.2.0.post1", False),
        ("0.3.0+local", True),
        (None, False),
        (3, False),
        ("", False),
        ("newest", False),
        ("9" * 5000, False),
        ("9.9\n", False),
    ],
)
def test_versions_compare_by_their_numbers(writer: object, newer: bool) -> None:
    assert newer_writer(writer) is newer


def test_versions_under_development_and_pre_releases_come_before_their_release(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = ["0.1.0", "0.2.0.dev0", "0.2.0.dev1", "0.2.0a2", "0.2.0b1", "0.2.0rc1", "0.2.0rc10", "0.2.0", "0.10.0"]
    for number, this in enumerate(versions):
        monkeypatch.setattr(aiperf_orch, "__version__", this)
        assert [newer_writer(other) for other in versions] == [at > number for at in range(len(versions))]


@pytest.mark.parametrize(
    ("stated", "writer", "fault", "message"),
    [
        (
            3,
            "0.3.0",
            None,
            "written by aiperf-orch 0.3.0 in format 3; this is aiperf-orch 0.2.0, which reads formats up to 2: "
            "use aiperf-orch 0.3.0 or newer",
        ),
        (
            3,
            None,
            None,
            "written in format 3; this is aiperf-orch 0.2.0, which reads formats up to 2: use a newer aiperf-orch",
        ),
        (
            3,
            "=cmd()",
            None,
            "written in format 3; this is aiperf-orch 0.2.0, which reads formats up to 2: use a newer aiperf-orch",
        ),
        (
            1,
            "0.3.0",
            "colour: unknown key",
            "colour: unknown key: not understood by this aiperf-orch 0.2.0, as it was written by aiperf-orch 0.3.0: "
            "use aiperf-orch 0.3.0 or newer",
        ),
        (1, "0.2.0", "colour: unknown key", None),
        (1, "0.3.0", None, None),
        (2, "0.3.0", None, None),
        (3, "0.2.0", "version: wrong", None),
        ("3", "0.2.0", "version: wrong", None),
        (True, "0.2.0", "version: wrong", None),
        (0, "0.2.0", None, None),
    ],
)
def test_a_newer_file_is_explained(stated: object, writer: object, fault: str | None, message: str | None) -> None:
    assert explain_newer(JOURNAL, stated, writer, fault) == message


def test_the_table_agrees_with_the_models() -> None:
    assert CampaignConfig.model_fields["version"].default == format_versions.CAMPAIGN.version
    assert TrialSpec.model_fields["version"].default == format_versions.SPECIFICATION.version
    for form, stated in (
        (format_versions.CAMPAIGN, CampaignConfig.model_fields["version"]),
        (format_versions.SPECIFICATION, TrialSpec.model_fields["version"]),
        (format_versions.JOURNAL, Created.model_fields["format"]),
        (format_versions.PLAN, Plan.model_fields["format"]),
    ):
        assert get_args(stated.annotation) == tuple(form.since)
    for form in FORMATS:
        assert sorted(form.since) == list(range(1, form.version + 1))


def test_the_documented_table_is_the_one_in_the_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "development" / "formats.md").read_text()
    for form in FORMATS:
        for version, since in form.since.items():
            assert f"| {form.name} | {version} | {since} |" in page


@pytest.mark.parametrize(
    ("writer", "written"),
    [
        ("0.1.0", 1),
        ("0.1.7", 1),
        ("0.2.0", 2),
        ("0.2.0.dev0", 2),
        ("0.2.0rc1", 2),
        ("0.2", 2),
        ("0.3.0", 2),
        ("1", 2),
        ("0.0.9", None),
        ("mine", None),
        (None, None),
    ],
)
def test_the_format_that_a_version_writes(writer: object, written: int | None) -> None:
    assert JOURNAL.written_by(writer) == written


def test_a_packages_format_is_read_from_its_text() -> None:
    assert format_of_package(package_format(7)) == 7
    for other in (None, 1, "aiperf-orch-package-", "aiperf-orch-package-1x", "zip"):
        assert format_of_package(other) is None


# campaign.yaml


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Path]:
    """Replaces texts in a new campaign's campaign.yaml; returns the campaign directory."""

    def config(*changes: tuple[str, str]) -> Path:
        made = CampaignDirectory.create(tmp_path / "campaign", SiteSettings(), {})
        text = made.config_file.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        made.config_file.write_text(text)
        return made.path

    return config


_FROM_0_3 = ("aiperf-orch: 0.2.0", "aiperf-orch: 0.3.0")
_NEW_KEY = ("  campaign:\n", "  campaign:\n    colour: red\n")


def test_a_config_of_a_newer_format_names_both_versions(config: Callable[..., Path]) -> None:
    path = config(("version: 2", "version: 3\nshape: round"), _FROM_0_3)
    with pytest.raises(NewerVersionError) as caught:
        CampaignDirectory.open(path)
    assert str(caught.value) == (
        f"{path}/campaign.yaml: written by aiperf-orch 0.3.0 in format 3; this is aiperf-orch 0.2.0, which reads "
        "formats up to 2: use aiperf-orch 0.3.0 or newer"
    )


def test_an_unknown_key_of_a_newer_writer_is_not_damage(config: Callable[..., Path]) -> None:
    with pytest.raises(NewerVersionError, match=r"settings\.campaign\.colour: .*written by aiperf-orch 0\.3\.0: use"):
        CampaignDirectory.open(config(_NEW_KEY, _FROM_0_3))


def test_an_unknown_key_of_the_same_version_is_damage(config: Callable[..., Path]) -> None:
    with pytest.raises(RecordError, match="edited or damaged") as caught:
        CampaignDirectory.open(config(_NEW_KEY))
    assert not isinstance(caught.value, NewerVersionError)


def test_a_newer_writer_in_a_known_format_is_read(config: Callable[..., Path]) -> None:
    assert CampaignDirectory.open(config(_FROM_0_3)).config.writer == "0.3.0"


def test_settings_of_format_1_are_read(config: Callable[..., Path]) -> None:
    path = config(
        ("version: 2", "version: 1"),
        ("aiperf-orch: 0.2.0", "aiperf-orch: 0.1.0"),
        ("    retry_submit_for: 1800s\n", ""),
    )
    opened = CampaignDirectory.open(path)
    assert (opened.config.version, opened.config.writer) == (1, "0.1.0")
    assert opened.settings.scheduler.retry_submit_for == SiteSettings().scheduler.retry_submit_for


# specification


@pytest.mark.parametrize(
    ("changes", "writer", "message"),
    [
        ({"version": 2, "colour": "red"}, None, "spec.json: written in format 2; this is aiperf-orch 0.2.0"),
        ({"version": 2}, "0.3.0", "spec.json: written by aiperf-orch 0.3.0 in format 2"),
        ({"colour": "red"}, "0.3.0", "spec.json: campaign: .*written by aiperf-orch 0.3.0: use"),
    ],
)
def test_a_newer_specification_is_explained(changes: Any, writer: str | None, message: str) -> None:
    with pytest.raises(NewerVersionError, match=message):
        parse_spec(json.dumps({"version": 1} | changes).encode(), "spec.json", writer)


def test_an_unknown_key_of_an_unknown_writer_is_an_error() -> None:
    with pytest.raises(RecordError, match="not a trial specification: campaign: ") as caught:
        parse_spec(b'{"version": 1, "colour": "red"}', "spec.json")
    assert not isinstance(caught.value, NewerVersionError)


# journal

_CREATED = {
    "type": "created", "seq": 0, "time": "2026-01-02T03:04:05.678Z", "generation": 1, "prev": "0" * 64,
    "settings_sha256": "1" * 64, "version": "0.3.0",
}  # fmt: skip
_FROM_0_2 = _CREATED | {"format": 2, "version": "0.2.0"}
_OPENED = {
    "type": "opened", "seq": 1, "time": "2026-01-02T03:04:05.678Z", "generation": 1,
    "prev": hashlib.sha256(json.dumps(_FROM_0_2).encode()).hexdigest(), "host": "n1", "pid": 3, "version": "0.3.0",
}  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            [_CREATED | {"format": 3}],
            r"journal:1: written by aiperf-orch 0\.3\.0 in format 3; this is aiperf-orch 0\.2\.0",
        ),
        ([_CREATED, {"type": "merged"}], r"journal:2: Input tag 'merged'.*written by aiperf-orch 0\.3\.0: use"),
        ([_CREATED, _CREATED | {"colour": "red"}], r"journal:2: created.colour: .*written by aiperf-orch 0\.3\.0: use"),
        (
            [_FROM_0_2, _OPENED, {"type": "merged"}],
            r"journal:3: Input tag 'merged'.*written by aiperf-orch 0\.3\.0: use",
        ),
        ([_FROM_0_2, _OPENED | {"colour": "red"}], r"journal:2: opened.colour: .*written by aiperf-orch 0\.3\.0: use"),
    ],
)
def test_a_newer_journal_is_explained(tmp_path: Path, lines: list[Any], message: str) -> None:
    (tmp_path / "journal").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with pytest.raises(NewerVersionError, match=message):
        read_journal(tmp_path / "journal")


def test_an_unknown_entry_of_the_same_version_is_damage(tmp_path: Path) -> None:
    lines = [_CREATED | {"version": "0.2.0"}, {"type": "merged"}]
    (tmp_path / "journal").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with pytest.raises(RecordError, match=r"journal:2: not a journal entry: .*damaged from here on") as caught:
        read_journal(tmp_path / "journal")
    assert not isinstance(caught.value, NewerVersionError)


@pytest.mark.parametrize(
    "line",
    [
        _CREATED,
        {key: value for key, value in _OPENED.items() if key != "version"},
        {
            "type": "submitting", "seq": 2, "time": "2026-01-02T03:04:05.678Z", "generation": 1, "prev": "1" * 64,
            "attempts": [
                {"trial": 0, "attempt": 2, "name": "qk3f9-00000-2", "spec_sha256": "1" * 64, "proposal": None}
            ],
        },
    ],
    ids=lambda line: line["type"],
)  # fmt: skip
def test_a_line_of_format_1_is_written_as_it_was_read(line: dict[str, Any]) -> None:
    assert json.loads(entry_adapter.validate_json(json.dumps(line)).to_line()) == line


def test_a_controller_states_format_and_version_in_the_journal(campaign: Callable[..., Any]) -> None:
    made = campaign()
    made.directory.journal.unlink()
    held = HeldCampaign(made.directory, resume=True)
    held.close()
    created, opened = read_journal(made.directory.journal)
    assert isinstance(created, Created)
    assert isinstance(opened, Opened)
    assert (created.format, created.version, opened.version) == (JOURNAL.version, "0.2.0", "0.2.0")


# events


@pytest.fixture
def read(campaign: Callable[..., Any]) -> Callable[..., RunEvents]:
    """Reads a run whose begin line names this version of aiperf-orch, with these changes to begin and epoch."""

    def read(writer: str, begin: dict[str, Any], epoch: dict[str, Any]) -> RunEvents:
        made = campaign()
        first = json.loads(made.begin().to_line()) | {"versions": {"aiperf-orch": writer}} | begin
        lines = [first, json.loads(made.epoch(1, 1).to_line()) | epoch]
        made.directory.events(0, 1, 0).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        [run] = read_attempt(made.directory, 0, 1, TrialPlan(made.operations, 5, "0" * 64))
        return run

    return read


@pytest.mark.parametrize(
    ("writer", "begin", "epoch", "kind", "message"),
    [
        (
            "0.3.0",
            {"format": 2},
            {},
            NEWER_VERSION,
            "1: written by aiperf-orch 0.3.0 in format 2; this is aiperf-orch 0.2",
        ),
        (
            "0.3.0",
            {},
            {"colour": 1},
            NEWER_VERSION,
            "2: epoch.colour: Unexpected keyword argument: not understood by",
        ),
        (
            "0.3.0",
            {"colour": 1},
            {},
            NEWER_VERSION,
            "1: begin.colour: Extra inputs are not permitted: not understood by",
        ),
        (
            "0.2.0",
            {},
            {"colour": 1},
            "events.line",
            "2: not an event: epoch.colour: Unexpected keyword argument: the",
        ),
    ],
)
def test_a_newer_event_is_explained(
    read: Callable[..., RunEvents], writer: str, begin: Any, epoch: Any, kind: str, message: str
) -> None:
    fault: Any = read(writer, begin, epoch).faults[0]
    assert fault.kind == kind
    assert message in fault
    assert fault.endswith("the line does not count")
