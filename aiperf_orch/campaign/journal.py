"""Journal: append-only list of the controller's decisions, each line chained to the one before it by SHA-256."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
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


def iterate_journal(path: Path) -> Iterator[Entry]:
    """The journal's entries one after another, none of which is kept here; nothing where there is no journal.

    Raises:
        As `read_journal`, when the line is reached.
    """
    try:
        data = _read_lines(path, 0)
    except FileNotFoundError:
        return
    for entry, _ in _chained_entries(path, data, JournalContents().position, None):
        yield entry


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
    data = _read_lines(path, known.size)
    entries, last = known.entries, known.last
    named = (_version_in(entry) for entry in reversed(entries))
    writer = next(filter(None, named), None)
    for entry, digest in _chained_entries(path, data, known.position, writer):
        entries.append(entry)
        last = digest
    digest_of_all = known.digest.copy()
    digest_of_all.update(data)
    return JournalContents(entries, last, known.size + len(data), digest_of_all, known.skipped)


def _read_lines(path: Path, offset: int) -> bytes:
    """Complete lines from a byte offset on."""
    return read_whole_lines(path, offset)[0]


def _chained_entries(
    path: Path, data: bytes, position: JournalPosition, writer: str | None
) -> Iterator[tuple[Entry, str]]:
    """Each entry of these lines, and the SHA-256 of its line.

    Args:
        path: The journal, for messages.
        data: Lines of it.
        position: The place where they begin.
        writer: Version of aiperf-orch that wrote the lines before them; None where it is not known.

    Raises:
        As `read_journal`.
    """
    last = position.last
    for seq, whole in enumerate(io.BytesIO(data), start=position.lines):
        where, line = f"{path}:{seq + 1}", whole[:-1]
        try:
            entry = entry_adapter.validate_json(line, strict=True)
        except ValidationError as error:
            raise _not_an_entry(where, line, first_error(error), writer, is_first=seq == 0) from None
        if entry.seq != seq or entry.prev != last:
            raise RecordError(
                f"{where}: seq {entry.seq} does not follow from the line before it: a line was changed, removed or "
                "added manually; restore the journal from a copy (nothing was changed)"
            )
        last, writer = _digest(line), _version_in(entry) or writer
        yield entry, last


def _version_in(entry: Entry) -> str | None:
    """Version of aiperf-orch of the controller that wrote an entry, where the entry names it."""
    return entry.version if isinstance(entry, Created | Opened) else None


def _not_an_entry(where: str, line: bytes, fault: str, writer: str | None, *, is_first: bool) -> RecordError:
    """The error for a line that could not be validated.

    Args:
        where: The journal and the number of the line.
        line: The line.
        fault: What is wrong with it.
        writer: Version of aiperf-orch that wrote the lines before it; the line itself may name another one.
        is_first: Whether it is the first line, which states the format.
    """
    stated = stated_in_line(line)
    newer = explain_newer(JOURNAL, stated.get("format") if is_first else None, stated.get("version") or writer, fault)
    if newer:
        return NewerVersionError(f"{where}: {newer}")
    return RecordError(
        f"{where}: not a journal entry: {fault}: the journal is damaged from here on; "
        "restore it from a copy (nothing was changed)"
    )
