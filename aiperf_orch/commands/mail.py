"""`mail`: brings a campaign's result to a committee; shows what will be sent, and asks, before anything leaves."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from email.message import EmailMessage
from pathlib import Path
from typing import Final

import click

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import replace_file
from aiperf_orch.commands.package import check_over
from aiperf_orch.commands.visible_output import show
from aiperf_orch.committee.smtp import Server, check_address, send, send_locally
from aiperf_orch.util.errors import AiperfError, UsageError
from aiperf_orch.util.units import now

_SENDMAIL_TIMEOUT: Final = 60.0


def mail(
    campaign_dir: Path,
    *,
    recipients: Sequence[str],
    sender: str | None,
    server: Server | None,
    sendmail: bool,
    save: Path | None,
    package_limit: int,
    pseudonyms: bool,
    yes: bool,
) -> None:
    """Compose the mail, show it, and send or save it.

    Args:
        campaign_dir: a campaign that does not run at present.
        recipients: addresses.
        sender: an address; by default the site file's `system.contact`.
        server: sends it, if one is given.
        sendmail: this machine's own sends it.
        save: a file that it is written to.
        package_limit: MiB; a larger package is not attached, and its SHA-256 is told.
        pseudonyms: hosts and users get pseudonyms in the package.
        yes: nobody is asked.

    Raises:
        UsageError: for an address that is none, or when nobody says where the mail should go.
        AiperfError: when it was refused.
    """
    if not (server or sendmail or save):
        raise UsageError("mail: say how it should leave: --smtp HOST, --sendmail or --save FILE.eml")
    if server and sendmail:
        raise UsageError("mail: --smtp and --sendmail exclude one another")
    for recipient in recipients:
        check_address(recipient, "--to")
    directory = CampaignDirectory.open(campaign_dir)
    snapshot = check_over(directory)
    from aiperf_orch.committee.mail import compose

    message = compose(
        directory,
        sender=_sender(sender, directory),
        recipients=recipients,
        time=now(),
        most_bytes=package_limit << 20,
        with_pseudonyms=pseudonyms,
        snapshot=snapshot,
    )
    click.echo(preview(message), err=True, nl=False)
    if save:
        replace_file(save, message.as_bytes())
        show(f"{save}\n")
    if not (server or sendmail):
        return
    if not yes and not _confirmed():
        raise AiperfError("not sent")
    refused: list[str] = []
    if server:
        refused = send(message, server)
    else:
        send_locally(message, _SENDMAIL_TIMEOUT)
    show(f"{message['Message-ID']}\n")
    if refused:
        listing = "\n".join(f"  {line}" for line in refused)
        raise AiperfError(f"the mail was sent, but not to everybody; the server refused\n{listing}")


def preview(message: EmailMessage) -> str:
    """What a person should see before a mail leaves: its headers, its text, its attachments."""
    lines = [f"{name}: {message[name]}" for name in ("From", "To", "Subject", "Message-ID")]
    body = message.get_body(("plain",))
    text = body.get_content() if body else ""
    return "\n".join([*lines, "", *(f"  {line}".rstrip() for line in text.splitlines()), "", ""])


def _sender(given: str | None, directory: CampaignDirectory) -> str:
    if given is not None:
        return check_address(given, "--from")
    contact = directory.settings.system.contact
    try:
        return check_address(contact or "", "system.contact")
    except UsageError:
        raise UsageError("--from: is needed: the site file's system.contact is no mail address") from None


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        raise UsageError("mail: nobody can be asked here; --yes sends without asking")
    return click.confirm("Send it?", err=True)
