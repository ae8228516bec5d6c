"""Tests of what `mail` sends: results, signed and existing packages, commitments."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.committee.mail import MailHeaders, compose
from aiperf_orch.package.packing import write_package
from aiperf_orch.package.signature import sign
from aiperf_orch.package.verify import verify
from aiperf_orch.results.result import compute_result
from aiperf_orch.util.units import format_ops, now
from committee.mail_server import RECEIVER, SENDER, read_mail
from package_fixtures import add_attempt, add_trials

# contents


def _compose(mailed: Any, **changes: Any) -> EmailMessage:
    headers = MailHeaders(SENDER, changes.pop("recipients", [RECEIVER]), changes.pop("time", now()))
    fields: dict[str, Any] = {"most_bytes": 1 << 20, "with_pseudonyms": False}
    return compose(mailed.directory, headers, **fields | changes)


def test_the_mail_has_summary_row_report_and_a_verified_package(mail: Any, mailed: Any, tmp_path: Path) -> None:
    done = mail("--save", "result.eml")
    assert (done.returncode, done.stdout) == (0, "result.eml\n")
    message = read_mail((tmp_path / "result.eml").read_bytes())
    ops = format_ops(compute_result(mailed.directory).score.score)
    assert (message["From"], message["To"]) == (SENDER, RECEIVER)
    assert message["Subject"] == f"AIPerf result (SIMULATED, {ops}): Größe 1"
    body = message.get_body(("plain",))
    assert body is not None
    text = body.get_content()
    for words in ("SIMULATED", "Größe 1", f"score            {ops}", "1.94%", "not rankable", "trained", "SHA-256"):
        assert words in text
    parts = {part.get_filename(): part.get_content() for part in message.iter_attachments()}
    package = f"aiperf-{mailed.directory.config.tag}.tar.gz"
    assert list(parts) == ["result.csv", "report.html", package]
    assert repr(compute_result(mailed.directory).score.score) in parts["result.csv"]
    assert parts["report.html"].startswith("<!DOCTYPE html>")
    (tmp_path / "got.tar.gz").write_bytes(parts[package])
    found = verify(tmp_path / "got.tar.gz")
    assert found.verified
    assert found.sha256 in text
    assert b"s3cret-token" not in (tmp_path / "result.eml").read_bytes()
    assert "s3cret-token" not in parts["report.html"]
    assert f"({len(parts[package]) / 1000:.3g} kB)" in text


def test_the_message_id_follows_from_the_result(mailed: Any) -> None:
    first = _compose(mailed)["Message-ID"]
    assert _compose(mailed, time=now() + timedelta(days=1), recipients=["x@else.example"])["Message-ID"] == first
    assert first.startswith(f"<aiperf.{mailed.directory.config.tag}.")
    add_attempt(mailed, 4, 1, 300, {1: 4})
    assert _compose(mailed)["Message-ID"] != first


def test_a_package_that_is_too_large_is_replaced_by_its_hash(mailed: Any, tmp_path: Path) -> None:
    message = _compose(mailed, most_bytes=0)
    assert [part.get_filename() for part in message.iter_attachments()] == ["result.csv", "report.html"]
    body = message.get_body(("plain",))
    assert body is not None
    assert "Too large for a mail" in body.get_content()
    write_package(mailed.directory, tmp_path / "p.tar.gz", with_pseudonyms=False)
    assert hashlib.sha256((tmp_path / "p.tar.gz").read_bytes()).hexdigest() in body.get_content()


def test_the_mail_is_shown_and_needs_a_terminal_for_confirmation(mail: Any, start: Any) -> None:
    server = start()
    done = mail("--smtp", f"127.0.0.1:{server.port}", "--tls", "none")
    assert done.returncode == 2
    for words in (f"From: {SENDER}", f"To: {RECEIVER}", "Message-ID: <aiperf.", "score  ", "report.html"):
        assert words in done.stderr
    assert "there is no terminal to confirm this: --yes sends without asking" in done.stderr
    assert server.inbox.mails == []


@pytest.mark.parametrize(("answer", "sent"), [("y\n", 1), ("\n", 0)])
def test_the_user_confirms_before_sending(mailed: Any, start: Any, answer: str, sent: int) -> None:
    server = start()
    command = [
        sys.executable,
        "-m",
        "aiperf_orch.cli",
        "mail",
        str(mailed.directory.path),
        "--to",
        RECEIVER,
        "--from",
        SENDER,
    ]
    command += ["--smtp", f"127.0.0.1:{server.port}", "--tls", "none"]
    terminal, stdin = os.openpty()
    os.write(terminal, answer.encode())
    done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, timeout=60, check=False)
    os.close(terminal)
    os.close(stdin)
    assert "Send it?" in done.stderr
    assert len(server.inbox.mails) == sent
    assert done.returncode == (0 if sent else 1)


# signed and existing packages, commitments


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key; `signers` is the committee's file that allows it."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("signatures need ssh-keygen (openssh-client)")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (tmp_path / "signers").write_text(f"site@example.org {key.with_suffix('.pub').read_text()}")
    return key


def _save_attachments(message: EmailMessage, folder: Path) -> list[str]:
    """Save a mail's attachments as a committee does; returns their names."""
    folder.mkdir()
    names = []
    for part in message.iter_attachments():
        name, data = str(part.get_filename()), part.get_content()
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
        names.append(name)
    return names


