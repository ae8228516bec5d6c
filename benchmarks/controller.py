"""Cost of a campaign for its controller: time and memory per trial, from the first to the last thousand trials.

Only the jobs are simulated. Controller, campaign directory with its fsyncs, search, terminal output, and the events
of each simulated trial are real. The scheduler is this process: between two steps of the controller it runs the
submitted trials one after another, so each step finds `--concurrency` ended trials and submits as many. The time of
the trials is not part of the controller's time; their memory is part of its memory, because they run in the same
process.

    python benchmarks/controller.py [--trials 40000] [--window 1000] [--concurrency 128] [--directory DIR]

Prints one row per window: wall time including the trials, the controller's wall and CPU time per trial, the CPU time by
activity, and the resident memory. Then, each in its own process: resuming the campaign until the first step has ended,
`status`, and `score`, with their peak memory. Ratios refer to the first window of the same run. Results are in
docs/research/controller.md.
"""

# ruff: noqa: ARG002, D102  the methods are documented in `Scheduler`

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


class InProcessScheduler(Scheduler):
    """Runs the submitted trials in this process when `run` is called."""

    nonblocking = True

    def __init__(self) -> None:
        self._submitted: list[str] = []

    def check(self, concurrency: int) -> list[str]:
        return []

    def render(self, request: JobRequest) -> str:
        return ""

    def submit(self, requests: Sequence[JobRequest]) -> SubmitResult:
        for request in requests:
            self._submitted.append(request.command[request.command.index("--attempt") - 1])  # the specification
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
        """Run the submitted trials."""
        submitted, self._submitted = self._submitted, []
        for path in submitted:
            spec, sha256 = read_spec(Path(path))
            sink = claim(directory, spec.trial, 1, 0)
            files = TrialFiles(directory.weights(spec.trial), directory.checkpoint(spec.trial))
            allocation = Allocation(job="here", hosts=("here",), rank=0, run=0, requeueable=False)
            with contextlib.redirect_stderr(io.StringIO()):
                AttemptRunner(spec, sha256, 1, allocation, sink, files).run(
                    functools.partial(SimulatedTrainer, spec, 1), list
                )
            os.close(sink._file.descriptor)  # the exit of a job would close it


class Clock:
    """CPU seconds of the controller by activity; nested activities are not counted twice."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._running: list[str] = []
        self._since = 0.0

    @contextlib.contextmanager
    def of(self, phase: str) -> Iterator[None]:
        """Count the CPU time of the block for an activity."""
        self._switch()
        self._running.append(phase)
        try:
            yield
        finally:
            self._switch()
            self._running.pop()

    def wrap(self, owner: Any, name: str, phase: str) -> None:
        """Count the CPU time of all calls of a function for an activity."""
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
    """Clock of the controller's activities."""
    clock = Clock()
    for owner, name, phase in (
        (SearchAdapter, "propose", "search"),
        (SearchAdapter, "feed", "search"),
        (Journal, "append", "journal"),
        (CampaignState, "apply", "state"),
        (CampaignDirectory, "write_spec", "spec"),
        (controller_module, "make_requests", "folders"),
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
    """Run a campaign to its end, and print a row per window."""
    clock, scheduler = timed_parts(), InProcessScheduler()
    lines = PlainLines()
    controller = Controller(directory, scheduler, resume=True, warn=print)
    rows: list[list[float]] = []
    began, own, done, phase = time.perf_counter(), 0.0, 0, Phase.RUNNING
    print(f"{'':>7}{'wall':>8}{'controller, ms per trial':>24}{'of its CPU time':^{8 * len(PHASES)}}{'resident':>10}")
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
    whole = rows[:-1] if len(rows) > 1 else rows  # the last one may be incomplete
    for name, row in (("last", whole[-1]), ("mean", [sum(column) / len(whole) for column in zip(*whole, strict=True)])):
        ratios = [mine / first if first else 1.0 for mine, first in zip(row, whole[0], strict=True)]
        text = f"{ratios[0]:>12.2f}{ratios[1]:>12.2f}" + "".join(f"{ratio:>8.2f}" for ratio in ratios[2:])
        print(f"{name + ' window / first':>15}{text}")


def resume(path: Path) -> None:
    """Resume the campaign, as `run` does after a crash, until the first step has ended."""
    Controller(CampaignDirectory.open(path), InProcessScheduler(), resume=True, warn=print).tick()


def resident() -> float:
    """Resident memory of this process in MiB."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def of_a_process(name: str, command: Sequence[str]) -> None:
    """Print a row: seconds and peak memory of a command."""
    program = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program, *command], check=True, capture_output=True, text=True)
    print(f"{name:<32}{time.perf_counter() - start:>8.1f} s{int(done.stdout) / 1024:>8.0f} MiB peak", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40_000)
    parser.add_argument("--window", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=128)
    parser.add_argument("--directory", type=Path, help="campaign directory, which is kept (default: a temporary one)")
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
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {peak:.0f} MiB peak")
        of_a_process("resumed until the first step", [sys.executable, __file__, "--resume", str(path)])
        for command in ("status", "score"):
            of_a_process(f"aiperf-orch {command}", [sys.executable, "-m", "aiperf_orch.cli", command, str(path)])


if __name__ == "__main__":
    main()
