"""The life of one attempt: claim it, begin, train epoch by epoch, stop early or be told to, end; every step an event.

Which trainer does the epochs is a setting; this module imports neither.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, Protocol

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import read_file
from aiperf_orch.campaign.events import TrialPlan, best_epoch, count_epochs, read_attempt
from aiperf_orch.campaign.safe_reading import LONG_RETRY_SECONDS, retry_transient
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import Begin, End, Epoch
from aiperf_orch.records.trial import TrialSpec
from aiperf_orch.trial.runtime.allocation import Allocation
from aiperf_orch.trial.runtime.trainer import Trainer, TrainingSetup, TrialFailedError
from aiperf_orch.util.errors import AiperfError, TransientError
from aiperf_orch.util.units import set_ahead, steady_clock

_WARNINGS = (signal.SIGUSR1, signal.SIGALRM)
"""What a batch system sends some time before the job's time limit, or the trial to itself."""

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, *_WARNINGS)
"""What tells a trial to end."""


class Told(BaseException):
    """The attempt was told to end by a signal; no library's `except Exception` may swallow that."""


class Interrupted(Exception):
    """The job was told to end, but may be run again by the scheduler, and then goes on: no end line is written."""


class Superseded(Exception):
    """The attempt was given up, or goes on in a later run: nothing more may be written."""


class EventSink(Protocol):
    """Where events go: the claimed file of a campaign, or the terminal of a person who runs a trial by hand."""

    clock_skew: float

    def append(self, event: Begin | Epoch | End) -> None:
        """Write an event."""

    def superseded(self) -> bool:
        """Whether another took the attempt over."""


@dataclass(frozen=True)
class TrialFiles:
    """Where the trial's weights and checkpoint go."""

    weights: Path
    checkpoint: Path


