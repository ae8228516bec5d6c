"""The redacted form of the settings, and their digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.public_settings import private_values, redacted, redacted_yaml
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.yaml_text import parse_yaml

_PRIVATE = ["export TOKEN=hunter2", "module load python", "/home/alice/venv/bin/python", "/home/alice/job.sh.j2"]
_SETTINGS = SiteSettings.model_validate(
    {"scheduler": {"setup": _PRIVATE[:2], "python": _PRIVATE[2], "template": _PRIVATE[3]}}
)


def _shown(path: Path, settings: SiteSettings = _SETTINGS) -> tuple[CampaignDirectory, str]:
    origins = {"scheduler.setup": "/home/alice/sites/own.yaml:12", "campaign.seed": "--seed"}
    made = CampaignDirectory.create(path, settings, origins)
    return made, redacted_yaml(parse_yaml(made.config_file.read_text(), "campaign.yaml")[0])


def test_only_private_values_become_hashes(tmp_path: Path) -> None:
    made, text = _shown(tmp_path / "campaign")
    assert made.config.salt is not None
    assert made.config.salt not in text
    for secret in ("TOKEN", "hunter2", "module load", "alice", "venv", "j2"):
        assert secret not in text
    expected = hashlib.sha256(f"{made.config.salt}\n{_PRIVATE[0]}".encode()).hexdigest()
    assert f"- sha256:{expected}" in text
    assert "own.yaml:12" in text
    assert "duration: 43200s" in text


def test_settings_sha256_hashes_the_redacted_form(tmp_path: Path) -> None:
    made, text = _shown(tmp_path / "campaign")
    assert made.settings_sha256 == hashlib.sha256(text.encode()).hexdigest()
    (tmp_path / "shown").mkdir(mode=0o700)
    (tmp_path / "shown" / "campaign.yaml").write_text(text)
    shown = CampaignDirectory.open(tmp_path / "shown")
    assert shown.settings_sha256 == made.settings_sha256
    assert shown.settings.campaign == made.settings.campaign


def test_a_changed_private_value_changes_the_hash(tmp_path: Path) -> None:
    made, _ = _shown(tmp_path / "campaign")
    made.config_file.write_text(made.config_file.read_text().replace("hunter2", "hunter3"))
    assert CampaignDirectory.open(made.path).settings_sha256 != made.settings_sha256


def test_hashes_differ_between_campaigns(tmp_path: Path) -> None:
    (one, _), (two, _) = _shown(tmp_path / "one"), _shown(tmp_path / "two")
    assert one.config.salt != two.config.salt
    assert one.settings_sha256 != two.settings_sha256


def test_every_private_value_is_known() -> None:
    assert sorted(private_values(_SETTINGS)) == sorted(_PRIVATE)
    assert private_values(SiteSettings()) == []


def test_redacting_twice_changes_nothing() -> None:
    once = redacted({"a": ["x", None, 3], "b": "y"}, "00")
    assert redacted(once, "11") == once
    assert once["a"][1:] == [None, 3]
