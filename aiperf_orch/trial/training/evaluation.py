"""Evaluation of a trained network: the error of its weights on the validation images (`evaluate`).

The images are validated in the same batches and by the same computation as in the trial, on one device.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Final

import safetensors.torch
import torch
from safetensors import SafetensorError

from aiperf_orch.campaign.directory import read_spec
from aiperf_orch.network.graph import Graph
from aiperf_orch.records.evaluation import Evaluation, EvaluationRequest
from aiperf_orch.records.trial import TrialSpec
from aiperf_orch.trial.data.dataset import Dataset, Indices
from aiperf_orch.trial.data.open_dataset import load_dataset
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.training import sharding
from aiperf_orch.trial.training.devices import device_name, select_device
from aiperf_orch.trial.training.learner import count_errors, is_out_of_memory
from aiperf_orch.trial.training.model import Model
from aiperf_orch.trial.training.precision import Precision, available_precision
from aiperf_orch.util.errors import UsageError

_REPORT_INTERVAL: Final = 30.0  # seconds


def evaluate(request: EvaluationRequest) -> Evaluation:
    """Measure the error of a trained network.

    Raises:
        UsageError: If the data set is not the recorded one, or the weights do not fit the network.
        TrialFailedError: If the data set cannot be loaded, or an image cannot be read.
    """
    spec, _ = read_spec(Path(request.spec))
    group = ProcessGroup()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    device = select_device(group)
    precision = available_precision(request.precision, device)
    precision.set_up()
    network = Graph.from_json(spec.network)
    with closing(_open_dataset(spec, request, network, device)) as dataset:
        model = _load_model(network, Path(request.weights), device)
        wrong = _wrong_images(model, precision, dataset, request)
        return Evaluation(
            images=dataset.val_images, wrong_images=wrong, device=device_name(device), precision=precision.name
        )


def _open_dataset(spec: TrialSpec, request: EvaluationRequest, network: Graph, device: torch.device) -> Dataset:
    """Open the data set; UsageError if its listing is not the recorded one."""
    # the number of loader processes was chosen for the nodes of the campaign
    settings = spec.data.model_copy(update={"path": request.data, "loaders": None})
    dataset = load_dataset(settings, network, device, ProcessGroup())
    if request.data_sha256 is not None and dataset.digest != request.data_sha256:
        dataset.close()
        where = f"--data {request.data}" if request.data else f"data set {spec.data.name}"
        raise UsageError(
            f"{where}: is not the recorded data set: the SHA-256 of its listing is {dataset.digest}, and "
            f"{request.data_sha256} is recorded"
        )
    return dataset


def _load_model(network: Graph, weights: Path, device: torch.device) -> Model:
    """The trained network on the device, in the layout in which trials compute it."""
    with torch.device("meta"):
        model = Model(network)
    try:
        state = safetensors.torch.load_file(weights)
        model.load_state_dict(state, assign=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).strip().replace("\n", " ")
        raise UsageError(f"the weights do not fit the recorded network: {reason}") from None
    return model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload, no-any-return]


def _wrong_images(model: Model, precision: Precision, dataset: Dataset, request: EvaluationRequest) -> int:
    """Number of misclassified images; if memory does not suffice, smaller batches are tried."""
    size = sharding.validation_batch_size(request.batch)
    while True:
        try:
            return _validate(model, precision, dataset, _batches(dataset.val_images, size, request.workers))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or size == 1:
                raise
        size = max(size // 2, 1)


def _batches(images: int, size: int, workers: int) -> list[Indices]:
    """The batches of all workers, one worker after the other."""
    workers = min(workers, images)
    shares = [ProcessGroup(rank=rank, size=workers) for rank in range(workers)]
    return [batch for share in shares for batch in sharding.validation_batches(images, size, share)]


def _validate(model: Model, precision: Precision, dataset: Dataset, batches: list[Indices]) -> int:
    errors, done, reported = 0, 0, time.monotonic()
    for batch in dataset.validation(batches):
        errors += int(count_errors(model, precision, batch.images, batch.labels))
        done += len(batch.labels)
        if time.monotonic() - reported >= _REPORT_INTERVAL:
            reported = time.monotonic()
            print(f"{done:,} of {dataset.val_images:,} images are evaluated", file=sys.stderr, flush=True)
    return errors
