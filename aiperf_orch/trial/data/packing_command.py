"""`python -m aiperf_orch.trial.data.packing_command pack|verify ...`: what `aiperf-orch data` runs.

Exit status: 0 done, 1 the images or the shards are faulty, 2 wrong use, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from aiperf_orch.trial.data.packed import PackedFolder, open_packed
from aiperf_orch.trial.data.packed_check import PackedReport, verify_packed
from aiperf_orch.trial.data.packing import ImageFault, PackingFaultsError, pack
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.util.encoding import enter_utf8_mode, make_streams_lenient
from aiperf_orch.util.errors import AiperfError
from aiperf_orch.util.progress import Progress, followed
from aiperf_orch.util.text import visible, visible_lines
from aiperf_orch.util.units import count, format_bytes, format_duration

_INTERRUPTED: Final = 130
_INTERVAL: Final = 0.5  # seconds between two changes of the line on a terminal
_CLEAR: Final = "\r\x1b[K"
_LOG_INTERVAL: Final = 60.0  # seconds between two lines elsewhere


def main(arguments: list[str] | None = None) -> int:
    """Pack or verify; return the exit status."""
    parser = argparse.ArgumentParser(prog="aiperf-orch data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("source", type=Path)
    packing.add_argument("target", type=Path)
    verifying = commands.add_parser("verify")
    verifying.add_argument("target", type=Path)
    verifying.add_argument("--against", type=Path)
    options = parser.parse_args(arguments)
    target = options.target.absolute()
    make_streams_lenient()
    warnings.simplefilter("ignore")  # about unusual metadata of images
    try:
        with _shown(f"data {options.command}"):
            if options.command == "verify":
                report = verify_packed(target, options.against and options.against.absolute())
            else:
                faults = pack(options.source.absolute(), target)
    except PackingFaultsError as error:
        _print_faults(error.faults)
        _say(f"error: {count(len(error.faults), 'image')} cannot be packed: {_REPAIR}")
        return error.exit_status
    except (AiperfError, TrialFailedError) as error:
        _say(f"error: {visible_lines(str(error))}")
        return error.exit_status if isinstance(error, AiperfError) else 1
    except OSError as error:
        _say(f"error: {visible(str(error.filename or target))}: {error.strerror or error}")
        return 1
    except KeyboardInterrupt:
        _say("interrupted: the same command goes on" if options.command == "pack" else "interrupted")
        return _INTERRUPTED
    if options.command == "verify":
        return _print_report(report, options.against)
    _print_faults(faults)
    if faults:
        images = count(len(faults), "training image")
        _say(f"warning: {images} cannot be decoded: packed as in the tree, and skipped by trials")
    print(_described(open_packed(target)), end="")
    return 0


_REPAIR: Final = (
    "repair or replace them, or remove them from the tree, and call the same command again: shards without a change "
    "are kept"
)


def _print_report(report: PackedReport, source: Path | None) -> int:
    print(_described(report.folder), end="")
    for fault in report.faults:
        print(f"fault            {fault}")
    compared = "are those that were packed" if source is None else f"are those of {visible(str(source))}"
    print(
        f"verified         no: {count(len(report.faults), 'fault')}"
        if report.faults
        else f"verified         all {compared}"
    )
    return 1 if report.faults else 0


def _described(folder: PackedFolder) -> str:
    """The content of a packed folder, as text."""
    listing, shards = folder.listing, folder.header.shards
    size = format_bytes(sum(shard.bytes for shard in shards))
    return (
        f"packed           {visible(str(folder.root))}: {size} in {count(len(shards), 'shard')}\n"
        f"images           {listing.images('train'):,} to train, {listing.images('val'):,} to validate, "
        f"{len(listing.classes):,} classes\n"
        f"listing          {listing.digest}\n"
    )


def _print_faults(faults: list[ImageFault]) -> None:
    for path, reason in faults:
        _say(f"{visible(os.fsdecode(path))}: {reason}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def _shown(task: str) -> Iterator[None]:
    """Show on standard error what is done: in one line of a terminal, or a line every minute."""
    ended = threading.Event()
    with followed() as progress:
        thread = threading.Thread(target=_show, args=(task, progress, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _show(task: str, progress: Progress, ended: threading.Event) -> None:
    begun, terminal = time.monotonic(), sys.stderr.isatty()
    while not ended.wait(_INTERVAL if terminal else _LOG_INTERVAL):
        text = f"{task}: {visible(str(progress))}, {format_duration(time.monotonic() - begun)}"
        print(f"{_CLEAR}{text}" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)
    if terminal:
        print(_CLEAR, end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    enter_utf8_mode()
    sys.exit(main())
