"""Tests of the folder of a ranking's website: names of lists, foreign folders, errors between two files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.commands.ranking_website import add_to_website
from aiperf_orch.committee import website_folder
from aiperf_orch.committee.repetitions import repetitions_of
from aiperf_orch.committee.submission import Submission
from aiperf_orch.committee.website_folder import Website, list_name, open_website
from aiperf_orch.util.errors import AiperfError, NewerVersionError, RecordError, UsageError
from committee.submissions import package, ranked

_FIRST = [package("a", 1, operations=10**18)]
_SECOND = [*_FIRST, package("b", 2, operations=2 * 10**18)]


def _add(folder: Path, sent: Sequence[Submission]) -> Path:
    website, entries = open_website(folder), ranked(sent)
    return add_to_website(
        website, entries, repetitions_of(entries), None, {each.path: folder / "none" for each in sent}
    )


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _lists(folder: Path) -> list[str]:
    lists: list[str] = json.loads((folder / "website.json").read_text())["lists"]
    return lists


@pytest.mark.unit
@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ([], "2026-11-30"),
        (["2026-11-29"], "2026-11-30"),
        (["2026-11-30"], "2026-11-30.2"),
        (["2026-11-30", "2026-11-30.2"], "2026-11-30.3"),
        (["2027-01-01"], "2026-11-30"),  # the clock was set back
    ],
)
def test_each_list_has_a_name_of_its_own(lists: list[str], expected: str) -> None:
    assert list_name(Website(Path("none"), tuple(lists)), date(2026, 11, 30)) == expected


def test_the_last_list_moves_to_the_history_unchanged(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "website"
    _add(folder, _FIRST)
    [first] = _lists(folder)
    before = _files(folder)
    assert before["ranking.json"] == before[f"history/{first}/ranking.json"]
    _add(folder, _SECOND)
    lists = _lists(folder)
    assert (lists[0], len(lists)) == (first, 2)
    after = _files(folder)
    assert {name: after[name] for name in before if name.startswith("history/")} == {
        name: data for name, data in before.items() if name.startswith("history/")
    }
    assert json.loads(after["ranking.json"])[0]["file"] == "b"
    page = after["index.html"].decode()
    assert f"Differences to the list of {first}" in page
    assert "place 1 → 2" in page
    assert "place 1 → 2" in after[f"history/{lists[1]}/index.html"].decode()


def test_each_link_of_each_page_leads_to_a_file(tmp_path: Path) -> None:
    for sent in (_FIRST, _SECOND):
        _add(tmp_path, sent)
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) == 1 + 2 + 1 + 2
    for page in pages:
        links = [link for link in re.findall(r'href="([^"]*)"', page.read_text()) if not link.startswith("#")]
        assert links
        assert all((page.parent / link).is_file() for link in links), (page, links)


def test_hidden_files_and_files_beside_the_site_stay(tmp_path: Path) -> None:
    (tmp_path / ".nojekyll").write_text("")
    _add(tmp_path, _FIRST)
    (tmp_path / "robots.txt").write_text("User-agent: *")
    _add(tmp_path, _SECOND)
    assert (tmp_path / "robots.txt").read_text() == "User-agent: *"


def test_files_are_as_readable_as_the_umask_permits(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    _add(tmp_path / "website", _FIRST)
    modes = {path.stat().st_mode for path in (tmp_path / "website").rglob("*") if path.is_file()}
    assert modes == {(tmp_path / "plain").stat().st_mode}


# what is not a website


def test_a_folder_with_other_files_is_refused_and_unchanged(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("the site's own page")
    with pytest.raises(UsageError, match=r"--output: .*: has files \(for example index.html\), and is not the website"):
        open_website(tmp_path)
    assert _files(tmp_path) == {"index.html": b"the site's own page"}


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "website").write_text("")
    for path in (tmp_path / "website", tmp_path / "website" / "below"):
        with pytest.raises(UsageError, match="is not a folder"):
            open_website(path)


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ('{"format": 2, "version": "9.9", "lists": [], "more": 1}', NewerVersionError),
        ('{"format": 1, "version": "0.2.0", "lists": ["../../home"]}', RecordError),
        ('{"format": 1, "version": "0.2.0"}', RecordError),
        ('{"format": 1, "version": "0.2.0", "lists": ["2026-11-30"]}', RecordError),
        ("[]", RecordError),
        ("{", RecordError),
    ],
)
def test_a_state_that_is_not_ours_is_refused(tmp_path: Path, state: str, error: type[Exception]) -> None:
    (tmp_path / "website.json").write_text(state)
    with pytest.raises(error, match="choose another folder"):
        open_website(tmp_path)


@pytest.mark.parametrize("data", [b"[{}]", b"{}", b"[", b"\xff", b'[{"status": NaN}]'])
def test_a_last_ranking_that_cannot_be_read_is_refused(tmp_path: Path, data: bytes) -> None:
    _add(tmp_path, _FIRST)
    (tmp_path / "history" / _lists(tmp_path)[0] / "ranking.json").write_bytes(data)
    with pytest.raises(RecordError, match="is not the last ranking"):
        open_website(tmp_path)


# errors on the way


def test_a_crash_at_any_file_leaves_the_old_list_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps that write are stopped one after the other; the next run succeeds."""
    _add(tmp_path / "0", _FIRST)
    write: Callable[..., None] = website_folder._write
    stopped = 0
    for step in range(100):
        folder = tmp_path / str(step + 1)
        _add(folder, _FIRST)
        old = _files(folder)
        calls = iter(range(step))

        def stop(path: Path, data: bytes, calls: Any = calls) -> None:
            if next(calls, None) is None:
                raise KeyboardInterrupt
            write(path, data)

        monkeypatch.setattr(website_folder, "_write", stop)
        try:
            _add(folder, _SECOND)
        except KeyboardInterrupt:
            stopped += 1
        else:
            break
        finally:
            monkeypatch.setattr(website_folder, "_write", write)
        left = _files(folder)
        assert left["index.html"] == old["index.html"]
        assert {name: left[name] for name in old if name.startswith("history/")} == {
            name: data for name, data in old.items() if name.startswith("history/")
        }
        for listed in _lists(folder):
            assert (folder / "history" / listed / "index.html").exists()
        assert not [name for name in left if "unfinished" in name]
        _add(folder, _SECOND)
        assert json.loads((folder / "ranking.json").read_text())[0]["file"] == "b"
    assert stopped == 9  # five files of the list; its tables, the state and the page of the website


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    _add(tmp_path, _FIRST)
    left = tmp_path / "history" / ".unfinished-1" / "systems"
    left.mkdir(parents=True)
    _add(tmp_path, _SECOND)
    assert not left.exists()


def test_a_list_that_another_process_added_is_not_lost(tmp_path: Path) -> None:
    _add(tmp_path, _FIRST)
    website, entries = open_website(tmp_path), ranked(_SECOND)
    _add(tmp_path, _SECOND)
    before = _files(tmp_path)
    with pytest.raises(AiperfError, match="another process has added a list"):
        add_to_website(website, entries, [], None, {each.path: tmp_path / "none" for each in _SECOND})
    assert _files(tmp_path) == before
