"""A trial that is interrupted and goes on writes the events that it would have written without: all but times."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory, read_spec
from aiperf_orch.campaign.events import claim
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.controller.search_adapter import SearchAdapter
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import Begin, End, Epoch, event_adapter
from aiperf_orch.records.trial import TrialSpec
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.trial.runtime.allocation import Allocation
from aiperf_orch.trial.runtime.attempt import AttemptRunner, TrialFiles, earlier_epochs
from aiperf_orch.trial.runtime.trainer import EpochMeasurements
from aiperf_orch.trial.training.torch_trainer import TorchTrainer

EPOCHS = 3
SETTINGS = {
    "training": {"warmup_epochs": [EPOCHS], "patience": 9, "precision": "fp32"},
    "search": {"batch_size": [32, 64], "max_dropout": 0.3},
    "campaign": {"seed": 4},
}


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread computes, and the attempt's signal handlers do not outlive it."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


class _Interrupted(TorchTrainer):
    """Is sent SIGTERM amid an epoch."""

    def run_epoch(self, epoch: int, check: Callable[[], None]) -> EpochMeasurements:
        steps = 0

        def interrupting() -> None:
            nonlocal steps
            steps += 1
            if epoch == EPOCHS - 1 and steps == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            check()

        return super().run_epoch(epoch, interrupting)


def _directory(path: Path, spec: TrialSpec | None = None) -> CampaignDirectory:
    """A campaign's, with one trial: the given one, or the first that is proposed."""
    directory = CampaignDirectory.create(path, SiteSettings.model_validate(SETTINGS), {})
    directory.write_spec(spec or SearchAdapter(directory, []).propose(0, CampaignState())[0])
    return directory


def _run(
    directory: CampaignDirectory, number: int, trainer: type[TorchTrainer] = TorchTrainer
) -> list[Begin | Epoch | End]:
    """The events of an attempt."""
    spec, sha256 = read_spec(directory.spec(0))
    allocation = Allocation.from_environment({})
    files = TrialFiles(directory.weights(0), directory.checkpoint(0))
    attempt = AttemptRunner(spec, sha256, number, allocation, claim(directory, 0, number, allocation.run), files)
    attempt.run(
        lambda: trainer(spec, None, None), lambda: earlier_epochs(directory, spec, sha256, number, allocation.run)
    )
    lines = directory.events(0, number, allocation.run).read_text().splitlines()
    return [event_adapter.validate_json(line) for line in lines]


def _but_for_times(event: Begin | Epoch | End) -> dict[str, object]:
    return event.model_dump(exclude={"time", "start", "end", "data_wait", "attempt", "clock_skew"})


def test_interrupted_or_not_the_events_are_the_same_but_for_times(tmp_path: Path) -> None:
    whole = _directory(tmp_path / "whole")
    begin, *epochs, end = _run(whole, 1)
    assert [epoch.epoch for epoch in epochs if isinstance(epoch, Epoch)] == [1, 2, 3]

    directory = _directory(tmp_path / "interrupted", read_spec(whole.spec(0))[0])
    first_begin, *first, told = _run(directory, 1, _Interrupted)
    assert isinstance(told, End)
    assert (told.reason, told.best_epoch) == (EndReason.STOPPED, 1)
    second_begin, *second, second_end = _run(directory, 2)
    assert len(first) == 1  # the epoch that was torn apart is trained anew
    assert [*map(_but_for_times, [*first, *second])] == [*map(_but_for_times, epochs)]
    assert _but_for_times(second_end) == _but_for_times(end)  # the weights' SHA-256 among it
    assert _but_for_times(first_begin) == _but_for_times(second_begin) == _but_for_times(begin)
