"""Folder of a ranking's static website: which lists it has, what the next one is called, and how it is added.

`history/NAME/` holds the pages and tables of one list, and never changes; `reports/` the reports of packages, named by
their hashes; `website.json` the names of the lists in order. `index.html`, `ranking.csv` and `ranking.json` are those
of the newest list. A list gets its name after all its files are written, and `index.html` is replaced last: a crash
leaves the pages of the last list or those of the new one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import aiperf_orch
from aiperf_orch.campaign.durable_files import read_file
from aiperf_orch.campaign.file_errors import translate_os_errors
from aiperf_orch.committee.ranking_differences import ListedRow, rows_to_compare
from aiperf_orch.records.base import first_error
from aiperf_orch.util import strict_json
from aiperf_orch.util.errors import AiperfError, NewerVersionError, RecordError, UsageError

PAGE: Final = "index.html"
CSV: Final = "ranking.csv"
JSON: Final = "ranking.json"
HISTORY: Final = "history"
REPORTS: Final = "reports"
_STATE: Final = "website.json"
_UNFINISHED: Final = ".unfinished-"
_FORMAT: Final = 1


class _State(BaseModel):
    """Contents of website.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    version: str
    lists: tuple[Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(\.[0-9]{1,6})?$")], ...]


@dataclass(frozen=True)
class Website:
    """Folder of a website.

    Attributes:
        path: of the folder.
        lists: names of its lists, from the first one to the newest one.
        last: rows of the newest list.
    """

    path: Path
    lists: tuple[str, ...]
    last: tuple[ListedRow, ...] = ()


def open_website(path: Path) -> Website:
    """Open the folder of a website; one that does not exist, or is empty, becomes one. Hidden files do not count.

    Raises:
        UsageError: The folder has other files, or is no folder.
        NewerVersionError: A newer version of aiperf-orch wrote the website.
        RecordError: website.json, or the newest list's ranking.json, is not what aiperf-orch writes.
        AiperfError: The folder cannot be made, read or written.
    """
    state = path / _STATE
    with translate_os_errors(path, passing=(FileExistsError, NotADirectoryError), action="used"):
        try:
            path.mkdir(parents=True, exist_ok=True)
            names = [file.name for file in path.iterdir()]
        except (FileExistsError, NotADirectoryError):
            raise UsageError(f"--output: {path}: is not a folder: name a new or an empty one") from None
    if _STATE in names:
        lists = _read_state(state).lists
        return Website(path, lists, tuple(_rows(path / HISTORY / lists[-1] / JSON)) if lists else ())
    if strange := next((name for name in sorted(names) if not name.startswith(".")), None):
        raise UsageError(
            f"--output: {path}: has files (for example {strange}), and is not the website of a ranking: "
            "name a new or an empty folder"
        )
    _write_state(state, ())
    return Website(path, ())


def list_name(website: Website, today: date) -> str:
    """A name for a list of this day (UTC) that no other list has: `2026-11-30`, then `2026-11-30.2`."""
    day, number = today.isoformat(), 1
    name = day
    while name in website.lists or (website.path / HISTORY / name).exists():  # the second: a crash left it unlisted
        number += 1
        name = f"{day}.{number}"
    return name


def add_list(
    website: Website,
    name: str,
    files: Mapping[str, bytes],
    newest: Mapping[str, bytes],
    reports: Mapping[str, bytes],
) -> None:
    """Add a list to a website, as the newest one.

    Args:
        website: the website, as it was opened.
        name: of the list.
        files: path in the list's folder -> contents.
        newest: name in the folder of the website -> contents, in the order in which they are written.
        reports: name in `reports/` -> contents; those that exist have these contents.

    Raises:
        AiperfError: A file cannot be written, or another process has added a list meanwhile.
    """
    history = website.path / HISTORY
    folder, unfinished = history / name, history / f"{_UNFINISHED}{os.getpid()}"
    with translate_os_errors(website.path):
        (website.path / REPORTS).mkdir(exist_ok=True)
        history.mkdir(exist_ok=True)
        for left in history.glob(f"{_UNFINISHED}*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
    for report, data in reports.items():
        if not (website.path / REPORTS / report).exists():
            _replace(website.path / REPORTS / report, data)
    try:
        for path, data in files.items():
            _write(unfinished / path, data)
        if _read_state(website.path / _STATE).lists != website.lists:
            raise AiperfError(f"{folder}: another process has added a list to the website: run the command again")
        with translate_os_errors(folder):
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    _write_state(website.path / _STATE, (*website.lists, name))
    for path, data in newest.items():
        _replace(website.path / path, data)


def _rows(path: Path) -> list[ListedRow]:
    """Rows of a list's ranking.json."""
    try:
        rows = strict_json.loads(read_file(path))
        return rows_to_compare(rows if isinstance(rows, list) else [rows])
    except FileNotFoundError:
        why = "the file is missing"
    except ValidationError as error:
        why = first_error(error)
    except ValueError as error:
        why = str(error)
    raise RecordError(f"{path}: is not the last ranking: {why}; restore it, or choose another folder")


def _read_state(path: Path) -> _State:
    try:
        value = strict_json.loads(read_file(path))
        newer = value.get("format") if isinstance(value, dict) else None
        if isinstance(newer, int) and newer > _FORMAT:
            raise NewerVersionError(
                f"{path}: written by aiperf-orch {value.get('version')!s:.40}, in format {newer}; this version, "
                f"{aiperf_orch.__version__}, writes format {_FORMAT}: use that version, or choose another folder"
            )
        return _State.model_validate(value)
    except ValidationError as error:
        why = first_error(error)
    except ValueError as error:
        why = str(error)
    raise RecordError(f"{path}: is not that of a ranking's website: {why}; restore it, or choose another folder")


def _write_state(path: Path, lists: Sequence[str]) -> None:
    state = _State(format=_FORMAT, version=aiperf_orch.__version__, lists=tuple(lists))
    _replace(path, (json.dumps(state.model_dump(mode="json"), indent=2) + "\n").encode())


def _replace(path: Path, data: bytes) -> None:
    """Write a file that replaces an existing one as a whole. Unlike records it has the mode of the user's umask."""
    unfinished = path.with_name(f"{_UNFINISHED}{os.getpid()}-{path.name}")
    try:
        _write(unfinished, data)
        with translate_os_errors(path):
            unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    with translate_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