def test_a_signed_mail_passes_the_ranking_of_its_receiver(
    mail: Any, mailed: Any, start: Any, aiperf: Any, key: Path, tmp_path: Path
) -> None:
    server = start()
    done = mail("--smtp", f"127.0.0.1:{server.port}", "--tls", "none", "--yes", "--sign", key)
    assert done.returncode == 0, done.stderr
    [envelope] = server.inbox.mails
    package = f"aiperf-{mailed.directory.config.tag}.tar.gz"
    names = _save_attachments(read_mail(envelope.content), tmp_path / "received")
    assert names == ["result.csv", "report.html", package, f"{package}.sig"]
    found = verify(tmp_path / "received" / package, tmp_path / "signers")
    assert (found.verified, found.signed_by) == (True, "site@example.org")
    [row] = json.loads(aiperf("rank", f"received/{package}", "--signers", "signers", "--format", "json").stdout)
    assert (row["signed_by"], row["status"]) == ("site@example.org", "not rankable")  # it is simulated


def test_an_existing_package_is_sent_as_it_is(aiperf: Any, mailed: Any, start: Any, key: Path, tmp_path: Path) -> None:
    write_package(mailed.directory, tmp_path / "mine.tar.gz", with_pseudonyms=True)
    sign(tmp_path / "mine.tar.gz", key)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("mine*")}
    server = start()
    command = ("mail", "--package", "mine.tar.gz", "--to", RECEIVER, "--from", SENDER, "--yes")
    done = aiperf(*command, "--smtp", f"127.0.0.1:{server.port}", "--tls", "none")
    assert done.returncode == 0, done.stderr
    message = read_mail(server.inbox.mails[0].content)
    assert message["Subject"].startswith("AIPerf result (SIMULATED, ")
    _save_attachments(message, tmp_path / "received")
    received = {path.name: path.read_bytes() for path in (tmp_path / "received").glob("mine*")}
    assert received == before
    assert sorted(path.name for path in (tmp_path / "received").iterdir()) == [
        *sorted(before),
        "report.html",
        "result.csv",
    ]
    assert {path.name: path.read_bytes() for path in tmp_path.glob("mine*")} == before


def test_an_existing_package_can_be_signed_for_the_mail(aiperf: Any, mailed: Any, key: Path, tmp_path: Path) -> None:
    write_package(mailed.directory, tmp_path / "mine.tar.gz", with_pseudonyms=False)
    command = ("mail", "--package", "mine.tar.gz", "--to", RECEIVER, "--from", SENDER, "--save", "x.eml")
    assert aiperf(*command, "--sign", key, "--package-limit", "0").returncode == 0
    message = read_mail((tmp_path / "x.eml").read_bytes())
    assert _save_attachments(message, tmp_path / "received") == ["result.csv", "report.html", "mine.tar.gz.sig"]
    assert not (tmp_path / "mine.tar.gz.sig").exists()
    shutil.copyfile(tmp_path / "mine.tar.gz", tmp_path / "received" / "mine.tar.gz")
    assert verify(tmp_path / "received" / "mine.tar.gz", tmp_path / "signers").verified
    body = message.get_body(("plain",))
    assert body is not None
    assert hashlib.sha256((tmp_path / "mine.tar.gz").read_bytes()).hexdigest() in body.get_content()


