"""A real SMTP server for tests of mail, with and without TLS."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ssl
import threading
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

SENDER = "admin@site.example"
RECEIVER = "results@committee.example"


class Inbox:
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


class MailServer:
    """A mail server in a thread, at a port that the system selects; `tls` selects implicit TLS, otherwise STARTTLS."""

    def __init__(self, context: ssl.SSLContext | None, *, tls: bool, login: bool, silent: bool = False) -> None:
        self.inbox = Inbox()
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


def read_mail(data: bytes | str | None) -> EmailMessage:
    """Parse a mail that was sent or saved."""
    assert isinstance(data, bytes)
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message
