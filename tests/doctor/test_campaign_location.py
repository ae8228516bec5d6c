"""Checks of the campaign location: free space, and permissions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.doctor.campaign_location import check_free_space, checks
from aiperf_orch.doctor.findings import Level
from aiperf_orch.settings.models import SiteSettings


def levels(settings: dict[str, Any], free_bytes: int, free_files: int | None) -> list[tuple[str, Level]]:
    found = check_free_space(SiteSettings.model_validate(settings), Path("/scratch"), free_bytes, free_files)
    return [(finding.subject, finding.level) for finding in found]


@pytest.mark.parametrize(
    ("free_bytes", "free_files", "disk", "files"),
    [
        (10**12, 10**9, Level.OK, Level.OK),
        (10**12, None, Level.OK, Level.OK),
        (10**12, 899, Level.OK, Level.FAULT),
        (10**12, 900, Level.OK, Level.OK),
        (10**6, 10**9, Level.FAULT, Level.OK),
        (10**8, 10**9, Level.WARNING, Level.OK),
    ],
)
def test_space_for_a_hundred_trials(free_bytes: int, free_files: int | None, disk: Level, files: Level) -> None:
    settings = {"campaign": {"max_trials": 100}}  # about 67 MB, 900 files
    assert levels(settings, free_bytes, free_files) == [("disk", disk), ("files", files)]


def test_a_limit_of_parameters_limits_the_size_of_weights() -> None:
    few = {"campaign": {"max_trials": 10}, "network": {"max_parameters": 1000}}
    assert levels(few, 3 * 10**6, None)[0] == ("disk", Level.OK)
    assert levels(few | {"network": {"max_parameters": 10**7}}, 3 * 10**6, None)[0] == ("disk", Level.FAULT)


def test_a_location_that_others_can_change_is_a_fault(tmp_path: Path) -> None:
    folder = tmp_path / "open" / "check-abcde"
    folder.mkdir(parents=True, mode=0o700)
    folder.parent.chmod(0o777)
    [finding] = checks(SiteSettings(), folder)
    assert (finding.subject, finding.level) == ("location", Level.FAULT)
    assert "any user could replace" in finding.message
