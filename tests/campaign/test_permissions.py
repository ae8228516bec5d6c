"""Trusted directories, and warnings about their parents."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.permissions import check_trusted, parent_warnings
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import UsageError

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
def test_a_directory_of_this_user_is_trusted(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    check_trusted(folder)


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777, 0o720])
def test_a_directory_that_others_can_write_is_refused(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    with pytest.raises(UsageError, match=rf"can be written by others \(mode {mode:04o}\).*chmod go-w {folder}"):
        check_trusted(folder)


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o702])
def test_a_parent_that_any_user_can_write_is_refused(folder: Path, mode: int) -> None:
    folder.parent.chmod(mode)
    with pytest.raises(
        UsageError,
        match=rf"^{folder.parent}: any user could replace {folder} through this parent directory "
        rf"\(mode {mode:04o}\): chmod o-w {folder.parent}, or put",
    ):
        check_trusted(folder)
    folder.parent.chmod(0o1777)  # as /tmp: no user can replace the files of another
    check_trusted(folder)
    assert _doubts_of(folder.parent, folder) == []


def _doubts_of(parent: Path, folder: Path) -> list[str]:
    """What is said of one parent; of the machine's own directories above, tests know nothing."""
    return [doubt.removeprefix(f"{parent}: ") for doubt in parent_warnings(folder) if doubt.startswith(f"{parent}: ")]


def _group(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """Every group is this one."""
    monkeypatch.setattr("aiperf_orch.campaign.permissions.grp.getgrgid", lambda gid: SimpleNamespace(**fields))


def test_a_parent_of_this_user_gives_no_warning(folder: Path) -> None:
    assert _doubts_of(folder.parent, folder) == []


@pytest.mark.parametrize("mode", [0o775, 0o2770])
@pytest.mark.parametrize("members", [[], ["anna"]])
def test_a_parent_that_a_group_can_write_gives_a_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mode: int, members: list[str]
) -> None:
    _group(monkeypatch, gr_name="physics", gr_mem=members)
    folder.parent.chmod(mode)
    check_trusted(folder)
    [doubt] = _doubts_of(folder.parent, folder)
    assert doubt == "members of group physics can write it, and could replace the campaign"
    folder.parent.chmod(mode | 0o1000)
    assert _doubts_of(folder.parent, folder) == []


def test_a_private_group_gives_no_warning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.parent.chmod(0o775)
    own = pwd.getpwuid(os.geteuid()).pw_name
    _group(monkeypatch, gr_name=own, gr_mem=[])
    assert _doubts_of(folder.parent, folder) == []
    _group(monkeypatch, gr_name=own, gr_mem=["anna"])
    assert len(_doubts_of(folder.parent, folder)) == 1


@_root_only
def test_a_group_without_a_name_is_reported_by_its_id(folder: Path) -> None:
    os.chown(folder.parent, -1, _STRANGER)
    folder.parent.chmod(0o775)
    check_trusted(folder)
    assert _doubts_of(folder.parent, folder) == ["members of group 12345 can write it, and could replace the campaign"]


def test_parents_of_a_link_and_of_its_target_are_checked(folder: Path, tmp_path: Path) -> None:
    public = tmp_path / "public"
    public.mkdir()
    (public / "link").symlink_to(folder)
    check_trusted(public / "link")
    public.chmod(0o777)
    with pytest.raises(UsageError, match="public: any user could replace"):
        check_trusted(public / "link")
    public.chmod(0o755)
    folder.parent.chmod(0o777)
    with pytest.raises(UsageError, match="parent: any user could replace"):
        check_trusted(public / "link")
    folder.parent.chmod(0o755)
    check_trusted(public / "link")


def test_warnings_cover_parents_of_a_link_and_its_target(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "link").symlink_to(folder)
    _group(monkeypatch, gr_name="physics", gr_mem=[])
    for parent in (shared, folder.parent):
        parent.chmod(0o775)
        assert len(_doubts_of(parent, shared / "link")) == 1
        assert len([doubt for doubt in parent_warnings(shared / "link") if doubt.startswith(f"{tmp_path}/")]) == 1
        parent.chmod(0o755)


@_root_only
def test_a_directory_of_another_user_is_refused(folder: Path) -> None:
    os.chown(folder, _STRANGER, -1)
    with pytest.raises(UsageError, match="belongs to user id 12345, not to you"):
        check_trusted(folder)


@_root_only
def test_a_parent_of_another_user_gives_a_warning(folder: Path) -> None:
    os.chown(folder.parent, _STRANGER, -1)
    check_trusted(folder)
    assert _doubts_of(folder.parent, folder) == ["belongs to user id 12345, who could replace the campaign through it"]
    folder.parent.chmod(0o1777)  # its owner can replace what is in it all the same
    check_trusted(folder)
    assert len(_doubts_of(folder.parent, folder)) == 1
    os.chown(folder.parent, 65534, -1)  # root's, seen from inside a container
    folder.parent.chmod(0o755)
    assert _doubts_of(folder.parent, folder) == []


def test_create_and_open_refuse_directories_that_others_can_write(folder: Path) -> None:
    folder.chmod(0o777)
    with pytest.raises(UsageError, match="can be written by others"):
        CampaignDirectory.create(folder, SiteSettings(), {})
    assert list(folder.iterdir()) == []
    folder.chmod(0o700)
    CampaignDirectory.create(folder, SiteSettings(), {})
    folder.chmod(0o720)
    with pytest.raises(UsageError, match="can be written by others"):
        CampaignDirectory.open(folder)
