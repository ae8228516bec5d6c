"""`python -m aiperf_orch.trial SPEC [--attempt N]`: run one trial. Jobs start it; users can, too.

With `--attempt` the specification belongs to a campaign, and the attempt is claimed there. Without it the trial runs
outside its campaign: events are printed as JSON lines, and the campaign's records are only read.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
import tempfile
from dataclasses import dataclass
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
from aiperf_orch.trial.runtime.distributed_trainer import DistributedTrainer
from aiperf_orch.trial.runtime.follower import run_follower
from aiperf_orch.trial.runtime.rendezvous import TrialKey, release_followers
from aiperf_orch.trial.runtime.simulated_trainer import SimulatedTrainer
from aiperf_orch.trial.runtime.trainer import Trainer
from aiperf_orch.util import users
from aiperf_orch.util.encoding import enter_utf8_mode, make_streams_lenient
from aiperf_orch.util.errors import AiperfError, UsageError
from aiperf_orch.util.text import visible_lines
from aiperf_orch.util.units import not_before


class _Terminal:
    """Event sink of a run outside a campaign: JSON lines on standard output."""

    clock_skew = 0.0

    def append(self, event: Begin | Epoch | End) -> None:
        """Print the event."""
        print(event.to_line(), flush=True)

    def superseded(self) -> bool:
        """Return False: without a claim there is no other run."""
        return False


@dataclass(frozen=True)
class _Task:
    """One task of a trial; `directory` is the campaign in which the attempt is claimed, None outside a campaign."""

    options: argparse.Namespace
    allocation: Allocation
    spec: TrialSpec
    spec_sha256: str
    directory: CampaignDirectory | None

    @property
    def attempt(self) -> int:
        """Number of the attempt, 1 outside a campaign."""
        return self.options.attempt or 1

    @property
    def simulated(self) -> bool:
        """Whether the simulated trainer is used."""
        return self.spec.training.trainer == "simulated"

    @property
    def key(self) -> TrialKey:
        """Shared secret of the trial's tasks."""
        return TrialKey(self.spec_sha256, self.attempt, self.allocation.job, self.allocation.run)

    @property
    def telemetry_file(self) -> Path | None:
        """File for the telemetry of this node."""
        if self.directory is None:
            return None
        return self.directory.telemetry(self.spec.trial, self.attempt, self.allocation.host)

    @property
    def address_file(self) -> Path | None:
        """File in which rank 0 publishes where it listens."""
        return self.directory.rendezvous_file(self.spec.trial, self.attempt) if self.directory else None

    def run(self) -> int:
        """Run the task of rank 0 or of a follower; return the exit status."""
        if self.allocation.rank > 0:
            self._follow()
            return 0
        try:
            # before torch is loaded: a job that did not get its attempt must exit quickly
            sink = self._claim()
        except FileExistsError:
            self._decline(f"attempt {self.attempt} of {self.options.spec} is claimed already, or over: exiting")
            return 0
        except AiperfError as error:
            self._decline(f"error: {error}")
            return error.exit_status
        with tempfile.TemporaryDirectory() as scratch:
            runner = AttemptRunner(
                self.spec, self.spec_sha256, self.attempt, self.allocation, sink, self._files(Path(scratch))
            )
            return run_to_exit_status(partial(runner.run, self._make_trainer, self._earlier_epochs))

    def _follow(self) -> None:
        rank = self.allocation.rank
        if self.simulated or rank >= len(self.allocation.hosts):
            print(f"task {rank}: the trial runs in task 0", file=sys.stderr)
            return
        run_follower(
            self.spec,
            self.options.spec,
            self.key,
            self.allocation,
            self.telemetry_file,
            address_file=self.address_file,
            attempt_over=self._attempt_over,
        )

    def _attempt_over(self) -> bool:
        """Return whether the attempt has ended; outside a campaign a follower cannot know."""
        if self.directory is None:
            return False
        return run_ended(self.directory, self.spec.trial, self.attempt, self.allocation.run)

    def _claim(self) -> EventSink:
        """Claim the attempt; return the sink of its events.

        Raises:
            FileExistsError: Another process has claimed it, or it has ended.
        """
        if self.directory is None:
            return _Terminal()
        return retry_transient(
            partial(claim, self.directory, self.spec.trial, self.attempt, self.allocation.run), LONG_RETRY_SECONDS
        )

    def _decline(self, message: str) -> None:
        """Report why this job does not run the attempt, and release its followers."""
        print(visible_lines(message), file=sys.stderr, flush=True)
        if not self.simulated:
            release_followers(self.allocation, self.key, self.address_file)

    def _files(self, scratch: Path) -> TrialFiles:
        if self.directory:
            return TrialFiles(self.directory.weights(self.spec.trial), self.directory.checkpoint(self.spec.trial))
        return TrialFiles(self.options.weights or scratch / "weights", scratch / "checkpoint")

    def _make_trainer(self) -> Trainer:
        if self.simulated:
            return SimulatedTrainer(self.spec, self.attempt)
        return DistributedTrainer(
            self.spec, self.options.spec, self.key, self.allocation, self.telemetry_file, self.address_file
        )

    def _earlier_epochs(self) -> list[Epoch]:
        if self.directory is None:
            return []
        return earlier_epochs(self.directory, self.spec, self.spec_sha256, self.attempt, self.allocation.run)


def main(arguments: list[str] | None = None) -> int:
    """Run one task of a trial; return the exit status."""
    options = _parse(arguments)
    make_streams_lenient()
    faulthandler.register(signal.SIGUSR2)  # to print the task's stack without ending it
    os.environ.setdefault("USER", users.current_user())  # torch names a directory by it
    allocation = Allocation.from_environment()
    if options.submitted:
        not_before(options.submitted)  # this node's clock may be behind that of the controller
    try:
        if options.weights and (options.weights.is_dir() or not os.access(options.weights.parent, os.W_OK)):
            raise UsageError(f"--weights {options.weights}: must be a file in a writable directory")
        task = retry_transient(lambda: _read_task(options, allocation), LONG_RETRY_SECONDS)
    except AiperfError as error:
        print(f"error: {visible_lines(str(error))}", file=sys.stderr)
        return error.exit_status
    return task.run()


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m aiperf_orch.trial", description=__doc__)
    parser.add_argument("spec", type=Path, help="specification of a trial, trials/NNNNN.json of a campaign")
    parser.add_argument(
        "--attempt", type=int, help="claim this attempt in the campaign (used by the controller's jobs)"
    )
    parser.add_argument(
        "--submitted", type=datetime.fromisoformat, help="time of the job's submission; event times are never earlier"
    )
    parser.add_argument("--weights", type=Path, help="file for the best weights, without --attempt")
    parser.add_argument("--data", type=Path, help="data set directory in place of the campaign's, without --attempt")
    return parser.parse_args(arguments)


def _read_task(options: argparse.Namespace, allocation: Allocation) -> _Task:
    spec, sha256 = read_spec(options.spec)
    spec = with_data_paths(spec, options.spec, manual=not options.attempt, data=options.data)
    directory = CampaignDirectory.open(Layout.of_spec(options.spec).path) if options.attempt else None
    return _Task(options, allocation, spec, sha256, directory)


if __name__ == "__main__":
    enter_utf8_mode()
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # everything is on disk
