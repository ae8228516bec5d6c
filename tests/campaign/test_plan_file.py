"""Files with the plan of a campaign."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.plan_file import check_plan, read_plan, read_plan_of
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import UsageError
from plan_example import PLAN

pytestmark = pytest.mark.unit


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(PLAN.model_dump_json(indent=2), encoding="utf-8")
    assert read_plan(file) == PLAN


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "not JSON"),
        ("{}", "version: Field required"),
        (PLAN.to_line().replace('"slots":2', '"slots":0', 1), "slots: "),
        (PLAN.to_line().replace('"level":0.9', '"level":NaN'), "NaN is not JSON"),
        (PLAN.to_line().replace('"level":0.9', '"level":0.9,"level":0.8'), "occurs twice"),
        (PLAN.to_line().replace('"high":120.0', '"high":95.0'), "quantities.score: its interval does not hold"),
        (PLAN.to_line().replace('"high":120.0', '"high":null'), "quantities.score: its interval does not hold"),
        (PLAN.to_line().replace('"expected":100.0', '"expected":null'), "quantities.score: has to state either"),
        (PLAN.to_line().replace('"expected":0.1', '"expected":5.0'), "quantities.error: is a fraction"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, content: str, why: str) -> None:
    file = tmp_path / "plan.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=why) as refused:
        read_plan(file)
    assert f"{file}: is no plan" in str(refused.value)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (('"format":1', '"format":2'), "written by aiperf-orch 9.0 in format 2; this is aiperf-orch .* up to 1: use"),
        (('"nodes":', '"racks":3,"nodes":'), "racks: .*not understood by this aiperf-orch .* 9.0"),
    ],
)
def test_a_plan_of_a_newer_version_is_named_as_newer(tmp_path: Path, change: tuple[str, str], why: str) -> None:
    file = tmp_path / "plan.json"
    newer = PLAN.model_copy(update={"version": "9.0"})
    file.write_text(newer.to_line().replace(*change, 1), encoding="utf-8")
    with pytest.raises(UsageError, match=why) as refused:
        read_plan(file)
    assert "is no plan" not in str(refused.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_plan(tmp_path / "plan.json")


@pytest.mark.parametrize(
    ("concurrency", "duration", "why"),
    [
        (3, "1h", "is for 2 trials at once, and campaign.concurrency is 3: give --concurrency 2"),
        (2, "2h", "is for 3600s, and campaign.duration is 7200s: give --duration 3600s"),
    ],
)
def test_a_plan_of_another_campaign_is_refused(concurrency: int, duration: str, why: str) -> None:
    settings = SiteSettings.model_validate({"campaign": {"concurrency": concurrency, "duration": duration}})
    with pytest.raises(UsageError, match=why):
        check_plan(Path("plan.json"), PLAN, settings)
    same = SiteSettings.model_validate({"campaign": {"concurrency": 2, "duration": "1h"}})
    check_plan(Path("plan.json"), PLAN, same)


def test_a_campaign_keeps_the_plan_that_it_was_made_with(tmp_path: Path) -> None:
    path = tmp_path / "campaign"
    made = CampaignDirectory.create(path, SiteSettings(), {}, PLAN)
    assert read_plan_of(made) == PLAN
    made.config_file.unlink()  # as after an interrupted creation
    assert read_plan_of(CampaignDirectory.create(path, SiteSettings(), {})) is None
