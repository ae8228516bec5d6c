"""Tests of `mail` with a real SMTP server, with and without TLS, and with an executable sendmail."""

from __future__ import annotations

import asyncio
import email
import email.policy
import hashlib
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.commands.mail import preview
from aiperf_orch.committee.mail import MailHeaders, compose
from aiperf_orch.committee.smtp import check_address, parse_server, send, send_locally
from aiperf_orch.package.packing import write_package
from aiperf_orch.package.signature import sign
from aiperf_orch.package.verify import verify
from aiperf_orch.results.result import compute_result
from aiperf_orch.util.errors import AiperfError, UsageError
from aiperf_orch.util.units import format_ops, now
from package_fixtures import add_attempt, add_trials

# aiosmtpd does not detect implicit TLS
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH")
_FROM = "admin@site.example"
_TO = "results@committee.example"


class _Inbox:
    """Handler of the server: it stores mail, and refuses the recipient `unknown`."""

    def __init__(self) -> None:
        self.mails: list[Envelope] = []
        self.encrypted: list[bool] = []
        self.users: list[str] = []
        self.drops_connection = False

    async def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("unknown@"):
            return "550 no such user here\x1b[31m"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        if self.drops_connection:
            server.transport.abort()
        self.mails.append(envelope)
        self.encrypted.append(session.ssl is not None or server.transport.get_extra_info("sslcontext") is not None)
        return "250 taken"

    def check(self, server: Any, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.users.append(data.login.decode())
        return AuthResult(success=data.password == b"s3cret", handled=False)


class _MailServer:
    """A mail server in a thread, at a port that the system selects; `tls` selects implicit TLS, otherwise STARTTLS."""

    def __init__(self, context: ssl.SSLContext | None, *, tls: bool, login: bool, silent: bool = False) -> None:
        self.inbox = _Inbox()
        self._loop = asyncio.new_event_loop()

        def make() -> Any:
            if silent:
                return asyncio.Protocol()
            return SMTP(
                self.inbox,
                loop=self._loop,
                tls_context=None if tls else context,
                require_starttls=context is not None and not tls,
                authenticator=self.inbox.check,
                auth_required=login,
                auth_require_tls=not tls,
            )

        started = self._loop.create_server(make, "127.0.0.1", 0, ssl=context if tls else None)
        self._server = self._loop.run_until_complete(started)
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.running = True

    def close(self) -> None:
        self.running = False
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=60)
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The authority that issues the certificates of servers; `file` contains its own certificate."""
    authority: Any = trustme.CA()
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    authority.file = file
    return authority


@pytest.fixture
def start(authority: Any) -> Iterator[Callable[..., _MailServer]]:
    """Starts mail servers."""
    servers: list[_MailServer] = []

    def start(tls: str = "none", *, login: bool = False, silent: bool = False, name: str = "127.0.0.1") -> _MailServer:
        context = None
        if tls != "none":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(name).configure_cert(context)
        servers.append(_MailServer(context, tls=tls == "tls", login=login, silent=silent))
        return servers[-1]

    yield start
    for server in servers:
        if server.running:
            server.close()


@pytest.fixture
def made(make_true: Callable[..., Any]) -> Any:
    """A finished campaign with a private setting."""
    return make_true(system__name="Größe 1", scheduler__setup=["export TOKEN=s3cret-token"])


@pytest.fixture
def mail(aiperf: Callable[..., Any], made: Any, authority: Any) -> Callable[..., Any]:
    """Runs `mail` for the campaign; it trusts the authority."""

    def mail(*options: Any, to: str = _TO) -> Any:
        environment = os.environ | {"SSL_CERT_FILE": str(authority.file)}
        words = ("mail", made.directory.path, "--to", to, "--from", _FROM, *options)
        return aiperf(*words, env=environment, stdin=subprocess.DEVNULL)

    return mail


@pytest.fixture
def login_file(tmp_path: Path) -> Path:
    path = tmp_path / "login"
    path.write_text("admin\ns3cret\n")
    path.chmod(0o600)
    return path


def _read(data: bytes | str | None) -> EmailMessage:
    assert isinstance(data, bytes)
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


# contents


def _compose(made: Any, **changes: Any) -> EmailMessage:
    headers = MailHeaders(_FROM, changes.pop("recipients", [_TO]), changes.pop("time", now()))
    fields: dict[str, Any] = {"most_bytes": 1 << 20, "with_pseudonyms": False}
    return compose(made.directory, headers, **fields | changes)


def test_the_mail_has_summary_row_report_and_a_verified_package(mail: Any, made: Any, tmp_path: Path) -> None:
    done = mail("--save", "result.eml")
    assert (done.returncode, done.stdout) == (0, "result.eml\n")
    message = _read((tmp_path / "result.eml").read_bytes())
    ops = format_ops(compute_result(made.directory).score.score)
    assert (message["From"], message["To"]) == (_FROM, _TO)
    assert message["Subject"] == f"AIPerf result (SIMULATED, {ops}): Größe 1"
    body = message.get_body(("plain",))
    assert body is not None
    text = body.get_content()
    for words in ("SIMULATED", "Größe 1", f"score            {ops}", "1.94%", "not rankable", "trained", "SHA-256"):
        assert words in text
    parts = {part.get_filename(): part.get_content() for part in message.iter_attachments()}
    package = f"aiperf-{made.directory.config.tag}.tar.gz"
    assert list(parts) == ["result.csv", "report.html", package]
    assert repr(compute_result(made.directory).score.score) in parts["result.csv"]
    assert parts["report.html"].startswith("<!DOCTYPE html>")
    (tmp_path / "got.tar.gz").write_bytes(parts[package])
    found = verify(tmp_path / "got.tar.gz")
    assert found.verified
    assert found.sha256 in text
    assert b"s3cret-token" not in (tmp_path / "result.eml").read_bytes()
    assert "s3cret-token" not in parts["report.html"]
    assert "(" + f"{len(parts[package]) / 1024:.1f} KiB)" in text


def test_the_message_id_follows_from_the_result(made: Any) -> None:
    first = _compose(made)["Message-ID"]
    assert _compose(made, time=now() + timedelta(days=1), recipients=["x@else.example"])["Message-ID"] == first
    assert first.startswith(f"<aiperf.{made.directory.config.tag}.")
    add_attempt(made, 4, 1, 300, {1: 4})
    assert _compose(made)["Message-ID"] != first


def test_a_package_that_is_too_large_is_replaced_by_its_hash(made: Any, tmp_path: Path) -> None:
    message = _compose(made, most_bytes=0)
    assert [part.get_filename() for part in message.iter_attachments()] == ["result.csv", "report.html"]
    body = message.get_body(("plain",))
    assert body is not None
    assert "Too large for a mail" in body.get_content()
    write_package(made.directory, tmp_path / "p.tar.gz", with_pseudonyms=False)
    assert hashlib.sha256((tmp_path / "p.tar.gz").read_bytes()).hexdigest() in body.get_content()


def test_the_mail_is_shown_and_needs_a_terminal_for_confirmation(mail: Any, start: Any) -> None:
    server = start()
    done = mail("--smtp", f"127.0.0.1:{server.port}", "--tls", "none")
    assert done.returncode == 2
    for words in (f"From: {_FROM}", f"To: {_TO}", "Message-ID: <aiperf.", "score  ", "report.html"):
        assert words in done.stderr
    assert "there is no terminal to confirm this: --yes sends without asking" in done.stderr
    assert server.inbox.mails == []


@pytest.mark.parametrize(("answer", "sent"), [("y\n", 1), ("\n", 0)])
def test_the_user_confirms_before_sending(made: Any, start: Any, answer: str, sent: int) -> None:
    server = start()
    command = [sys.executable, "-m", "aiperf_orch.cli", "mail", str(made.directory.path), "--to", _TO, "--from", _FROM]
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
    mail: Any, made: Any, start: Any, aiperf: Any, key: Path, tmp_path: Path
) -> None:
    server = start()
    done = mail("--smtp", f"127.0.0.1:{server.port}", "--tls", "none", "--yes", "--sign", key)
    assert done.returncode == 0, done.stderr
    [envelope] = server.inbox.mails
    package = f"aiperf-{made.directory.config.tag}.tar.gz"
    names = _save_attachments(_read(envelope.content), tmp_path / "received")
    assert names == ["result.csv", "report.html", package, f"{package}.sig"]
    found = verify(tmp_path / "received" / package, tmp_path / "signers")
    assert (found.verified, found.signed_by) == (True, "site@example.org")
    [row] = json.loads(aiperf("rank", f"received/{package}", "--signers", "signers", "--format", "json").stdout)
    assert (row["signed_by"], row["status"]) == ("site@example.org", "not rankable")  # it is simulated


def test_an_existing_package_is_sent_as_it_is(aiperf: Any, made: Any, start: Any, key: Path, tmp_path: Path) -> None:
    write_package(made.directory, tmp_path / "mine.tar.gz", with_pseudonyms=True)
    sign(tmp_path / "mine.tar.gz", key)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("mine*")}
    server = start()
    command = ("mail", "--package", "mine.tar.gz", "--to", _TO, "--from", _FROM, "--yes")
    done = aiperf(*command, "--smtp", f"127.0.0.1:{server.port}", "--tls", "none")
    assert done.returncode == 0, done.stderr
    message = _read(server.inbox.mails[0].content)
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


def test_an_existing_package_can_be_signed_for_the_mail(aiperf: Any, made: Any, key: Path, tmp_path: Path) -> None:
    write_package(made.directory, tmp_path / "mine.tar.gz", with_pseudonyms=False)
    command = ("mail", "--package", "mine.tar.gz", "--to", _TO, "--from", _FROM, "--save", "x.eml")
    assert aiperf(*command, "--sign", key, "--package-limit", "0").returncode == 0
    message = _read((tmp_path / "x.eml").read_bytes())
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
    command = ("mail", "--to", _TO, "--from", _FROM, "--save", "x.eml", "--package")
    done = aiperf(*command, "bad.tar.gz")
    assert done.returncode == 1
    assert "bad.tar.gz: not sent, since it is not verified: result.csv:2: system: " in done.stderr
    assert aiperf(*command, "text").returncode == 1
    assert not (tmp_path / "x.eml").exists()


def test_a_commitment_is_mailed_and_listed_by_the_committee(aiperf: Any, make_true: Any, tmp_path: Path) -> None:
    made = make_true(empty=True, system__submitter="A Site")  # it runs
    done = aiperf("mail", made.path, "--commitment", "--to", _TO, "--from", _FROM, "--save", "x.eml")
    assert done.returncode == 0, done.stderr
    message = _read((tmp_path / "x.eml").read_bytes())
    assert message["Subject"] == "AIPerf commitment: a test system"
    assert list(message.iter_attachments()) == []
    body = message.get_body(("plain",))
    assert body is not None
    [line] = [line.strip() for line in body.get_content().splitlines() if line.endswith(format(now(), "%Y-%m-%d"))]
    add_trials(made)
    write_package(made.directory, tmp_path / "p.tar.gz", with_pseudonyms=False)
    assert verify(tmp_path / "p.tar.gz", commitment=line.partition(",")[0]).verified
    (tmp_path / "announced").write_text(f"{line}\n")
    [row] = json.loads(aiperf("rank", "p.tar.gz", "--commitments", "announced", "--format", "json").stdout)
    assert (row["announced"], row["commitment"]) == ("yes", line.partition(",")[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--from", _FROM], "name the campaign's directory, or a package with --package FILE"),
        (["--package", "p.tar.gz"], "--from: is required with --package"),
        (["--package", "p.tar.gz", "--pseudonyms", "--from", _FROM], "--package: sends this file as it is"),
        (["--package", "p.tar.gz", "--commitment", "--from", _FROM], "--package: sends this file as it is"),
        (["--package", "nowhere.tar.gz", "--from", _FROM], "nowhere.tar.gz: cannot be read"),
        (["CAMPAIGN", "--package", "p.tar.gz", "--from", _FROM], "--package: sends this file as it is"),
        (["CAMPAIGN", "--commitment", "--sign", "key", "--from", _FROM], "--commitment: sends no package"),
        (["CAMPAIGN", "--sign", "nowhere", "--from", _FROM], "nowhere: no such key"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    aiperf: Any, made: Any, options: list[str], message: str
) -> None:
    words = [str(made.path) if word == "CAMPAIGN" else word for word in options]
    done = aiperf("mail", *words, "--to", _TO, "--save", "x.eml")
    assert done.returncode == 2
    assert message in done.stderr


def test_a_campaign_that_has_not_begun_has_no_commitment(aiperf: Any, made: Any) -> None:
    made.directory.journal.unlink()
    done = aiperf("mail", made.path, "--commitment", "--to", _TO, "--from", _FROM, "--save", "x.eml")
    assert done.returncode == 2
    assert "has no commitment yet: `aiperf-orch run` begins the campaign" in done.stderr


# delivery


@pytest.fixture
def message() -> EmailMessage:
    """A mail to two recipients."""
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"], message["To"], message["Subject"] = _FROM, f"{_TO}, second@b.example", "Größe"
    message.set_content("words\n.\n", cte="quoted-printable")
    return message


@pytest.fixture
def send_to(
    message: EmailMessage, authority: Any, login_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[str]]:
    """Sends the mail to a local server; it trusts the authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))

    def send_to(port: int, tls: str, *, login: bool = False, timeout: str = "60s") -> list[str]:
        return send(message, parse_server(f"127.0.0.1:{port}", tls, login_file if login else None, timeout))

    return send_to


