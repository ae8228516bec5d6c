"""Journal: append-only list of the controller's decisions, each line chained to the one before it by SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from aiperf_orch.campaign.durable_files import AppendFile, read_whole_lines
from aiperf_orch.campaign.file_errors import translate_os_errors
from aiperf_orch.campaign.format_versions import JOURNAL, explain_newer, stated_in_line
from aiperf_orch.campaign.safe_reading import retry_transient
from aiperf_orch.records.base import first_error
from aiperf_orch.records.journal import Created, Entry, Opened, entry_adapter
from aiperf_orch.util.errors import NewerVersionError, RecordError
from aiperf_orch.util.units import not_before, now

_BEFORE_FIRST: Final = "0" * 64
AnyEntry = TypeVar("AnyEntry", bound=Entry)


def read_journal(path: Path) -> list[Entry]:
    """The journal's entries; a torn last line is not read.

    Raises:
        NewerVersionError: when a newer version of aiperf-orch wrote it, in a way that this one does not understand.
        RecordError: naming the line that is not an entry, out of order, or not chained to the line before it.
        TransientError: when it cannot be read for now.
    """
    return read_contents(path).entries


@dataclass(frozen=True)
class JournalPosition:
    """A place between two lines of a journal, and what stands before it.

    Attributes:
        lines: Number of lines before it.
        size: Their size in bytes.
        last: SHA-256 of the last of them, which the next line holds.
        sha256: SHA-256 of all these bytes.
    """

    lines: int
    size: int
    last: str
    sha256: str


@dataclass
class JournalContents:
    """A journal as read at one time; a later reader reads on from there.

    Attributes:
        entries: All entries, or those after the first `skipped` lines.
        last: SHA-256 of the last line.
        size: Size in bytes of all lines up to the last entry.
        digest: Hash of these bytes.
        skipped: Number of lines whose entries are not among `entries`: a saved state has what follows from them.
    """

    entries: list[Entry] = field(default_factory=list)
    last: str = _BEFORE_FIRST
    size: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    skipped: int = 0

    @property
    def position(self) -> JournalPosition:
        """The place after the last entry."""
        return JournalPosition(self.skipped + len(self.entries), self.size, self.last, self.digest.hexdigest())


def read_contents(path: Path) -> JournalContents:
    """As `read_journal`, for a reader that reads on later; nothing where there is no journal."""
    return read_on(path, JournalContents())


def read_on(path: Path, known: JournalContents) -> JournalContents:
    """The contents with the lines that were appended since; its list of entries is that of `known`.

    Raises:
        As `read_journal`.
    """
    try:
        return _read(path, known)
    except FileNotFoundError:
        return known


def rechained(entries: Iterable[Entry]) -> list[Entry]:
    """Entries that were changed, each with the digest of the line before it."""
    chained: list[Entry] = []
    before = _BEFORE_FIRST
    for entry in entries:
        chained.append(entry.model_copy(update={"prev": before}))
        before = _digest(chained[-1].to_line().encode())
    return chained


class Journal:
    """The journal, open for writing by the only controller.

    Its times never decrease: on a machine whose clock is behind the last line, this process continues from that time.
    """

    def __init__(
        self, path: Path, check_held: Callable[[], None], generation: int, known: JournalContents | None = None
    ) -> None:
        """Open it, and drop a torn last line.

        Args:
            path: The journal's file, created if it does not exist.
            check_held: Raises LockedError when another controller holds the campaign; called before each append.
            generation: Generation of this controller's lock, which stands in each entry.
            known: What this process has read of it before, and need not read again; its list of entries is taken over.

        Raises:
            RecordError: when it is damaged.
            LockedError: when another controller holds the campaign.
        """
        self._check_held = check_held
        self._generation = generation
        self._file = retry_transient(lambda: _opened(path))
        check_held()
        if known is not None and self._file.size < known.size:  # another file than the one that was read
            known = None
        self.number_known = len(known.entries) if known else 0
        contents = _read(path, known or JournalContents())
        self.entries, self._contents = contents.entries, contents
        if contents.size < self._file.size:
            self._file.truncate(contents.size)
        if self.entries:
            not_before(self.entries[-1].time)

    def append(self, kind: type[AnyEntry], **fields: Any) -> AnyEntry:
        """Append one entry; it is on disk when this returns.

        Raises:
            LockedError: when another controller holds the campaign.
            AiperfError: when the disk refuses.
        """
        self._check_held()
        entry = kind(seq=len(self.entries), time=now(), generation=self._generation, prev=self._contents.last, **fields)
        line = entry.to_line().encode() + b"\n"
        self._file.append(line.decode())
        self._contents.last = _digest(line[:-1])
        self._contents.digest.update(line)
        self._contents.size += len(line)
        self.entries.append(entry)
        return entry

    @property
    def position(self) -> JournalPosition:
        """The place after the last entry."""
        return self._contents.position

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _opened(path: Path) -> AppendFile:
    with translate_os_errors(path, action="opened"):
        return AppendFile(path, exclusive=False)


def _digest(line: bytes) -> str:
    """SHA-256 of a line without its newline, which the next line holds."""
    return hashlib.sha256(line).hexdigest()


def _read(path: Path, known: JournalContents) -> JournalContents:
    """Read on; adds to the list of entries that are known."""
    data, size = read_whole_lines(path, known.size)
    entries, before = known.entries, known.last
    for seq, line in enumerate(data.split(b"\n")[:-1], start=known.skipped + len(entries)):
        where = f"{path}:{seq + 1}"
        try:
            entry = entry_adapter.validate_json(line, strict=True)
        except ValidationError as error:
            raise _not_an_entry(where, line, entries, first_error(error)) from None
        if entry.seq != seq or entry.prev != before:
            raise RecordError(
                f"{where}: seq {entry.seq} does not follow from the line before it: a line was changed, removed or "
                "added manually; restore the journal from a copy (nothing was changed)"
            )
        before = _digest(line)
        entries.append(entry)
    digest = known.digest.copy()
    digest.update(data)
    return JournalContents(entries, before, size, digest, known.skipped)


def _not_an_entry(where: str, line: bytes, before: list[Entry], fault: str) -> RecordError:
    """The error for a line that could not be validated.

    Its writer stands in the line itself or in the last one before it in which a controller names its version.
    """
    stated = stated_in_line(line)
    named = (entry.version for entry in reversed(before) if isinstance(entry, Created | Opened) and entry.version)
    writer = stated.get("version") or next(named, None)
    newer = explain_newer(JOURNAL, stated.get("format") if not before else None, writer, fault)
    if newer:
        return NewerVersionError(f"{where}: {newer}")
    return RecordError(
        f"{where}: not a journal entry: {fault}: the journal is damaged from here on; "
        "restore it from a copy (nothing was changed)"
    )
