"""`mail`: send a campaign's result or commitment to a committee, after a preview and the user's agreement."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Final

import click
from pydantic import ValidationError

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import replace_file
from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.commitment import read_commitment
from aiperf_orch.commands.escaped_output import show
from aiperf_orch.commands.package import check_not_running
from aiperf_orch.committee.smtp import Server, check_address, send, send_locally
from aiperf_orch.util.errors import AiperfError, RecordError, UsageError
from aiperf_orch.util.units import now

_SENDMAIL_TIMEOUT: Final = 60.0


@dataclass(frozen=True)
class MailContents:
    """What is mailed.

    Attributes:
        campaign_dir: A campaign that does not run at present, or whose commitment is announced.
        package: An existing package that is sent in place of a campaign's.
        key: SSH key that signs the package.
        commitment: Send the commitment to the campaign only.
        package_limit: Limit in MiB; a larger package is not attached, and its SHA-256 stands in the text.
        pseudonyms: Names of hosts, users and accounts are replaced in the package.
    """

    campaign_dir: Path | None = None
    package: Path | None = None
    key: Path | None = None
    commitment: bool = False
    package_limit: int = 10
    pseudonyms: bool = False


def mail_result(
    contents: MailContents,
    *,
    recipients: Sequence[str],
    sender: str | None,
    server: Server | None,
    sendmail: bool,
    save: Path | None,
    yes: bool,
) -> CommandOutput:
    """Compose the mail, print a preview, and send or save it.

    Args:
        contents: What is mailed.
        recipients: Mail addresses.
        sender: A mail address; None is the site file's `system.contact`.
        server: The SMTP server that sends it, if any.
        sendmail: This machine's sendmail sends it.
        save: A file to which it is written, if any.
        yes: Send without asking.

    Returns:
        The path of the saved file and the Message-ID, a line each.

    Raises:
        UsageError: for an invalid address, or when no way of sending was chosen.
        AiperfError: when the package is not verified, or the server refused the mail or a recipient.
    """
    if not (server or sendmail or save):
        raise UsageError("mail: choose how to send it: --smtp HOST, --sendmail or --save FILE.eml")
    if server and sendmail:
        raise UsageError("mail: --smtp and --sendmail exclude one another")
    for recipient in recipients:
        check_address(recipient, "--to")
    message = _compose(contents, recipients, sender)
    click.echo(preview(message), err=True, nl=False)
    lines: list[str] = []
    if save:
        replace_file(save, message.as_bytes())
        lines.append(str(save))
    if not (server or sendmail):
        return _lines(lines)
    if not yes and not _confirmed():
        raise AiperfError("not sent")
    refused: list[str] = []
    if server:
        refused = send(message, server)
    else:
        send_locally(message, _SENDMAIL_TIMEOUT)
    lines.append(str(message["Message-ID"]))
    if refused:
        show(_lines(lines).text)
        listing = "\n".join(f"  {line}" for line in refused)
        raise AiperfError(f"the mail was sent, but not to all recipients; the server refused\n{listing}")
    return _lines(lines)


def preview(message: EmailMessage) -> str:
    """Headers and text of a mail, for the user to read before it is sent."""
    lines = [f"{name}: {message[name]}" for name in ("From", "To", "Subject", "Message-ID")]
    body = message.get_body(("plain",))
    text = body.get_content() if body else ""
    return "\n".join([*lines, "", *(f"  {line}".rstrip() for line in text.splitlines()), "", ""])


def _compose(contents: MailContents, recipients: Sequence[str], sender: str | None) -> EmailMessage:
    """The mail of a campaign, of a package or of a commitment."""
    from aiperf_orch.committee.mail import MailHeaders, compose, compose_commitment, compose_package

    most_bytes = contents.package_limit << 20
    if contents.package is not None:
        if contents.campaign_dir or contents.commitment or contents.pseudonyms:
            raise UsageError("--package: sends this file as it is, without a campaign, --commitment or --pseudonyms")
        if sender is None:
            raise UsageError("--from: is required with --package")
        headers = MailHeaders(check_address(sender, "--from"), recipients, now())
        return compose_package(contents.package, headers, most_bytes=most_bytes, key=contents.key)
    if contents.campaign_dir is None:
        raise UsageError("mail: name the campaign's directory, or a package with --package FILE")
    directory = CampaignDirectory.open(contents.campaign_dir)
    headers = MailHeaders(_sender(sender, directory), recipients, now())
    if contents.commitment:
        if contents.key or contents.pseudonyms:
            raise UsageError("--commitment: sends no package: leave out --sign and --pseudonyms")
        return compose_commitment(directory, headers, *_commitment(directory))
    return compose(
        directory,
        headers,
        most_bytes=most_bytes,
        with_pseudonyms=contents.pseudonyms,
        key=contents.key,
        snapshot=check_not_running(directory),
    )


def _commitment(directory: CampaignDirectory) -> tuple[str, datetime]:
    """The commitment to a campaign and the time at which it was created."""
    try:
        found = read_commitment(directory)
    except FileNotFoundError:
        found = None
    except ValidationError:
        raise RecordError(f"{directory.journal}:1: is not the first line of a journal") from None
    if found is None:
        raise UsageError(f"{directory.path}: has no commitment yet: `aiperf-orch run` begins the campaign")
    commitment, created = found
    return commitment, created.time


def _lines(lines: Sequence[str]) -> CommandOutput:
    return CommandOutput("".join(f"{line}\n" for line in lines))


def _sender(given: str | None, directory: CampaignDirectory) -> str:
    if given is not None:
        return check_address(given, "--from")
    contact = directory.settings.system.contact
    try:
        return check_address(contact or "", "system.contact")
    except UsageError:
        raise UsageError("--from: is required: the site file's system.contact is no mail address") from None


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        raise UsageError("mail: there is no terminal to confirm this: --yes sends without asking")
    return click.confirm("Send it?", err=True)
