"""All readers of bytes from outside that are fuzzed."""

from __future__ import annotations

from typing import Final

from fuzz import package_readers, record_readers, scheduler_readers, telemetry_readers
from fuzz.reader import Reader

READERS: Final[dict[str, Reader]] = {
    reader.name: reader
    for readers in (
        scheduler_readers.READERS,
        record_readers.READERS,
        package_readers.READERS,
        telemetry_readers.READERS,
    )
    for reader in (*readers,)
}
SLOW: Final[dict[str, Reader]] = {package_readers.SIGNATURE.name: package_readers.SIGNATURE}
"""Readers that only the long run covers."""
