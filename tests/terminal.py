"""A command in a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import subprocess


def in_terminal(*command: str, columns: int) -> tuple[int, str]:
    """Run a command in a terminal of this width and 40 lines; returns its exit status and what it wrote."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": str(columns), "LINES": "40"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:
            break
        seen += chunk
    os.close(ours)
    return process.wait(60), seen.decode()
