"""Measurement of one trial: a process that trains a few epochs as a job does, its events, and its rate."""

from __future__ import annotations

import math
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from aiperf_orch.campaign.measured_trial import measured_trial
from aiperf_orch.network.graph import Graph
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import Begin, End, Epoch, event_adapter
from aiperf_orch.records.trial import DataRecord
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.tuning.alternatives import BATCH, COMPILE, PRECISION, WORKERS, Alternative
from aiperf_orch.tuning.workload import FEWEST_IMAGES, MOST_IMAGES, can_be_cut, cut_data, networks

_MEASURED_SECONDS: Final = 3.0  # of training in one measurement, after its first epoch
_MOST_EPOCHS: Final = 40
_STOP_SECONDS: Final = 20.0  # for a trial to end after SIGTERM
_MOST_MESSAGE: Final = 300  # characters


@dataclass(frozen=True, slots=True)
class Measured:
    """A measured trial; `epoch_seconds` is the duration of an epoch after the first one."""

    begin: Begin
    images_per_second: float
    epoch_seconds: float
    train_images: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A trial that could not be measured; `is_late` says that it did not end within its time."""

    reason: str
    is_late: bool = False


@dataclass
class TrialMeasurement:
    """Measures trials of a site on this node.

    Attributes:
        settings: Settings of the site.
        python: Interpreter of the trials.
        folder: Private folder for specifications and links to images.
        environment: Environment of the trials.
    """

    settings: SiteSettings
    python: str
    folder: Path
    environment: dict[str, str]
    _data: DataRecord = field(init=False)
    _networks: dict[str, Graph] = field(init=False)
    _epochs: int = 2

    def calibrate(self, present: Alternative, seconds: float) -> Measured | Failed:
        """Measure the seed network with the present settings, until epochs are long enough to be measured.

        Args:
            present: The present settings.
            seconds: Time limit; the measurement of a trial that has begun by then is still awaited.
        """
        images, start = FEWEST_IMAGES, time.monotonic()
        while True:
            self._set_workload(images)
            measured = self.measure(present, "seed", None)
            if isinstance(measured, Failed):
                return measured
            is_long = measured.epoch_seconds >= _MEASURED_SECONDS / 2 or images >= MOST_IMAGES
            if is_long or not can_be_cut(self._data) or time.monotonic() - start > seconds:
                break
            images = min(MOST_IMAGES, math.ceil(images * _MEASURED_SECONDS / measured.epoch_seconds))
        self._epochs = min(_MOST_EPOCHS, 1 + math.ceil(_MEASURED_SECONDS / max(measured.epoch_seconds, 0.001)))
        return measured

    def measure(self, alternative: Alternative, network: str, seconds: float | None) -> Measured | Failed:
        """Measure one trial.

        Args:
            alternative: Its settings.
            network: `seed` or `morphed`.
            seconds: Time limit; None for none.
        """
        setup = alternative.setup
        training = self.settings.training.model_copy(
            update={"precision": setup.precision, "compile": setup.compile, "inherit_weights": False}
        )
        data = self._data.model_copy(update={"loaders": setup.loaders})
        graph = self._networks[network]
        spec = measured_trial(graph, data, training, batch=setup.batch, epochs=self._epochs)
        path = self.folder / "trials" / "00000.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(spec.to_line(), encoding="utf-8")
        environment = self.environment | {"AIPERF_ORCH_WORKERS": str(setup.workers)}
        # -P: files of the present folder are not importable
        command = [self.python, "-P", "-m", "aiperf_orch.trial", str(path)]
        output, messages, is_late = _run(command, environment, seconds)
        if is_late:
            return Failed(f"it took longer than {seconds:.0f} s", is_late=True)
        return evaluate(alternative, output, messages)

    def _set_workload(self, images: int) -> None:
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        self._data = cut_data(self.settings, images, folder)
        self._networks = networks(self.settings, self._data.outputs)


def evaluate(alternative: Alternative, output: str, messages: str) -> Measured | Failed:
    """The rate of a trial, from the events and the messages that it printed.

    Args:
        alternative: Settings with which it was started. Where the trial did not use them it has failed.
        output: Its standard output, one event a line.
        messages: Its standard error.
    """
    events = []
    for line in output.splitlines():
        with suppress(ValidationError):
            events.append(event_adapter.validate_json(line))
    begin = next((event for event in events if isinstance(event, Begin)), None)
    end = next((event for event in events if isinstance(event, End)), None)
    epochs = [event for event in events if isinstance(event, Epoch)][1:]  # the first one is a warm-up
    last = (messages.strip().splitlines() or ["no message"])[-1]
    if end is None or end.reason is not EndReason.COMPLETED:
        return Failed(
            (f"{end.reason.value}: {end.message}" if end else f"the trial ended by itself: {last}")[:_MOST_MESSAGE]
        )
    seconds = sum((epoch.end - epoch.start).total_seconds() for epoch in epochs)
    if begin is None or seconds <= 0:
        return Failed("the trial measured no time")
    shortfall = _shortfall(alternative, begin, epochs, messages)
    if shortfall:
        return Failed(shortfall[:_MOST_MESSAGE])
    images = sum(epoch.train_images + epoch.val_images for epoch in epochs)
    return Measured(begin, images / seconds, seconds / len(epochs), epochs[0].train_images)


def _shortfall(alternative: Alternative, begin: Begin, epochs: Sequence[Epoch], messages: str) -> str | None:
    """Why a trial did not use the settings that are tried; None where it did."""
    setup, used = alternative.setup, epochs[-1]
    for key, _ in alternative.values:
        if key == PRECISION and begin.precision != setup.precision:
            return f"{begin.device} trains in {begin.precision} instead"
        if key == BATCH and used.batch < min(setup.batch, used.train_images):
            return f"OUT_OF_MEMORY: only a batch of {used.batch} fits"
        if key == WORKERS and begin.workers != setup.workers:
            return f"{begin.workers} worker(s) were started instead"
        if key == COMPILE and setup.compile and (not begin.compiled or "torch.compile failed" in messages):
            reasons = [line for line in messages.splitlines() if "torch.compile" in line]
            return reasons[-1].removeprefix("warning: ") if reasons else "torch.compile does not work here"
    return None


def _run(command: Sequence[str], environment: dict[str, str], seconds: float | None) -> tuple[str, str, bool]:
    """Run a trial; return its output, its messages, and whether it was ended for its time limit."""
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    try:
        output, messages = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return "", "", True
    finally:
        _stop(process)
    return output, messages, False


def _stop(process: subprocess.Popen[str]) -> None:
    """End a trial that still runs: its workers end with it."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.communicate(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def restrict(cores: int | None, gpus: Sequence[str]) -> dict[str, str]:
    """Restrict this process and its children to the cores of a trial; return the environment of its trials.

    Args:
        cores: Number of cores of a trial; None for all.
        gpus: GPUs of a trial, as in CUDA_VISIBLE_DEVICES.
    """
    available = sorted(os.sched_getaffinity(0))
    if cores:
        os.sched_setaffinity(0, available[:cores])
    own = {name: value for name, value in os.environ.items() if not name.startswith("AIPERF_ORCH_")}
    return own | ({"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {})
