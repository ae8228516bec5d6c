"""Rows as an aligned table, as CSV or as JSON, as `--format` chooses."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from aiperf_orch.util.text import escape_formula, visible
from aiperf_orch.util.units import format_number


def render_rows(rows: Sequence[Mapping[str, Any]], form: str) -> str:
    """Format rows of equal keys; the text ends with a newline.

    Args:
        rows: The rows; the keys of the first one are the columns.
        form: `table` (aligned, numbers to the right, control characters as codes), `csv` (with a header; a text that a
            spreadsheet would take for a formula begins with an apostrophe) or `json` (a list of objects).
    """
    if form == "json":
        return json.dumps(rows, indent=2) + "\n"
    columns = list(rows[0]) if rows else []
    if form == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {key: escape_formula(value) if isinstance(value, str) else value for key, value in row.items()}
            for row in rows
        )
        return text.getvalue()
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(len(column), *(len(line[i]) for line in cells), 0) for i, column in enumerate(columns)]
    right = [all(isinstance(row[column], int | float | None) for row in rows) for column in columns]
    lines = [columns, *cells]
    return "".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        ).rstrip()
        + "\n"
        for line in lines
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return format_number(value) if isinstance(value, float) else visible(str(value))
