"""The campaign directory: creation, opening, frozen settings, names and specifications."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory, read_spec
from aiperf_orch.campaign.layout import MEMBERS, Layout
from aiperf_orch.records.operations import OperationsPerImage
from aiperf_orch.records.trial import Hyperparameters, TrialSpec
from aiperf_orch.settings.models import DataSettings, SiteSettings, TrainingSettings
from aiperf_orch.settings.placement import placement_settings
from aiperf_orch.util.errors import AiperfError, RecordError, UsageError


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _spec(**changes: Any) -> TrialSpec:
    fields: dict[str, Any] = {
        "campaign": "abcde", "trial": 42, "round": 0, "seed": 1, "parent": None, "edits": [], "network_hash": "0" * 64,
        "operations": OperationsPerImage(forward=10, train=30),
        "hyperparameters": Hyperparameters(kernel_size=3, dropout=0.0, batch_size=32), "epochs": 3, "patience": 3,
        "data": DataSettings(), "training": TrainingSettings(), "network": {},
    }  # fmt: skip
    return TrialSpec(**fields | changes)


def test_a_new_directory_is_for_its_owner_only(tmp_path: Path) -> None:
    made = CampaignDirectory.create(tmp_path / "a" / "b", SiteSettings(), {})
    folders = [made.path, *(path for path in made.path.iterdir() if path.is_dir())]
    assert [_mode(folder) for folder in folders] == [0o700] * 5
    assert _mode(made.path / "campaign.yaml") == 0o640  # its directory keeps the group out


def test_a_group_may_read_with_group_readable(tmp_path: Path) -> None:
    settings = SiteSettings.model_validate({"campaign": {"group_readable": True}})
    made = CampaignDirectory.create(tmp_path / "campaign", settings, {})
    folders = [made.path, *(path for path in made.path.iterdir() if path.is_dir())]
    assert [_mode(folder) for folder in folders] == [0o750] * 5
    made.write_spec(_spec())
    made.request_stop()
    files = [path for path in made.path.rglob("*") if path.is_file()]
    assert [_mode(file) for file in files] == [0o640] * 3


def test_every_file_has_its_path(tmp_path: Path) -> None:
    made = CampaignDirectory.create(tmp_path / "campaign", SiteSettings(), {})
    layout = Layout(made.path)
    assert Layout.of_spec(layout.spec(42)) == Layout(made.path.resolve())
    for of in (made, layout):
        paths = [
            of.config_file, of.journal, of.lock, of.stop_request, of.leaderboard, of.result, of.series, of.spec(42),
            of.events(42, 1, 0), of.job_folder(42, 1), of.log(42, 1), of.weights(42), of.checkpoint(42),
        ]  # fmt: skip
        assert [str(path.relative_to(made.path)) for path in paths] == [
            "campaign.yaml", "journal.jsonl", "controller.lock", "stop.request", "leaderboard.csv", "result.csv",
            "series.csv", "trials/00042.json", "events/00042-1.0.jsonl", "jobs/00042-1", "jobs/00042-1/log",
            "weights/00042.safetensors", "weights/00042.checkpoint",
        ]  # fmt: skip


def test_members_are_paths_relative_to_the_campaign() -> None:
    assert str(MEMBERS.config_file) == "campaign.yaml"
    assert str(MEMBERS.spec(42)) == "trials/00042.json"
    assert str(MEMBERS.events(42, 1, 0)) == "events/00042-1.0.jsonl"


def test_frozen_settings_are_read_back(tmp_path: Path) -> None:
    settings = SiteSettings.model_validate({"campaign": {"duration": "90m", "seed": 9}})
    made = CampaignDirectory.create(tmp_path / "campaign", settings, {"campaign.seed": "site.yaml:3"})
    opened = CampaignDirectory.open(tmp_path / "campaign")
    assert opened == made
    assert opened.settings == settings
    assert opened.config.origins == {"campaign.seed": "site.yaml:3"}
    assert CampaignDirectory.exists(made.path)
    assert not CampaignDirectory.exists(tmp_path)


def test_campaign_yaml_has_every_setting(tmp_path: Path) -> None:
    text = (CampaignDirectory.create(tmp_path / "campaign", SiteSettings(), {}).path / "campaign.yaml").read_text()
    for section, fields in SiteSettings().model_dump().items():
        assert f"\n  {section}:\n" in text
        for key in fields:
            assert re.search(rf"^    {key}:", text, re.MULTILINE)


def test_an_empty_directory_becomes_a_campaign(tmp_path: Path) -> None:
    (tmp_path / "campaign").mkdir(mode=0o755)
    made = CampaignDirectory.create(tmp_path / "campaign", SiteSettings(), {})
    assert _mode(made.path) == 0o700


def test_an_interrupted_creation_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "campaign" / "trials").mkdir(parents=True)
    (tmp_path / "campaign" / "events").mkdir()
    (tmp_path / "campaign" / ".campaign.yaml.x1y2").write_text("torn")
    CampaignDirectory.create(tmp_path / "campaign", SiteSettings(), {})


@pytest.mark.parametrize("there", ["thesis.tex", "trials/00000.json", "trials"])
def test_a_directory_with_other_files_is_not_changed(tmp_path: Path, there: str) -> None:
    file = tmp_path / "campaign" / there
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    with pytest.raises(UsageError, match="campaign: is not a campaign directory, and not empty"):
        CampaignDirectory.create(tmp_path / "campaign", SiteSettings(), {})
    assert [path.read_text() for path in (tmp_path / "campaign").rglob("*") if path.is_file()] == ["mine"]


def test_a_campaign_is_never_created_twice(tmp_path: Path) -> None:
    made = CampaignDirectory.create(tmp_path / "campaign", SiteSettings(), {})
    before = (made.path / "campaign.yaml").read_bytes()
    with pytest.raises(UsageError, match="not empty"):
        CampaignDirectory.create(tmp_path / "campaign", SiteSettings(), {})
    assert (made.path / "campaign.yaml").read_bytes() == before


def test_a_file_is_not_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="file: is not a directory"):
        CampaignDirectory.create(tmp_path / "file", SiteSettings(), {})
    with pytest.raises(AiperfError, match="file/sub: cannot be written: "):
        CampaignDirectory.create(tmp_path / "file" / "sub", SiteSettings(), {})
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["two\nlines", "esc\x1b[31m", "\udcff"])
def test_an_unprintable_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="must be printable"):
        CampaignDirectory.create(tmp_path / name, SiteSettings(), {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["50%", "%j", "a%/b"])
def test_a_path_with_a_percent_sign_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=rf"{name}: the path of a campaign directory must not contain %$"):
        CampaignDirectory.create(tmp_path / name, SiteSettings(), {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir, Path.touch])
def test_a_directory_without_a_campaign_is_not_opened(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "x")
    with pytest.raises(UsageError, match=r"x: is not a campaign directory: it has no campaign\.yaml"):
        CampaignDirectory.open(tmp_path / "x")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"version: 2", b"version: 3", "campaign.yaml: version: "),
        (b"concurrency: 2", b"concurrency: 0", "campaign.yaml: settings.campaign.concurrency: "),
        (b"settings:", b"setting:", "campaign.yaml: settings: "),
        (b"version: 2", b"version: [", r"campaign.yaml:\d+:\d+: not valid YAML"),
        (b"version: 2", b"version: \xff", "campaign.yaml: damaged: not UTF-8 text"),
        (b"version: 2", b"", "campaign.yaml: "),
    ],
)
def test_damaged_frozen_settings_are_reported_with_file_and_key(
    tmp_path: Path, old: bytes, new: bytes, message: str
) -> None:
    made = CampaignDirectory.create(tmp_path / "campaign", SiteSettings(), {})
    file = made.path / "campaign.yaml"
    data = file.read_bytes().replace(old, new, 1)
    file.write_bytes(data)
    if new:
        with pytest.raises(AiperfError, match=message):
            CampaignDirectory.open(made.path)
    else:  # a default says the same, but it is another file
        assert CampaignDirectory.open(made.path).settings_sha256 != made.settings_sha256
    assert file.read_bytes() == data


@pytest.mark.usefixtures("fails_if_blocked")
def test_a_pipe_is_not_read_as_campaign_yaml(tmp_path: Path) -> None:
    made = CampaignDirectory.create(tmp_path / "campaign", SiteSettings(), {})
    made.config_file.unlink()
    os.mkfifo(made.config_file)
    with pytest.raises((AiperfError, OSError)) as caught:  # either is a message and no traceback
        CampaignDirectory.open(made.path)
    assert "not a regular file" in str(caught.value)
    assert "campaign.yaml" in str(caught.value)


@pytest.mark.usefixtures("fails_if_blocked")
def test_a_pipe_is_not_read_as_a_specification(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "00042.json")
    with pytest.raises(UsageError, match=r"00042\.json: cannot be read: not a regular file"):
        read_spec(tmp_path / "00042.json")


def test_an_empty_campaign_yaml_is_reported(tmp_path: Path) -> None:
    made = CampaignDirectory.create(tmp_path / "campaign", SiteSettings(), {})
    (made.path / "campaign.yaml").write_bytes(b"")
    with pytest.raises(AiperfError, match=r"campaign\.yaml"):
        CampaignDirectory.open(made.path)


def test_other_settings_are_refused_with_the_differences(tmp_path: Path) -> None:
    made = CampaignDirectory.create(tmp_path / "campaign", SiteSettings(), {})
    made.check_same_settings(SiteSettings())
    other = SiteSettings.model_validate({"campaign": {"duration": "2h", "seed": 3}})
    with pytest.raises(UsageError) as caught:
        made.check_same_settings(other)
    assert str(caught.value).splitlines()[1:3] == [
        "  campaign.duration: 12h there, 2h now",
        "  campaign.seed: 0 there, 3 now",
    ]


def test_an_edited_campaign_yaml_is_refused(tmp_path: Path) -> None:
    made = CampaignDirectory.create(tmp_path / "campaign", SiteSettings(), {})
    made.check_unchanged(None)
    made.check_unchanged(made.settings_sha256)
    with pytest.raises(RecordError, match=r"campaign.yaml: was changed after the campaign was made: .*restore it"):
        made.check_unchanged("0" * 64)


def test_the_latest_attempt_of_each_trial_is_found_by_its_events(tmp_path: Path) -> None:
    made = CampaignDirectory.create(tmp_path / "campaign", SiteSettings(), {})
    assert made.attempts_on_disk() == {}
    for trial, attempt, run in ((0, 1, 0), (0, 2, 0), (0, 2, 1), (3, 1, 0), (123_456, 10, 0)):
        made.events(trial, attempt, run).touch()
    (made.path / "events" / ".nfs0001").touch()  # a file system's own
    assert made.attempts_on_disk() == {0: 2, 3: 1, 123_456: 10}


def test_attempts_have_valid_job_names(tmp_path: Path) -> None:
    made = CampaignDirectory.create(tmp_path / "campaign", SiteSettings(), {})
    for trial, attempt in ((0, 1), (42, 2), (40_000, 9), (99_999, 99)):
        assert re.fullmatch(r"[a-z][a-z0-9-]{2,14}", made.attempt_name(trial, attempt))
    assert made.attempt_name(42, 1).endswith("-00042-1")
    tags = {CampaignDirectory.create(tmp_path / f"c{n}", SiteSettings(), {}).config.tag for n in range(10)}
    assert len(tags) == 10


def test_a_specification_is_written_and_read(tmp_path: Path) -> None:
    made = CampaignDirectory.create(tmp_path / "campaign", SiteSettings(), {})
    sha256 = made.write_spec(_spec())
    assert read_spec(made.spec(42)) == (_spec(), sha256)
    assert made.spec(42).name == "00042.json"
    made.write_spec(_spec(seed=2))  # one that a crash left before the journal knew of it
    assert read_spec(made.spec(42))[0].seed == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "Invalid JSON"),
        (b"\xff", "Invalid JSON"),
        (b"[]", "Input should be an object"),
        (b'{"version": 0}', "version: "),
        (_spec().model_dump_json().replace('"epochs":3', '"epochs":0').encode(), "epochs: "),
        (_spec().model_dump_json().encode()[:-3], "Invalid JSON"),
    ],
)
def test_a_damaged_specification_is_reported_with_file_and_key(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "00042.json"
    path.write_bytes(data)
    with pytest.raises(RecordError, match=f"00042.json: not a trial specification: .*{message}"):
        read_spec(path)


def test_a_missing_specification_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"00042\.json: cannot be read: No such file"):
        read_spec(tmp_path / "00042.json")


def test_a_full_disk_at_creation_can_be_tried_again(small_disk: Path, fill: Callable[[Path], None]) -> None:
    path = small_disk / "campaign"
    fill(small_disk)
    with pytest.raises(AiperfError, match="the disk is full"):
        CampaignDirectory.create(path, SiteSettings(), {})
    (small_disk / "filler").unlink()
    assert CampaignDirectory.create(path, SiteSettings(), {}).settings == SiteSettings()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("kind", ["local", "slurm", "pbs"])
def test_a_campaign_of_an_older_version_starts_a_job_for_each_trial(tmp_path: Path, kind: str, version: int) -> None:
    made = CampaignDirectory.create(tmp_path / "c", SiteSettings.model_validate({"scheduler": {"kind": kind}}), {})
    text = re.sub(r"(?m)^    (job_per_trial|allocations|wait_for_controller): .*\n", "", made.config_file.read_text())
    made.config_file.write_text(re.sub(r"(?m)^version: .*", f"version: {version}", text))
    scheduler = CampaignDirectory.open(tmp_path / "c").config.settings.scheduler
    assert placement_settings(scheduler, 2) is None
    assert "job_per_trial" in scheduler.model_fields_set or kind != "local"


def test_an_older_campaign_is_continued_with_its_site_file(tmp_path: Path) -> None:
    made = CampaignDirectory.create(tmp_path / "c", SiteSettings(), {})
    text = re.sub(r"(?m)^    (job_per_trial): .*\n", "", made.config_file.read_text())
    made.config_file.write_text(re.sub(r"(?m)^version: .*", "version: 1", text))
    older = CampaignDirectory.open(tmp_path / "c")
    older.check_same_settings(SiteSettings())
    with pytest.raises(UsageError, match=r"scheduler\.advanced\.job_per_trial: true there, false now"):
        older.check_same_settings(SiteSettings.model_validate({"scheduler": {"job_per_trial": False}}))
