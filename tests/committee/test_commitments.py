"""Tests of lists of announced campaigns, and of what was not sent."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from aiperf_orch.committee.commitments import Announcement, read_commitments
from aiperf_orch.committee.ranking_rows import rows_of
from aiperf_orch.util.errors import UsageError
from committee.submissions import notes, package, ranked

pytestmark = pytest.mark.unit
_SENT, _OTHER = f"{100:064x}", f"{109:064x}"


def test_a_list_has_commitment_site_and_date(tmp_path: Path) -> None:
    path = tmp_path / "announced"
    path.write_text(f"# of 2026\n{_SENT}, A Site, Town , 2026-11-30\n{_OTHER},x,2026-12-01\n")
    assert read_commitments(path) == {
        _SENT: Announcement(_SENT, "A Site, Town", "2026-11-30"),
        _OTHER: Announcement(_OTHER, "x", "2026-12-01"),
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{_SENT}, again, 2026-12-01", f"{_SENT} is listed twice"),
        (f"{_OTHER}, x, yesterday", "'yesterday' is no date such as 2026-11-30"),
        (f"{_OTHER} 2026-12-01", "a line has a commitment of 64 digits, a site and a date"),
        ("abc, x, 2026-12-01", "a line has a commitment of 64 digits"),
        (f"{_OTHER}, , 2026-12-01", "a line has a commitment of 64 digits"),
    ],
)
def test_a_bad_line_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture, line: str, message: str) -> None:
    path = tmp_path / "announced"
    path.write_text(f"{_SENT}, x, 2026-11-30\n{line}\n")
    with caplog.at_level(logging.WARNING):
        assert list(read_commitments(path)) == [_SENT]
    [text] = caplog.messages
    assert text.startswith(f"{path}:2: {message}")


def test_a_missing_list_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_commitments(tmp_path / "announced")


def test_campaigns_that_were_not_sent_are_listed() -> None:
    announced = {each: Announcement(each, f"site {each[-1]}", "2026-11-30") for each in (_SENT, _OTHER)}
    entries = ranked([package("a", started="2026-11-30T08:00:00.000Z"), package("b", 1)], announced=announced)
    assert notes(entries) == {"a": "", "b": "its campaign was not announced"}
    rows = rows_of(entries, [], announced)
    assert [(row["file"], row["announced"], row["status"]) for row in rows] == [
        ("a", "yes", "ranked"),
        ("b", "no", "ranked"),
        (None, "yes", "not sent"),
    ]
    assert (rows[2]["submitter"], rows[2]["commitment"], rows[2]["note"]) == (
        "site d",
        _OTHER,
        "announced on 2026-11-30",
    )


@pytest.mark.parametrize(
    ("day", "note"),
    [
        ("2026-11-01", ""),
        ("2026-11-30", ""),
        ("2026-12-01", ""),  # where the committee is, the next day may have begun
        ("2026-12-02", "its campaign was announced on 2026-12-02, after it began on 2026-11-30"),
    ],
)
def test_a_campaign_that_was_announced_after_its_begin_is_noted(day: str, note: str) -> None:
    sent = package("a", started="2026-11-30T23:59:00.000Z")
    assert notes(ranked([sent], announced={_SENT: Announcement(_SENT, "x", day)})) == {"a": note}


def test_of_a_campaign_that_never_began_an_announcement_is_never_late() -> None:
    sent = package("a", started="")
    assert notes(ranked([sent], announced={_SENT: Announcement(_SENT, "x", "2099-01-01")})) == {"a": ""}


def test_without_a_list_it_is_unknown_what_was_announced() -> None:
    entries = ranked([package("a")])
    assert [row["announced"] for row in rows_of(entries)] == ["unknown"]
    assert notes(entries) == {"a": ""}
