"""How soon a controller on Slurm hears and acts while a command of the scheduler hangs, against an older version of itself.

Whole `aiperf-orch run` processes, with the default settings of Slurm but `poll_interval` of 5 s (the default) and of 1 s.
Slurm's programs are small scripts that hang when told so (tests/cluster/slurm_standin.py); this process plays the trials
by writing their events files. Of each case, in seconds:

- "sbatch takes 10 s" and "squeue hangs": from an end line on disk to the journal's entry of it, and from Ctrl-C to its
  acknowledgement on stderr, both while a call of the program has not answered. Goals: two poll intervals; 1 s.
- "first job died", "died before begin", "died after begin": the queue says that a job FAILED which left no end line; from
  the first answer of squeue that said so to the next call of sbatch, or after the first job of all to the end of the
  attempt in the journal, since the campaign then pauses. Goal: 5 s. In brackets from the moment that the queue first
  could have said it, had it been asked.

    python benchmarks/responsiveness.py [--before PYTHON] [--cases sbatch squeue first begin after] [--polls 5s 1s]

`--before` is the interpreter of an environment with the other version. All runs go on at once, up to `--together`: they
wait nearly all of the time. "> N" is a measurement that was given up after so long.

Measured in one run on 2 idle cores, against commit a3dba24, with a poll_interval of 5 s, before and after: sbatch takes 10 s:
end line known 14.5, 4.5; Ctrl-C heard 14.5, 0.0. squeue hangs: end line known 64.5, 4.5; Ctrl-C heard more than 180, 0.1.
First job died 75.2 (134.4), 3.0 (7.1); died before begin 70.2 (128.4), 3.0 (36.1); died after begin 110.4 (168.6), 3.0 (36.1).
With 1 s: sbatch takes 10 s 10.5, 0.5; 10.5, 0.1. squeue hangs 60.5, 0.5; more than 180, 0.1. First job died 64.2 (123.4),
3.0 (4.2); died before begin 69.2 (127.5), 3.0 (31.2); died after begin 101.4 (159.6), 3.0 (35.2). 5 min 40 s in all.
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
"""Seconds that a campaign may take to be where a measurement begins, on a crowded machine."""

LONGEST = 180
"""Seconds after which a measurement is given up."""

HEARD = r"stopp|STOPPED|^left|told to end"
Figures = dict[str, tuple[float | None, ...]]


class Run:
    """A controller of a version with a campaign of its own."""

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
        """The jobs, when so many have been submitted and the controller knows their ids."""

        def jobs() -> list[Job]:
            known = len(self.play.entries("submitted")) >= number
            return self.slurm.jobs() if known and len(self.slurm.jobs()) >= number else []

        return self.expected(jobs, START, f"{number} jobs are submitted")

    def expected(self, condition: Callable[[], object], seconds: float, what: str) -> object:
        """Wait for what is no measurement."""
        held = wait_until(condition, seconds)
        if not held:
            raise RuntimeError(f"it did not come so far that {what}:\n{self.controller.text()}")
        return held

    def prove(self) -> Job:
        """The first trial ends an epoch."""
        (first,) = self.submitted(1)
        self.play.begin(first)
        self.play.epoch(first)
        return first

    def known_end(self, job: Job) -> float | None:
        """Seconds from an end line to the journal's entry of it."""
        trial = self.play.attempt(job)[0]
        since = time.time()
        self.play.end(job)
        return passed(since, lambda: any(end["trial"] == trial for end in self.play.entries("ended")))

    def heard_interrupt(self) -> float | None:
        """Seconds from Ctrl-C to the first word of it."""
        since = self.controller.interrupt()

        def heard() -> bool:
            self.play.obey()
            return self.controller.heard(HEARD, since) is not None

        passed(since, heard)
        moment = self.controller.heard(HEARD, since)
        return None if moment is None else moment - since

    def replaced(self, job: Job, program: str | None = "sbatch") -> tuple[float | None, ...]:
        """Seconds from the first answer that stated a job's end, and from that end, to the next call of a program.

        None is no program, but the journal's entry of the attempt's end.
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
    """Seconds until something holds; None when it did not in time."""
    return time.time() - since if wait_until(condition, LONGEST) else None


def slow_sbatch(run: Run) -> Figures:
    """Each sbatch takes 10 s, but for the first."""
    run.submitted(1)
    run.slurm.slow("sbatch", 10)
    first = run.prove()
    run.expected(lambda: run.slurm.hanging("sbatch"), START, "a second sbatch is called")
    time.sleep(0.5)
    known = run.known_end(first)
    run.expected(lambda: run.slurm.hanging("sbatch"), START, "a further sbatch is called")
    time.sleep(0.5)
    return {"sbatch takes 10 s: end line known": (known,), "sbatch takes 10 s: Ctrl-C heard": (run.heard_interrupt(),)}


def hanging_squeue(run: Run) -> Figures:
    """The queue hangs until command_timeout; it is asked because trials do not begin."""
    first = run.prove()
    run.slurm.hang("squeue")
    run.submitted(CONCURRENCY + LOOKAHEAD)
    run.expected(lambda: run.slurm.hanging("squeue"), START, "squeue is called")
    time.sleep(0.5)
    known = run.known_end(first)
    calls = len(run.slurm.calls("squeue"))
    if known is None or known > 50:  # that call is over: during the next one
        run.expected(lambda: len(run.slurm.calls("squeue")) > calls, LONGEST, "squeue is called again")
    time.sleep(0.5)
    return {"squeue hangs: end line known": (known,), "squeue hangs: Ctrl-C heard": (run.heard_interrupt(),)}


def first_died(run: Run) -> Figures:
    """The campaign's first job fails before its trial begins."""
    (first,) = run.submitted(1)
    run.slurm.set_state(first, "RUNNING")
    time.sleep(1)
    return {"first job died: attempt ended": run.replaced(first, None)}


def died(run: Run, *, begun: bool) -> Figures:
    """A later job fails, before or after its trial has begun."""
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
    """The figures of one run, whose processes are ended."""
    folder.mkdir()
    run = Run(folder, python, poll)
    try:
        return CASES[case](run)
    finally:
        for program in ("sbatch", "squeue"):
            run.slurm.release(program)
        run.controller.kill()


def goal(measured: str, poll: str) -> str:
    """What is wanted of a measurement."""
    if measured.endswith("heard"):
        return "1.0"
    return f"{2 * float(poll.rstrip('s')):.1f}" if measured.endswith("known") else "5.0"


def shown(figures: tuple[float | None, ...] | None) -> str:
    """One measurement, with what it is in brackets."""
    if figures is None:
        return "-"
    first, *rest = (f"> {LONGEST}" if figure is None else f"{figure:.1f}" for figure in figures)
    return f"{first} ({rest[0]})" if rest else first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", metavar="PYTHON", help="the interpreter of an environment with another version")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="which cases; by default all")
    parser.add_argument(
        "--polls", nargs="+", default=["5s", "1s"], help="values of scheduler.poll_interval, in seconds"
    )
    parser.add_argument("--together", type=int, default=20, help="how many controllers at once")
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
    print(f"{'':<38}{'poll':>5}{'before':>18}{'after':>18}{'goal':>8}")
    for case in options.cases:
        for poll in options.polls:
            after, before = results["after", poll, case], results.get(("before", poll, case), {})
            for measured, figures in after.items():
                columns = f"{shown(before.get(measured)):>18}{shown(figures):>18}{goal(measured, poll):>8}"
                print(f"{measured:<38}{poll:>5}{columns}")


if __name__ == "__main__":
    main()
