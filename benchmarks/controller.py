"""What a campaign of many trials costs its controller: time and memory per trial, from the first thousand to the last.

Everything but the jobs is real: controller, campaign directory with its fsyncs, search, terminal lines, and the life of
each simulated trial, which claims its attempt and writes its events. The scheduler is this process: between two ticks it
runs what was submitted, one trial after another, and nobody waits. So every tick finds `--concurrency` trials ended and
submits as many. Trials' own time is no part of the controller's; their memory is, since they run here.

    python benchmarks/controller.py [--trials 40000] [--window 1000] [--concurrency 128] [--directory DIR]

A row a window: wall time with the trials', the controller's wall and CPU time a trial, the CPU time by what it does, and
the resident memory. Then, each in a process of its own: the campaign taken up again until its first tick is over,
`status`, and `score`, with their greatest memory. Ratios are to the first window of the same run.

Measured to the end beside other work (load 4 to 20 on 2 cores), at nice 15, in memory (/dev/shm): 11.5 ms of CPU time a trial in the
first window, of which the search 10.7 and all else 0.8; in the others 11.7 to 15.6, but for five that other work crowded
(to 21.4), and all else 0.6 to 1.0. The mean window has 1.25 times the first's, whose networks are the smallest; nothing
grows from the second on. Memory grew evenly by 9 MiB in a thousand trials, from 108 to 470 MiB, the trials' own included.
Taken up until the first tick: 7.8 s, 507 MiB; `status` 9.1 s, 456 MiB; `score` 15.4 s, 691 MiB.
"""

# ruff: noqa: ARG002, D102  the methods are explained at `Scheduler`

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aiperf_orch.campaign.directory import CampaignDirectory, read_spec
from aiperf_orch.campaign.events import claim
from aiperf_orch.campaign.journal import Journal
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.commands.live_view import PlainLines
from aiperf_orch.controller import controller as controller_module
from aiperf_orch.controller.attempt_monitor import LiveAttempt
from aiperf_orch.controller.controller import Controller
from aiperf_orch.controller.search_adapter import SearchAdapter
from aiperf_orch.controller.weight_retention import WeightRetention
from aiperf_orch.schedulers.base import CancelResult, JobEnd, JobRequest, JobStatus, Scheduler, SubmitResult
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.trial.runtime.allocation import Allocation
from aiperf_orch.trial.runtime.attempt import AttemptRunner, TrialFiles
from aiperf_orch.trial.runtime.simulated_trainer import SimulatedTrainer

EPOCHS = 2
PHASES = ("search", "journal", "state", "spec", "folders", "events", "weights", "shown", "rest")


class Here(Scheduler):
    """Runs trials in this process, when it is told to."""

    nonblocking = True

    def __init__(self) -> None:
        self._submitted: list[str] = []

    def check(self, concurrency: int) -> list[str]:
        return []

    def render(self, request: JobRequest) -> str:
        return ""

    def submit(self, requests: Sequence[JobRequest]) -> SubmitResult:
        self._submitted += [request.command[-3] for request in requests]  # the specification, before --attempt 1
        return SubmitResult(jobs={request.name: request.name for request in requests})

    def release_resources(self, names: Collection[str]) -> None:
        pass

    def query(self, names: Collection[str]) -> Mapping[str, JobStatus]:
        return {}

    def query_unlisted(self, jobs: Mapping[str, str]) -> Mapping[str, JobStatus | JobEnd]:
        return {}

    def cancel(self, jobs: Mapping[str, str | None], *, force: bool) -> CancelResult:
        return CancelResult()

    def run(self, directory: CampaignDirectory) -> None:
        """Run what was submitted."""
        submitted, self._submitted = self._submitted, []
        for path in submitted:
            spec, sha256 = read_spec(Path(path))
            sink = claim(directory, spec.trial, 1, 0)
            files = TrialFiles(directory.weights(spec.trial), directory.checkpoint(spec.trial))
            allocation = Allocation(job="here", hosts=("here",), rank=0, run=0, requeueable=False)
            with contextlib.redirect_stderr(io.StringIO()):
                AttemptRunner(spec, sha256, 1, allocation, sink, files).run(
                    functools.partial(SimulatedTrainer, spec, 1), []
                )
            os.close(sink._file.descriptor)  # a job would have exited