def test_a_faulty_package_is_not_sent(aiperf: Any, tampered: Any, tmp_path: Path) -> None:
    tampered.files["result.csv"] = tampered.files["result.csv"].replace(b"a test system", b"another system")
    tampered.write(tmp_path / "bad.tar.gz")
    (tmp_path / "text").write_text("no package")
    command = ("mail", "--to", RECEIVER, "--from", SENDER, "--save", "x.eml", "--package")
    done = aiperf(*command, "bad.tar.gz")
    assert done.returncode == 1
    assert "bad.tar.gz: not sent, since it is not verified: result.csv:2: system: " in done.stderr
    assert aiperf(*command, "text").returncode == 1
    assert not (tmp_path / "x.eml").exists()


def test_a_commitment_is_mailed_and_listed_by_the_committee(aiperf: Any, make_true: Any, tmp_path: Path) -> None:
    mailed = make_true(empty=True, system__submitter="A Site")  # it runs
    done = aiperf("mail", mailed.path, "--commitment", "--to", RECEIVER, "--from", SENDER, "--save", "x.eml")
    assert done.returncode == 0, done.stderr
    message = read_mail((tmp_path / "x.eml").read_bytes())
    assert message["Subject"] == "AIPerf commitment: a test system"
    assert list(message.iter_attachments()) == []
    body = message.get_body(("plain",))
    assert body is not None
    [line] = [line.strip() for line in body.get_content().splitlines() if line.endswith(format(now(), "%Y-%m-%d"))]
    add_trials(mailed)
    write_package(mailed.directory, tmp_path / "p.tar.gz", with_pseudonyms=False)
    assert verify(tmp_path / "p.tar.gz", commitment=line.partition(",")[0]).verified
    (tmp_path / "announced").write_text(f"{line}\n")
    [row] = json.loads(aiperf("rank", "p.tar.gz", "--commitments", "announced", "--format", "json").stdout)
    assert (row["announced"], row["commitment"]) == ("yes", line.partition(",")[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--from", SENDER], "name the campaign's directory, or a package with --package FILE"),
        (["--package", "p.tar.gz"], "--from: is required with --package"),
        (["--package", "p.tar.gz", "--pseudonyms", "--from", SENDER], "--package: sends this file as it is"),
        (["--package", "p.tar.gz", "--commitment", "--from", SENDER], "--package: sends this file as it is"),
        (["--package", "nowhere.tar.gz", "--from", SENDER], "nowhere.tar.gz: cannot be read"),
        (["CAMPAIGN", "--package", "p.tar.gz", "--from", SENDER], "--package: sends this file as it is"),
        (["CAMPAIGN", "--commitment", "--sign", "key", "--from", SENDER], "--commitment: sends no package"),
        (["CAMPAIGN", "--sign", "nowhere", "--from", SENDER], "nowhere: no such key"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    aiperf: Any, mailed: Any, options: list[str], message: str
) -> None:
    words = [str(mailed.path) if word == "CAMPAIGN" else word for word in options]
    done = aiperf("mail", *words, "--to", RECEIVER, "--save", "x.eml")
    assert done.returncode == 2
    assert message in done.stderr


def test_a_campaign_that_has_not_begun_has_no_commitment(aiperf: Any, mailed: Any) -> None:
    mailed.directory.journal.unlink()
    done = aiperf("mail", mailed.path, "--commitment", "--to", RECEIVER, "--from", SENDER, "--save", "x.eml")
    assert done.returncode == 2
    assert "has no commitment yet: `aiperf-orch run` begins the campaign" in done.stderr


def test_a_campaign_that_still_runs_is_not_mailed(aiperf: Any, make_true: Any) -> None:
    mailed = make_true(empty=True)
    done = aiperf("mail", mailed.directory.path, "--to", RECEIVER, "--from", SENDER, "--save", "x.eml")
    assert done.returncode == 4
    assert "the campaign still runs" in done.stderr


def test_the_default_sender_is_the_contact(aiperf: Any, make_true: Any) -> None:
    mailed = make_true(system__contact="ops@site.example")
    done = aiperf("mail", mailed.directory.path, "--to", RECEIVER, "--save", "x.eml")
    assert "From: ops@site.example" in done.stderr
