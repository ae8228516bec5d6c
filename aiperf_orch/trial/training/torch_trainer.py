"""PyTorch trainer of a trial on accelerators or the CPU: the `Trainer` of the setting `trainer: torch`.

Each worker of a trial has one, and all call the same methods in the same order. An epoch depends only on the state
after the epoch before, the seed and its number: training that continues from a checkpoint computes the same as
training that was not interrupted. The step is in `learner`, the life of a trial in `trial.runtime.attempt`.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

import aiperf_orch
from aiperf_orch.campaign.durable_files import read_file, replace_file
from aiperf_orch.campaign.safe_reading import LONG_RETRY_SECONDS
from aiperf_orch.campaign.training_rules import MIN_BATCH, halved_batch
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import EpochMeasurements, TrainingSetup
from aiperf_orch.records.trial import TrialSpec
from aiperf_orch.trial.data.dataset import Batch, Dataset, Indices
from aiperf_orch.trial.data.open_dataset import load_dataset
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.runtime.trainer import PeerStoppedError, TrialFailedError
from aiperf_orch.trial.training import checkpoint, sharding
from aiperf_orch.trial.training.checkpoint import Progress
from aiperf_orch.trial.training.compilation import Compilation, can_compile
from aiperf_orch.trial.training.devices import device_name, select_device
from aiperf_orch.trial.training.learner import Learner, is_out_of_memory
from aiperf_orch.trial.training.model import Model, build
from aiperf_orch.trial.training.parent_weights import load_inherited_state
from aiperf_orch.trial.training.precision import Precision, select_precision
from aiperf_orch.trial.training.weight_inheritance import State

_PRECISIONS: Final = ("fp32", "tf32", "bf16", "fp16")


class TorchTrainer:
    """Training of one specification: SGD with momentum, label smoothing and a linearly decreasing learning rate."""

    _dataset: Dataset
    _learner: Learner
    _batch: int
    _saved: bytes = b""
    _saved_epoch: int | None = None
    _stop: BaseException | None = None

    def __init__(
        self,
        spec: TrialSpec,
        parent_weights: Path | None,
        parent_network: Graph | None,
        group: ProcessGroup | None = None,
        compilation: Compilation = Compilation.FUSED,
    ) -> None:
        """Store the arguments; nothing is loaded yet.

        Args:
            spec: The trial.
            parent_weights: Safetensors file of the trained parent; None to start with initial weights.
            parent_network: Network of the parent, to which the edits of the specification apply.
            group: The workers that train the trial together; None for one worker.
            compilation: How to compile where the specification asks for it; trials use the default.
        """
        self._spec = spec
        self._network = Graph.from_json(spec.network)
        self._parent_weights = parent_weights
        self._parent_network = parent_network
        self._group = group or ProcessGroup()
        self._compilation = compilation
        self._closing = ExitStack()

    def prepare(self) -> TrainingSetup:
        """Load data, build the model, inherit weights; called once, before any epoch.

        If the parent's file does not exist (any more), training starts with initial weights, and the result says so.
        Several workers use the largest batch that fits into the memory of each: that of the specification, halved as
        often as necessary.

        Raises:
            TrialFailedError: BAD_DATA if the data cannot be loaded or do not fit the network; TRIAL_ERROR if the
                parent's weights cannot be read or do not fit the networks; OUT_OF_MEMORY if even the smallest batch
                does not fit on one of several workers.
        """
        training, group = self._spec.training, self._group
        cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(max(cores // group.local_size, 1))
        torch.backends.cudnn.benchmark = True  # all steps have the same shapes: trying algorithms pays
        device = select_device(group)
        self._dataset = load_dataset(self._spec.data, self._network, device, group)
        self._closing.callback(self._dataset.close)
        if self._dataset.train_images < MIN_BATCH * group.size:
            raise TrialFailedError(
                EndReason.BAD_DATA,
                f"{self._dataset.train_images} training images are not enough for {group.size} workers",
            )
        self._batch = min(self._spec.hyperparameters.batch_size, self._dataset.train_images)

        precision = self._select_precision(device)
        precision.set_up()
        generator = torch.Generator().manual_seed(derive_seed(self._spec.seed))
        model = build(self._network, self._spec.hyperparameters.dropout, generator)
        state = self._inherited_state(model, generator)
        if state is not None:
            model.load_state_dict(state)
        self._learner = Learner(model, training, precision, device, group)
        self._learner.broadcast_state()
        if group.size > 1:
            self._batch = min(self._gather(self._fitting_batch()))
        compiled = training.compile and all(self._gather(can_compile(device, self._compilation)))
        self._learner.set_up_forward(self._compilation if compiled else None)
        return TrainingSetup(
            batch=self._batch,
            device=device_name(device),
            precision=precision.name,
            cores=cores,
            inherited=state is not None,
            data_sha256=self._dataset.digest,
            workers=group.size,
            compiled=compiled,
            versions={"aiperf-orch": aiperf_orch.__version__, "torch": torch.__version__},
        )

    def run_epoch(self, epoch: int, check: Callable[[], None]) -> EpochMeasurements:
        """Train and validate epoch `epoch` (from 1). The loss is NaN or infinite if training diverged.

        If the memory of a single worker does not suffice, the batch is halved permanently and the epoch is repeated.
        Several workers have determined a batch that fits in `prepare`.

        Raises:
            TrialFailedError: OUT_OF_MEMORY if even the smallest batch does not fit, or if one of several workers ran
                out of memory.
            PeerStoppedError: If another worker was stopped. On the worker that was stopped, the exception that `check`
                raised is raised instead.
        """
        before = self._saved if self._saved_epoch == epoch - 1 else self._checkpoint(epoch - 1)
        while True:
            try:
                return self._train_and_validate(epoch, check)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self._group.size > 1:
                    message = f"worker {self._group.rank} ran out of memory in epoch {epoch}, with {self._batch} images"
                    raise TrialFailedError(EndReason.OUT_OF_MEMORY, f"{message}: {error}") from error
                halved = self._halve_batch(self._batch, error)
            # outside of the handler, because the traceback keeps the tensors of the step alive
            self._learner.release_memory()
            checkpoint.restore(self._learner, before)
            self._batch = halved

    def save_weights(self, path: Path) -> str:
        """Write the current weights as safetensors, replacing the file atomically; only rank 0 writes.

        Returns:
            The SHA-256 of the file; "" on ranks other than 0.
        """
        if not self._group.is_rank_0:
            return ""
        state = {name: value.detach().cpu().contiguous() for name, value in self._learner.model.state_dict().items()}
        content = safetensors.torch.save(state)
        replace_file(path, content, retry_for=LONG_RETRY_SECONDS)
        return hashlib.sha256(content).hexdigest()

    def save_checkpoint(self, path: Path, epoch: int) -> None:
        """Write the state after `epoch`, replacing the file atomically; only rank 0 writes."""
        if self._group.is_rank_0:
            self._saved, self._saved_epoch = self._checkpoint(epoch), epoch
            replace_file(path, self._saved, retry_for=LONG_RETRY_SECONDS)

    def load_checkpoint(self, path: Path) -> int:
        """Load a checkpoint, which rank 0 reads and broadcasts.

        Returns:
            The epoch after which it was written.

        Raises:
            OSError: If there is no such file.
            TransientError: If it could not be read for minutes.
            ValueError: If it is not a checkpoint of this trial; the trainer is then unchanged. The other workers raise
                this for any reason for which rank 0 could not use it.
        """
        progress = Progress(0, self._batch)
        fault: OSError | ValueError | None = None
        if self._group.is_rank_0:
            try:
                progress = self._read_checkpoint(path)
            except (OSError, ValueError) as error:
                fault = error
        usable, epoch, batch = self._broadcast(fault is None, progress.epoch, progress.batch)
        if not usable:
            raise fault or ValueError("rank 0 cannot use the checkpoint")
        self._learner.broadcast_state()
        self._batch = min(self._batch, batch)
        return epoch

    def close(self) -> None:
        """Close the dataset."""
        self._closing.close()

    def _read_checkpoint(self, path: Path) -> Progress:
        content = read_file(path, retry_for=LONG_RETRY_SECONDS)
        try:
            return checkpoint.restore(self._learner, content)
        except ValueError as error:
            raise ValueError(f"{path} is not a checkpoint of this trial: {error}") from error

    def _checkpoint(self, epoch: int) -> bytes:
        """Serialize the state after an epoch."""
        return checkpoint.to_bytes(self._learner, Progress(epoch, self._batch))

    def _select_precision(self, device: torch.device) -> Precision:
        """Precision that rank 0 selects for all workers."""
        selected = select_precision(self._spec.training.precision, device, self._network)
        (index,) = self._broadcast(_PRECISIONS.index(selected.name))
        return Precision(_PRECISIONS[index], device.type)

    def _inherited_state(self, model: Model, generator: torch.Generator) -> State | None:
        """State that the model inherits; None without a parent, and on ranks other than 0, which receive it."""
        if not self._spec.training.inherit_weights or not self._group.is_rank_0:
            return None
        if self._parent_weights is None or self._parent_network is None:
            return None
        edits = map(Edit.from_json, self._spec.edits)
        return load_inherited_state(self._parent_weights, self._parent_network, edits, model.state_dict(), generator)

    def _fitting_batch(self) -> int:
        """Largest batch that fits into the memory of this worker, found by halving."""
        batch = self._batch
        while True:
            shares = sharding.training_batches(self._dataset.train_images, batch, self._group, 0)
            try:
                # the last step of an epoch may have more images than a batch
                self._learner.probe_memory(self._network.input_shape, max(map(len, shares)))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                batch = self._halve_batch(batch, error)
            else:
                return batch

    def _halve_batch(self, batch: int, error: BaseException) -> int:
        halved = halved_batch(batch)
        if halved is None:
            raise TrialFailedError(
                EndReason.OUT_OF_MEMORY, f"not even a batch of {batch} images fits into memory: {error}"
            ) from error
        return halved

    def _gather(self, number: int) -> list[int]:
        """Collect an integer from every worker, by rank (collective)."""
        numbers = torch.zeros(self._group.size, dtype=torch.int64)
        numbers[self._group.rank] = number
        return [int(each) for each in self._group.all_reduce(numbers)]

    def _broadcast(self, *numbers: int) -> list[int]:
        """Return the integers of rank 0 on every worker (collective)."""
        tensor = torch.tensor(numbers, dtype=torch.int64)
        self._group.broadcast([tensor])
        return [int(each) for each in tensor]

    def _train_and_validate(self, epoch: int, check: Callable[[], None]) -> EpochMeasurements:
        """Run one epoch on all workers; sums are over all workers."""
        started = time.perf_counter()
        loss, trained, skipped, waited = self._train(epoch, check)
        self._learner.average_statistics()
        errors, waited_more = self._validate(check)
        share = (waited + waited_more) / (time.perf_counter() - started)
        # in 64 bits on the CPU: this is the only time in an epoch that the device is waited for
        sums = torch.tensor([float(loss), trained, skipped, int(errors), share], dtype=torch.float64)
        total, trained, skipped, errors, share = self._group.all_reduce(sums).tolist()
        limit = self._spec.data.max_broken  # a single worker stops as soon as its own images exceed it
        if skipped > limit:
            message = f"{skipped:.0f} images cannot be read, and data.max_broken allows {limit} in an epoch"
            raise TrialFailedError(EndReason.BAD_DATA, f"{message}: the trial's log names them; repair or replace them")
        return EpochMeasurements(
            train_images=int(trained),
            val_images=self._dataset.val_images,
            loss=total / trained,
            error=int(errors) / self._dataset.val_images,
            batch=self._batch,
            skipped=int(skipped),
            data_wait=min(share / self._group.size, 1.0),
        )

    def _train(self, epoch: int, check: Callable[[], None]) -> tuple[Tensor, int, int, float]:
        """Train one epoch.

        Returns:
            The sum of this worker's losses, its numbers of trained and skipped images, and the seconds it waited for
            data.
        """
        learner, group = self._learner, self._group
        epoch_seed = derive_seed(self._spec.seed, epoch)  # of the order of images, the same on all workers
        worker_seed = derive_seed(self._spec.seed, epoch, group.rank) if group.rank else epoch_seed
        torch.manual_seed(worker_seed)  # used by dropout
        batches = sharding.training_batches(self._dataset.train_images, self._batch, group, epoch_seed)
        trained = skipped = done = 0
        total = torch.zeros((), device=learner.device)
        learner.model.train()
        timed = _TimedBatches(self._dataset.training(batches, worker_seed))
        for step, (images, labels, broken) in enumerate(timed):
            self._check_stop(check)
            is_last = step + 1 == len(batches)
            step_images = self._dataset.train_images - done if is_last else self._batch * group.size
            total += learner.train(
                images,
                labels,
                step_images=step_images,
                full=len(labels) == self._batch,
                learning_rate=self._learning_rate(epoch - 1 + step / len(batches)),
            )
            done += step_images
            trained += len(labels) - broken
            skipped += broken
        return total, trained, skipped, timed.waited

    def _validate(self, check: Callable[[], None]) -> tuple[Tensor, float]:
        """Count the misclassified images of this worker's share; also returns the seconds it waited for data."""
        learner = self._learner
        errors = torch.zeros((), dtype=torch.int64, device=learner.device)
        learner.model.eval()
        batches, steps = self._validation_batches()
        timed = _TimedBatches(self._dataset.validation(batches))
        for _ in range(steps):
            batch = next(timed, None)
            self._check_stop(check)  # equally often on all workers
            if batch is not None:
                errors += learner.count_errors(batch.images, batch.labels)
        return errors, timed.waited

    def _validation_batches(self) -> tuple[list[Indices], int]:
        """Validation batches of this worker, and the number of batches of rank 0, which has the most."""
        size, images = sharding.validation_batch_size(self._batch), self._dataset.val_images
        most = -(-images // self._group.size)
        return sharding.validation_batches(images, size, self._group), -(-most // size)

    def _check_stop(self, check: Callable[[], None]) -> None:
        """Raise if any worker is to stop; all workers raise at the same step, so that none waits for another."""
        if self._stop is None:
            try:
                check()
            except BaseException as stop:
                self._stop = stop
        if self._group.any_rank(self._stop is not None):
            raise self._stop or PeerStoppedError

    def _learning_rate(self, epochs_done: float) -> float:
        training = self._spec.training
        progress = min(epochs_done / training.epochs, 1.0)
        return training.learning_rate + (training.final_learning_rate - training.learning_rate) * progress


class _TimedBatches:
    """Iterator over batches that sums up the seconds spent waiting for them (`waited`)."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = iter(batches)
        self.waited = 0.0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        start = time.perf_counter()
        batch = next(self._batches)
        self.waited += time.perf_counter() - start
        return batch


def derive_seed(*numbers: int) -> int:
    """Derive a 64-bit seed from integers; seeds of neighbouring integers are independent."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
