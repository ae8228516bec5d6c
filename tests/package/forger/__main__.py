"""Forges packages by many seeds, and prints what passes: `python -m package.forger FIRST LAST [KIND...]`."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

from package.forger.forging import forge, honest_verdict
from package.forger.honest import KINDS, honest_records


def main(first: int, last: int, kinds: list[str]) -> None:
    """Print each forgery that passes, and the number of those that each fault finds."""
    with tempfile.TemporaryDirectory() as top:
        folder, found = Path(top), Counter[str]()
        honest = {kind: honest_records(kind, folder / kind) for kind in kinds}
        before = {kind: honest_verdict(records, folder / "p.tar.gz") for kind, records in honest.items()}
        for seed in range(first, last):
            kind = kinds[seed % len(kinds)]
            forgery = forge(honest[kind], before[kind], seed, folder / "p.tar.gz")
            if forgery is None:
                continue
            found.update({fault.id for fault in forgery.faults} or {"passes" if forgery.passes else "harmless"})
            if forgery.passes:
                change = forgery.change
                print(seed, kind, change.record, change.field, change.how, _differences(forgery.before, forgery.after))
        for name, number in found.most_common():
            print(f"{number:6} {name}")


def _differences(before: dict[str, object], after: dict[str, object] | None) -> str:
    return ", ".join(f"{key}: {before[key]} -> {value}" for key, value in (after or {}).items() if before[key] != value)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] or list(KINDS))
