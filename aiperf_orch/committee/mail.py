"""Composes the mail that brings a result to a committee. Sending it is `sending`'s."""

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
from importlib.resources import files
from pathlib import Path
from typing import Final

import jinja2

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.package.packing import write_package
from aiperf_orch.results.summary import summary_lines
from aiperf_orch.results.tables import result_row
from aiperf_orch.util.temporary_folders import scratch_folder
from aiperf_orch.util.text import visible, visible_lines
from aiperf_orch.util.units import format_ops

_MIB: Final = 1 << 20


@dataclass(frozen=True)
class Part:
    """One file of a result, as it leaves the machine."""

    name: str
    data: bytes

    @property
    def sha256(self) -> str:
        """Of its bytes."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def size(self) -> str:
        """For people."""
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
) -> EmailMessage:
    """The mail of a campaign's result: what it is in words, result.csv, report.html, and the package.

    Its Message-ID follows from the campaign and its result: who gets the same result twice sees that it is the same.

    Args:
        directory: the campaign.
        sender: an address; it has passed `check_address`, as all addresses.
        recipients: addresses.
        time: the mail's date.
        most_bytes: a larger package is not attached; its SHA-256 is told instead.
        with_pseudonyms: hosts and users of the package get pseudonyms.
    """
    with scratch_folder() as scratch:
        path = scratch / f"aiperf-{directory.config.tag}.tar.gz"
        result = write_package(directory, path, with_pseudonyms=with_pseudonyms)
        package = Part(path.name, path.read_bytes())
        # what stands in the package, and nothing else, leaves the machine
        parts = [_from_package(path, name) for name in (MEMBERS.result.name, MEMBERS.report.name)]
    row = result_row(result)
    fits = len(package.data) <= most_bytes
    attached = [*parts, package] if fits else parts
    message = EmailMessage(policy=SMTP)
    marks = "SIMULATED, " if result.simulated else ""
    message["From"] = Address(addr_spec=sender)
    message["To"] = [Address(addr_spec=recipient) for recipient in recipients]
    message["Subject"] = visible(f"AIPerf result ({marks}{format_ops(result.score.score)}): {row['system']}")
    message["Date"] = format_datetime(time)
    host = sender.rpartition("@")[2]
    message["Message-ID"] = f"<aiperf.{directory.config.tag}.{parts[0].sha256[:32]}@{host}>"
    text = _text(
        row=row,
        simulated=result.simulated,
        summary="\n".join(summary_lines(result)),
        attachments=attached,
        left_out=None if fits else package,
        package=package.name,
    )
    message.set_content(text, cte="quoted-printable")
    for part in attached:
        kind, subtype, parameters = _KINDS[part.name.partition(".")[2]]
        message.add_attachment(part.data, kind, subtype, filename=part.name, params=parameters)
    return message


_KINDS: Final = {
    "csv": ("text", "csv", {"charset": "utf-8"}),
    "html": ("text", "html", {"charset": "utf-8"}),
    "tar.gz": ("application", "gzip", {}),
}


def _from_package(path: Path, name: str) -> Part:
    with tarfile.open(path) as archive:
        member = next(item for item in archive if item.name.partition("/")[2] == name)
        file = archive.extractfile(member)
        return Part(name, file.read() if file else b"")


def _text(**fields: object) -> str:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  plain text
        finalize=lambda value: visible_lines(value) if isinstance(value, str) else value,
    )
    return environment.from_string((files("aiperf_orch.templates") / "mail.txt.j2").read_text(encoding="utf-8")).render(
        fields
    )
