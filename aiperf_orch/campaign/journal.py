"""The journal: append-only, one writer, each line chained to the one before it by SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from aiperf_orch.campaign.durable_files import AppendFile, read_whole_lines, translate_os_errors
from aiperf_orch.campaign.safe_reading import retry_transient
from aiperf_orch.records.base import first_error
from aiperf_orch.records.journal import Entry, entry_adapter
from aiperf_orch.util.errors import RecordError
from aiperf_orch.util.units import not_before, now

_FIRST: Final = "0" * 64
AnyEntry = TypeVar("AnyEntry", bound=Entry)


def read_journal(path: Path) -> list[Entry]:
    """The journal's entries; a torn last line is not yet one.

    Raises:
        RecordError: naming the line that is garbage, out of order, or does not follow from the one before it.
        TransientError: when it cannot be read for now.
    """
    return read_contents(path).entries


@dataclass
class JournalContents:
    """A journal as read at one time; a later reader reads on from there.

    Attributes:
        entries: All entries.
        last: SHA-256 of the last line.
        size: Size in bytes of the lines of these entries.
    """

    entries: list[Entry] = field(default_factory=list)
    last: str = _FIRST
    size: int = 0


def read_contents(path: Path) -> JournalContents:
    """As `read_journal`, for a reader that reads on later."""
    try:
        return _read(path, JournalContents())
    except FileNotFoundError:
        return JournalContents()


class Journal:
    """The journal, open for writing by the one controller.

    Its times never go back: opened on a machine whose clock is behind its last line, this process goes on from there.
    """

    def __init__(
        self, path: Path, check_held: Callable[[], None], generation: int, known: JournalContents | None = None
    ) -> None:
        """Open it, and drop a torn last line.

        Args:
            path: the journal's file, made when there is none.
            check_held: raises when another controller has taken the campaign over; called before each append.
            generation: of our lock; stands in each entry.
            known: What this process has read of it before, and need not read again; its list of entries is taken over.

        Raises:
            RecordError: when it is damaged.
            LockedError: when the campaign is not ours.
        """
        self._check_ours = check_held
        self._generation = generation
        self._file = retry_transient(lambda: _opened(path))
        check_held()
        if known is not None and self._file.size < known.size:  # another file than the one that was read
            known = None
        self.number_known = len(known.entries) if known else 0
        contents = _read(path, known or JournalContents())
        self.entries, self._last = contents.entries, contents.last
        if contents.size < self._file.size:
            self._file.truncate(contents.size)
        if self.entries:
            not_before(self.entries[-1].time)

    def append(self, kind: type[AnyEntry], **fields: Any) -> AnyEntry:
        """Append one entry; it is on disk when this returns.

        Raises:
            LockedError: when the campaign is no longer ours.
            AiperfError: when the disk refuses.
        """
        self._check_ours()
        entry = kind(seq=len(self.entries), time=now(), generation=self._generation, prev=self._last, **fields)
        line = entry.to_line()
        self._file.append(line + "\n")
        self._last = hashlib.sha256(line.encode()).hexdigest()
        self.entries.append(entry)
        return entry

    def close(self) -> None:
        """Close the file, and let go of it."""
        self._file.close()


def _opened(path: Path) -> AppendFile:
    with translate_os_errors(path, action="opened"):
        return AppendFile(path, exclusive=False)


def _read(path: Path, known: JournalContents) -> JournalContents:
    """Read on; adds to the list of entries that are known."""
    data, size = read_whole_lines(path, known.size)
    entries, last = known.entries, known.last
    for number, line in enumerate(data.split(b"\n")[:-1], start=len(entries) + 1):
        where = f"{path}:{number}"
        try:
            entry = entry_adapter.validate_json(line)
        except ValidationError as error:
            raise RecordError(
                f"{where}: not a journal entry: {first_error(error)}: the journal is damaged from here on; "
                "restore it from a copy (nothing was changed)"
            ) from None
        if entry.seq != len(entries) or entry.prev != last:
            raise RecordError(
                f"{where}: seq {entry.seq} does not follow from the line before it: a line was changed, removed or "
                "added by hand; restore the journal from a copy (nothing was changed)"
            )
        last = hashlib.sha256(line).hexdigest()
        entries.append(entry)
    return JournalContents(entries, last, size)
