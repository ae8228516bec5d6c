"""The long fuzzing of all readers, guided by coverage: `python tests/fuzz/run.py [--runs-factor F] [READER ...]`.

It needs atheris (`pip install atheris`). Each reader runs in a process of its own, one after the other; the table of
docs/reliability.md is what it prints. An input that a reader should not have failed at is kept in the folder `--found`.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Final

if __name__ == "__main__":  # as a program it has only its own folder on the path
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "cluster")]

_MEMORY: Final = 2048
"""Most MiB of a process."""
_SECONDS: Final = 20
_COVERED: Final = re.compile(r"#(\d+)\s.*?cov: (\d+)")


def main() -> int:
    """Fuzz the named readers, by default all; returns 1 if an input was found that a reader fails at."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", nargs="*", help="names of readers; default: all")
    parser.add_argument("--runs-factor", type=float, default=1.0, help="multiple of the inputs of each reader")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--found", type=Path, default=Path("fuzzing-found"), help="folder of inputs that fail")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        _fuzz(options.one, options.runs_factor, options.seed, options.found)
    from fuzz.readers import READERS, SLOW

    print("| reader | inputs | covered edges | failures |\n| --- | --- | --- | --- |")
    total = failures = 0
    for name in options.reader or [*READERS, *SLOW]:
        inputs, covered, failed = _run(name, options)
        total, failures = total + inputs, failures + failed
        print(f"| {name} | {inputs:,} | {covered:,} | {failed} |", flush=True)
    print(f"| all | {total:,} | | {failures} |")
    return min(failures, 1)


def _run(name: str, options: argparse.Namespace) -> tuple[int, int, int]:
    """Fuzz one reader in a process; returns the number of inputs, that of covered edges, and 1 for a failure."""
    command = [sys.executable, __file__, "--one", name, "--found", options.found, "--seed", str(options.seed)]
    command += ["--runs-factor", str(options.runs_factor)]
    memory = Path("/dev/shm")
    # the fuzzer ends its process without any cleaning up
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        environment = os.environ | {"TMPDIR": folder}
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=environment)
    counted = _COVERED.findall(done.stderr) or [("0", "0")]
    if done.returncode:
        print(f"{name}: failed\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}", file=sys.stderr, flush=True)
    return int(counted[-1][0]), int(counted[-1][1]), int(done.returncode != 0)


def _fuzz(name: str, factor: float, seed: int, found: Path) -> None:
    """Fuzz one reader in this process, which then ends."""
    import warnings

    import atheris

    with atheris.instrument_imports(include=["aiperf_orch"]):
        from fuzz.readers import READERS, SLOW
    from fuzz.mutation import mutate

    def change(data: bytes, longest: int, seed: int) -> bytes:
        random = Random(seed)
        changed: bytes = mutate(data, random) if seed % 2 else atheris.Mutate(data, longest)
        return changed[:longest]

    warnings.simplefilter("ignore")
    reader = (READERS | SLOW)[name]
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        seeds = reader.seeds()
        for number, data in enumerate(seeds):
            (Path(folder) / str(number)).write_bytes(data)
        longest = min(2 * max(map(len, seeds)) + 4096, 1 << 20)
        arguments = [
            f"-runs={round(reader.runs * factor)}", f"-seed={seed}", f"-max_len={longest}", f"-timeout={_SECONDS}",
            f"-rss_limit_mb={_MEMORY}", f"-artifact_prefix={found}/{re.sub('[^a-z0-9]+', '-', name.lower())}-", folder,
        ]  # fmt: skip
        atheris.Setup([name, *arguments], reader.check, custom_mutator=change)
        atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
