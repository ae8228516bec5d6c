"""A trial on several nodes, imitated by tasks on this machine: joint training, stop, hang."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch.nn import functional
from torch.nn.utils import convert_conv2d_weight_memory_format

from aiperf_orch.campaign.directory import CampaignDirectory, read_spec
from aiperf_orch.campaign.events import revoke
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.controller.search_adapter import SearchAdapter
from aiperf_orch.network.graph import Graph
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.trial import TrialSpec
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.trial.data.digits import digits
from aiperf_orch.trial.runtime import rendezvous
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.training.model import build
from aiperf_orch.trial.training.sharding import training_batches
from aiperf_orch.trial.training.torch_trainer import derive_seed

DEADLINE = 180  # seconds
BATCH = 16


def _wait_until(condition: Callable[[], object], description: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"timed out before {description}"
        time.sleep(0.02)


class _Trial:
    """A trial of digits and its tasks, each of which runs as if on a node of its own."""

    def __init__(self, path: Path, *, nodes: int, **training: Any) -> None:
        settings = {
            "training": {"warmup_epochs": [2000], "epochs": 2000, "patience": 2000, "max_patience": 2000}
            | {"precision": "fp32"}
            | training,
            "search": {"batch_size": [BATCH, BATCH], "max_dropout": 0.0},
        }
        self.directory = CampaignDirectory.create(path, SiteSettings.model_validate(settings), {})
        proposed, _ = SearchAdapter(self.directory, []).propose(0, CampaignState())
        self.directory.write_spec(proposed)
        self.spec: TrialSpec = read_spec(self.directory.spec(0))[0]
        self.log = path / "log"
        self._nodes = nodes
        self.tasks: list[psutil.Popen] = []

    def start(self, attempt: int) -> None:
        """Start an attempt; returns after its first epoch."""
        self.start_tasks(attempt, range(self._nodes))
        _wait_until(lambda: self.task_exited() or self.epochs(attempt), "an epoch ended")
        assert not self.task_exited(), self.log.read_text()

    def start_tasks(self, attempt: int, nodes: Iterable[int]) -> None:
        """Start the tasks of an attempt on some of its nodes."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        variables = {
            "AIPERF_ORCH_JOB_ID": f"job{attempt}",
            "AIPERF_ORCH_HOSTS": ",".join(["localhost"] * self._nodes),
            "AIPERF_ORCH_WORKERS": "2",
            "AIPERF_ORCH_INTERFACE": "lo",
            "AIPERF_ORCH_PORTS": f"{port}-{min(port + 50, 65535)}",
        }
        spec = str(self.directory.spec(0))
        command = [sys.executable, "-P", "-m", "aiperf_orch.trial", spec, "--attempt", str(attempt)]
        with self.log.open("ab") as log:
            self.tasks = [
                psutil.Popen(command, env=os.environ | variables | {"AIPERF_ORCH_RANK": str(node)}, stderr=log)
                for node in nodes
            ]

    def task_exited(self) -> bool:
        return any(task.poll() is not None for task in self.tasks)

    def workers(self, node: int) -> list[psutil.Process]:
        return sorted(self.tasks[node].children(), key=lambda process: process.create_time())

    def events(self, attempt: int) -> list[dict[str, Any]]:
        path = self.directory.events(0, attempt, 0)
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def epochs(self, attempt: int) -> list[dict[str, Any]]:
        return [event for event in self.events(attempt) if event["type"] == "epoch"]

    def wait_for_end(self, attempt: int, workers: list[psutil.Process]) -> tuple[dict[str, Any], list[int]]:
        """Wait until all tasks and workers are gone; return the end event and the exit statuses of the tasks."""
        _wait_until(lambda: all(task.poll() is not None for task in self.tasks), "the tasks ended")
        assert not psutil.wait_procs(workers, DEADLINE)[1]
        end = self.events(attempt)[-1]
        assert end["type"] == "end"
        return end, [task.returncode for task in self.tasks]

    def kill(self) -> None:
        for task in self.tasks:
            if task.poll() is None:
                task.kill()
                task.wait()