def test_the_command_sends_the_mail_and_prints_its_id(mail: Any, start: Any, login_file: Path) -> None:
    server = start("starttls", login=True)
    done = mail("--smtp", f"127.0.0.1:{server.port}", "--yes", "--login-file", login_file)
    assert done.returncode == 0, done.stderr
    [envelope] = server.inbox.mails
    sent = _read(envelope.content)
    assert done.stdout == sent["Message-ID"] + "\n"
    assert len(list(sent.iter_attachments())) == 3
    assert (server.inbox.encrypted, server.inbox.users) == ([True], ["admin"])


@pytest.mark.parametrize("tls", ["none", "starttls", "tls"])
def test_a_server_accepts_the_mail(send_to: Any, start: Any, tls: str) -> None:
    server = start(tls, login=tls != "none")
    assert send_to(server.port, tls, login=tls != "none") == []
    [envelope] = server.inbox.mails
    assert (envelope.mail_from, envelope.rcpt_tos) == (_FROM, [_TO, "second@b.example"])
    assert _read(envelope.content).get_content().split() == ["words", "."]
    assert server.inbox.encrypted == [tls != "none"]
    assert server.inbox.users == ([] if tls == "none" else ["admin"])


@pytest.mark.parametrize("tls", ["starttls", "tls"])
@pytest.mark.parametrize("why", ["unknown authority", "another's name"])
def test_an_untrusted_certificate_stops_sending(
    send_to: Any, start: Any, monkeypatch: pytest.MonkeyPatch, tls: str, why: str
) -> None:
    if why == "unknown authority":
        monkeypatch.delenv("SSL_CERT_FILE")
    server = start(tls, login=True, name="127.0.0.1" if why == "unknown authority" else "other.example")
    with pytest.raises(AiperfError, match=r"^127\.0\.0\.1: its certificate is not trusted: .*; nothing was sent\."):
        send_to(server.port, tls, login=True)
    assert (server.inbox.mails, server.inbox.users) == ([], [])


