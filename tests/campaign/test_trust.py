"""Which directories are trusted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.trust import check_trusted
from aiperf_orch.config import SiteSettings
from aiperf_orch.errors import UsageError

_root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
_STRANGER = 12345


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "parent" / "campaign"
    path.mkdir(parents=True)
    path.chmod(0o700)
    path.parent.chmod(0o755)
    return path


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755, 0o2750])
def test_a_directory_that_only_we_can_write(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    check_trusted(folder)


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777, 0o720])
def test_a_directory_that_others_can_write_is_refused(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    with pytest.raises(UsageError, match=rf"can be written by others \(mode {mode:04o}\).*chmod go-w {folder}"):
        check_trusted(folder)


def test_a_parent_that_others_can_write_is_refused(folder: Path) -> None:
    folder.parent.chmod(0o777)
    with pytest.raises(UsageError, match=rf"^{folder.parent}: others could replace {folder} through this parent"):
        check_trusted(folder)
    folder.parent.chmod(0o1777)  # as /tmp: nobody can replace what is somebody else's
    check_trusted(folder)


def test_a_link_is_followed_on_both_sides(folder: Path, tmp_path: Path) -> None:
    public = tmp_path / "public"
    public.mkdir()
    (public / "link").symlink_to(folder)
    check_trusted(public / "link")
    public.chmod(0o777)
    with pytest.raises(UsageError, match="public: others could replace"):
        check_trusted(public / "link")
    public.chmod(0o755)
    folder.parent.chmod(0o777)
    with pytest.raises(UsageError, match="parent: others could replace"):
        check_trusted(public / "link")


@_root_only
def test_a_directory_of_somebody_else_is_refused(folder: Path) -> None:
    os.chown(folder, _STRANGER, -1)
    with pytest.raises(UsageError, match="belongs to user id 12345, not to you"):
        check_trusted(folder)


@_root_only
def test_a_parent_of_somebody_else_is_refused(folder: Path) -> None:
    os.chown(folder.parent, _STRANGER, -1)
    with pytest.raises(UsageError, match=r"through this parent directory \(belongs to user id 12345"):
        check_trusted(folder)


def test_neither_making_nor_opening_trusts_what_others_can_write(folder: Path) -> None:
    folder.chmod(0o777)
    with pytest.raises(UsageError, match="can be written by others"):
        CampaignDirectory.create(folder, SiteSettings(), {})
    assert list(folder.iterdir()) == []
    folder.chmod(0o700)
    CampaignDirectory.create(folder, SiteSettings(), {})
    folder.chmod(0o720)
    with pytest.raises(UsageError, match="can be written by others"):
        CampaignDirectory.open(folder)
