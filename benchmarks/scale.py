"""Ten thousand jobs in the queue of a Slurm of 4,096 nodes that start on demand.

    python benchmarks/scale.py [--jobs 10000] [--running 200] [--seconds 120] [--minutes 6]

A real Slurm whose nodes are of `State=CLOUD`: a slurmd is started for a node that gets its first job. All nodes but
`--running` are drained, since memory holds no more slurmds and trials; a trial takes a node. The campaign has `--jobs`
trials at once, so that the others wait in the queue. Simulated trials of `--seconds` run as real jobs. Reported are the
time of the first wave's submission, and of the minutes after it: the controller's CPU, memory and opened files,
scheduler commands, and the time from an end to the journal, of the first and the second half apart. The same with
10,000 trials on agents: `allocations.py many`. Results are in docs/performance.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from allocations import SIMULATED, Spent, campaign, scheduler_commands

from aiperf_orch.campaign.journal import read_journal
from aiperf_orch.records.journal import Ended, Submitted
from cluster.slurm import SlurmCluster, find_program, foreign_variables, missing_program

NODES = 4096
_FIRST_PORT = 24000  # of the nodes; below the ephemeral ones
_RESUME = """#!/bin/sh
# Slurm's ResumeProgram: start a slurmd for each named node
export SLURM_CONF={conf}
for node in $({scontrol} show hostnames "$1"); do
    {slurmd} -D -b -N "$node" </dev/null >/dev/null 2>&1 &
done
"""


@contextlib.contextmanager
def cloud_slurm(root: Path, running: int) -> Iterator[SlurmCluster]:
    """A real Slurm of 4,096 nodes on demand, of which this number accept jobs."""
    missing = missing_program(accounting=False)
    if missing:
        sys.exit(f"{missing}: not found: this benchmark needs Slurm")
    for name in foreign_variables():
        del os.environ[name]
    root.mkdir()
    resume = root / "resume"
    programs = {name: find_program(name) for name in ("scontrol", "slurmd")}
    resume.write_text(_RESUME.format(conf=root / "etc/slurm.conf", **programs))
    resume.chmod(0o755)
    extra = f"""
SlurmctldParameters=idle_on_node_suspend,cloud_dns
ResumeProgram={resume}
SuspendProgram=/bin/true
SuspendTime=86400
ResumeTimeout=300
ResumeRate=0
MaxJobCount=30000
NodeName=c[0001-{NODES:04d}] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[{_FIRST_PORT + 1}-{_FIRST_PORT + NODES}] \
CPUs=1 RealMemory=1000 State=CLOUD
"""
    with SlurmCluster(root, nodes=0, gpus=0, max_array_size=1001, extra_conf=extra) as cluster:
        os.environ["SLURM_CONF"] = cluster.environment["SLURM_CONF"]
        if running < NODES:
            drained = f"nodename=c[{running + 1:04d}-{NODES:04d}]"
            cluster.run("scontrol", "update", drained, "state=drain", "reason=memory")
        try:
            yield cluster
        finally:
            cluster.run("scancel", f"--user={os.getuid()}", check=False)
            for file in (root / "run").glob("c*.pid"):
                with contextlib.suppress(ValueError, ProcessLookupError):
                    os.kill(int(file.read_text()), signal.SIGKILL)


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Run the campaign and print what it took."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    epochs = 2
    training = SIMULATED | {"warmup_epochs": [epochs], "epochs": epochs}
    site = {
        "scheduler": {"kind": "slurm", "cpus_per_task": 1, "memory": "900M", "time_limit": "4h"},
        "campaign": {"duration": "12h", "concurrency": options.jobs, "seed": 7},
        "training": training | {"simulated": {"epoch_seconds": options.seconds / epochs}},
    }
    counting, opened = Path(__file__).with_name("counting_controller.py"), folder / "opened"
    with cloud_slurm(folder / "s", options.running) as cluster, contextlib.ExitStack() as stack:
        process, path, log = stack.enter_context(campaign(folder, site, "queue", (str(counting), str(opened))))
        controller = psutil.Process(process.pid)
        begin = time.monotonic()
        journal = path / "journal.jsonl"
        while _submitted(journal) < options.jobs:
            _require(process, journal, begin + 1800)
            time.sleep(3.0)
        submitted = [entry.time for entry in read_journal(journal) if isinstance(entry, Submitted)]
        first, last = submitted[0], submitted[-1]
        print(f"{options.jobs} jobs submitted in {(last - first).total_seconds():.0f} s after the first one's", end="")
        print(f", {scheduler_commands(log)} scheduler commands; {time.monotonic() - begin:.0f} s after the start")
        time.sleep(60.0)
        for half in ("first", "second"):
            start, ended, commands = Spent.by(controller, opened), _ended(journal), _commands(log)
            time.sleep(options.minutes * 30)
            end = Spent.by(controller, opened)
            late = [
                (entry.time - each.last_end).total_seconds()
                for entry in read_journal(journal)
                if isinstance(entry, Ended)
                for each in entry.attempts
                if each.last_end
            ][ended:]
            running = len(cluster.run("squeue", "--noheader", "--states=R", "--format=%i").stdout.split())
            since = {name: number - commands.get(name, 0) for name, number in _commands(log).items()}
            memory = controller.memory_info().rss / 2**30
            print(f"{half} half: {running} at work, {end.since(start)}, {memory:.2f} GiB, {len(late)} ends", end="")
            if len(late) > 1:
                print(f", median {statistics.median(late):.1f} s and p99 {statistics.quantiles(late, n=100)[98]:.1f} s")
            print(f"  scheduler commands in {options.minutes / 2:g} minutes: {since}")


def _require(process: subprocess.Popen[bytes], journal: Path, deadline: float) -> None:
    if process.poll() is not None:
        sys.exit(f"the controller ended:\n{(journal.parent.parent / 'queue.out').read_text()[-2000:]}")
    if time.monotonic() > deadline:
        sys.exit("the jobs were not submitted within 30 minutes")


def _submitted(journal: Path) -> int:
    if not journal.exists():
        return 0
    return sum(len(entry.jobs) for entry in read_journal(journal) if isinstance(entry, Submitted))


def _ended(journal: Path) -> int:
    return sum(len(entry.attempts) for entry in read_journal(journal) if isinstance(entry, Ended))


def _commands(log: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    text = log.read_text(encoding="utf-8", errors="replace")
    for name in re.findall(r"\b(sbatch|squeue|scontrol|sacct|scancel)\b.* exit status", text):
        found[name] = found.get(name, 0) + 1
    return found


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--running", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--minutes", type=float, default=6.0)
    with tempfile.TemporaryDirectory() as folder:
        measure(parser.parse_args(), Path(folder))


if __name__ == "__main__":
    main()
