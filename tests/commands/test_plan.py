"""`plan`: predictions from campaigns that were run, from built ones, and from a measured node."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from aiperf_orch import cli_planning
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.controller.locked_campaign import HeldCampaign
from aiperf_orch.records.journal import SettingChange, SettingsChanged
from aiperf_orch.records.operations import OperationsPerImage
from aiperf_orch.records.plan import Plan, Quantities, TimeShares
from aiperf_orch.results.plan_quantities import PARTS, WRITTEN
from aiperf_orch.settings.loading import load_site
from aiperf_orch.settings.models import MAX_CONCURRENCY
from campaign_builder import CampaignBuilder

Aiperf = Callable[..., subprocess.CompletedProcess[str]]
WriteSite = Callable[..., Path]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built campaign of four slots on ImageNet: twelve trials in three rounds, epochs of ten minutes."""
    folder = tmp_path_factory.mktemp("plan")
    site = folder / "site.yaml"
    site.write_text(
        yaml.safe_dump(
            {
                "scheduler": {"kind": "agents", "nodes": 1, "gpus_per_trial": 8},
                "campaign": {"duration": "12h", "concurrency": 4},
                "data": {"name": "imagenet", "path": "/data"},
                "network": {"seed": "resnet50"},
                "training": {"warmup_epochs": [3], "epochs": 3, "precision": "bf16"},
            }
        )
    )
    builder = CampaignBuilder(
        folder / "campaign",
        load_site(site).settings,
        images=(1_281_167, 50_000),
        operations=OperationsPerImage(forward=7_806_583_495, train=23_053_458_315),
    )
    builder.site = site
    for trial in range(12):
        start, error = 2000.0 * (trial // 4), 0.5 - 0.03 * trial
        builder.submit(trial, parent=None if trial < 4 else trial - 4)
        epochs = [
            builder.epoch(
                number,
                start + 600.0 * number,
                round(50_000 * (error + 0.1 * (3 - number))) / 50_000,  # which 50,000 images can give
                trial,
                start=start + 600 * (number - 1),
            )
            for number in (1, 2, 3)
        ]
        builder.events(
            builder.begin(start, trial, workers=8, precision="bf16"),
            *epochs,
            builder.end(start + 1810, trial),
            trial=trial,
        )
        builder.began(start, trial)
        builder.ended(trial)
    return folder / "campaign"


def plan(aiperf: Aiperf, source: Path, *options: Any, site: Path | None = None) -> Plan:
    done = aiperf(
        "plan", site or source.parent / "site.yaml", "--from", source, "--nodes", "16", "--duration", "6h", "--format",
        "json", *options,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Plan.model_validate_json(done.stdout)


def test_a_plan_from_a_campaign_of_another_size(aiperf: Aiperf, source: Path) -> None:
    found = plan(aiperf, source)
    assert (found.nodes, found.slots, found.duration) == (16, 16, 21_600.0)
    score = found.quantities.score
    # an epoch of all images in ten minutes on each slot, less the gaps between trials and what the end cuts off
    most = 16 * (1_281_167 * 23_053_458_315 + 50_000 * 7_806_583_495) / 600
    assert score.expected is not None
    assert score.low is not None
    assert score.high is not None
    assert 0.85 * most < score.low <= score.expected <= score.high <= most * 1.001
    error = found.quantities.error
    assert error.expected is not None
    assert error.expected < 0.25
    assert found.quantities.node_hours.expected == 96.0
    assert found.quantities.energy.missing is not None
    assert found.quantities.first_epoch.expected == pytest.approx(600.0)
    files = found.quantities.files.expected
    assert files is not None
    assert files > 0
    assert sum(each.share for _, each in found.shares) == pytest.approx(1.0)


def test_the_smallest_rankable_size_and_time(aiperf: Aiperf, source: Path) -> None:
    found = plan(aiperf, source)
    assert not found.missed_rules
    assert (found.smallest.nodes, found.smallest.slots) == (1, 1)
    assert found.smallest.duration is not None
    assert found.this_size.duration is not None
    assert 3600.0 <= found.this_size.duration < found.smallest.duration < 48 * 3600.0


def test_the_text_has_at_most_80_columns(aiperf: Aiperf, source: Path) -> None:
    done = aiperf("plan", source.parent / "site.yaml", "--nodes", "4", "--duration", "2h", "--from", source)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    for words in (
        "90% interval",
        "regulated score",
        "energy",
        "known from a campaign whose telemetry",
        "validation",
        "Rankable",
    ):
        assert words in done.stdout


def test_output_writes_the_plan_that_format_json_prints(aiperf: Aiperf, source: Path, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    printed = plan(aiperf, source, "--output", file)
    assert Plan.model_validate_json(file.read_text()) == printed
    assert list(WRITTEN) == list(Quantities.model_fields)  # the text has all of them
    assert list(PARTS) == list(TimeShares.model_fields)


def test_several_sources_are_given_after_the_site(aiperf: Aiperf, source: Path) -> None:
    site = source.parent / "site.yaml"
    done = aiperf("plan", site, source, "--nodes", "1", "--duration", "1h", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert [each["name"] for each in json.loads(done.stdout)["sources"]] == [CampaignDirectory.open(source).config.tag]


def test_a_campaign_counts_once_under_two_names(aiperf: Aiperf, source: Path, tmp_path: Path) -> None:
    shutil.copytree(source, tmp_path / "copy")
    done = aiperf("plan", source.parent / "site.yaml", source, tmp_path / "copy", "--nodes", "1", "--duration", "1h")
    assert done.returncode == 2
    assert f"copy: is the same source as {source}: give each once" in done.stderr


def test_a_record_that_is_left_out_is_named(aiperf: Aiperf, source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    events = copy / "events" / "00000-1.0.jsonl"
    events.write_text(events.read_text().replace('"error":', '"error":NaN,"x":', 1))
    done = aiperf("plan", source.parent / "site.yaml", copy, "--nodes", "1", "--duration", "1h")
    assert done.returncode == 0
    assert "00000-1.0.jsonl: is not what the journal recorded" in done.stderr
    assert "its trial is predicted from without this record" in done.stderr


def test_a_source_whose_concurrency_changed_is_noted(aiperf: Aiperf, source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    held = HeldCampaign(CampaignDirectory.open(copy), resume=False)
    change = SettingChange(key="campaign.concurrency", before=4, after=6)
    held.append(SettingsChanged, request="0" * 16, user="ada", host="login", changes=[change])
    held.close()
    assert any(
        "had 4, then 6 trials at once" in note for note in plan(aiperf, copy, site=source.parent / "site.yaml").notes
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"data": {"name": "digits"}}, "its data.name is imagenet, and that of the site is digits"),
        ({"network": {"seed": "small_residual"}}, "its network.seed is resnet50"),
        ({"training": {"trainer": "simulated"}}, "its training.trainer is torch"),
        ({"data": {"name": "imagenet", "path": "/data", "image_size": 64}}, "its size of images is"),
        ({"data": {"name": "imagenet", "path": "/data", "classes": 10}}, "its number of classes is 1000"),
        (
            {"scheduler": {"kind": "agents", "gpus_per_trial": 4}},
            "its training processes of a trial is 8, and that of the site is 4",
        ),
    ],
)
def test_a_campaign_of_something_else_is_refused(
    aiperf: Aiperf, source: Path, tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    site = tmp_path / "other.yaml"
    site.write_text(yaml.safe_dump(yaml.safe_load((source.parent / "site.yaml").read_text()) | changes))
    done = aiperf("plan", site, "--nodes", "1", "--duration", "1h", "--from", source)
    assert done.returncode == 2
    assert f"{source}: {why}" in done.stderr


def test_other_settings_are_noted(aiperf: Aiperf, source: Path) -> None:
    notes = plan(aiperf, source, "--set", "training.learning_rate=0.2").notes
    assert any("their effect is not predicted: training.learning_rate" in note for note in notes)


def test_a_plan_without_a_source_says_what_to_give(aiperf: Aiperf, source: Path) -> None:
    done = aiperf("plan", source.parent / "site.yaml", "--nodes", "1")
    assert done.returncode == 2
    assert "bench-node SITE --format json" in done.stderr


def test_a_campaign_without_an_epoch_is_refused(aiperf: Aiperf, campaign: Callable[..., CampaignBuilder]) -> None:
    builder = campaign()
    assert builder.site is not None
    done = aiperf("plan", builder.site, "--nodes", "1", "--duration", "10s", "--from", builder.path)
    assert done.returncode == 2
    assert f"{builder.path}: no epoch of this campaign has ended" in done.stderr


def test_a_node_predicts_what_does_not_need_a_campaign(aiperf: Aiperf, source: Path, tmp_path: Path) -> None:
    bench = tmp_path / "bench.json"
    rates = {"image_size": 224, "images_per_second": 2000.0}
    measured = {
        "host": "n1",
        "device": "x",
        "data": {"name": "imagenet", **rates},
        "training": {"precision": "bf16", **rates},
    }
    bench.write_text(json.dumps(measured))
    site = source.parent / "site.yaml"
    done = aiperf("plan", site, "--nodes", "16", "--duration", "12h", "--from", bench, "--format", "json")
    assert done.returncode == 0, done.stderr
    found = Plan.model_validate_json(done.stdout)
    score, error = found.quantities.score, found.quantities.error
    assert score.expected is not None
    assert score.low is None
    assert error.missing == "known from an earlier campaign on this data set"
    assert found.this_size.duration is None
    mixed = aiperf("plan", site, bench, source, "--nodes", "1", "--duration", "1h")
    assert mixed.returncode == 2
    assert "either campaigns or measured nodes" in mixed.stderr


@pytest.mark.long
def test_a_campaign_is_predicted_from_one_that_was_run(aiperf: Aiperf, write_site: WriteSite, tmp_path: Path) -> None:
    changes = {
        "training__simulated": {"epoch_seconds": 0.3},
        "campaign__duration": "12s",
        "campaign__max_trials": None,
    }
    site = write_site(**changes)
    done = aiperf("run", site, "--campaign-dir", tmp_path / "c1", "--concurrency", "1", "--yes")
    assert done.returncode == 0, done.stderr
    done = aiperf(
        "plan", site, tmp_path / "c1", "--nodes", "1", "--duration", "12s", "--concurrency", "3", "--format", "json"
    )
    assert done.returncode == 0, done.stderr
    found = Plan.model_validate_json(done.stdout)
    assert found.missed_rules[0].startswith("trained: ")
    trials = found.quantities.trials
    assert trials.expected is not None
    assert trials.expected >= 3


def test_a_campaign_keeps_its_plan_and_its_package_compares(
    aiperf: Aiperf, write_site: WriteSite, tmp_path: Path
) -> None:
    site, file = write_site(campaign__max_trials=4), tmp_path / "plan.json"
    first = aiperf("run", site, "--campaign-dir", tmp_path / "first", "--yes")
    assert first.returncode == 0, first.stderr
    size = ("--duration", "20s", "--concurrency", "2")
    planned = aiperf("plan", site, tmp_path / "first", "--nodes", "1", *size, "--output", file)
    assert planned.returncode == 0, planned.stderr
    wrong = aiperf("run", site, "--campaign-dir", tmp_path / "c", "--yes", "--plan", file)
    assert wrong.returncode == 2
    assert "campaign.duration is 3600s: give --duration 20s" in wrong.stderr
    run = ("run", site, "--campaign-dir", tmp_path / "second", "--yes", *size, "--plan", file)
    for _ in range(2):  # the same command goes on with it
        done = aiperf(*run)
        assert done.returncode == 0, done.stderr
    other = aiperf(
        "run", site, "--campaign-dir", tmp_path / "first", "--yes", "--plan", file, "--set", "campaign.duration=20s"
    )
    assert other.returncode == 2
    created = json.loads((tmp_path / "second" / "journal.jsonl").read_text().splitlines()[0])
    assert created["plan"] == json.loads(file.read_text())
    report = (tmp_path / "second" / "report.html").read_text()
    assert "Plan and result" in report
    assert "Plan and result" not in (tmp_path / "first" / "report.html").read_text()
    packed = aiperf("package", tmp_path / "second", "--output", tmp_path / "p.tar.gz")
    assert packed.returncode == 0, packed.stderr
    verified = aiperf("verify", tmp_path / "p.tar.gz")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    from_package = aiperf("plan", site, tmp_path / "p.tar.gz", "--nodes", "1", *size, "--format", "json")
    assert from_package.returncode == 0, from_package.stderr
    files = Plan.model_validate_json(from_package.stdout).quantities.files
    assert files.missing == "known from the directory of an earlier campaign"


def test_as_many_trials_at_once_can_be_planned_as_run() -> None:
    (option,) = (each for each in cli_planning.plan.params if each.name == "concurrency")
    assert isinstance(option.type, click.IntRange)
    assert option.type.max == MAX_CONCURRENCY
