"""Delivery of mail over SMTP or by the local sendmail. Passwords are never sent without encryption."""

from __future__ import annotations

import os
import re
import shutil
import smtplib
import ssl
import stat
import subprocess
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Final

from aiperf_orch.util.errors import AiperfError, UsageError
from aiperf_orch.util.text import one_line, visible
from aiperf_orch.util.units import parse_duration

_PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}
_SENDMAIL: Final = ("/usr/sbin/sendmail", "/usr/lib/sendmail")
_MOST_BYTES: Final = 4096
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ADDRESS: Final = re.compile(rf"(?!-){_ATOM}(\.{_ATOM})*@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_LONGEST_ADDRESS: Final = 254  # RFC 5321


@dataclass(frozen=True)
class Login:
    """Login at a mail server. Its representation does not contain the password."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.user!r})"


@dataclass(frozen=True)
class Server:
    """A mail server. `encryption` is `starttls`, `tls` or `none`; `timeout` is for each reply, in seconds."""

    host: str
    port: int
    encryption: str
    login: Login | None
    timeout: float


def check_address(address: str, option: str) -> str:
    """Return a mail address unchanged if it has the form `name@host`.

    Args:
        address: to check.
        option: names the source of the address in the error message.

    Raises:
        UsageError: The address has another form; this excludes header injection and options of sendmail.
    """
    if len(address) > _LONGEST_ADDRESS or not _ADDRESS.fullmatch(address):
        raise UsageError(f"{option}: {visible(address)!r:.100} is not a mail address such as results@example.org")
    return address


def parse_server(address: str, encryption: str, login_file: Path | None, timeout: str) -> Server:
    """Parse the options that describe a mail server.

    Args:
        address: `host` or `host:port`; the default port depends on the encryption.
        encryption: `starttls`, `tls` or `none`.
        login_file: has two lines, user and password; None logs in nowhere.
        timeout: for each reply, a duration with its unit.

    Raises:
        UsageError: The address is invalid, a login has no encryption, or others can read the login file.
    """
    host, colon, digits = address.rpartition(":")
    if not colon or address.endswith("]"):  # a bare IPv6 address in brackets
        host, digits = address, str(_PORTS[encryption])
    host = host.removeprefix("[").removesuffix("]")
    if not host.isprintable() or not host or " " in host or not (digits.isascii() and digits.isdigit()):
        raise UsageError(f"--smtp: {address!r:.100} is not a server such as mail.example.org or mail.example.org:587")
    if not 0 < int(digits[:9]) < 65536:
        raise UsageError(f"--smtp: {digits:.9} is not a port")
    if login_file and encryption == "none":
        raise UsageError("--login-file: a password is never sent without encryption: use --tls starttls or --tls tls")
    try:
        seconds = parse_duration(timeout)
    except ValueError as error:
        raise UsageError(f"--timeout: {error}") from None
    if not 0 < seconds <= 3600:
        raise UsageError("--timeout: must be longer than 0 and at most 1h")
    return Server(host, int(digits), encryption, _read_login(login_file) if login_file else None, seconds)


def send(message: EmailMessage, server: Server) -> list[str]:
    """Send a mail over SMTP.

    Returns:
        One line for each recipient that the server refused while it accepted others.

    Raises:
        AiperfError: The mail was not sent, or it is unknown whether it was; the message states which.
    """
    handed_over = False
    try:
        with _connect(server) as connection:
            if server.login:
                connection.login(server.login.user, server.login.password)
            sender, recipients = _envelope(message)
            handed_over = True
            refused = connection.sendmail(sender, recipients, message.as_bytes())
            handed_over = False
        return [f"{recipient}: {_format_reply(*reply)}" for recipient, reply in refused.items()]
    except ssl.SSLCertVerificationError as error:
        raise AiperfError(
            f"{server.host}: its certificate is not trusted: {error.verify_message}; nothing was sent. "
            "If your site issued it, set SSL_CERT_FILE to the certificate of the issuer"
        ) from None
    except smtplib.SMTPRecipientsRefused as error:
        replies = "; ".join(f"{recipient}: {_format_reply(*reply)}" for recipient, reply in error.recipients.items())
        raise AiperfError(f"{server.host}: refused every recipient, nothing was sent: {replies}") from None
    except smtplib.SMTPAuthenticationError as error:
        reply = _format_reply(error.smtp_code, error.smtp_error)
        raise AiperfError(f"{server.host}: refused the login, nothing was sent: {reply}") from None
    except smtplib.SMTPResponseException as error:
        reply = _format_reply(error.smtp_code, error.smtp_error)
        raise AiperfError(f"{server.host}: refused the mail: {reply}") from None
    except smtplib.SMTPNotSupportedError as error:
        raise AiperfError(f"{server.host}: nothing was sent: {error}; see --tls") from None
    except (smtplib.SMTPException, OSError) as error:
        unknown = "it is unknown whether the server accepted the mail: ask the recipient before you send it again"
        timed_out = TimeoutError in (type(error), type(error.__context__))  # smtplib wraps some of them
        reason = "it did not reply in time" if timed_out else str(error) or repr(error)
        outcome = unknown if handed_over else "nothing was sent"
        raise AiperfError(f"{server.host}:{server.port}: {reason}; {outcome}") from None


def send_locally(message: EmailMessage, timeout: float) -> None:
    """Send a mail by the local sendmail.

    Args:
        message: the mail.
        timeout: in seconds.

    Raises:
        UsageError: There is no sendmail.
        AiperfError: sendmail refused the mail or did not finish in time.
    """
    program = shutil.which("sendmail") or next(filter(os.path.exists, _SENDMAIL), None)
    if program is None:
        raise UsageError("--sendmail: there is no sendmail on this machine; use --smtp or --save")
    sender, recipients = _envelope(message)
    command = [program, "-i", "-f", sender, "--", *recipients]
    text = message.as_bytes(policy=message.policy.clone(linesep="\n"))
    try:
        done = subprocess.run(command, input=text, capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise AiperfError(f"{program}: did not finish in time; it is unknown whether the mail was accepted") from None
    except OSError as error:
        raise AiperfError(f"{program}: cannot be run: {error.strerror}") from None
    if done.returncode:
        reason = one_line(done.stderr.decode(errors="replace"))
        raise AiperfError(f"{program}: refused the mail (exit status {done.returncode}): {reason:.300}")


def _connect(server: Server) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if server.encryption == "tls":
        return smtplib.SMTP_SSL(server.host, server.port, timeout=server.timeout, context=context)
    connection = smtplib.SMTP(server.host, server.port, timeout=server.timeout)
    try:
        if server.encryption == "starttls":
            connection.starttls(context=context)
    except BaseException:
        connection.close()
        raise
    return connection


def _envelope(message: EmailMessage) -> tuple[str, list[str]]:
    [sender] = [address.addr_spec for address in message["From"].addresses]
    return sender, [address.addr_spec for address in message["To"].addresses]


def _read_login(path: Path) -> Login:
    """Read user and password from a file of two lines that only its owner can read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path}: not a file")
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise UsageError(
                f"{path}: contains a password, and others can read it or own it "
                f"(mode {stat.S_IMODE(status.st_mode):04o}): chmod 600 {path}"
            )
        try:
            lines = file.read(_MOST_BYTES).decode().splitlines()
        except UnicodeDecodeError:
            lines = []
    if len(lines) != 2 or not all(line and line.isprintable() for line in lines):
        raise UsageError(f"{path}: a login file has two lines: the user name and the password")
    return Login(*lines)


def _format_reply(code: int, text: bytes | str) -> str:
    """The reply of a server as one printable line."""
    decoded = text.decode(errors="replace") if isinstance(text, bytes) else text
    return f"{code} {one_line(decoded):.300}"
