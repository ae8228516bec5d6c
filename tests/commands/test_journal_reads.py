"""Tests that each command reads the journal of a campaign once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign import journal
from aiperf_orch.commands import mail, package, report, score, status, verify
from aiperf_orch.committee.smtp import check_address


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts reads of journals by the name of their folder."""
    counter: Counter[str] = Counter()
    read = journal._read_lines

    def counted(path: Path, offset: int) -> bytes:
        counter[path.parent.name] += 1
        return read(path, offset)

    monkeypatch.setattr(journal, "_read_lines", counted)
    return counter


@pytest.mark.parametrize("command", ["score", "report", "status"])
def test_a_campaign_is_read_once(
    command: str, make_true: Callable[..., Any], reads: Counter[str], tmp_path: Path
) -> None:
    path = make_true().path
    run = {
        "score": lambda: score.score_campaign(path, "table"),
        "report": lambda: report.write_report_again(path, tmp_path / "report.html"),
        "status": lambda: status.show_status(path, "json"),
    }
    run[command]()
    assert reads == {"campaign": 1}


@pytest.mark.parametrize("pseudonyms", [False, True])
def test_package_reads_the_campaign_once_and_verifies_the_package_once(
    pseudonyms: bool, make_true: Callable[..., Any], reads: Counter[str], tmp_path: Path
) -> None:
    path = make_true().path
    output = package.package_campaign(path, tmp_path / "p.tar.gz", None, pseudonyms=pseudonyms)
    assert output.exit_status == 0
    assert reads.pop("campaign") == 1
    assert list(reads.values()) == [1]  # of the written package, in a temporary folder


def test_verify_reads_the_journal_once(true_package: Path, reads: Counter[str]) -> None:
    output = verify.verify_package(true_package, None, "json")
    assert output.exit_status == 0
    assert list(reads.values()) == [1]


def test_mail_reads_the_campaign_once(make_true: Callable[..., Any], reads: Counter[str], tmp_path: Path) -> None:
    path = make_true().path
    mail.mail_result(
        mail.MailContents(path),
        recipients=[check_address("results@committee.example", "--to")],
        sender="admin@site.example",
        server=None,
        sendmail=False,
        save=tmp_path / "result.eml",
        yes=True,
    )
    assert reads == {"campaign": 1}
