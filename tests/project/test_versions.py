"""Version, changelog, citation, easyconfig and the kept campaigns of releases agree."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

import aiperf_orch

_ROOT = Path(__file__).parents[2]
_VERSION = Version(aiperf_orch.__version__)
_CHANGELOG = (_ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
_HEADINGS = re.findall(r"^## (\S+) \((\S+)\)$", _CHANGELOG, flags=re.MULTILINE)

pytestmark = pytest.mark.unit


def test_the_installed_metadata_have_the_version() -> None:
    assert metadata.version("aiperf-orch") == aiperf_orch.__version__


def test_the_changelog_begins_with_the_version() -> None:
    version, date = _HEADINGS[0]
    assert version == _VERSION.base_version
    assert (date == "unreleased") == _VERSION.is_prerelease


def test_releases_of_the_changelog_have_dates_and_are_in_order() -> None:
    assert len(_HEADINGS) == len(re.findall("^## ", _CHANGELOG, flags=re.MULTILINE)), "a heading is not VERSION (DATE)"
    released = _HEADINGS[1 if _VERSION.is_prerelease else 0 :]
    assert released
    assert all(re.fullmatch(r"\d{4}-\d{2}-\d{2}", date) for _, date in released)
    assert released == sorted(released, key=lambda heading: (Version(heading[0]), heading[1]), reverse=True)


def test_each_kept_release_is_in_the_changelog() -> None:
    kept = {path.name for path in (_ROOT / "tests" / "releases").iterdir() if re.match(r"\d", path.name)}
    assert kept == {version for version, date in _HEADINGS if date != "unreleased"}


def test_the_citation_has_the_version_and_the_date_of_the_release() -> None:
    citation = yaml.safe_load((_ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == aiperf_orch.__version__
    released = None if _VERSION.is_prerelease else _HEADINGS[0][1]
    assert (str(citation["date-released"]) if "date-released" in citation else None) == released


def test_the_easyconfig_is_of_the_version() -> None:
    names = [path.name for path in (_ROOT / "contrib" / "easybuild").glob("*.eb")]
    assert len(names) == 1
    assert names[0].startswith(f"aiperf-orch-{aiperf_orch.__version__}-")