@pytest.fixture
def make_trial(tmp_path: Path) -> Iterator[Callable[..., _Trial]]:
    made: list[_Trial] = []

    def make(**settings: Any) -> _Trial:
        made.append(_Trial(tmp_path / "campaign", **settings))
        return made[-1]

    yield make
    for trial in made:
        trial.kill()


def _expected_loss(spec: TrialSpec, ranks: int) -> float:
    """Mean loss of the first epoch in one process that computes the shares of all ranks one after the other."""
    generator = torch.Generator().manual_seed(derive_seed(spec.seed))
    model = build(Graph.from_json(spec.network), 0.0, generator)
    convert_conv2d_weight_memory_format(model, torch.channels_last)
    training = spec.training
    optimizer = torch.optim.SGD(
        model.parameters(), lr=training.learning_rate, momentum=training.momentum, weight_decay=training.weight_decay
    )
    data, seed = digits(), derive_seed(spec.seed, 1)
    shares = [training_batches(len(data.train_labels), BATCH, ProcessGroup(rank, ranks), seed) for rank in range(ranks)]
    total = 0.0
    for step, taken in enumerate(zip(*shares, strict=True)):
        optimizer.param_groups[0]["lr"] = training.learning_rate * (1 - step / len(shares[0]) / training.epochs)
        optimizer.zero_grad()
        for indices in taken:  # batch-norm statistics are those of the share alone
            loss = functional.cross_entropy(
                model(data.train_images[indices]),
                data.train_labels[indices],
                reduction="sum",
                label_smoothing=training.label_smoothing,
            )
            torch.autograd.backward(loss / sum(map(len, taken)))
            total += loss.item()
        optimizer.step()
    return total / len(data.train_labels)


def test_two_nodes_train_like_one_process_and_stop_together(make_trial):
    trial = make_trial(nodes=2, learning_rate=0.01)
    trial.start(1)
    workers = trial.workers(0) + trial.workers(1)
    assert len(workers) == 4
    begin, first = trial.events(1)[:2]
    assert (begin["workers"], begin["batch"], begin["hosts"]) == (4, BATCH, ["localhost", "localhost"])
    assert (first["epoch"], first["train_images"], first["val_images"]) == (1, 1437, 360)
    assert first["loss"] == pytest.approx(_expected_loss(trial.spec, 4), rel=1e-4)

    for process in (*trial.tasks, *workers):  # like a batch system that signals all processes of a job
        process.send_signal(signal.SIGTERM)
    end, statuses = trial.wait_for_end(1, workers)
    assert end["reason"] == "STOPPED"
    assert statuses == [0, 0]


@pytest.mark.parametrize("cause", ["stopped by SIGTERM", "the attempt is over"])
def test_a_follower_without_rank_0_exits_within_seconds(make_trial, cause):
    trial = make_trial(nodes=2)
    trial.start_tasks(1, [1])
    _wait_until(lambda: len(trial.workers(0)) == 2, "the workers started")
    time.sleep(1)
    assert not trial.task_exited()
    if cause == "the attempt is over":
        revoke(trial.directory, 0, 1, EndReason.STOPPED, "stopped by the controller")
    else:
        trial.tasks[0].send_signal(signal.SIGTERM)
    assert trial.tasks[0].wait(rendezvous.RENDEZVOUS_TIMEOUT / 2) == 0
    assert f"{cause}: exiting" in trial.log.read_text()


def test_a_hanging_trial_writes_its_stacks_and_ends(make_trial):
    trial = make_trial(nodes=1, hang_after="10s")
    trial.start(1)
    workers = trial.workers(0)
    workers[1].suspend()
    end, _ = trial.wait_for_end(1, workers)
    assert end["reason"] == "HUNG"
    log = trial.log.read_text()
    for rank in (0, 1):
        stack = log.rpartition(f"the stacks of rank {rank} on ")[2].split("\n\n")[0]
        assert "most recent call first" in stack
        assert "aiperf_orch/trial/runtime/worker.py" in stack
