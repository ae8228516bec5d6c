"""Composition of the mails to a committee: a result, or the commitment to a campaign; `smtp` sends them."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from importlib import resources
from pathlib import Path
from typing import Any, Final

import jinja2

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.campaign.snapshot import CampaignSnapshot
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.package.packing import write_package
from aiperf_orch.package.signature import sign, signature_of
from aiperf_orch.package.verify import verify
from aiperf_orch.results.result import Result
from aiperf_orch.results.summary import summary_lines
from aiperf_orch.results.tables import result_row
from aiperf_orch.util.errors import AiperfError
from aiperf_orch.util.temporary_folders import scratch_folder
from aiperf_orch.util.text import visible, visible_lines
from aiperf_orch.util.units import format_bytes, format_ops, format_time

_CONTENT_TYPES: Final[Mapping[str, tuple[str, str, dict[str, str]]]] = {
    ".csv": ("text", "csv", {"charset": "utf-8"}),
    ".html": ("text", "html", {"charset": "utf-8"}),
    ".gz": ("application", "gzip", {}),
}
_ANY_CONTENT: Final = ("application", "octet-stream", dict[str, str]())


@dataclass(frozen=True)
class MailHeaders:
    """Sender, recipients and date of a mail. Addresses are those that `check_address` has accepted."""

    sender: str
    recipients: Sequence[str]
    time: datetime

    def message(self, subject: str, id: str) -> EmailMessage:  # noqa: A002  the header's name
        """A mail without a text; its Message-ID consists of `id` and the sender's host."""
        message = EmailMessage(policy=SMTP)
        message["From"] = Address(addr_spec=self.sender)
        message["To"] = [Address(addr_spec=recipient) for recipient in self.recipients]
        message["Subject"] = visible(subject)
        message["Date"] = format_datetime(self.time)
        message["Message-ID"] = f"<aiperf.{id}@{self.sender.rpartition('@')[2]}>"
        return message


@dataclass(frozen=True)
class Attachment:
    """One file of a result; `data` is None for a file that is not attached."""

    name: str
    length: int
    sha256: str
    data: bytes | None

    @classmethod
    def of(cls, name: str, data: bytes) -> Attachment:
        """A file that is attached."""
        return cls(name, len(data), hashlib.sha256(data).hexdigest(), data)

    @property
    def size(self) -> str:
        """Formatted size, such as `12.5 kB`."""
        return format_bytes(self.length)


def compose(
    directory: CampaignDirectory,
    headers: MailHeaders,
    *,
    most_bytes: int,
    with_pseudonyms: bool,
    key: Path | None = None,
    snapshot: CampaignSnapshot | None = None,
) -> EmailMessage:
    """Compose the mail of a campaign's result: a summary, with result.csv, report.html and the package attached.

    The Message-ID is derived from the campaign and its result, so that a repeated submission can be recognised.

    Args:
        directory: the campaign directory.
        headers: sender, recipients and date.
        most_bytes: a larger package is not attached; the mail states its SHA-256 instead.
        with_pseudonyms: replace names of hosts and users in the package by pseudonyms.
        key: SSH key that signs the package; the signature is attached. None signs nothing.
        snapshot: of the campaign's journal, if the caller has read it; None reads the journal.

    Raises:
        UsageError: The key does not sign.
    """
    with scratch_folder() as scratch:
        path = scratch / f"aiperf-{directory.config.tag}.tar.gz"
        result = write_package(directory, path, with_pseudonyms=with_pseudonyms, snapshot=snapshot)
        if key is not None:
            sign(path, key)
        return _result_mail(headers, result, path, signature_of(path), most_bytes)


def compose_package(package: Path, headers: MailHeaders, *, most_bytes: int, key: Path | None = None) -> EmailMessage:
    """Compose the mail of a result from its package, which is attached as it is, with the signature beside it.

    Args:
        package: the file; it is verified first.
        headers: sender, recipients and date.
        most_bytes: a larger package is not attached; the mail states its SHA-256 instead.
        key: SSH key that signs the package for this mail. None attaches the signature beside it, if there is one.

    Raises:
        UsageError: The file does not exist, or the key does not sign.
        AiperfError: The package is not verified.
    """
    mails: list[EmailMessage] = []

    with scratch_folder() as scratch:
        signature = signature_of(package)
        if key is not None:
            link = scratch / package.name
            link.symlink_to(package.absolute())
            signature = sign(link, key)

        def inspect(index: PackageIndex) -> None:
            mails.append(_result_mail(headers, index.result, package, signature, most_bytes))

        found = verify(package, inspect=inspect)
    if found.faults or not mails:
        advice = f"`aiperf-orch verify {package}` lists all"
        raise AiperfError(f"{package}: not sent, since it is not verified: {found.faults[0]}; {advice}")
    return mails[0]


def compose_commitment(
    directory: CampaignDirectory, headers: MailHeaders, commitment: str, began: datetime
) -> EmailMessage:
    """Compose the mail that announces a campaign by its commitment.

    Args:
        directory: the campaign directory.
        headers: sender, recipients and date.
        commitment: to the campaign.
        began: time of the journal's first line.
    """
    system, tag = directory.settings.system, directory.config.tag
    message = headers.message(f"AIPerf commitment: {system.name}", f"{tag}.commitment.{commitment[:32]}")
    text = _text(
        "mail_commitment.txt.j2",
        system=system,
        campaign=tag,
        began=format_time(began),
        commitment=commitment,
        date=headers.time.date().isoformat(),
    )
    message.set_content(text, cte="quoted-printable")
    return message


def _result_mail(headers: MailHeaders, result: Result, package: Path, signature: Path, most_bytes: int) -> EmailMessage:
    # attach the redacted files of the package, never those of the campaign directory
    files = [_from_package(package, name) for name in (MEMBERS.result.name, MEMBERS.report.name)]
    packed = _packed(package, most_bytes)
    attached = [*files, packed] if packed.data is not None else files
    if signature.is_file():
        attached.append(Attachment.of(signature.name, signature.read_bytes()))
    row = result_row(result)
    marks = "SIMULATED, " if result.simulated else ""
    message = headers.message(
        f"AIPerf result ({marks}{format_ops(result.score.score)}): {row['system']}",
        f"{row['campaign']}.{files[0].sha256[:32]}",
    )
    text = _text(
        "mail.txt.j2",
        row=row,
        simulated=result.simulated,
        summary="\n".join(summary_lines(result)),
        attachments=attached,
        left_out=packed if packed.data is None else None,
        package=packed.name,
    )
    message.set_content(text, cte="quoted-printable")
    for file in attached:
        kind, subtype, parameters = _CONTENT_TYPES.get(Path(file.name).suffix, _ANY_CONTENT)
        message.add_attachment(file.data, kind, subtype, filename=file.name, params=parameters)
    return message


def _packed(package: Path, most_bytes: int) -> Attachment:
    """The package, with its contents only if they are to be attached."""
    with package.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        length = file.tell()
        file.seek(0)
        return Attachment(package.name, length, digest, file.read() if length <= most_bytes else None)


def _from_package(path: Path, name: str) -> Attachment:
    with tarfile.open(path) as archive:
        member = next(item for item in archive if item.name.partition("/")[2] == name)
        file = archive.extractfile(member)
        return Attachment.of(name, file.read() if file else b"")


def _text(template: str, **fields: Any) -> str:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  plain text
        finalize=lambda value: visible_lines(value) if isinstance(value, str) else value,
    )
    source = (resources.files("aiperf_orch.templates") / template).read_text(encoding="utf-8")
    return environment.from_string(source).render(fields)
