"""Trials placed on agents, against a job a trial in the same run.

    python benchmarks/allocations.py slurm [--slots 16] [--seconds 60] [--minutes 6]
    python benchmarks/allocations.py wave [--slots 512] [--jobs 64]
    python benchmarks/allocations.py warm [--trials 6]
    python benchmarks/allocations.py local [--trials 8]
    python benchmarks/allocations.py opens [--slots 8] [--minutes 2]
    python benchmarks/allocations.py many [--slots 10000] [--agents 20] [--seconds 3600] [--minutes 6]

`slurm`: idle time of the slots, and scheduler commands, on a private real Slurm with simulated trials of `--seconds`.
`wave`: time from the agents' begin to `--slots` simulated trials at work; as jobs of their own, the rate of `--jobs`.
`warm`: time from an attempt's journal entry to its begin line, torch on digits. `local`: share of the time that two
trials at once could have been at work, of the first campaign of the README. `opens`: files of the campaign that an
agent opens a second while all of its slots run long trials, by strace. `many`: the controller's CPU, memory,
opened files, and the time until an end is in the journal, with trials that agents play as coroutines
(`played_agent.py`): from the agents' begin until all slots are at work, and in the minutes after that. A job a trial
has no such size here. Results are in docs/performance.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.journal import read_journal
from aiperf_orch.campaign.snapshot import read_state
from aiperf_orch.records.events import Begin, End, Event, event_adapter
from aiperf_orch.records.journal import Ended
from aiperf_orch.util.units import now
from cluster.slurm import SlurmCluster, foreign_variables, missing_program

QUICK = {"poll_interval": "2s", "silent_after": "30s"}
_PLAYERS = 20
"""Number of processes that play agents."""
SIMULATED = {"trainer": "simulated", "warmup_epochs": [6], "epochs": 6, "patience": 20, "max_patience": 20}


@dataclass
class Work:
    """One run of an attempt by its events; `start` is the agent's start of its process, or its begin."""

    start: datetime
    begin: datetime
    end: datetime


def events_of(directory: CampaignDirectory) -> list[list[Begin | Event]]:
    """The events of each run, as far as they are written."""
    found = []
    for file in sorted(directory.events_folder.iterdir()):
        lines = file.read_bytes().split(b"\n")[:-1]
        if lines:
            found.append([event_adapter.validate_json(line) for line in lines])
    return found


def work_of(directory: CampaignDirectory, until: datetime) -> list[Work]:
    """All runs that began; one that has no end line yet runs `until`."""
    works = []
    for events in events_of(directory):
        begin = next((event for event in events if isinstance(event, Begin)), None)
        if begin is not None:
            ends = [event.time for event in events if isinstance(event, End)]
            works.append(Work(begin.started or begin.time, begin.time, ends[0] if ends else until))
    return works


def share_at_work(works: list[Work], slots: int, start: datetime, end: datetime) -> float:
    """Share of the time of all slots between two times in which trials trained."""
    spent = sum(max((min(work.end, end) - max(work.begin, start)).total_seconds(), 0.0) for work in works)
    return spent / (slots * (end - start).total_seconds())


@contextlib.contextmanager
def campaign(
    folder: Path, site: dict[str, Any], name: str, program: Sequence[str] = ("-m", "aiperf_orch.cli")
) -> Iterator[tuple[subprocess.Popen[bytes], Path, Path]]:
    """Run a campaign by the command line; gives the process, the campaign's folder, and the log of its commands."""
    file, path, log = folder / f"{name}.yaml", folder / name, folder / f"{name}.log"
    file.write_text(yaml.safe_dump(site))
    command = [sys.executable, *program, "run", str(file), "--campaign-dir", str(path), "--yes"]
    with (folder / f"{name}.out").open("wb") as output:
        process = subprocess.Popen(
            [*command, "--log-file", str(log)], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            yield process, path, log
        finally:
            stop(path)
            if process.poll() is None:
                process.terminate()
            process.wait(120)


def stop(path: Path) -> None:
    """Stop a campaign, if it has not ended."""
    command = [sys.executable, "-m", "aiperf_orch.cli", "stop", str(path)]
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=900, check=False)