def test_a_server_without_starttls_receives_neither_mail_nor_password(send_to: Any, start: Any) -> None:
    server = start()
    with pytest.raises(AiperfError, match="nothing was sent: STARTTLS"):
        send_to(server.port, "starttls", login=True)
    assert (server.inbox.mails, server.inbox.users) == ([], [])


def test_a_wrong_password_is_reported(send_to: Any, start: Any, login_file: Path) -> None:
    login_file.write_text("admin\nwrong\n", encoding="utf-8")
    login_file.chmod(0o600)
    server = start("starttls", login=True)
    with pytest.raises(AiperfError, match="refused the login, nothing was sent: 535") as raised:
        send_to(server.port, "starttls", login=True)
    assert "wrong" not in str(raised.value)
    assert server.inbox.mails == []


def test_refused_recipients_are_reported(send_to: Any, start: Any, message: EmailMessage) -> None:
    server = start()
    message.replace_header("To", "unknown@b.example")
    with pytest.raises(
        AiperfError, match=r"refused every recipient, nothing was sent: unknown@b\.example: 550 no such"
    ):
        send_to(server.port, "none")
    assert server.inbox.mails == []
    message.replace_header("To", f"unknown@b.example, {_TO}")
    [refusal] = send_to(server.port, "none")
    assert refusal.startswith("unknown@b.example: 550 no such user here")
    assert refusal.isprintable()
    assert [envelope.rcpt_tos for envelope in server.inbox.mails] == [[_TO]]


