"""`python -m aiperf_orch.trial SPEC [--attempt N]`: what a job runs; a person too.

With `--attempt` the specification is one of a campaign and the attempt is claimed there. Without it a person runs the
trial by hand: events go to standard output as JSON lines, and the campaign's records are only read.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
import tempfile
from datetime import datetime
from functools import partial
from pathlib import Path

from aiperf_orch.campaign.directory import CampaignDirectory, read_spec
from aiperf_orch.campaign.events import claim, run_ended
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.campaign.safe_reading import LONG_RETRY_SECONDS, retry_transient
from aiperf_orch.records.events import Begin, End, Epoch
from aiperf_orch.records.trial import TrialSpec
from aiperf_orch.trial.data.data_paths import with_data_paths
from aiperf_orch.trial.runtime.allocation import Allocation
from aiperf_orch.trial.runtime.attempt import AttemptRunner, EventSink, TrialFiles, earlier_epochs, run_to_exit_status
from aiperf_orch.trial.runtime.distributed_trainer import Workers
from aiperf_orch.trial.runtime.follower import follow
from aiperf_orch.trial.runtime.rendezvous import Key, dismiss
from aiperf_orch.trial.runtime.simulated_trainer import SimulatedTrainer
from aiperf_orch.trial.runtime.trainer import Trainer
from aiperf_orch.util import users
from aiperf_orch.util.encoding import enter_utf8_mode, make_streams_lenient
from aiperf_orch.util.errors import AiperfError, UsageError
from aiperf_orch.util.text import visible_lines
from aiperf_orch.util.units import not_before


class _Terminal:
    """Events as JSON lines on standard output."""

    clock_skew = 0.0

    def append(self, event: Begin | Epoch | End) -> None:
        """Print the event."""
        print(event.to_line(), flush=True)

    def superseded(self) -> bool:
        """Nobody else runs a trial that is run by hand."""
        return False


def main(arguments: list[str] | None = None) -> int:
    """Run one trial; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m aiperf_orch.trial", description=__doc__)
    parser.add_argument("spec", type=Path, help="a trial's specification, trials/NNNNN.json of a campaign")
    parser.add_argument("--attempt", type=int, help="claim this attempt in the campaign (the controller's jobs do)")
    parser.add_argument("--submitted", type=datetime.fromisoformat, help="when that was; time begins there, or later")
    parser.add_argument("--weights", type=Path, help="by hand: where to keep the best weights")
    parser.add_argument("--data", type=Path, help="by hand: the data set's folder, in place of the campaign's")
    options = parser.parse_args(arguments)
    make_streams_lenient()
    faulthandler.register(signal.SIGUSR2)  # who wants to see where the task is must not end it
    os.environ.setdefault("USER", users.current_user())  # torch names a folder by it
    allocation = Allocation.from_environment()
    if options.submitted:
        not_before(options.submitted)  # this node's clock may be behind that of the controller, or set back since
    try:
        if options.weights and (options.weights.is_dir() or not os.access(options.weights.parent, os.W_OK)):
            raise UsageError(f"--weights {options.weights}: must be a file, in a folder that you may write")
        spec, sha256, directory = retry_transient(lambda: _read(options), LONG_RETRY_SECONDS)
    except AiperfError as error:
        print(f"error: {visible_lines(str(error))}", file=sys.stderr)
        return error.exit_status
    simulated, number = spec.training.trainer == "simulated", options.attempt or 1
    key = Key(sha256, number, allocation.job, allocation.run)
    host = allocation.hosts[min(allocation.rank, len(allocation.hosts) - 1)]
    telemetry_file = directory.telemetry(spec.trial, number, host) if directory else None
    announced = directory.rendezvous_file(spec.trial, number) if directory else None
    if allocation.rank > 0:
        if simulated or allocation.rank >= len(allocation.hosts):
            print(f"task {allocation.rank}: the trial runs in task 0", file=sys.stderr)
        else:
            over = partial(run_ended, directory, spec.trial, number, allocation.run) if directory else _never
            follow(spec, options.spec, key, allocation, telemetry_file, announced=announced, attempt_over=over)
        return 0
    try:
        # a job that lost the race for its attempt, or comes too late, must not even load torch
        sink: EventSink = (
            retry_transient(partial(claim, directory, spec.trial, number, allocation.run), LONG_RETRY_SECONDS)
            if directory
            else _Terminal()
        )
    except (FileExistsError, AiperfError) as error:
        lost = isinstance(error, FileExistsError)
        say = (
            f"attempt {number} of {options.spec} is claimed already, or over: leaving it" if lost else f"error: {error}"
        )
        print(visible_lines(say), file=sys.stderr, flush=True)
        if not simulated:
            dismiss(allocation, key, announced)
        return error.exit_status if isinstance(error, AiperfError) else 0
    with tempfile.TemporaryDirectory() as scratch:
        if directory:
            files = TrialFiles(directory.weights(spec.trial), directory.checkpoint(spec.trial))
        else:
            files = TrialFiles(options.weights or Path(scratch) / "weights", Path(scratch) / "checkpoint")

        def earlier() -> list[Epoch]:
            return earlier_epochs(directory, spec, sha256, number, allocation.run) if directory else []

        attempt = AttemptRunner(spec, sha256, number, allocation, sink, files)

        def make_trainer() -> Trainer:
            if simulated:
                return SimulatedTrainer(spec, number)
            return Workers(spec, options.spec, key, allocation, telemetry_file, announced)

        return run_to_exit_status(partial(attempt.run, make_trainer, earlier))


def _never() -> bool:
    """Whether a trial that is run by hand is over: its first task alone knows."""
    return False


def _read(options: argparse.Namespace) -> tuple[TrialSpec, str, CampaignDirectory | None]:
    """The specification with its data's places, its SHA-256, and the campaign that the attempt is claimed in."""
    spec, sha256 = read_spec(options.spec)
    spec = with_data_paths(spec, options.spec, manual=not options.attempt, data=options.data)
    return spec, sha256, CampaignDirectory.open(Layout.of_spec(options.spec).path) if options.attempt else None


if __name__ == "__main__":
    enter_utf8_mode()
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # all is on disk