class AttemptRunner:
    """Runs one attempt of a trial from its begin to its end."""

    def __init__(
        self,
        spec: TrialSpec,
        spec_sha256: str,
        attempt: int,
        allocation: Allocation,
        sink: EventSink,
        files: TrialFiles,
    ) -> None:
        self._spec, self._spec_sha256 = spec, spec_sha256
        self._attempt, self._run, self._allocation = attempt, allocation.run, allocation
        self._sink, self._files = sink, files
        self._preparing = True
        self._clock, self._set_ahead = steady_clock(), set_ahead()
        self._signal: int | None = None
        self._weights_sha256: str | None = None
        self._epochs: list[Epoch] = []

    def run(self, make_trainer: Callable[[], Trainer], earlier: Callable[[], list[Epoch]]) -> EndReason:
        """Train until an end, and write it.

        Args:
            make_trainer: makes the trainer. Its preparing may take its time: told to end meanwhile, the trial ends at once.
            earlier: reads the epochs that former attempts of this trial ended; the trial goes on from its checkpoint if
                there is a usable one, else from the beginning.

        Raises:
            Superseded: when the attempt is no longer ours.
            Interrupted: when it was told to end, and its job may be run again.
        """
        try:
            for number in SIGNALS:
                signal.signal(number, self._on_signal)
            if self._allocation.warn_at is not None:
                signal.setitimer(signal.ITIMER_REAL, max(self._allocation.warn_at - time.time(), 0.001))
            with contextlib.closing(make_trainer()) as trainer:
                reason, message = self._train(trainer, retry_transient(earlier, LONG_RETRY_SECONDS)), ""
        except TrialFailedError as failure:
            reason, message = failure.reason, str(failure)
        except Told:
            reason, message = self._told()
        except Superseded:
            raise
        except TransientError as error:  # for minutes: another node may see the file
            reason, message = EndReason.NODE_FAILURE, f"{socket.gethostname()}: {error}"
        except Exception as error:
            traceback.print_exc()
            reason, message = EndReason.TRIAL_ERROR, f"{type(error).__name__}: {error}"
        self._preparing = False
        self._write_end(reason, message)
        return reason

    def _train(self, trainer: Trainer, earlier: list[Epoch]) -> EndReason:
        spec = self._spec
        equipment = trainer.prepare()
        done = self._resume(trainer, earlier)
        self._preparing = False
        self._sink.append(self._begin(equipment))
        for number in range(done + 1, spec.epochs + 1):
            if self._exhausted():
                return EndReason.EARLY_STOPPED
            start = self._clock()
            result = trainer.run_epoch(number, self._check)
            end = self._clock()
            if not math.isfinite(result.loss):
                raise TrialFailedError(
                    EndReason.TRAINING_DIVERGED, f"the training loss of epoch {number} is {result.loss}"
                )
            if self._sink.superseded():
                raise Superseded
            epoch = Epoch(
                trial=spec.trial,
                attempt=self._attempt,
                run=self._run,
                epoch=number,
                start=start,
                end=end,
                train_images=result.train_images,
                val_images=result.val_images,
                loss=result.loss,
                error=result.wrong / result.val_images,
                ops=spec.operations.of_images(trained=result.train_images, validated=result.val_images),
                batch=result.batch,
                skipped=result.skipped,
                data_wait=result.data_wait,
                energy=result.energy,
                energy_of=result.energy_of,
            )
            self._sink.append(epoch)
            self._epochs.append(epoch)
            if self._sink.superseded():  # between the last look and the line: weights and checkpoint are another's now
                raise Superseded
            if best_epoch(self._epochs) is epoch:
                self._weights_sha256 = trainer.save_weights(self._files.weights)
            trainer.save_checkpoint(self._files.checkpoint, number)
            print(f"epoch {number}: loss {epoch.loss:.4f}, error {epoch.error:.4f}", file=sys.stderr, flush=True)
        return EndReason.COMPLETED

    def _resume(self, trainer: Trainer, earlier: list[Epoch]) -> int:
        """Take up what former attempts left; returns the last epoch that need not be trained again."""
        if not earlier:
            return 0
        try:
            done = trainer.load_checkpoint(self._files.checkpoint)
        except (OSError, ValueError) as error:
            print(f"no usable checkpoint ({error}): training from the beginning", file=sys.stderr, flush=True)
            return 0
        self._epochs = [epoch for epoch in earlier if epoch.epoch <= done]
        with contextlib.suppress(FileNotFoundError):
            written = read_file(self._files.weights, retry_for=LONG_RETRY_SECONDS)
            self._weights_sha256 = hashlib.sha256(written).hexdigest()
        return done

    def _exhausted(self) -> bool:
        """Whether the error has not improved for as many epochs as patience allows."""
        waited, best = 0, math.inf
        for epoch in self._epochs:
            if epoch.error < best - self._spec.training.min_delta:
                waited, best = 0, epoch.error
            else:
                waited += 1
        return waited >= self._spec.patience

    def _begin(self, equipment: TrainingSetup) -> Begin:
        return Begin(
            trial=self._spec.trial,
            attempt=self._attempt,
            run=self._run,
            time=self._clock(),
            hosts=list(self._allocation.hosts),
            job=self._allocation.job,
            batch=equipment.batch,
            spec_sha256=self._spec_sha256,
            trainer=self._spec.training.trainer,
            device=equipment.device,
            precision=equipment.precision,
            cores=equipment.cores,
            inherited=equipment.inherited,
            workers=equipment.workers,
            compiled=equipment.compiled,
            data_sha256=equipment.data_sha256,
            clock_skew=self._sink.clock_skew,
            set_ahead=self._set_ahead,
            versions=equipment.versions,
        )

    def _write_end(self, reason: EndReason, message: str) -> None:
        if self._sink.superseded():
            raise Superseded
        best = best_epoch(self._epochs)
        self._sink.append(
            End(
                trial=self._spec.trial,
                attempt=self._attempt,
                run=self._run,
                time=self._clock(),
                reason=reason,
                best_error=best.error if best else None,
                best_epoch=best.epoch if best else None,
                weights_sha256=self._weights_sha256,
                message=message[:2000],
            )
        )

    def _told(self) -> tuple[EndReason, str]:
        """What follows from the signal that came."""
        if self._signal in _WARNINGS:
            return EndReason.TIME_LIMIT, "the job's time limit is near"
        if self._allocation.requeueable:
            raise Interrupted
        return EndReason.STOPPED, f"told to end by {signal.Signals(self._signal or 0).name}"

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signal = number
        if self._preparing:  # later a step is never torn apart, only ended after
            self._preparing = False
            raise Told

    def _check(self) -> None:
        if self._signal is not None:
            raise Told


def earlier_epochs(
    directory: CampaignDirectory, spec: TrialSpec, spec_sha256: str, attempt: int, run: int
) -> list[Epoch]:
    """The epochs of all runs before this one, each once, in order."""
    planned = TrialPlan(spec.operations, spec.epochs, spec_sha256)
    found: list[Epoch] = []
    for number in range(1, attempt + 1):
        for events in read_attempt(directory, spec.trial, number, planned):
            if number < attempt or events.run < run:
                found.extend(events.epochs)
    return list(count_epochs(found).values())


def run_to_exit_status(train: Callable[[], EndReason]) -> int:
    """Exit status of a trial's process: 0 for an end that the training chose, 1 for a failure."""
    try:
        reason = train()
    except Superseded:
        print("this attempt was given up or goes on elsewhere: leaving it", file=sys.stderr)
        return 0
    except Interrupted:
        print("told to end: the scheduler may run this job again, and it will go on", file=sys.stderr)
        return 128 + signal.SIGTERM
    except AiperfError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    fine = (EndReason.COMPLETED, EndReason.EARLY_STOPPED, EndReason.STOPPED, EndReason.TIME_LIMIT)
    return 0 if reason in fine else 1
