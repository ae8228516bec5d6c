"""Text is UTF-8, whatever the locale says: file names too, which would stand in scripts as other bytes than on the disk."""

from __future__ import annotations

import io
import os
import sys


def enter_utf8_mode() -> None:
    """Start this program again in Python's UTF-8 mode where the locale is not UTF-8; does not return then."""
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        sys.stdout.flush()
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606  what was started already


def make_streams_lenient() -> None:
    """Let standard output and error show what their encoding does not have as escapes, in place of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
