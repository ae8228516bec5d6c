"""State of a campaign up to a line of its journal, saved so that `status` reads only the lines after it.

The controller saves it; readers never do. The file may be missing, damaged, of another version, or of a journal that
was changed since: then the journal is read from its first line. A saved state is used only where the journal begins
with the very bytes from which it follows. Records, packages and resumed campaigns never depend on it.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

import aiperf_orch
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import read_file, replace_file
from aiperf_orch.campaign.journal import JournalContents, JournalPosition, read_on
from aiperf_orch.campaign.snapshot import check_complete, read_state
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.campaign.trial_state import AttemptKey
from aiperf_orch.util.errors import AiperfError, RecordError

SAVED_FORMAT: Final = 2
"""Version of the file's format; raise it with every change of the state's fields."""

RECENT: Final = 20
"""Trials that are over which a short state has in full, the latest ones."""

_PIECE: Final = 1 << 22  # bytes that are hashed at once


@dataclass(frozen=True)
class _Heading:
    """First line of the file.

    Attributes:
        format: `SAVED_FORMAT` of the writer.
        version: Version of aiperf-orch that wrote it; no other one reads it.
        position: Place in the journal up to which the state holds.
        body: SHA-256 of the rest of the file.
    """

    format: int
    version: str
    position: JournalPosition
    body: str


@dataclass
class _Body:
    """A short state without its repetitions.

    Attributes:
        state: The state; its `live` and `retries` are empty, and its trials have no `end`.
        live: Trial and attempt of its `live`, in their order.
        retries: Trials of its `retries`, in their order.
    """

    state: CampaignState
    live: list[tuple[int, int]]
    retries: list[int]


def shortened(state: CampaignState) -> CampaignState:
    """The state with only those trials that are not over and the latest `RECENT` of the others; the rest is `older`.

    Entries of a journal can be applied to it as to a whole state: they never name a trial that is over. `begins` and
    `ends` are left out.
    """
    ended = [trial for trial in state.trials.values() if trial.end]
    older, omitted = state.older.copy(), ended[:-RECENT]
    for trial in omitted:
        if trial.end is not None:
            older.add(trial, trial.end)
    numbers = {trial.trial for trial in omitted}
    trials = {number: trial for number, trial in state.trials.items() if number not in numbers}
    return replace(state, trials=trials, older=older, begins=[], ends=[])


def read_short_state(directory: CampaignDirectory) -> CampaignState:
    """The `shortened` state of a campaign, from the saved state where there is one that can be used.

    Raises:
        RecordError: As `read_snapshot` of `campaign.snapshot`.
    """
    on_disk = directory.attempts_on_disk()  # before the journal, which then has what is submitted meanwhile
    with suppress(RecordError):  # then reading all of it says what is wrong with the journal
        state = _read_on(directory)
        if state is not None:
            directory.check_unchanged(state.settings_sha256)
            check_complete(directory, on_disk, state)
            return shortened(state)
    return shortened(read_state(directory))


def save_state(path: Path, state: CampaignState, position: JournalPosition) -> None:
    """Save the state that follows from the journal up to this position.

    Raises:
        AiperfError: When the file cannot be written; an earlier one is unchanged.
    """
    short = shortened(state)
    body = _Body(
        replace(
            short,
            live={},
            retries={},
            trials={number: replace(each, end=None) for number, each in short.trials.items()},
        ),
        [(key.trial, key.attempt) for key in short.live],
        [*short.retries],
    )
    data = _bodies().dump_json(body)
    heading = _Heading(SAVED_FORMAT, aiperf_orch.__version__, position, hashlib.sha256(data).hexdigest())
    replace_file(path, _headings().dump_json(heading) + b"\n" + data, retry_for=0.0)


def _read_on(directory: CampaignDirectory) -> CampaignState | None:
    """The saved state, and what the journal has after it; None where there is none that can be used."""
    with suppress(FileNotFoundError, AiperfError, ValueError, LookupError):
        first, _, data = read_file(directory.saved_state).partition(b"\n")
        heading = _headings().validate_json(first, strict=True)
        if not _is_ours(heading, data):
            return None
        position = heading.position
        digest = _digest_of(directory.journal, position.size)
        if digest.hexdigest() != position.sha256:
            return None
        state = _restored(_bodies().validate_json(data))
        known = JournalContents([], position.last, position.size, digest, position.lines)
        state.apply_all(read_on(directory.journal, known).entries)
        return state
    return None


def _is_ours(heading: _Heading, data: bytes) -> bool:
    """Whether this version of aiperf-orch wrote the file, and its body is complete."""
    written = (heading.format, heading.version, heading.body)
    return written == (SAVED_FORMAT, aiperf_orch.__version__, hashlib.sha256(data).hexdigest())


def _digest_of(path: Path, size: int) -> hashlib._Hash:
    """Hash of the first bytes of a file, of fewer where it is shorter."""
    digest, offset = hashlib.sha256(), 0
    while offset < size and (piece := read_file(path, offset=offset, most=min(size - offset, _PIECE))):
        digest.update(piece)
        offset += len(piece)
    return digest


def _restored(body: _Body) -> CampaignState:
    """The state with its repetitions, which are the same objects as in a state that was read from the journal."""
    state = body.state
    for trial in state.trials.values():
        last = trial.attempts[-1].end
        trial.end = last if last is not None and last.final else None
    state.live = {AttemptKey(*key): state.trials[key[0]].attempts[key[1] - 1] for key in body.live}
    state.retries = {number: state.trials[number] for number in body.retries}
    return state


@cache
def _headings() -> TypeAdapter[_Heading]:
    return TypeAdapter(_Heading)


@cache
def _bodies() -> TypeAdapter[_Body]:
    return TypeAdapter(_Body)
