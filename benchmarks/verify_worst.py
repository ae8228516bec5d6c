"""Benchmark of verify with small packages that are made to keep it busy.

Each package is as expensive as the bounds of `aiperf_orch.package` permit in one respect: it expands to almost as much
as a small package may, or has as many edits as are applied. Verify takes at most 60 s for each on idle cores.

    python benchmarks/verify_worst.py [--only NAME]
"""

import argparse
import gzip
import hashlib
import json
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from verify import AIPERF, run

from aiperf_orch.network import morphisms
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.network.seeds import small_residual
from aiperf_orch.package.packing import write_package
from aiperf_orch.search import SEARCH_VERSION
from package_fixtures import TamperedPackage, add_trials, build_true_campaign

BYTES = 28 << 20
"""Size to which a part of a package is filled up."""


def _fill(line):
    """Number of copies of a line that fill a package up."""
    return BYTES // (len(json.dumps(line)) + 1)


def faulty_epochs(package):
    """Epochs that are all faster than the peak of the accelerators: each is a fault whose line is looked up."""

    def change(lines):
        number = (12 << 20) // len(json.dumps(lines[1]))
        lines[2:-1] = [{**lines[1], "epoch": epoch, "start": lines[1]["end"]} for epoch in range(2, number)]

    package.settings("    epochs: 3\n", "    epochs: 1000000\n")
    for trial in (2, 3):
        package.spec(trial, lambda spec: spec.update(epochs=1_000_000))
        package.events(f"{trial:05d}-1.0.jsonl", change)


def _trials(package, edits_of):
    """Append trials with edits of the seed network until the package is full; their specifications are missing."""

    def change(entries):
        first = next(entry for entry in entries if entry["type"] == "submitting")
        size, trial = 0, 4
        while size < BYTES:
            attempt = json.loads(json.dumps(first["attempts"][0]))
            attempt |= {"trial": trial, "name": f"{attempt['name'][:5]}-{trial:05d}-1"}
            attempt["proposal"]["edits"] = edits_of(trial)
            entries.insert(-1, first | {"attempts": [attempt]})
            size, trial = size + len(json.dumps(entries[-2])), trial + 1

    package.journal(change)


def many_edits(package):
    """Trials with hundreds of edits each, within limits that the settings set high."""
    package.settings("max_layers: 60", "max_layers: 1000000")
    edits, graph = [], small_residual()
    for _ in range(900):
        edit = Edit("deeper", graph.by_kind["relu"][0].id, kernel=3)
        graph = morphisms.apply(graph, edit)
        edits.append(edit.to_json())
    _trials(package, lambda _: edits)


def wide_networks(package):
    """Trials with the widest network that there can be, which each of them widens."""
    package.settings("max_layers: 60", "max_layers: 1000000")
    _trials(package, lambda _: [Edit("wider", 1).to_json()] * 15)


def many_runs(package):
    """A trial of many epochs that is requeued hundreds of times, and may continue after any of them."""
    package.settings("    epochs: 3\n", "    epochs: 1000000\n")
    package.spec(2, lambda spec: spec.update(epochs=1_000_000))
    begin, epoch, *_, end = package.lines("events/00002-1.0.jsonl")
    number = (15 << 20) // (len(json.dumps(epoch)) + 1)
    first = datetime.fromisoformat(epoch["end"])
    times = [(first + timedelta(milliseconds=each)).isoformat() for each in range(number + 1)]
    epochs = [{**epoch, "epoch": each, "start": times[each - 1], "end": times[each]} for each in range(1, number + 1)]
    files = [[begin, *epochs], *([{**begin, "run": run}, {**end, "run": run}] for run in range(1, 999))]
    recorded = []
    for number, lines in enumerate(files):
        data = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)
        package.files[f"events/00002-1.{number}.jsonl"] = data
        recorded.append({"run": number, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    package.each("ended", lambda item: item.update(files=recorded) if item["trial"] == 2 else None)


def slow_search(package):
    """Settings with which each proposal of a replay takes hours."""
    package.settings("candidates: 32", "candidates: 1000000000")
    package.journal(lambda entries: [entry.update(search=SEARCH_VERSION) for entry in entries[:2]])
    with tempfile.TemporaryDirectory() as folder:
        package.restate(Path(folder) / "restated")


def many_attempts(package):
    """A trial with as many attempts as the journal can hold."""

    def change(entries):
        first = next(entry for entry in entries if entry["type"] == "submitting")
        attempt = {**first["attempts"][0], "proposal": None}
        attempts = [{**attempt, "attempt": number} for number in range(2, _fill(attempt))]
        entries.insert(-1, first | {"attempts": attempts})

    package.journal(change)


def long_journal(package):
    """A journal of short lines, whose objects take the most memory."""

    def change(entries):
        line = next(entry for entry in entries if entry["type"] == "opened")
        entries[1:1] = [line | {"seq": 0, "prev": "0" * 64}] * _fill(line | {"prev": "0" * 64})

    package.journal(change)


def a_key_twice(package):
    """An object with a key that occurs twice, after all others."""
    keys = ",".join(f'"{number:07d}":1' for number in range(BYTES // 12))
    package.files["accounting.jsonl"] = f'{{{keys},"{BYTES // 12 - 1:07d}":1}}\n'.encode()


def many_files(package):
    """Events files that no journal line names."""
    package.files |= {f"events/{number:05d}-1.0.jsonl": b"" for number in range(10, BYTES // 1024 // 2)}


def large_settings(package):
    """The largest settings, which YAML's parser reads slowly."""
    text = package.files["campaign.yaml"].decode()
    line = "  - [1, 2, 3, 4, 5, 6, 7, 8]\n"
    package.settings(text, text + "more:\n" + line * ((520_000 - len(text)) // len(line)))


PACKAGES = {
    each.__name__: each
    for each in (
        faulty_epochs,
        many_edits,
        wide_networks,
        many_runs,
        slow_search,
        many_attempts,
        long_journal,
        a_key_twice,
        many_files,
        large_settings,
    )
}
OPTIONS = {"slow_search": ["--replay"]}


def pack(package, path):
    """Write the changed package, compressed as well as possible."""
    package.write(path)
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=9))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PACKAGES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        builder = build_true_campaign(Path(scratch) / "campaign")
        add_trials(builder)
        honest = Path(scratch) / "honest.tar.gz"
        write_package(builder.directory, honest, with_pseudonyms=False)
        print(f"{'':<20}{'package':>10}{'wall s':>8}{'CPU s':>8}{'MB':>7}")
        for name, make in PACKAGES.items():
            if options.only in (None, name):
                package, path = TamperedPackage(honest), Path(scratch) / f"{name}.tar.gz"
                make(package)
                pack(package, path)
                wall, cpu, memory, _, output = run(*AIPERF, "verify", str(path), *OPTIONS.get(name, []))
                size = path.stat().st_size / 1000
                print(f"{name:<20}{size:>7.0f} KB{wall:>8.1f}{cpu:>8.1f}{memory:>7.0f}  {output.splitlines()[0][-40:]}")
                print(*output.splitlines()[1:3], sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
