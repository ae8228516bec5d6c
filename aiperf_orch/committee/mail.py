"""Composition of the mail that submits a result to a committee; `smtp` sends it."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from importlib import resources
from pathlib import Path
from typing import Final

import jinja2

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.campaign.snapshot import CampaignSnapshot
from aiperf_orch.package.packing import write_package
from aiperf_orch.results.summary import summary_lines
from aiperf_orch.results.tables import result_row
from aiperf_orch.util.temporary_folders import scratch_folder
from aiperf_orch.util.text import visible, visible_lines
from aiperf_orch.util.units import format_ops

_MIB: Final = 1 << 20


@dataclass(frozen=True)
class Attachment:
    """One attached file of a result."""

    name: str
    data: bytes

    @property
    def sha256(self) -> str:
        """SHA-256 of the contents."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def size(self) -> str:
        """Formatted size, such as `12.5 KiB`."""
        size = len(self.data)
        return f"{size / _MIB:.1f} MiB" if size >= _MIB else f"{size / 1024:.1f} KiB"


def compose(
    directory: CampaignDirectory,
    *,
    sender: str,
    recipients: Sequence[str],
    time: datetime,
    most_bytes: int,
    with_pseudonyms: bool,
    snapshot: CampaignSnapshot | None = None,
) -> EmailMessage:
    """Compose the mail of a result: a summary as text, with result.csv, report.html and the package attached.

    The Message-ID is derived from the campaign and its result, so that a repeated submission can be recognised.

    Args:
        directory: the campaign directory.
        sender: an address that `check_address` has accepted.
        recipients: addresses that `check_address` has accepted.
        time: date of the mail.
        most_bytes: a larger package is not attached; the mail states its SHA-256 instead.
        with_pseudonyms: replace names of hosts and users in the package by pseudonyms.
        snapshot: of the campaign's journal, if the caller has read it; None reads the journal.
    """
    with scratch_folder() as scratch:
        path = scratch / f"aiperf-{directory.config.tag}.tar.gz"
        result = write_package(directory, path, with_pseudonyms=with_pseudonyms, snapshot=snapshot)
        package = Attachment(path.name, path.read_bytes())
        # attach the redacted files of the package, never those of the campaign directory
        files = [_from_package(path, name) for name in (MEMBERS.result.name, MEMBERS.report.name)]
    row = result_row(result)
    fits = len(package.data) <= most_bytes
    attached = [*files, package] if fits else files
    message = EmailMessage(policy=SMTP)
    marks = "SIMULATED, " if result.simulated else ""
    message["From"] = Address(addr_spec=sender)
    message["To"] = [Address(addr_spec=recipient) for recipient in recipients]
    message["Subject"] = visible(f"AIPerf result ({marks}{format_ops(result.score.score)}): {row['system']}")
    message["Date"] = format_datetime(time)
    host = sender.rpartition("@")[2]
    message["Message-ID"] = f"<aiperf.{directory.config.tag}.{files[0].sha256[:32]}@{host}>"
    text = _text(
        row=row,
        simulated=result.simulated,
        summary="\n".join(summary_lines(result)),
        attachments=attached,
        left_out=None if fits else package,
        package=package.name,
    )
    message.set_content(text, cte="quoted-printable")
    for file in attached:
        kind, subtype, parameters = _CONTENT_TYPES[file.name.partition(".")[2]]
        message.add_attachment(file.data, kind, subtype, filename=file.name, params=parameters)
    return message


_CONTENT_TYPES: Final = {
    "csv": ("text", "csv", {"charset": "utf-8"}),
    "html": ("text", "html", {"charset": "utf-8"}),
    "tar.gz": ("application", "gzip", {}),
}


def _from_package(path: Path, name: str) -> Attachment:
    with tarfile.open(path) as archive:
        member = next(item for item in archive if item.name.partition("/")[2] == name)
        file = archive.extractfile(member)
        return Attachment(name, file.read() if file else b"")


def _text(**fields: object) -> str:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  plain text
        finalize=lambda value: visible_lines(value) if isinstance(value, str) else value,
    )
    template = (resources.files("aiperf_orch.templates") / "mail.txt.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(fields)