def test_a_server_that_never_replies_times_out(send_to: Any, start: Any) -> None:
    server = start(silent=True)
    with pytest.raises(AiperfError, match=f"127.0.0.1:{server.port}: it did not reply in time; nothing was sent"):
        send_to(server.port, "none", timeout="300ms")


def test_a_broken_connection_leaves_the_outcome_unknown(send_to: Any, start: Any) -> None:
    server = start()
    server.inbox.drops_connection = True
    with pytest.raises(AiperfError, match="it is unknown whether the server accepted the mail: ask the recipient"):
        send_to(server.port, "none")


def test_a_refused_connection_is_reported(send_to: Any, start: Any) -> None:
    server = start()
    port = server.port
    server.close()
    with pytest.raises(AiperfError, match=f"127.0.0.1:{port}: .*; nothing was sent"):
        send_to(port, "none")


@pytest.mark.parametrize("status", [0, 75])
def test_sendmail_receives_the_mail(
    message: EmailMessage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    program = tmp_path / "bin" / "sendmail"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/arguments\ncat > {tmp_path}/sent\n'
        f'echo "the queue is full" >&2\nexit {status}\n'
    )
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    if status:
        with pytest.raises(AiperfError, match=r"refused the mail \(exit status 75\): the queue is full"):
            send_locally(message, 60)
    else:
        send_locally(message, 60)
    assert (tmp_path / "arguments").read_text().split() == ["-i", "-f", _FROM, "--", _TO, "second@b.example"]
    sent = (tmp_path / "sent").read_bytes()
    assert b"\r" not in sent
    assert _read(sent).get_content() == "words\n.\n"


