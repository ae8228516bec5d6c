"""`aiperf-orch` as a benchmark runs it: it counts the files that it opens and the folders that it lists.

    python benchmarks/counting_controller.py COUNT ARGUMENTS...

The number stands in the file COUNT, written each second; calls that find no file count, too.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from aiperf_orch.cli import main

_LOOKS = frozenset({"open", "os.listdir", "os.scandir"})


def _count(path: str) -> None:
    """Count in this process from now on."""
    looks = 0

    def look(event: str, _: object) -> None:
        nonlocal looks
        looks += event in _LOOKS

    def write() -> None:
        while True:
            os.pwrite(descriptor, f"{looks}\n".encode(), 0)
            time.sleep(1.0)

    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    sys.addaudithook(look)
    threading.Thread(target=write, daemon=True).start()


if __name__ == "__main__":
    _count(sys.argv.pop(1))
    main()
