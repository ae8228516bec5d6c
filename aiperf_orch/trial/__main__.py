"""`python -m aiperf_orch.trial SPEC [--attempt N]`: what a job runs; a person too.

With `--attempt` the specification is one of a campaign and the attempt is claimed there. Without it a person runs the
trial by hand: events go to standard output as JSON lines, and the campaign's records are only read.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

from aiperf_orch.campaign.directory import CampaignDirectory, read_spec
from aiperf_orch.campaign.events import claim
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.errors import AiperfError
from aiperf_orch.network.graph import Graph
from aiperf_orch.records import Begin, End, Epoch, TrialSpec
from aiperf_orch.trial.allocation import Allocation
from aiperf_orch.trial.datasets.places import placed
from aiperf_orch.trial.lifecycle import Attempt, EventSink, Files, earlier_epochs, run_to_exit_status
from aiperf_orch.trial.simulated import SimulatedTrainer
from aiperf_orch.trial.trainer import Trainer


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
    parser.add_argument("--weights", type=Path, help="by hand: where to keep the best weights")
    parser.add_argument("--data", type=Path, help="by hand: the data set's folder, in place of the campaign's")
    options = parser.parse_args(arguments)
    allocation = Allocation.present()
    if allocation.rank > 0:
        print(f"task {allocation.rank}: the trial runs in task 0", file=sys.stderr)
        return 0
    try:
        spec, sha256 = read_spec(options.spec)
        spec = placed(spec, options.spec, by_hand=not options.attempt, data=options.data)
        # a job that lost the race for its attempt, or comes too late, must not even load torch
        directory = CampaignDirectory.open(Layout.of_spec(options.spec).path) if options.attempt else None
        sink: EventSink = claim(directory, spec.trial, options.attempt, allocation.run) if directory else _Terminal()
    except FileExistsError:
        print(f"attempt {options.attempt} of {options.spec} is claimed already, or over: leaving it", file=sys.stderr)
        return 0
    except AiperfError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    with tempfile.TemporaryDirectory() as scratch:
        if directory:
            files = Files(directory.weights(spec.trial), directory.checkpoint(spec.trial))
            earlier = earlier_epochs(directory, spec, sha256, options.attempt, allocation.run)
        else:
            files = Files(options.weights or Path(scratch) / "weights", Path(scratch) / "checkpoint")
            earlier = []
        attempt = Attempt(spec, sha256, options.attempt or 1, allocation, sink, files)
        make_trainer = partial(_make_trainer, spec, options.spec, options.attempt or 1)
        return run_to_exit_status(partial(attempt.run, make_trainer, earlier))


def _make_trainer(spec: TrialSpec, path: Path, attempt: int) -> Trainer:
    if spec.training.trainer == "simulated":
        return SimulatedTrainer(spec, attempt)
    from aiperf_orch.trial.torch_trainer import TorchTrainer

    weights, parent = None, None
    if spec.parent is not None and spec.training.inherit_weights:
        layout = Layout.of_spec(path)
        weights = layout.weights(spec.parent)
        parent = Graph.from_json(read_spec(layout.spec(spec.parent))[0].network)
    return TorchTrainer(spec, weights, parent)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # all is on disk: taking torch down in order would cost each trial another second
