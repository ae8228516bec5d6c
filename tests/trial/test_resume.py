"""A trial that is stopped and resumed writes the same events as one that was not, except for times."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory, read_spec
from aiperf_orch.campaign.events import claim
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.controller.search_adapter import SearchAdapter
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import Begin, End, Epoch, EpochMeasurements, event_adapter
from aiperf_orch.records.trial import TrialSpec
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.trial.runtime.allocation import Allocation
from aiperf_orch.trial.runtime.attempt import STOP_SIGNALS, AttemptRunner, TrialFiles, earlier_epochs
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.trial.training.torch_trainer import TorchTrainer

EPOCHS = 3
SETTINGS = {
    "training": {"warmup_epochs": [EPOCHS], "patience": 9, "precision": "fp32"},
    "search": {"batch_size": [32, 64], "max_dropout": 0.3},
    "campaign": {"seed": 4},
}
VARYING = {"time", "start", "end", "data_wait", "attempt", "clock_skew"}


@pytest.fixture(autouse=True)
def _one_thread_and_restored_signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


class _StoppedTrainer(TorchTrainer):
    """Trainer whose process gets SIGTERM during the second epoch."""

    def run_epoch(self, epoch: int, check: Callable[[], None]) -> EpochMeasurements:
        steps = 0

        def check_with_signal() -> None:
            nonlocal steps
            steps += 1
            if epoch == EPOCHS - 1 and steps == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            check()

        return super().run_epoch(epoch, check_with_signal)


class _CrashingTrainer(TorchTrainer):
    """Trainer that fails between the weights and the checkpoint of the second epoch."""

    def save_checkpoint(self, path: Path, epoch: int) -> None:
        if epoch == EPOCHS - 1:
            raise OSError("a crash")
        super().save_checkpoint(path, epoch)


def _directory(path: Path, spec: TrialSpec | None = None) -> CampaignDirectory:
    """Campaign directory with one trial: the given one, or the first that the search proposes."""
    directory = CampaignDirectory.create(path, SiteSettings.model_validate(SETTINGS), {})
    directory.write_spec(spec or SearchAdapter(directory, []).propose(0, CampaignState())[0])
    return directory


def _run(
    directory: CampaignDirectory, number: int, trainer: type[TorchTrainer] = TorchTrainer
) -> list[Begin | Epoch | End]:
    """Run an attempt; return its events."""
    spec, sha256 = read_spec(directory.spec(0))
    allocation = Allocation.from_environment({})
    files = TrialFiles(directory.weights(0), directory.checkpoint(0))
    sink = claim(directory, 0, number, allocation.run)
    runner = AttemptRunner(spec, sha256, number, allocation, sink, files)
    runner.run(
        lambda: trainer(spec, None, None), lambda: earlier_epochs(directory, spec, sha256, number, allocation.run)
    )
    lines = directory.events(0, number, allocation.run).read_text().splitlines()
    return [event_adapter.validate_json(line) for line in lines]


def _constant_fields(event: Begin | Epoch | End) -> dict[str, object]:
    fields = asdict(event) if isinstance(event, Epoch) else event.model_dump()
    return {name: value for name, value in fields.items() if name not in VARYING}


def test_a_resumed_trial_writes_the_same_events_as_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = _directory(tmp_path / "whole")
    begin, *epochs, end = _run(whole, 1)
    assert [epoch.epoch for epoch in epochs if isinstance(epoch, Epoch)] == [1, 2, 3]

    directory = _directory(tmp_path / "stopped", read_spec(whole.spec(0))[0])
    first_begin, *first, first_end = _run(directory, 1, _StoppedTrainer)
    assert isinstance(first_end, End)
    assert (first_end.reason, first_end.best_epoch) == (EndReason.STOPPED, 1)
    second_begin, *second, second_end = _run(directory, 2)
    assert len(first) == 1  # the interrupted epoch is trained again
    assert [_constant_fields(event) for event in [*first, *second]] == [_constant_fields(event) for event in epochs]
    assert _constant_fields(second_end) == _constant_fields(end)  # including the SHA-256 of the weights
    assert _constant_fields(first_begin) == _constant_fields(second_begin) == _constant_fields(begin)


def test_the_weights_of_an_epoch_after_the_checkpoint_are_not_those_of_the_best_one(tmp_path: Path) -> None:
    directory = _directory(tmp_path / "campaign")
    *_, first_end = _run(directory, 1, _CrashingTrainer)
    assert isinstance(first_end, End)
    assert (first_end.best_epoch, first_end.weights_sha256 is not None) == (2, True)
    *_, second_end = _run(directory, 2, _StoppedTrainer)  # stopped before it has trained that epoch again
    assert isinstance(second_end, End)
    assert (second_end.best_epoch, second_end.weights_sha256) == (1, None)


class _FullDisk(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _FailingTrainer(TorchTrainer):
    def __init__(self, *_arguments: object) -> None:
        raise TrialFailedError(EndReason.BAD_DATA, "no images")


def test_a_log_without_room_for_its_last_line_changes_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = _directory(tmp_path / "campaign")
    monkeypatch.setattr(sys, "stderr", _FullDisk())
    [end] = _run(directory, 1, _FailingTrainer)
    assert isinstance(end, End)
    assert (end.reason, end.message) == (EndReason.BAD_DATA, "no images")
