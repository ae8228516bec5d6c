"""Keys of the settings in campaign.yaml: each format has its own set, recorded in `settings_keys/FORMAT.txt`."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.format_versions import CAMPAIGN
from aiperf_orch.settings.comparison import flatten
from aiperf_orch.settings.models import SCHEDULERS, SiteSettings
from aiperf_orch.settings.schedulers import ClusterSettings
from aiperf_orch.settings.yaml_text import parse_yaml

pytestmark = pytest.mark.unit

TESTS = Path(__file__).parents[1]
RECORDED = Path(__file__).parent / "settings_keys"
RELEASES = sorted((TESTS / "releases").glob("*/*.campaign.tar.gz"))


def keys_of(settings: dict[str, Any]) -> set[str]:
    """Dotted keys of dumped settings; those of a scheduler as `scheduler[slurm].account`."""
    kind = settings["scheduler"]["kind"]
    return {key.replace("scheduler.", f"scheduler[{kind}].", 1) for key in flatten(settings)}


def recorded(version: int) -> set[str]:
    return set((RECORDED / f"{version}.txt").read_text().split())


def listed(keys: Iterable[str]) -> str:
    return ", ".join(sorted(keys)) or "none"


def test_new_settings_raise_the_format_of_campaign_yaml() -> None:
    now: set[str] = set()
    for kind, model in SCHEDULERS.items():
        now |= keys_of(SiteSettings.model_validate({"scheduler": {"kind": kind}}).model_dump(mode="json"))
        if issubclass(model, ClusterSettings):
            scheduler = {"kind": kind, "allocations": {"nodes": 2, "time_limit": "1h"}}
            now |= keys_of(SiteSettings.model_validate({"scheduler": scheduler}).model_dump(mode="json"))
    before, version = recorded(CAMPAIGN.version), CAMPAIGN.version
    assert now == before, (
        f"The settings' keys are not those of campaign.yaml's format {version}: new: {listed(now - before)}; "
        f"removed: {listed(before - now)}. If a release has written format {version} (it was introduced by "
        f"{CAMPAIGN.since[version]}), raise CAMPAIGN in format_versions.py, CampaignConfig.version and "
        f"docs/development/formats.md to {version + 1}, and record the keys in {RECORDED / f'{version + 1}.txt'}; "
        f"if none has, change {RECORDED / f'{version}.txt'}"
    )


def test_each_format_of_campaign_yaml_has_its_own_keys() -> None:
    assert {int(path.stem) for path in RECORDED.glob("*.txt")} == set(CAMPAIGN.since)
    for path in RECORDED.glob("*.txt"):
        keys = path.read_text().split()
        assert keys == sorted(set(keys)), f"{path}: the keys must be sorted"


@pytest.mark.parametrize("archive", RELEASES, ids=lambda path: f"{path.parent.name}-{path.name.partition('.')[0]}")
def test_the_recorded_keys_of_a_release_never_change(archive: Path) -> None:
    with tarfile.open(archive) as files:
        content = files.extractfile("campaign/campaign.yaml")
        assert content is not None
        config = parse_yaml(content.read().decode(), "campaign.yaml")[0]
    written = keys_of(config["settings"])
    kind = config["settings"]["scheduler"]["kind"]
    others = tuple(f"scheduler[{other}]." for other in SCHEDULERS if other != kind)
    expected = {key for key in recorded(config["version"]) if not key.startswith(others)}
    # an optional part of a section is written either as null or with its keys
    expected -= {key for key in expected if any(f"{parent}." in key for parent in written)}
    expected -= {parent for parent in expected if any(key.startswith(f"{parent}.") for key in written)}
    assert written == expected, (
        f"{archive.parent.name} wrote format {config['version']} with other keys than "
        f"{RECORDED / str(config['version'])}.txt records: restore that file, and raise the format "
        "(docs/development/formats.md)"
    )
