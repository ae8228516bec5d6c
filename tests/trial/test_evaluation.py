"""Evaluation of a trained network: the same batches as in the trial, precision, memory, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aiperf_orch.campaign.directory import CampaignDirectory, read_spec
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.controller.search_adapter import SearchAdapter
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.tensors import state_tensors
from aiperf_orch.records.evaluation import EvaluationRequest
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.training import evaluation, precision, sharding
from aiperf_orch.trial.training.precision import available_precision
from aiperf_orch.trial.training.torch_trainer import TorchTrainer
from aiperf_orch.util.errors import UsageError
from package_fixtures import weights_file


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})


@pytest.fixture
def trained(tmp_path: Path) -> tuple[EvaluationRequest, float]:
    """The request for a network that was trained for an epoch, and the error of that epoch."""
    settings = {"training": {"warmup_epochs": [1], "precision": "fp32"}, "search": {"batch_size": [32, 32]}}
    directory = CampaignDirectory.create(tmp_path / "campaign", SiteSettings.model_validate(settings), {})
    directory.write_spec(SearchAdapter(directory, []).propose(0, CampaignState())[0])
    trainer = TorchTrainer(read_spec(directory.spec(0))[0], None, None)
    setup = trainer.prepare()
    measured = trainer.run_epoch(1, lambda: None)
    trainer.save_weights(directory.weights(0))
    request = EvaluationRequest(
        spec=str(directory.spec(0)),
        weights=str(directory.weights(0)),
        data=None,
        data_sha256=setup.data_sha256,
        precision=setup.precision,
        batch=measured.batch,
        workers=1,
    )
    return request, measured.error


def test_the_error_of_an_epoch_comes_out(trained: tuple[EvaluationRequest, float]) -> None:
    request, error = trained
    found = evaluation.evaluate(request)
    assert (found.images, found.wrong_images / 360, found.device, found.precision) == (360, error, "cpu", "fp32")
    shared = evaluation.evaluate(request.model_copy(update={"workers": 7}))
    assert abs(shared.wrong_images - found.wrong_images) <= 1


def test_batches_are_those_of_the_workers_of_the_trial() -> None:
    for images, batch, workers in ((360, 32, 1), (360, 32, 7), (5, 512, 3), (3, 8, 10**30)):
        batches = evaluation._batches(images, batch, workers)
        assert np.concatenate(batches).tolist() == list(range(images))
        if workers < images:
            shares = [ProcessGroup(rank=rank, size=workers) for rank in range(workers)]
            expected = [part for share in shares for part in sharding.validation_batches(images, batch, share)]
            assert list(map(list, batches)) == list(map(list, expected))


def test_smaller_batches_are_tried_where_memory_does_not_suffice(
    trained: tuple[EvaluationRequest, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    request, error = trained
    sizes: list[int] = []
    count_errors = evaluation.count_errors

    def limited(model: Any, precision: Any, images: Any, labels: Any) -> Any:
        sizes.append(len(labels))
        if len(labels) > 50:
            raise torch.OutOfMemoryError
        return count_errors(model, precision, images, labels)

    monkeypatch.setattr(evaluation, "count_errors", limited)
    assert abs(evaluation.evaluate(request).wrong_images - error * 360) <= 1
    assert list(dict.fromkeys(sizes)) == [128, 64, 32, 360 % 32]


def test_another_data_set_is_refused(trained: tuple[EvaluationRequest, float]) -> None:
    with pytest.raises(UsageError, match=r"data set digits: is not the recorded data set: .* and 0{64} is recorded"):
        evaluation.evaluate(trained[0].model_copy(update={"data_sha256": "0" * 64}))


def test_weights_that_do_not_fit_are_refused(trained: tuple[EvaluationRequest, float]) -> None:
    request, _ = trained
    tensors = state_tensors(Graph.from_json(read_spec(Path(request.spec))[0].network))
    name, tensor = next(iter(tensors.items()))
    path = Path(request.weights)
    whole = path.read_bytes()
    for data in (
        b"",
        whole[:-1],
        weights_file({each: type_ for each, type_ in tensors.items() if each != name}),
        weights_file(tensors | {name: tensor._replace(shape=(*tensor.shape[:-1], 1))}),
    ):
        path.write_bytes(data)
        with pytest.raises(UsageError, match="the weights do not fit the recorded network") as refused:
            evaluation.evaluate(request)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("recorded", "instructions", "expected"),
    [("fp32", True, "fp32"), ("bf16", True, "bf16"), ("bf16", False, "fp32"), ("tf32", True, "fp32"),
     ("fp16", True, "fp32")],
)  # fmt: skip
def test_a_precision_that_the_device_lacks_becomes_fp32(
    recorded: str, instructions: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "cpu_has_bf16_instructions", lambda: instructions)
    assert available_precision(recorded, torch.device("cpu")).name == expected
