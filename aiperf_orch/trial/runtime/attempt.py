"""Runs one attempt of a trial: begin, one epoch after the other, early stop or a signal, end; each step is an event.

It works with any trainer and imports none.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Final, Protocol

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import read_file
from aiperf_orch.campaign.events import TrialPlan, best_epoch, count_epochs, read_attempt
from aiperf_orch.campaign.safe_reading import LONG_RETRY_SECONDS, retry_transient
from aiperf_orch.campaign.training_rules import Patience
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import Begin, End, Epoch, TrainingSetup
from aiperf_orch.records.trial import TrialSpec
from aiperf_orch.trial.runtime.allocation import Allocation
from aiperf_orch.trial.runtime.trainer import Trainer, TrialFailedError
from aiperf_orch.util.errors import AiperfError, TransientError
from aiperf_orch.util.text import visible
from aiperf_orch.util.units import set_ahead, steady_clock

_TIME_LIMIT_SIGNALS: Final = (signal.SIGUSR1, signal.SIGALRM)
"""Signals before the job's time limit: from the batch system, or from the trial's own timer."""

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, *_TIME_LIMIT_SIGNALS)
"""Signals that stop a trial."""

_MAX_MESSAGE: Final = 2000  # characters
_SUCCESSFUL: Final = (EndReason.COMPLETED, EndReason.EARLY_STOPPED, EndReason.STOPPED, EndReason.TIME_LIMIT)


class StopRequestedError(BaseException):
    """A signal requested the attempt's end. A `BaseException`, so that no library's `except Exception` swallows it."""


class JobInterruptedError(Exception):
    """The job must end, but the scheduler may start it again and it then continues: no end event is written."""


class SupersededError(Exception):
    """The attempt was revoked, or continues in a later run: nothing more may be written."""


class EventSink(Protocol):
    """Destination of events: the claimed events file of a campaign, or the terminal of a manual run."""

    clock_skew: float

    def append(self, event: Begin | Epoch | End) -> None:
        """Write an event."""

    def superseded(self) -> bool:
        """Return whether the attempt was revoked, or continues in a later run."""


@dataclass(frozen=True)
class TrialFiles:
    """Paths of the trial's weights and checkpoint."""

    weights: Path
    checkpoint: Path