def wait_for_work(path: Path, number: int, seconds: float = 900.0) -> list[Work]:
    """Wait until this number of trials are at work, or have been."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (path / "events").exists() and len(list((path / "events").iterdir())) >= number:
            works = work_of(CampaignDirectory.open(path), now())
            if len(works) >= number:
                return works
        time.sleep(1.0)
    sys.exit(f"{path}: {number} trials were not at work within {seconds:.0f} s")


def scheduler_commands(log: Path) -> int:
    """Number of scheduler commands that a controller ran, by its log."""
    programs = r"\b(?:sbatch|squeue|scontrol|sacct|scancel|qsub|qstat|qdel)\b.* exit status"
    return len(re.findall(programs, log.read_text(encoding="utf-8", errors="replace")))


@contextlib.contextmanager
def private_slurm(folder: Path) -> Iterator[None]:
    """A real Slurm of four nodes on this machine."""
    missing = missing_program(accounting=False)
    if missing:
        sys.exit(f"{missing}: not found: this benchmark needs Slurm")
    for name in foreign_variables():
        del os.environ[name]
    root = folder / "s"
    root.mkdir()
    with SlurmCluster(root, cpus=64) as cluster:
        os.environ["SLURM_CONF"] = cluster.environment["SLURM_CONF"]
        yield


def slurm(options: argparse.Namespace, folder: Path) -> None:
    """Idle time of slots, and scheduler commands a minute."""
    slots, epochs = options.slots, SIMULATED["epochs"]
    training = SIMULATED | {"simulated": {"epoch_seconds": options.seconds / epochs}}
    trial = {"kind": "slurm", "cpus_per_task": 1, "memory": "200M", "time_limit": "1h", **QUICK}
    held = {"nodes": 4, "time_limit": "1h", "cpus_per_node": slots // 4}
    ways = {"a job a trial": trial | {"lookahead": slots}, "allocations": trial | {"allocations": held}}
    print(f"{slots} slots, trials of {options.seconds} s (simulated), {options.minutes} minutes, a real Slurm")
    with private_slurm(folder):
        for way, scheduler in ways.items():
            site = {
                "scheduler": scheduler,
                "campaign": {"concurrency": slots, "duration": "2h", "seed": 7},
                "training": training,
            }
            with campaign(folder, site, way.replace(" ", "-")) as (_, path, log):
                wait_for_work(path, slots)
                start, before = now(), scheduler_commands(log)
                time.sleep(options.minutes * 60)
                end = now()
                commands = scheduler_commands(log) - before
                share = share_at_work(work_of(CampaignDirectory.open(path), end), slots, start, end)
            print(f"{way:14}: idle {1 - share:7.2%}, scheduler commands a minute {commands / options.minutes:.2f}")


@contextlib.contextmanager
def agents(path: Path, number: int, slots: int, seconds: float | None = None) -> Iterator[None]:
    """Agents that are started by hand, each as a host of its own.

    Args:
        path: The campaign.
        number: How many.
        slots: Slots of each.
        seconds: Duration of a trial for agents that play trials as coroutines; None for real agents.
    """
    while not (path / "campaign.yaml").exists():
        time.sleep(0.1)
    started = []
    hosts = [f"bench{index:04d}" for index in range(number)]
    for several in [[host] for host in hosts] if seconds is None else filter(None, _divided(hosts, _PLAYERS)):
        environment = {"PATH": "/usr/bin:/bin", "AIPERF_ORCH_HOSTS": several[0], "AIPERF_ORCH_JOB_ID": "bench"}
        if seconds is None:
            command = [sys.executable, "-P", "-m", "aiperf_orch.agent", str(path), "--slots", str(slots)]
        else:
            played = str(Path(__file__).with_name("played_agent.py"))
            command = [sys.executable, played, str(path), "--slots", str(slots), "--hosts", *several]
            command += ["--seconds", str(seconds)]
        with (path.parent / f"{several[0]}.out").open("wb") as output:
            started.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output))
    try:
        yield
    finally:
        stop(path)  # it dismisses the agents
        deadline = time.monotonic() + 120
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 1.0))
            if process.poll() is None:
                process.kill()


def _divided(hosts: list[str], parts: int) -> list[list[str]]:
    return [hosts[part::parts] for part in range(parts)]


def wave(options: argparse.Namespace, folder: Path) -> None:
    """Time until all slots are at work, from the begin of the last agent."""
    training = SIMULATED | {"simulated": {"epoch_seconds": 300}}
    site: dict[str, Any] = {"campaign": {"duration": "2h", "seed": 7}, "training": training}
    agent_site = site | {
        "scheduler": {"kind": "agents", **QUICK},
        "campaign": site["campaign"] | {"concurrency": options.slots},
    }
    with campaign(folder, agent_site, "wave") as (_, path, _), agents(path, 8, options.slots // 8):
        works = wait_for_work(path, options.slots)
        joined = [agent.record.time for agent in read_state(CampaignDirectory.open(path)).workforce.agents.values()]
        taken = max(work.begin for work in works) - max(joined)
    rate = options.slots / taken.total_seconds()
    print(f"{options.slots} slots on 8 agents: all at work {taken.total_seconds():.1f} s after the last agent began")
    with private_slurm(folder):
        scheduler = {"kind": "slurm", "cpus_per_task": 1, "memory": "50M", "time_limit": "1h", **QUICK}
        shorter = SIMULATED | {"simulated": {"epoch_seconds": 20}}  # the first epoch proves the site
        campaign_site = {"campaign": site["campaign"] | {"concurrency": options.jobs}, "training": shorter}
        job_site = {"scheduler": scheduler, **campaign_site}
        with campaign(folder, job_site, "jobs") as (_, path, _):
            begins = sorted(work.begin for work in wait_for_work(path, options.jobs))
    jobs = (options.jobs - 1) / max((begins[-1] - begins[1]).total_seconds(), 1e-3)
    print(f"{options.jobs} trials as jobs: {jobs:.2f} begins/s; agents: {rate:.2f} begins/s, {rate / jobs:.1f} x")


def warm(options: argparse.Namespace, folder: Path) -> None:
    """Time from a placement to the begin line, which a trial writes before its first step."""
    medians = {}
    for way, job_per_trial in (("a job a trial", True), ("agent", False)):
        site = {
            "scheduler": {"kind": "local", "job_per_trial": job_per_trial},
            "campaign": {"concurrency": 1, "max_trials": options.trials, "seed": 7},
            "training": {"warmup_epochs": [2], "epochs": 2},
        }
        with campaign(folder, site, f"warm-{job_per_trial}") as (process, path, _):
            process.wait(900)
            directory = CampaignDirectory.open(path)
            taken = []
            submitted = {key: attempt.submitted for key, attempt in all_attempts(directory).items()}
            for events in events_of(directory):
                begin = events[0]
                if isinstance(begin, Begin) and begin.trial > 0:  # the first one waits for the template process
                    start = begin.started or submitted[begin.trial, begin.attempt]
                    taken.append((begin.time - start).total_seconds())
        medians[way] = statistics.median(taken)
        print(f"{way:14}: start to begin line, median {medians[way]:.2f} s, longest {max(taken):.2f} s")
    print(f"ratio {medians['a job a trial'] / medians['agent']:.1f} x")


def all_attempts(directory: CampaignDirectory) -> dict[tuple[int, int], Any]:
    """All attempts of a campaign by (trial, attempt)."""
    trials = read_state(directory).trials.values()
    return {(each.trial, each.attempt): each for trial in trials for each in trial.attempts}


def local(options: argparse.Namespace, folder: Path) -> None:
    """Share of the time of two slots in which trials trained, from the first begin to the last end."""
    example = yaml.safe_load((Path(__file__).parents[1] / "site_configs" / "local.yaml").read_text())
    shares = {}
    for way, job_per_trial in (("a job a trial", True), ("agent", False)):
        site = example | {
            "scheduler": example["scheduler"] | {"job_per_trial": job_per_trial},
            "campaign": example["campaign"] | {"max_trials": options.trials},
        }
        with campaign(folder, site, f"local-{job_per_trial}") as (process, path, _):
            process.wait(3600)
            works = work_of(CampaignDirectory.open(path), now())
        start, end = min(work.begin for work in works), max(work.end for work in works)
        full = end - timedelta(seconds=min((end - work.end).total_seconds() for work in sorted(works, key=_end)[:-1]))
        shares[way] = share_at_work(works, 2, start, end)
        print(f"{way:14}: at work {shares[way]:.1%} of two slots; without the last trial's tail ", end="")
        print(f"{share_at_work(works, 2, start, full):.1%}; {(end - start).total_seconds():.0f} s in all")


def _end(work: Work) -> datetime:
    return work.end


def opens(options: argparse.Namespace, folder: Path) -> None:
    """Files that an agent opens while its slots are full."""
    training = SIMULATED | {"simulated": {"epoch_seconds": 3600}}
    limits = {"duration": "2h", "concurrency": options.slots, "seed": 7}
    site = {"scheduler": {"kind": "agents"}, "campaign": limits, "training": training}
    trace, seconds = folder / "trace", options.minutes * 60
    with campaign(folder, site, "opens") as (_, path, _), agents(path, 1, options.slots):
        wait_for_work(path, options.slots)
        time.sleep(30)  # until the trials that wait are placed, too
        [agent] = (agent for agent in path.glob("agents/*/agent.jsonl"))
        pid = json.loads(agent.read_text().splitlines()[0])["pid"]
        command = ["strace", "-f", "-e", "trace=open,openat", "-o", str(trace), "-p", str(pid)]
        tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        tracer.terminate()
        tracer.wait(60)
    opened = [Path(name).name for name in re.findall(rf'"({re.escape(str(path))}/[^"]*)"', trace.read_text())]
    print(f"{options.slots} slots at work: {len(opened) / seconds:.2f} opens/s, {dict(Counter(opened))}")


@dataclass(frozen=True)
class Spent:
    """What a controller has used since its start: CPU seconds, opened files; at a time in seconds."""

    time: float
    cpu: float
    opened: int

    @classmethod
    def by(cls, process: psutil.Process, opened: Path) -> Spent:
        """What this process has used."""
        times = process.cpu_times()
        return cls(time.monotonic(), times.user + times.system, int(opened.read_text(encoding="utf-8") or 0))

    def since(self, before: Spent) -> str:
        """Use between two times, in words."""
        taken = self.time - before.time
        cpu, opened = (self.cpu - before.cpu) / taken, (self.opened - before.opened) / taken
        return f"{cpu:.1%} of a core, {opened:.0f} opened files/s"


def many(options: argparse.Namespace, folder: Path) -> None:
    """CPU, memory and opened files of the controller with many slots; how late ends are in its journal."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    site = {
        "scheduler": {"kind": "agents", "poll_interval": "5s"},
        "campaign": {"duration": "12h", "concurrency": options.slots, "seed": 7},
        "training": SIMULATED | {"warmup_epochs": [1], "epochs": 1},
    }
    counting, opened = Path(__file__).with_name("counting_controller.py"), folder / "opened"
    with contextlib.ExitStack() as stack:
        process, path, _ = stack.enter_context(campaign(folder, site, "many", (str(counting), str(opened))))
        controller = psutil.Process(process.pid)
        stack.enter_context(agents(path, options.agents, options.slots // options.agents, options.seconds))
        begin = Spent.by(controller, opened)
        _wait_for_files(path / "events", int(options.slots * 0.99))
        print(f"{options.slots} slots on {options.agents} agents, trials of {options.seconds:.0f} s")
        at_work = Spent.by(controller, opened)
        print(f"99 % at work after {at_work.time - begin.time:.0f} s; until then {at_work.since(begin)}")
        while (ended := len(read_state(CampaignDirectory.open(path)).ends)) < options.slots / 100:
            time.sleep(10.0)
        start = Spent.by(controller, opened)
        time.sleep(options.minutes * 60)
        end, entries = Spent.by(controller, opened), read_journal(path / "journal.jsonl")
        late = [
            (entry.time - each.last_end).total_seconds()
            for entry in entries
            if isinstance(entry, Ended)
            for each in entry.attempts
            if each.last_end
        ][ended:]
        memory = controller.memory_info().rss / 2**30
        rate = len(late) / (end.time - start.time)
        print(f"in {options.minutes:g} minutes of ends: {end.since(start)}, {memory:.2f} GiB, {rate:.2f} ends/s")
        median, most = statistics.median(late), statistics.quantiles(late, n=100)[98]
        print(f"from the end of a trial to the journal: median {median:.1f} s, p99 {most:.1f} s, max {max(late):.1f} s")


def _wait_for_files(folder: Path, number: int) -> None:
    while len(list(folder.iterdir())) < number:
        time.sleep(1.0)


def main() -> None:
    """Run one comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("slurm", "wave", "warm", "local", "opens", "many"))
    parser.add_argument("--slots", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--jobs", type=int, default=64)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--agents", type=int, default=20)
    options = parser.parse_args()
    defaults = {"slurm": (16, 60.0), "wave": (512, 0.0), "opens": (8, 0.0), "many": (10_000, 3600.0)}
    slots, seconds = defaults.get(options.what, (0, 0.0))
    options.slots, options.seconds = options.slots or slots, options.seconds or seconds
    with tempfile.TemporaryDirectory() as folder:
        globals()[options.what](options, Path(folder))


if __name__ == "__main__":
    main()
