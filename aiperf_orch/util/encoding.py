"""UTF-8 for all text and file names, in every locale: scripts must name files by the bytes that are on the disk."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path


def enter_utf8_mode() -> None:
    """Restart this program in Python's UTF-8 mode where the locale is not UTF-8; then it does not return."""
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        sys.stdout.flush()
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606  the same command


def open_missing_streams() -> None:
    """Replace a closed standard output or error by /dev/null, so that no other file gets its descriptor."""
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  stays open
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  stays open


def make_streams_lenient() -> None:
    """Write characters that the encoding of standard output or error lacks as escapes, without an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