# refused input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "choose how to send it: --smtp HOST, --sendmail or --save FILE.eml"),
        (["--to", "a@b\r\nBcc: x@y", "--save", "x.eml"], "--to: "),
    ],
)
def test_wrong_options_are_refused(mail: Any, tmp_path: Path, options: list[str], message: str) -> None:
    done = mail(*options)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "x.eml").exists()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("a b", "'a b' is not a server"),
        ("a:99999", "99999 is not a port"),
        ("a:-1", "is not a server"),
        (":25", "is not"),
    ],
)
def test_invalid_server_addresses_are_refused(address: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_server(address, "none", None, "1s")


@pytest.mark.parametrize("address", ["-oQ/tmp@b", "a@b\nX: y", "a@b,c@d", "a", "a@", "@b", "a @b", "<a@b>", "a@b" * 99])
def test_invalid_mail_addresses_are_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is not a mail address"):
        check_address(address, "--from")


def test_a_login_requires_encryption(login_file: Path) -> None:
    with pytest.raises(UsageError, match="--login-file: a password is never sent without encryption"):
        parse_server("h", "none", login_file, "1s")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_login_file_that_others_can_read_is_refused(login_file: Path, mode: int) -> None:
    login_file.chmod(mode)
    with pytest.raises(UsageError, match=rf"others can read it or own it \(mode {mode:04o}\): chmod 600 "):
        parse_server("h", "tls", login_file, "1s")


@pytest.mark.parametrize("text", ["", "admin\n", "admin\nsecret\nmore\n", "admin\n\x1b\n"])
def test_an_invalid_login_file_is_refused(login_file: Path, text: str) -> None:
    login_file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="a login file has two lines") as raised:
        parse_server("h", "tls", login_file, "1s")
    assert "secret" not in str(raised.value)


def test_a_login_file_that_is_a_pipe_does_not_block(tmp_path: Path, fails_if_blocked: None) -> None:
    os.mkfifo(tmp_path / "login", 0o600)
    with pytest.raises(UsageError, match="not a file"):
        parse_server("h", "tls", tmp_path / "login", "1s")


@pytest.mark.parametrize("timeout", ["5", "0s", "2h"])
def test_invalid_timeouts_are_refused(timeout: str) -> None:
    with pytest.raises(UsageError, match="--timeout: "):
        parse_server("h", "tls", None, timeout)


def test_a_login_does_not_show_its_password(login_file: Path) -> None:
    server = parse_server("mail.example.org", "tls", login_file, "10s")
    assert (server.host, server.port, server.timeout) == ("mail.example.org", 465, 10.0)
    assert server.login is not None
    assert server.login.password == "s3cret"
    assert "s3cret" not in repr(server)


def test_a_server_is_given_by_its_ipv6_address() -> None:
    assert [parse_server(text, "starttls", None, "1s").port for text in ("[::1]", "[::1]:2525")] == [587, 2525]
    assert parse_server("[::1]:2525", "starttls", None, "1s").host == "::1"


def test_a_campaign_that_still_runs_is_not_mailed(aiperf: Any, make_true: Any) -> None:
    made = make_true(empty=True)
    done = aiperf("mail", made.directory.path, "--to", _TO, "--from", _FROM, "--save", "x.eml")
    assert done.returncode == 4
    assert "the campaign still runs" in done.stderr


def test_the_default_sender_is_the_contact(aiperf: Any, make_true: Any) -> None:
    made = make_true(system__contact="ops@site.example")
    done = aiperf("mail", made.directory.path, "--to", _TO, "--save", "x.eml")
    assert "From: ops@site.example" in done.stderr


@settings(deadline=None, max_examples=300)
@given(st.text() | st.from_regex(r"[\w@.\-+<>,\r\n ]+"))
def test_an_address_cannot_inject_a_header(text: str) -> None:
    try:
        address = check_address(text, "--to")
    except UsageError:
        return
    message = EmailMessage(policy=email.policy.SMTP)
    message["To"] = address
    assert [line.split(b":")[0] for line in message.as_bytes().split(b"\r\n") if line] == [b"To"]
    assert [each.addr_spec for each in message["To"].addresses] == [address]
    assert preview(message).count("\n") < 10
