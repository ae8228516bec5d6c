"""`compare`: campaigns side by side, as text or as a page."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.committee.compared_campaign import read_campaign
from aiperf_orch.committee.comparison import Comparison, Row, compare
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.text import text_width, visible, wrap_text

_log: Final = logging.getLogger(__name__)
_LABEL: Final = 22  # columns of a label
_CELL: Final = 27  # columns of a cell: two campaigns take 80
_GAP: Final = "  "


def compare_campaigns(paths: Sequence[Path], output: Path | None) -> CommandOutput:
    """Compare campaigns; notes on what is not verified or not comparable go to standard error.

    Args:
        paths: Packages and campaign directories.
        output: File of a page (.html); None prints text.

    Raises:
        UsageError: when the output is no page, a path cannot be read, or their number is wrong.
    """
    if output and output.suffix != ".html":
        raise UsageError(f"--output: {output}: the suffix must be .html")
    found = compare([read_campaign(path) for path in paths])
    for note in found.notes:
        _log.warning("%s", visible(note))
    if output is None:
        return CommandOutput(comparison_text(found))
    from aiperf_orch.committee.comparison_page import write_page

    write_page(found, output)
    return CommandOutput()


def comparison_text(found: Comparison) -> str:
    """A comparison as text; two campaigns take at most 80 columns."""
    head = _lines(Row("", found.letters))
    parts = [[title, *head, *(line for row in rows for line in _lines(row))] for title, rows in _titled(found)]
    width = _LABEL + len(found.letters) * (len(_GAP) + _CELL)
    parts.append([line for each in found.conclusions for line in wrap_text(visible(each), width)])
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _titled(found: Comparison) -> list[tuple[str, Sequence[Row]]]:
    return [(section.title, section.rows) for section in found.sections]


def _lines(row: Row) -> list[str]:
    """The lines of a row: label and cells are wrapped, each in its column."""
    cells = [wrap_text(visible(row.label), _LABEL), *(wrap_text(visible(cell), _CELL) for cell in row.cells)]
    widths = [_LABEL, *[_CELL] * len(row.cells)]
    return [
        _GAP.join(
            _padded(cell[number] if number < len(cell) else "", width)
            for cell, width in zip(cells, widths, strict=True)
        ).rstrip()
        for number in range(max(map(len, cells)))
    ]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - text_width(text))