class Clock:
    """CPU seconds by what the controller does: a part within another part is not counted twice."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._running: list[str] = []
        self._since = 0.0

    @contextlib.contextmanager
    def of(self, phase: str) -> Iterator[None]:
        """What is done within belongs to a phase."""
        self._switch()
        self._running.append(phase)
        try:
            yield
        finally:
            self._switch()
            self._running.pop()

    def wrap(self, owner: Any, name: str, phase: str) -> None:
        """Count every call of a function as of a phase."""
        function: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            with self.of(phase):
                return function(*arguments, **named)

        setattr(owner, name, timed)

    def _switch(self) -> None:
        present = time.process_time()
        if self._running:
            self.seconds[self._running[-1]] += present - self._since
        self._since = present


def timed_parts() -> Clock:
    """A clock of the controller's parts."""
    clock = Clock()
    for owner, name, phase in (
        (SearchAdapter, "propose", "search"),
        (SearchAdapter, "feed", "search"),
        (Journal, "append", "journal"),
        (CampaignState, "apply", "state"),
        (CampaignDirectory, "write_spec", "spec"),
        (controller_module, "make_request", "folders"),
        (LiveAttempt, "poll", "events"),
        (LiveAttempt, "end_record", "events"),
        (WeightRetention, "end_trials", "weights"),
        (WeightRetention, "keep_only", "weights"),
    ):
        clock.wrap(owner, name, phase)
    return clock


def settings(trials: int, concurrency: int) -> SiteSettings:
    return SiteSettings.model_validate(
        {
            "campaign": {"max_trials": trials, "concurrency": concurrency, "duration": "30d"},
            "training": {
                "trainer": "simulated",
                "warmup_epochs": [EPOCHS],
                "epochs": EPOCHS,
                "simulated": {"epoch_seconds": 0},
            },
        }
    )


def campaign(directory: CampaignDirectory, window: int) -> None:
    """Run it to its end, with a row a window."""
    clock, scheduler = timed_parts(), Here()
    lines = PlainLines(lambda _: None)
    controller = Controller(directory, scheduler, resume=True, warn=print)
    rows: list[list[float]] = []
    began, own, done, phase = time.perf_counter(), 0.0, 0, Phase.RUNNING
    print(f"{'':>7}{'wall':>8}{'controller, ms a trial':>24}{'of its CPU time':^{8 * len(PHASES)}}{'resident':>10}")
    print(f"{'trials':>7}{'s':>8}{'wall':>12}{'CPU':>12}{''.join(f'{each:>8}' for each in PHASES)}{'MiB':>10}")
    while phase is Phase.RUNNING:
        start = time.perf_counter()
        with clock.of("rest"):
            phase = controller.tick()
            with clock.of("shown"):
                lines.show(controller)
        own += time.perf_counter() - start
        ended = controller.state.trials_ended
        if ended - done >= window or (phase is not Phase.RUNNING and ended > done):
            each = 1000 / (ended - done)
            rows.append([own * each, clock.seconds.total() * each, *(clock.seconds[part] * each for part in PHASES)])
            wall = time.perf_counter() - began
            numbers = f"{rows[-1][0]:>12.2f}{rows[-1][1]:>12.2f}" + "".join(f"{part:>8.2f}" for part in rows[-1][2:])
            print(f"{ended:>7}{wall:>8.0f}{numbers}{resident():>10.0f}", flush=True)
            began, own, done = time.perf_counter(), 0.0, ended
            clock.seconds.clear()
        scheduler.run(directory)
    controller.close()
    whole = rows[:-1] if len(rows) > 1 else rows  # the last one may be short
    for name, row in (("last", whole[-1]), ("mean", [sum(column) / len(whole) for column in zip(*whole, strict=True)])):
        ratios = [mine / first if first else 1.0 for mine, first in zip(row, whole[0], strict=True)]
        text = f"{ratios[0]:>12.2f}{ratios[1]:>12.2f}" + "".join(f"{ratio:>8.2f}" for ratio in ratios[2:])
        print(f"{name + ' window / first':>15}{text}")


def resume(path: Path) -> None:
    """Take the campaign up, as `run` does after a crash, until its first tick is over."""
    Controller(CampaignDirectory.open(path), Here(), resume=True, warn=print).tick()


def resident() -> float:
    """MiB that this process has in memory now."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def of_a_process(name: str, command: Sequence[str]) -> None:
    """A row: seconds and greatest memory of a command."""
    program = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program, *command], check=True, capture_output=True, text=True)
    print(f"{name:<32}{time.perf_counter() - start:>8.1f} s{int(done.stdout) / 1024:>8.0f} MiB at most", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40_000)
    parser.add_argument("--window", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=128)
    parser.add_argument("--directory", type=Path, help="where the campaign lies and stays; default: a temporary one")
    parser.add_argument("--resume", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.resume:
        resume(options.resume)
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = options.directory or Path(scratch) / "campaign"
        made = CampaignDirectory.create(path, settings(options.trials, options.concurrency), {})
        campaign(made, options.window)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {peak:.0f} MiB at most")
        of_a_process("taken up until the first tick", [sys.executable, __file__, "--resume", str(path)])
        for command in ("status", "score"):
            of_a_process(f"aiperf-orch {command}", [sys.executable, "-m", "aiperf_orch.cli", command, str(path)])


if __name__ == "__main__":
    main()
