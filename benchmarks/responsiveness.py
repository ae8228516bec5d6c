"""Response time of a controller on Slurm while scheduler commands hang, compared with an older version.

Runs complete `aiperf-orch run` processes with the default settings of Slurm and a `poll_interval` of 5 s (the
default) and 1 s. Slurm's programs are replaced by small scripts that hang on request
(tests/cluster/slurm_standin.py); this process takes the part of the trials and writes their events files. Measured in
seconds:

- "sbatch takes 10 s" and "squeue hangs": from an end event on disk to its journal entry, and from Ctrl-C to its
  acknowledgement on stderr, both during a call of the program. Goals: two poll intervals; 1 s.
- "first job died", "died before begin", "died after begin": the queue reports the state FAILED for a job without an
  end event; from the first squeue output with this state to the next call of sbatch, or, for the first job of the
  campaign, to the end of the attempt in the journal, because the campaign then pauses. Goal: 5 s. The number in
  brackets starts when the state changed.

    python benchmarks/responsiveness.py [--before PYTHON] [--cases sbatch squeue first begin after] [--polls 5s 1s]

`--before` is the Python interpreter of an environment with the other version. Up to `--together` runs are concurrent:
they wait nearly all of the time. "> N" is a measurement that was ended after N seconds. Results are in
docs/research/controller.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import yaml

from cluster.slurm_standin import Command, Job, Play, SlurmStandIn, wait_until

CONCURRENCY, LOOKAHEAD = 4, 1
START = 120
"""Seconds until a measurement may start, on a busy machine."""

LONGEST = 180
"""Seconds after which a measurement is ended."""

ACKNOWLEDGED = r"stopp|STOPPED|^left|signalled to end"
Figures = dict[str, tuple[float | None, ...]]


class Run:
    """A controller of one version, with its own campaign."""

    def __init__(self, folder: Path, python: str, poll: str) -> None:
        self.slurm = SlurmStandIn(folder / "slurm")
        self.play = Play(self.slurm, folder / "campaign")
        site = folder / "site.yaml"
        training = {"trainer": "simulated", "warmup_epochs": [50], "epochs": 50, "simulated": {"epoch_seconds": 0}}
        settings = {
            "scheduler": {"kind": "slurm", "poll_interval": poll},
            "campaign": {"duration": "1h", "max_trials": 50, "concurrency": CONCURRENCY},
            "training": training,
        }
        site.write_text(yaml.safe_dump(settings))
        arguments = ("run", site, "--campaign-dir", folder / "campaign", "--yes")
        self.controller = Command(python, arguments, self.slurm.environment, folder)

    def submitted(self, number: int) -> list[Job]:
        """All jobs, after at least `number` have been submitted and the controller has read their ids."""

        def jobs() -> list[Job]:
            known = len(self.play.entries("submitted")) >= number
            return self.slurm.jobs() if known and len(self.slurm.jobs()) >= number else []

        return self.expected(jobs, START, f"{number} jobs are submitted")

    def expected(self, condition: Callable[[], object], seconds: float, what: str) -> object:
        """Wait for a condition that is not measured."""
        result = wait_until(condition, seconds)
        if not result:
            raise RuntimeError(f"no result within {seconds} s: {what}:\n{self.controller.text()}")
        return result

    def prove(self) -> Job:
        """End an epoch of the first trial."""
        (first,) = self.submitted(1)
        self.play.begin(first)
        self.play.epoch(first)
        return first

    def known_end(self, job: Job) -> float | None:
        """Seconds from an end event to its journal entry."""
        trial = self.play.attempt(job)[0]
        since = time.time()
        self.play.end(job)
        return passed(since, lambda: any(end["trial"] == trial for end in self.play.entries("ended")))

    def acknowledge_interrupt(self) -> float | None:
        """Seconds from Ctrl-C to its acknowledgement."""
        since = self.controller.interrupt()

        def acknowledged() -> bool:
            self.play.obey()
            return self.controller.heard(ACKNOWLEDGED, since) is not None

        passed(since, acknowledged)
        moment = self.controller.heard(ACKNOWLEDGED, since)
        return None if moment is None else moment - since

    def replaced(self, job: Job, program: str | None = "sbatch") -> tuple[float | None, ...]:
        """Seconds from the first squeue output with a job's end, and from that end, to the next call of a program.

        If `program` is None, to the journal entry of the attempt's end.
        """
        since = time.time()
        self.slurm.set_state(job, "FAILED")

        def submissions() -> list[float]:
            if program is None:
                ended = [entry["time"] for entry in self.play.journal() if entry["type"] == "ended"]
                return [datetime.fromisoformat(moment).timestamp() for moment in ended]
            return [call.time for call in self.slurm.calls(program) if call.time > since]

        passed(since, lambda: bool(submissions()))
        stated = [call.time for call in self.slurm.calls("squeue", "end") if f"{job.id}=FAILED" in call.text]
        if not submissions():
            return None, None
        moment = submissions()[0]
        return (moment - stated[0] if stated and stated[0] <= moment else None), moment - since


def passed(since: float, condition: Callable[[], bool]) -> float | None:
    """Seconds from `since` until the condition holds; None after LONGEST seconds."""
    return time.time() - since if wait_until(condition, LONGEST) else None


def slow_sbatch(run: Run) -> Figures:
    """Each sbatch but the first takes 10 s."""
    run.submitted(1)
    run.slurm.slow("sbatch", 10)
    first = run.prove()
    run.expected(lambda: run.slurm.hanging("sbatch"), START, "a second sbatch is called")
    time.sleep(0.5)
    known = run.known_end(first)
    run.expected(lambda: run.slurm.hanging("sbatch"), START, "a further sbatch is called")
    time.sleep(0.5)
    return {
        "sbatch takes 10 s: end event known": (known,),
        "sbatch takes 10 s: Ctrl-C acknowledged": (run.acknowledge_interrupt(),),
    }


def hanging_squeue(run: Run) -> Figures:
    """The squeue command hangs until command_timeout; it is called because trials do not start."""
    first = run.prove()
    run.slurm.hang("squeue")
    run.submitted(CONCURRENCY + LOOKAHEAD)
    run.expected(lambda: run.slurm.hanging("squeue"), START, "squeue is called")
    time.sleep(0.5)
    known = run.known_end(first)
    calls = len(run.slurm.calls("squeue"))
    if known is None or known > 50:  # that call has ended: measure during the next one
        run.expected(lambda: len(run.slurm.calls("squeue")) > calls, LONGEST, "squeue is called again")
    time.sleep(0.5)
    return {
        "squeue hangs: end event known": (known,),
        "squeue hangs: Ctrl-C acknowledged": (run.acknowledge_interrupt(),),
    }


def first_died(run: Run) -> Figures:
    """The first job of the campaign fails before its trial starts."""
    (first,) = run.submitted(1)
    run.slurm.set_state(first, "RUNNING")
    time.sleep(1)
    return {"first job died: attempt ended": run.replaced(first, None)}


def died(run: Run, *, begun: bool) -> Figures:
    """A later job fails, before or after its trial has started."""
    run.prove()
    jobs = run.submitted(CONCURRENCY + LOOKAHEAD)[1:]
    chosen, *others = [job for job in jobs if not job.after]
    run.slurm.set_state(chosen, "RUNNING")
    for job in others[: CONCURRENCY - 2]:
        run.play.begin(job)
    if begun:
        run.play.begin(chosen)
        run.play.epoch(chosen)
    time.sleep(2)
    return {f"died {'after' if begun else 'before'} begin: next submission": run.replaced(chosen)}


CASES: dict[str, Callable[[Run], Figures]] = {
    "sbatch": slow_sbatch,
    "squeue": hanging_squeue,
    "first": first_died,
    "begin": lambda run: died(run, begun=False),
    "after": lambda run: died(run, begun=True),
}


def measure(folder: Path, python: str, poll: str, case: str) -> Figures:
    """Measurements of one run; ends its processes."""
    folder.mkdir()
    run = Run(folder, python, poll)
    try:
        return CASES[case](run)
    finally:
        for program in ("sbatch", "squeue"):
            run.slurm.release(program)
        run.controller.kill()


def goal(measured: str, poll: str) -> str:
    """Goal of a measurement in seconds."""
    if measured.endswith("acknowledged"):
        return "1.0"
    return f"{2 * float(poll.rstrip('s')):.1f}" if measured.endswith("known") else "5.0"


def shown(figures: tuple[float | None, ...] | None) -> str:
    """A measurement as text, with the number in brackets."""
    if figures is None:
        return "-"
    first, *rest = (f"> {LONGEST}" if figure is None else f"{figure:.1f}" for figure in figures)
    return f"{first} ({rest[0]})" if rest else first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", metavar="PYTHON", help="Python interpreter of an environment with another version")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="cases to run (default: all)")
    parser.add_argument("--polls", nargs="+", default=["5s", "1s"], help="values of scheduler.poll_interval")
    parser.add_argument(
        "--together", type=int, default=20, help="number of concurrent controllers (default: %(default)s)"
    )
    options = parser.parse_args()
    versions = {"after": sys.executable} | ({"before": options.before} if options.before else {})
    with (
        tempfile.TemporaryDirectory(prefix="aiperf-") as scratch,
        ThreadPoolExecutor(options.together) as pool,
    ):
        runs = {
            (version, poll, case): pool.submit(measure, Path(scratch, f"{version}-{poll}-{case}"), python, poll, case)
            for case in options.cases
            for poll in options.polls
            for version, python in versions.items()
        }
        results = {key: run.result() for key, run in runs.items()}
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; seconds")
    print(f"{'':<42}{'poll':>5}{'before':>18}{'after':>18}{'goal':>8}")
    for case in options.cases:
        for poll in options.polls:
            after, before = results["after", poll, case], results.get(("before", poll, case), {})
            for measured, figures in after.items():
                columns = f"{shown(before.get(measured)):>18}{shown(figures):>18}{goal(measured, poll):>8}"
                print(f"{measured:<42}{poll:>5}{columns}")


if __name__ == "__main__":
    main()