class AttemptRunner:
    """Runs one attempt of a trial from its begin event to its end event."""

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
        """Train until an end reason is known, and write the end event.

        Args:
            make_trainer: Makes the trainer. A signal during its preparation ends the attempt immediately.
            earlier: Reads the epochs of former runs of this trial. Training continues from the checkpoint if there is
                a usable one, and otherwise starts from the first epoch.

        Returns:
            The end reason.

        Raises:
            SupersededError: The attempt was revoked, or continues in a later run.
            JobInterruptedError: A signal ended it, and the scheduler may start the job again.
        """
        try:
            self._install_signal_handlers()
            with contextlib.closing(make_trainer()) as trainer:
                reason, message = self._train(trainer, retry_transient(earlier, LONG_RETRY_SECONDS)), ""
        except TrialFailedError as failure:
            reason, message = failure.reason, str(failure)
        except StopRequestedError:
            reason, message = self._stop_reason()
        except SupersededError:
            raise
        except TransientError as error:  # it lasted for minutes; the file may be readable on another node
            reason, message = EndReason.NODE_FAILURE, f"{socket.gethostname()}: {error}"
        except Exception as error:
            traceback.print_exc()
            reason, message = EndReason.TRIAL_ERROR, f"{type(error).__name__}: {error}"
        self._preparing = False
        self._write_end(reason, message)
        return reason

    def _train(self, trainer: Trainer, earlier: list[Epoch]) -> EndReason:
        setup = trainer.prepare()
        done = self._resume(trainer, earlier)
        self._preparing = False
        self._sink.append(self._begin(setup))
        for number in range(done + 1, self._spec.epochs + 1):
            if self._patience_exhausted():
                return EndReason.EARLY_STOPPED
            epoch = self._train_epoch(trainer, number)
            self._append(epoch)
            if best_epoch(self._epochs) is epoch:
                self._weights_sha256 = trainer.save_weights(self._files.weights)
            trainer.save_checkpoint(self._files.checkpoint, number)
            print(f"epoch {number}: loss {epoch.loss:.4f}, error {epoch.error:.4f}", file=sys.stderr, flush=True)
        return EndReason.COMPLETED

    def _train_epoch(self, trainer: Trainer, number: int) -> Epoch:
        start = self._clock()
        measured = trainer.run_epoch(number, self._check_signal)
        end = self._clock()
        if not math.isfinite(measured.loss):
            raise TrialFailedError(
                EndReason.TRAINING_DIVERGED, f"the training loss of epoch {number} is {measured.loss}"
            )
        operations = self._spec.operations
        return Epoch(
            trial=self._spec.trial,
            attempt=self._attempt,
            run=self._run,
            epoch=number,
            start=start,
            end=end,
            ops=operations.of_images(trained=measured.train_images, validated=measured.val_images),
            **asdict(measured),
        )

    def _append(self, epoch: Epoch) -> None:
        self._raise_if_superseded()
        self._sink.append(epoch)
        self._epochs.append(epoch)
        # the attempt may have been revoked in between: weights and checkpoint then belong to another run
        self._raise_if_superseded()

    def _resume(self, trainer: Trainer, earlier: list[Epoch]) -> int:
        """Continue from the checkpoint of former runs; return the last epoch that need not be trained again."""
        if not earlier:
            return 0
        try:
            done = trainer.load_checkpoint(self._files.checkpoint)
        except (OSError, ValueError) as error:
            print(f"no usable checkpoint ({error}): training from the first epoch", file=sys.stderr, flush=True)
            return 0
        self._epochs = [epoch for epoch in earlier if epoch.epoch <= done]
        if best_epoch(self._epochs) is not best_epoch(earlier):
            return done  # the file may have the weights of a better epoch, which is trained again
        with contextlib.suppress(FileNotFoundError):
            written = read_file(self._files.weights, retry_for=LONG_RETRY_SECONDS)
            self._weights_sha256 = hashlib.sha256(written).hexdigest()
        return done

    def _patience_exhausted(self) -> bool:
        """Return whether the error has not improved by `min_delta` for `patience` epochs."""
        patience = Patience(self._spec.patience, self._spec.training.min_delta)
        for epoch in self._epochs:
            patience.add(epoch.error)
        return patience.exhausted

    def _begin(self, setup: TrainingSetup) -> Begin:
        return Begin(
            trial=self._spec.trial,
            attempt=self._attempt,
            run=self._run,
            time=self._clock(),
            hosts=list(self._allocation.hosts),
            job=self._allocation.job,
            spec_sha256=self._spec_sha256,
            trainer=self._spec.training.trainer,
            clock_skew=self._sink.clock_skew,
            set_ahead=self._set_ahead,
            agent=self._allocation.agent,
            allocation=self._allocation.allocation,
            slot=self._allocation.slot,
            started=self._allocation.started,
            **setup.model_dump(),
        )

    def _write_end(self, reason: EndReason, message: str) -> None:
        self._raise_if_superseded()
        best = best_epoch(self._epochs)
        message = message[:_MAX_MESSAGE]
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
                message=message,
            )
        )
        with contextlib.suppress(OSError):  # the end is recorded, even if the log has no room for its last line
            print(visible(": ".join(filter(None, ["ended", reason.value, message]))), file=sys.stderr, flush=True)

    def _raise_if_superseded(self) -> None:
        if self._sink.superseded():
            raise SupersededError

    def _install_signal_handlers(self) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)
        if self._allocation.warn_at is not None:
            signal.setitimer(signal.ITIMER_REAL, max(self._allocation.warn_at - time.time(), 0.001))

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signal = number
        if (
            self._preparing
        ):  # after preparation a training step is never interrupted: `_check_signal` runs between steps
            self._preparing = False
            raise StopRequestedError

    def _check_signal(self) -> None:
        if self._signal is not None:
            raise StopRequestedError

    def _stop_reason(self) -> tuple[EndReason, str]:
        """End reason and message for the received signal."""
        if self._signal in _TIME_LIMIT_SIGNALS:
            return EndReason.TIME_LIMIT, "the job's time limit is near"
        if self._allocation.requeueable:
            raise JobInterruptedError
        return EndReason.STOPPED, f"stopped by {signal.Signals(self._signal or 0).name}"


def earlier_epochs(
    directory: CampaignDirectory, spec: TrialSpec, spec_sha256: str, attempt: int, run: int
) -> list[Epoch]:
    """Return the epochs of all runs of the trial before this one, each once, in order."""
    plan = TrialPlan(spec.operations, spec.epochs, spec_sha256)
    found: list[Epoch] = []
    for number in range(1, attempt + 1):
        for events in read_attempt(directory, spec.trial, number, plan):
            if number < attempt or events.run < run:
                found.extend(events.epochs)
    return list(count_epochs(found).values())


def run_to_exit_status(run: Callable[[], EndReason]) -> int:
    """Run an attempt; return the exit status of its process: 0 for a regular end, 1 for a failure."""
    try:
        reason = run()
    except SupersededError:
        print("this attempt was revoked, or continues in another run: exiting", file=sys.stderr)
        return 0
    except JobInterruptedError:
        print("stopped by a signal: the scheduler may start this job again, which then continues", file=sys.stderr)
        return 128 + signal.SIGTERM
    except AiperfError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0 if reason in _SUCCESSFUL else 1
