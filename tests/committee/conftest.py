"""Fixtures of mail to a committee: a server, a campaign, and the command."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from committee.mail_server import RECEIVER, SENDER, MailServer


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The authority that issues the certificates of servers; `file` contains its own certificate."""
    authority: Any = trustme.CA()
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    authority.file = file
    return authority


@pytest.fixture
def start(authority: Any) -> Iterator[Callable[..., MailServer]]:
    """Starts mail servers."""
    servers: list[MailServer] = []

    def start(tls: str = "none", *, login: bool = False, silent: bool = False, name: str = "127.0.0.1") -> MailServer:
        context = None
        if tls != "none":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(name).configure_cert(context)
        servers.append(MailServer(context, tls=tls == "tls", login=login, silent=silent))
        return servers[-1]

    yield start
    for server in servers:
        if server.running:
            server.close()


@pytest.fixture
def mailed(make_true: Callable[..., Any]) -> Any:
    """A finished campaign with a private setting."""
    return make_true(system__name="Größe 1", scheduler__setup=["export TOKEN=s3cret-token"])


@pytest.fixture
def mail(aiperf: Callable[..., Any], mailed: Any, authority: Any) -> Callable[..., Any]:
    """Runs `mail` for the campaign; it trusts the authority."""

    def mail(*options: Any, to: str = RECEIVER) -> Any:
        environment = os.environ | {"SSL_CERT_FILE": str(authority.file)}
        words = ("mail", mailed.directory.path, "--to", to, "--from", SENDER, *options)
        return aiperf(*words, env=environment, stdin=subprocess.DEVNULL)

    return mail


@pytest.fixture
def login_file(tmp_path: Path) -> Path:
    path = tmp_path / "login"
    path.write_text("admin\ns3cret\n")
    path.chmod(0o600)
    return path
