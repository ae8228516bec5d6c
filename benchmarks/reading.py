"""Duration and memory of `status` and `score` of a large campaign, with and without its snapshot.

The campaign is that of `benchmarks/controller.py` with 256 trials, repeated: each copy has the numbers, names and times
of later trials, and its journal and events are written as a controller and trials write them. Commands with and without
the snapshot alternate; each is a new process. Without: the snapshot is deleted before the command.

    python benchmarks/reading.py [--trials 40000] [--runs 3] [--directory DIR] [--other PYTHON]
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.journal import rechained
from aiperf_orch.campaign.saved_state import save_state
from aiperf_orch.campaign.snapshot import read_snapshot
from aiperf_orch.campaign.state import Phase
from aiperf_orch.controller.controller import Controller
from aiperf_orch.records.journal import Began, Created, Ended, Entry, Finished, Opened, Submitted, Submitting
from aiperf_orch.util.units import format_time
from controller import InProcessScheduler, settings

BASE = 256
MEASURE = (
    "import resource, subprocess, sys, time; start = time.perf_counter(); "
    "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); wall = time.perf_counter() - start; "
    "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
    "print(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)"
)


def run_base(directory: CampaignDirectory) -> list[Entry]:
    """Run the campaign of the first trials, and return its journal."""
    scheduler = InProcessScheduler()
    with contextlib.redirect_stderr(io.StringIO()):
        controller = Controller(directory, scheduler, resume=True, warn=print)
        while controller.tick() is Phase.RUNNING:
            scheduler.run(directory)
        controller.close()
    return read_snapshot(directory).journal.entries


def repeated(entries: list[Entry], directory: CampaignDirectory, copies: int) -> list[Entry]:
    """The journal of so many copies of these trials; their events files and specifications are written."""
    head = [entry for entry in entries if isinstance(entry, Created | Opened)]
    body = [entry for entry in entries if isinstance(entry, Submitting | Submitted | Began | Ended)]
    span = body[-1].time - body[0].time + timedelta(milliseconds=1)
    journal = [*head, *body]
    for copy in range(1, copies):
        files = copied_files(directory, copy, span)
        for entry in body:
            changed = shifted(json.loads(entry.to_line()), copy * BASE, copy * span, directory, files)
            journal.append(type(entry).model_validate_json(json.dumps(changed)))
    end = next(entry for entry in entries if isinstance(entry, Finished))
    journal.append(end.model_copy(update={"time": end.time + copies * span}))
    return rechained(entry.model_copy(update={"seq": seq}) for seq, entry in enumerate(journal))


def shifted(value, numbers, time, directory, files):  # type: ignore[no-untyped-def]
    """A record as the copy has it."""
    if isinstance(value, list):
        return [shifted(each, numbers, time, directory, files) for each in value]
    if not isinstance(value, dict):
        return value
    made = {key: shifted(each, numbers, time, directory, files) for key, each in value.items()}
    for key in ("time", "first_begin", "last_end"):
        if made.get(key) is not None:
            made[key] = moved(made[key], time)
    if made.get("parent") is not None:
        made["parent"] += numbers
    if "trial" in made and "attempt" in made:
        made["trial"] += numbers
        for key in ("name", "job"):
            if key in made and made[key] != "here":
                made[key] = directory.attempt_name(made["trial"], made["attempt"])
        if "files" in made:
            made["files"] = [files[made["trial"]]]
    return made


def moved(text: str, time: timedelta) -> str:
    """A later time, as records have it."""
    return format_time(datetime.fromisoformat(text) + time)


def copied_files(directory: CampaignDirectory, copy: int, span: timedelta) -> dict[int, dict[str, object]]:
    """Write the events files and specifications of a copy; trial -> record of its events file."""
    found = {}
    for trial in range(BASE):
        number = trial + copy * BASE
        lines = []
        for line in directory.events(trial, 1, 0).read_text().splitlines():
            event = json.loads(line)
            event["trial"] = number
            for key in ("time", "start", "end"):
                if key in event:
                    event[key] = moved(event[key], copy * span)
            lines.append(json.dumps(event, separators=(",", ":")) + "\n")
        data = "".join(lines).encode()
        directory.events(number, 1, 0).write_bytes(data)
        directory.spec(number).hardlink_to(directory.spec(trial))
        found[number] = {"run": 0, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return found


def make(path: Path, trials: int) -> CampaignDirectory:
    """Make the campaign."""
    directory = CampaignDirectory.create(path, settings(BASE, 128), {})
    entries = run_base(directory)
    journal = repeated(entries, directory, max(trials // BASE, 1))
    directory.journal.write_text("".join(entry.to_line() + "\n" for entry in journal))
    return directory


def measured(command: list[str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak MiB of a process."""
    done = subprocess.run([sys.executable, "-c", MEASURE, *command], check=True, capture_output=True, text=True)
    wall, cpu, memory = map(float, done.stdout.split())
    return wall, cpu, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40_000)
    parser.add_argument("--runs", type=int, default=3, help="number of measured runs of each command")
    parser.add_argument("--directory", type=Path, help="campaign directory, which is kept (default: a temporary one)")
    parser.add_argument("--other", type=Path, help="interpreter with another version of aiperf-orch, to compare with")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = options.directory or Path(scratch) / "campaign"
        start = time.perf_counter()
        directory = CampaignDirectory.open(path) if CampaignDirectory.exists(path) else make(path, options.trials)
        size = directory.journal.stat().st_size / 1e6
        print(f"campaign with a journal of {size:.0f} MB, made or opened in {time.perf_counter() - start:.0f} s")
        rows: dict[str, list[tuple[float, float, float]]] = {}
        for _ in range(options.runs):
            for name, interpreter, command, saved in (
                ("status", sys.executable, "status", True),
                ("status, no snapshot", sys.executable, "status", False),
                ("score", sys.executable, "score", True),
                *([("other: status", options.other, "status", True)] if options.other else []),
                *([("other: score", options.other, "score", True)] if options.other else []),
            ):
                directory.saved_state.unlink(missing_ok=True)
                if saved:
                    snapshot = read_snapshot(directory)
                    save_state(directory.saved_state, snapshot.state, snapshot.journal.position)
                row = measured([str(interpreter), "-P", "-m", "aiperf_orch.cli", command, str(path)])
                rows.setdefault(name, []).append(row)
    print(f"{'command':<24}{'wall s':>9}{'CPU s':>9}{'MiB':>9}   medians; load {os.getloadavg()[0]:.1f}")
    for name, taken in rows.items():
        wall, cpu, memory = (statistics.median(column) for column in zip(*taken, strict=True))
        print(f"{name:<24}{wall:>9.2f}{cpu:>9.2f}{memory:>9.0f}")


if __name__ == "__main__":
    main()
