"""Lists that a committee maintains: text files of one item a line, with `#` for comments."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.text import visible

_log: Final = logging.getLogger(__name__)
_MOST_BYTES: Final = 1 << 20
_Item = TypeVar("_Item")


def read_list(path: Path, parse: Callable[[str, str], _Item]) -> list[_Item]:
    """Read a list. A line that is not valid is a warning with file and line, and is left out.

    Args:
        path: the file.
        parse: makes an item of a line's text and its `FILE:LINE`; a ValueError is the reason why it is not valid.

    Raises:
        UsageError: The file cannot be read.
    """
    items = []
    for where, text in _lines(path):
        try:
            items.append(parse(text, where))
        except ValueError as error:
            _log.warning("%s: %s; the line is left out", where, error)
    return items


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Where each line stands, and its text without white space around it; empty lines and comments are left out."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > _MOST_BYTES:
        raise UsageError(f"{path}: larger than such a list can be ({_MOST_BYTES} bytes)")
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        where = f"{visible(str(path))}:{number}"
        try:
            text = line.decode().strip()
        except UnicodeDecodeError:
            _log.warning("%s: not UTF-8 text; the line is left out", where)
            continue
        if text and not text.startswith("#"):
            yield where, text
