"""Makes `docs/reference/` and the tables of `docs/reliability.md`: `python tests/documentation/make.py`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

if __name__ == "__main__":  # as a program it has only its own folder on the path
    sys.path.insert(0, str(Path(__file__).parents[1]))

from documentation.commands_page import commands_page
from documentation.faults import with_tables
from documentation.settings_page import settings_page
from documentation.tables_pages import columns_page, end_reasons_page, files_page, rules_page

FOLDER: Final = Path(__file__).parents[2] / "docs" / "reference"
PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "commands.md": commands_page,
    "settings.md": settings_page,
    "columns.md": columns_page,
    "end-reasons.md": end_reasons_page,
    "rules.md": rules_page,
    "files.md": files_page,
}


def main() -> None:
    """Write the pages and the tables, and remove other pages of the reference."""
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.md"):
        if path.name not in PAGES:
            path.unlink()
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make(), encoding="utf-8")
    reliability = FOLDER.parent / "reliability.md"
    reliability.write_text(with_tables(reliability.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
