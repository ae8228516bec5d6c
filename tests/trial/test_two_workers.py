"""Two workers train one trial: same results as one process with their shares, joint stop, resume and batch size."""

from __future__ import annotations

import copy
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from aiperf_orch.network import counts, seeds
from aiperf_orch.network.graph import Graph
from aiperf_orch.records.operations import OperationsPerImage
from aiperf_orch.records.trial import Hyperparameters, TrialSpec
from aiperf_orch.settings.models import DataSettings, TrainingSettings
from aiperf_orch.trial.data.digits import digits
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.training.model import Model
from aiperf_orch.trial.training.sharding import training_batches
from aiperf_orch.trial.training.torch_trainer import TorchTrainer, derive_seed

NETWORK = seeds.small_residual(width=8)
BATCH = 64  # fits into the memory of rank 1, unlike the 128 of the specification


@pytest.fixture(scope="module")
def spec() -> TrialSpec:
    return TrialSpec(
        campaign="test",
        trial=1,
        round=0,
        seed=3,
        parent=None,
        edits=[],
        network_hash=NETWORK.hash,
        operations=OperationsPerImage.of(counts.count(NETWORK)),
        hyperparameters=Hyperparameters(kernel_size=3, dropout=0.0, batch_size=2 * BATCH),
        epochs=4,
        patience=6,
        data=DataSettings(),
        training=TrainingSettings(epochs=4),
        network=NETWORK.to_json(),
    )


@pytest.fixture(scope="module")
def ranks(spec: TrialSpec, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], Path]:
    """Output of both ranks, and the folder of their files."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "spec.json").write_text(spec.to_line())
    program = [sys.executable, str(Path(__file__).with_name("rank.py")), str(folder / "spec.json")]
    with socket.create_server(("127.0.0.1", 0)) as store:
        rest = [str(store.getsockname()[1]), str(store.fileno()), str(folder)]
        processes = [
            subprocess.Popen([*program, str(rank), *rest], stdout=subprocess.PIPE, pass_fds=[store.fileno()])
            for rank in (0, 1)
        ]
    try:
        outputs = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return outputs, folder


def _one_process(spec: TrialSpec) -> tuple[float, Model]:
    """Mean loss and model after a first epoch of one process that computes the shares of both ranks."""
    alone = TorchTrainer(spec, None, None)
    alone.prepare()
    model = alone._learner.model
    twin = copy.deepcopy(model)  # for the batch-norm statistics of rank 1
    data, training = digits(), spec.training
    optimizer = torch.optim.SGD(
        model.parameters(), lr=1.0, momentum=training.momentum, weight_decay=training.weight_decay
    )
    seed = derive_seed(spec.seed, 1)
    shares = [training_batches(1437, BATCH, ProcessGroup(rank, 2), seed) for rank in (0, 1)]
    assert [len(share[-1]) for share in shares] == [15, 14]  # of different size
    total = 0.0
    for step, taken in enumerate(zip(*shares, strict=True)):
        losses: list[Tensor] = []
        for each, indices in zip((model, twin), taken, strict=True):
            logits = each(data.train_images[indices])
            losses.append(
                functional.cross_entropy(
                    logits, data.train_labels[indices], reduction="sum", label_smoothing=training.label_smoothing
                )
            )
        optimizer.zero_grad()
        twin.zero_grad()
        torch.autograd.backward([loss / sum(map(len, taken)) for loss in losses])
        for parameter, other in zip(model.parameters(), twin.parameters(), strict=True):
            parameter.grad = parameter.grad + other.grad
        optimizer.param_groups[0]["lr"] = training.learning_rate * (1 - step / len(shares[0]) / training.epochs)
        optimizer.step()
        with torch.no_grad():
            for parameter, other in zip(model.parameters(), twin.parameters(), strict=True):
                other.copy_(parameter)
        total += sum(float(loss.detach()) for loss in losses)
    for buffer, other in zip(model.buffers(), twin.buffers(), strict=True):
        if buffer.is_floating_point():
            buffer.copy_((buffer + other) / 2)
    return total / 1437, model


def test_two_ranks_compute_the_same_as_one_process_with_their_shares(spec, ranks, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})  # one thread, like each rank
    (first, second), folder = ranks
    loss, model = _one_process(spec)
    assert first["first"] == second["first"]
    trained, validated, mean, error, batch = first["first"]
    assert (trained, validated, batch) == (1437, 360, BATCH)
    assert mean == pytest.approx(loss, rel=1e-4)
    written = safetensors.torch.load_file(folder / "weights")
    for name, value in model.state_dict().items():
        torch.testing.assert_close(written[name], value, rtol=1e-2, atol=1e-3)
    model = Model(Graph.from_json(spec.network)).eval()
    model.load_state_dict(written)
    with torch.inference_mode():
        wrong = int((model(digits().val_images).argmax(1) != digits().val_labels).sum())
    assert abs(wrong - round(error * 360)) <= 1  # batches of another size are rounded differently


def test_the_batch_size_fits_into_the_memory_of_both_ranks(ranks):
    outputs, _ = ranks
    assert [each["setup"] for each in outputs] == [[2, BATCH], [2, BATCH]]


def test_both_ranks_have_the_same_state_and_only_rank_0_writes_files(ranks):
    (first, second), folder = ranks
    assert first["states"] == second["states"]
    assert first["states"][0] == first["states"][1]  # also after loading the checkpoint
    assert first["digest"]
    assert not second["digest"]
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint", "spec.json", "weights"]


def test_both_ranks_continue_from_the_checkpoint_of_rank_0(ranks):
    outputs, _ = ranks
    assert [each["done"] for each in outputs] == [1, 1]
    assert [each["same_second_epoch"] for each in outputs] == [True, True]
    assert [each["load_error"] for each in outputs] == ["FileNotFoundError", "ValueError"]


def test_both_ranks_stop_at_the_same_step_when_one_is_asked_to_stop(ranks):
    outputs, _ = ranks
    # rank 1 does not call its check at the sixth step
    assert [each["stop"] for each in outputs] == [["PeerStoppedError", 6], ["StopRequestedError", 5]]
