"""Copies of packed data on many nodes at once: bytes read from the shared file system, and readers at the same time.

Each node is a process with a disk (a folder) of its own, and all read one packed tree. States for several limits of
`data.stage_readers` how often each byte was read by a node, how many nodes read at the same time at most, and how long
it took. A second run finds the copies.

    python benchmarks/staging.py [--nodes 16] [--megabytes 64] [--readers 1 4 16]

All nodes share one disk here, so that the times say what the limit costs in waiting, not what a file system gains.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from aiperf_orch.trial.data import shard_staging
from aiperf_orch.trial.data.packed import open_packed
from aiperf_orch.trial.data.packing import pack
from aiperf_orch.trial.data.read_slots import ReadSlots


class Copied(NamedTuple):
    """What a node did: intervals in which it read shards, by a clock of all processes, and bytes that it read."""

    intervals: list[tuple[float, float]]
    read: int


def stage_node(packed: Path, disk: Path, slots: Path, readers: int) -> Copied:
    """Stage packed data as the first trial of a node does."""
    intervals, copy, read = [], shard_staging._copy, 0

    def timed(source: Path, target: Path, shard: shard_staging.Shard, slot: shard_staging.HeldSlot | None) -> None:
        nonlocal read
        begun = time.monotonic()
        copy(source, target, shard, slot)
        intervals.append((begun, time.monotonic()))
        read += shard.bytes

    shard_staging._copy = timed
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            root = shard_staging.stage_shards(open_packed(packed), disk, ReadSlots(slots, readers))
    finally:
        shard_staging._copy = copy
    assert root.parent == disk, root
    return Copied(intervals, read)


def most_at_once(intervals: list[tuple[float, float]]) -> int:
    changes = sorted([(begin, 1) for begin, _ in intervals] + [(end, -1) for _, end in intervals])
    readers = most = 0
    for _, change in changes:
        readers += change
        most = max(most, readers)
    return most


def write_tree(root: Path, size: int) -> None:
    """A tree of images with this size together, in bytes."""
    random = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (375, 500, 3), dtype=np.uint8)).save(file, "JPEG", quality=90)
    for split, part in (("train", 0.9), ("val", 0.1)):
        for name in ("a", "b"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(max(1, int(part * size / 2 / file.tell()))):
                (folder / f"{number:05d}.JPEG").write_bytes(file.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--readers", type=int, nargs="+", default=[1, 4, 16])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, ProcessPoolExecutor(options.nodes, get_context("fork")) as pool:
        tree, packed = Path(scratch) / "tree", Path(scratch) / "packed"
        write_tree(tree, options.megabytes * 10**6)
        pack(tree, packed, shard_bytes=options.megabytes * 10**6 // 8)
        size = sum(shard.bytes for shard in open_packed(packed).header.shards)
        print(f"{options.nodes} nodes, {size:,} bytes, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        print(f"{'stage_readers':<16}{'reads of a byte a node':>24}{'readers at once':>18}{'seconds':>10}{'again':>8}")
        for readers in options.readers:
            slots, seconds, runs = Path(scratch) / f"slots-{readers}", [], []
            for _ in range(2):
                begun = time.monotonic()
                disks = [Path(scratch) / f"disk-{readers}-{node}" for node in range(options.nodes)]
                work = [pool.submit(stage_node, packed, disk, slots, readers) for disk in disks]
                runs.append([each.result() for each in work])
                seconds.append(time.monotonic() - begun)
            first, again = runs
            assert not any(node.read for node in again)
            most = most_at_once([interval for node in first for interval in node.intervals])
            reads = {node.read / size for node in first}
            text = "/".join(f"{each:.2f}" for each in sorted(reads))
            print(f"{readers:<16}{text:>24}{most:>18}{seconds[0]:>10.2f}{seconds[1]:>8.2f}")


if __name__ == "__main__":
    main()
