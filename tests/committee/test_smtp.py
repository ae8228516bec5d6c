"""Tests of sending mail: a real SMTP server, with and without TLS, an executable sendmail, addresses and logins."""

from __future__ import annotations

import email.policy
import os
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.commands.mail import preview
from aiperf_orch.committee.smtp import check_address, parse_server, send, send_locally
from aiperf_orch.util.errors import AiperfError, UsageError
from committee.mail_server import RECEIVER, SENDER, read_mail

# aiosmtpd does not detect implicit TLS
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH")


@pytest.fixture
def message() -> EmailMessage:
    """A mail to two recipients."""
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"], message["To"], message["Subject"] = SENDER, f"{RECEIVER}, second@b.example", "Größe"
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
    sent = read_mail(envelope.content)
    assert done.stdout == sent["Message-ID"] + "\n"
    assert len(list(sent.iter_attachments())) == 3
    assert (server.inbox.encrypted, server.inbox.users) == ([True], ["admin"])


@pytest.mark.parametrize("tls", ["none", "starttls", "tls"])
def test_a_server_accepts_the_mail(send_to: Any, start: Any, tls: str) -> None:
    server = start(tls, login=tls != "none")
    assert send_to(server.port, tls, login=tls != "none") == []
    [envelope] = server.inbox.mails
    assert (envelope.mail_from, envelope.rcpt_tos) == (SENDER, [RECEIVER, "second@b.example"])
    assert read_mail(envelope.content).get_content().split() == ["words", "."]
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
    message.replace_header("To", f"unknown@b.example, {RECEIVER}")
    [refusal] = send_to(server.port, "none")
    assert refusal.startswith("unknown@b.example: 550 no such user here")
    assert refusal.isprintable()
    assert [envelope.rcpt_tos for envelope in server.inbox.mails] == [[RECEIVER]]


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
    assert (tmp_path / "arguments").read_text().split() == ["-i", "-f", SENDER, "--", RECEIVER, "second@b.example"]
    sent = (tmp_path / "sent").read_bytes()
    assert b"\r" not in sent
    assert read_mail(sent).get_content() == "words\n.\n"


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
