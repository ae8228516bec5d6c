"""UTF-8 for all text and file names, in every locale: scripts must name files by the bytes that are on the disk."""

from __future__ import annotations

import io
import os
import sys


def enter_utf8_mode() -> None:
    """Restart this program in Python's UTF-8 mode where the locale is not UTF-8; then it does not return."""
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        sys.stdout.flush()
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606  the same command


def make_streams_lenient() -> None:
    """Write characters that the encoding of standard output or error lacks as escapes, without an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
