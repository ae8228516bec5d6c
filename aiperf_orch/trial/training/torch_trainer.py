"""Trains a trial's network with PyTorch on accelerators, or on the CPU: the `Trainer` behind `trainer: torch`.

Every worker of a trial has one, and all are called alike. An epoch depends on nothing but the state after the one before
it, the seed and its number, so that going on from a checkpoint computes what not having stopped would have. The step
itself is `learner`'s, the life of a trial around it `lifecycle`'s.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

import aiperf_orch
from aiperf_orch.campaign.durable_files import read_file, replace_file
from aiperf_orch.campaign.safe_reading import LONG_RETRY_SECONDS
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
from aiperf_orch.trial.training.checkpoint import Counters
from aiperf_orch.trial.training.devices import device_name, select_device
from aiperf_orch.trial.training.learner import Learner, compiles, out_of_memory
from aiperf_orch.trial.training.model import Model, build
from aiperf_orch.trial.training.precision import Precision, choose
from aiperf_orch.trial.training.weight_inheritance import State, inherit
from aiperf_orch.util.errors import NetworkError

_SMALLEST_BATCH = 2  # of one image a batch-norm over maps of side 1 has no statistics
_VALIDATION_BATCH = 512  # at most, and at most four times the training batch: no gradients take memory
_PRECISIONS = ("fp32", "tf32", "bf16", "fp16")


class TorchTrainer:
    """Trains one specification: SGD with momentum, label smoothing and a linearly falling learning rate."""

    _source: Dataset
    _learner: Learner
    _batch: int
    _saved: bytes = b""
    _saved_epoch: int | None = None
    _told: BaseException | None = None

    def __init__(
        self,
        spec: TrialSpec,
        parent_weights: Path | None,
        parent_network: Graph | None,
        world: ProcessGroup = ProcessGroup(),  # noqa: B008 (it is frozen)
    ) -> None:
        """Keep what to train; nothing is loaded yet.

        Args:
            spec: the trial.
            parent_weights: safetensors file of the trained parent, or None to begin with fresh weights.
            parent_network: the parent's network, to which the specification's edits were applied.
            world: this worker's place among those that train the trial together.
        """
        self._spec = spec
        self._network = Graph.from_json(spec.network)
        self._parent_weights = parent_weights
        self._parent_network = parent_network
        self._world = world
        self._closing = ExitStack()

    def prepare(self) -> TrainingSetup:
        """Load data, build the model, inherit weights; called once, before any epoch.

        A parent's file that is not there (any more) means fresh weights; the equipment then says so. Several workers
        take the largest batch, of the specification's and its halves, that fits into the memory of all.

        Raises:
            TrialFailedError: BAD_DATA when the data cannot be loaded or do not fit the network; TRIAL_ERROR when the
                parent's weights cannot be read or do not fit the networks; OUT_OF_MEMORY when not even the smallest
                batch fits on one of several workers.
        """
        training, world = self._spec.training, self._world
        cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(max(cores // world.local_size, 1))
        torch.backends.cudnn.benchmark = True  # all steps have one shape: trying algorithms pays
        device = select_device(world)
        self._source = load_dataset(self._spec.data, self._network, device, world)
        self._closing.callback(self._source.close)
        if self._source.train_images < _SMALLEST_BATCH * world.size:
            raise TrialFailedError(
                EndReason.BAD_DATA,
                f"{self._source.train_images} training images do not suffice for {world.size} workers",
            )
        self._batch = min(self._spec.hyperparameters.batch_size, self._source.train_images)

        precision = self._precision(device)
        precision.set_up()
        generator = torch.Generator().manual_seed(derive_seed(self._spec.seed))
        model = build(self._network, self._spec.hyperparameters.dropout, generator)
        state = self._inherited_state(model, generator) if training.inherit_weights and world.is_rank_0 else None
        if state is not None:
            model.load_state_dict(state)
        self._learner = Learner(model, training, precision, device, world)
        self._learner.share()
        if world.size > 1:
            self._batch = min(self._all(self._fitting_batch()))
        compiled = training.compile and all(self._all(compiles(device)))
        self._learner.connect(compiled=compiled)
        return TrainingSetup(
            batch=self._batch,
            device=device_name(device),
            precision=precision.name,
            cores=cores,
            inherited=state is not None,
            data_sha256=self._source.digest,
            workers=world.size,
            compiled=compiled,
            versions={"aiperf-orch": aiperf_orch.__version__, "torch": torch.__version__},
        )

    def run_epoch(self, epoch: int, check: Callable[[], None]) -> EpochMeasurements:
        """Train and validate epoch `epoch` (from 1). The loss is NaN or infinite when training diverged.

        When one worker's memory does not suffice the batch is halved, for good, and the epoch begins again. Several
        workers have tried theirs when they were prepared.

        Raises:
            TrialFailedError: OUT_OF_MEMORY when not even the smallest batch fits, or one of several workers ran out of it.
            PeerStoppedError: when another worker was told to end; whatever `check` raised where this one was.
        """
        before = self._saved if self._saved_epoch == epoch - 1 else self._packed(epoch - 1)
        while True:
            try:
                return self._train_and_validate(epoch, check)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if self._world.size > 1:
                    raise TrialFailedError(
                        EndReason.OUT_OF_MEMORY,
                        f"worker {self._world.rank} ran out of memory in epoch {epoch}, with {self._batch} images: {error}",
                    ) from error
                halved = self._halved(self._batch, error)
            # outside the handler, whose traceback keeps the step's tensors alive
            self._learner.forget_step()
            checkpoint.unpack(self._learner, before)
            self._batch = halved

    def save_weights(self, path: Path) -> str:
        """Write the present weights as safetensors, replacing the file whole; returns the SHA-256 of its bytes.

        Only the first worker writes; of the others' there is nothing to say.
        """
        if not self._world.is_rank_0:
            return ""
        state = {name: value.detach().cpu().contiguous() for name, value in self._learner.model.state_dict().items()}
        written = safetensors.torch.save(state)
        replace_file(path, written, retry_for=LONG_RETRY_SECONDS)
        return hashlib.sha256(written).hexdigest()

    def save_checkpoint(self, path: Path, epoch: int) -> None:
        """Write all that is needed to go on after `epoch`, replacing the file whole; only the first worker does."""
        if self._world.is_rank_0:
            self._saved, self._saved_epoch = self._packed(epoch), epoch
            replace_file(path, self._saved, retry_for=LONG_RETRY_SECONDS)

    def load_checkpoint(self, path: Path) -> int:
        """Go on from a checkpoint, which the first worker reads; returns the epoch it was written after.

        Raises:
            OSError: when there is no such file.
            TransientError: when it could not be read for minutes.
            ValueError: when it is not a checkpoint of this trial; the trainer is then as it was. The other workers
                raise this whatever kept the first from reading it.
        """
        counters = Counters(0, self._batch)
        fault: OSError | ValueError | None = None
        if self._world.is_rank_0:
            try:
                counters = self._read(path)
            except (OSError, ValueError) as error:
                fault = error
        usable, epoch, batch = self._told_by_first(fault is None, counters.epoch, counters.batch)
        if not usable:
            raise fault or ValueError("the first worker cannot use the checkpoint")
        self._learner.share()
        self._batch = min(self._batch, batch)
        return epoch

    def close(self) -> None:
        """End what loads data."""
        self._closing.close()

    def _read(self, path: Path) -> Counters:
        written = read_file(path, retry_for=LONG_RETRY_SECONDS)
        try:
            return checkpoint.unpack(self._learner, written)
        except ValueError as error:
            raise ValueError(f"{path} is not a checkpoint of this trial: {error}") from error

    def _packed(self, epoch: int) -> bytes:
        """The state after an epoch; several workers never go back to it."""
        return checkpoint.pack(self._learner, Counters(epoch, self._batch))

    def _precision(self, device: torch.device) -> Precision:
        """The first worker's choice, for all."""
        chosen = choose(self._spec.training.precision, device, self._network)
        (index,) = self._told_by_first(_PRECISIONS.index(chosen.name))
        return Precision(_PRECISIONS[index], device.type)

    def _fitting_batch(self) -> int:
        """The largest batch that this worker's memory has room for, of the specification's and its halves."""
        batch = self._batch
        while True:
            shares = sharding.training_batches(self._source.train_images, batch, self._world, 0)
            try:
                # the last step of an epoch may have more than a batch
                self._learner.try_memory(self._network.input_shape, max(map(len, shares)))
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                batch = self._halved(batch, error)
            else:
                return batch

    def _halved(self, batch: int, error: BaseException) -> int:
        if batch < 2 * _SMALLEST_BATCH:
            raise TrialFailedError(
                EndReason.OUT_OF_MEMORY, f"not even a batch of {batch} images fits into memory: {error}"
            ) from error
        return batch // 2

    def _all(self, number: int) -> list[int]:
        """What each worker says, by rank."""
        said = torch.zeros(self._world.size, dtype=torch.int64)
        said[self._world.rank] = number
        return [int(each) for each in self._world.all_reduce(said)]

    def _told_by_first(self, *numbers: int) -> list[int]:
        """The first worker's numbers, on every worker."""
        told = torch.tensor(numbers, dtype=torch.int64)
        self._world.broadcast([told])
        return [int(each) for each in told]

    def _inherited_state(self, model: Model, generator: torch.Generator) -> State | None:
        if self._parent_weights is None or self._parent_network is None:
            return None
        with torch.device("meta"):
            expected = Model(self._parent_network).state_dict()
        try:
            state = safetensors.torch.load(read_file(self._parent_weights, retry_for=LONG_RETRY_SECONDS))
            _check_fits(state, expected)
            state = inherit(self._parent_network, map(Edit.from_json, self._spec.edits), state, generator)
            _check_fits(state, model.state_dict())
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, ValueError, NetworkError) as error:
            raise TrialFailedError(
                EndReason.TRIAL_ERROR, f"the parent's weights {self._parent_weights} cannot be inherited: {error}"
            ) from error
        return state

    def _train_and_validate(self, epoch: int, check: Callable[[], None]) -> EpochMeasurements:
        """One epoch on all workers; its sums are over all of them."""
        started = time.perf_counter()
        loss, trained, skipped, waited = self._train(epoch, check)
        self._learner.average_statistics()
        wrong, waited_more = self._validate(check)
        share = (waited + waited_more) / (time.perf_counter() - started)
        # in 64 bits, on the CPU: the one time in an epoch that the device is waited for
        sums = torch.tensor([float(loss), trained, skipped, int(wrong), share], dtype=torch.float64)
        total, trained, skipped, wrong, share = self._world.all_reduce(sums).tolist()
        most = self._spec.data.max_broken  # a worker leaves at once when its own are more
        if skipped > most:
            what = f"{skipped:.0f} images cannot be read, and data.max_broken allows {most} in an epoch"
            raise TrialFailedError(EndReason.BAD_DATA, f"{what}: the trial's log names them; mend or replace them")
        return EpochMeasurements(
            train_images=int(trained),
            val_images=self._source.val_images,
            loss=total / trained,
            error=int(wrong) / self._source.val_images,
            batch=self._batch,
            skipped=int(skipped),
            data_wait=min(share / self._world.size, 1.0),
        )

    def _train(self, epoch: int, check: Callable[[], None]) -> tuple[Tensor, int, int, float]:
        """Train one epoch; this worker's sum of losses, images trained and skipped, and seconds waited for data."""
        learner, world = self._learner, self._world
        order = derive_seed(self._spec.seed, epoch)
        drawn = derive_seed(self._spec.seed, epoch, world.rank) if world.rank else order
        torch.manual_seed(drawn)  # dropout's
        batches = sharding.training_batches(self._source.train_images, self._batch, world, order)
        trained = skipped = done = 0
        total = torch.zeros((), device=learner.device)
        learner.model.train()
        waiting = _Waiting(self._source.training(batches, drawn))
        for step, (images, labels, broken) in enumerate(waiting):
            self._check(check)
            last = step + 1 == len(batches)
            together = self._source.train_images - done if last else self._batch * world.size
            total += learner.train(
                images,
                labels,
                of=together,
                full=len(labels) == self._batch,
                learning_rate=self._learning_rate(epoch - 1 + step / len(batches)),
            )
            done += together
            trained += len(labels) - broken
            skipped += broken
        return total, trained, skipped, waiting.seconds

    def _validate(self, check: Callable[[], None]) -> tuple[Tensor, float]:
        """How many of this worker's validation images get a wrong label, and seconds waited for data."""
        learner = self._learner
        wrong = torch.zeros((), dtype=torch.int64, device=learner.device)
        learner.model.eval()
        batches, steps = self._validation_batches()
        waiting = _Waiting(self._source.validation(batches))
        for _ in range(steps):
            batch = next(waiting, None)
            self._check(check)  # by all equally often
            if batch is not None:
                wrong += learner.wrong(batch.images, batch.labels)
        return wrong, waiting.seconds

    def _validation_batches(self) -> tuple[list[Indices], int]:
        """This worker's, and how many the first has, who has the most."""
        size, images = min(4 * self._batch, _VALIDATION_BATCH), self._source.val_images
        most = -(-images // self._world.size)
        return sharding.validation_batches(images, size, self._world), -(-most // size)

    def _check(self, check: Callable[[], None]) -> None:
        """Leave when this worker or another is told to: all at the same step, so that none waits for one that left."""
        if self._told is None:
            try:
                check()
            except BaseException as told:
                self._told = told
        if self._world.any_rank(self._told is not None):
            raise self._told or PeerStoppedError

    def _learning_rate(self, epochs_done: float) -> float:
        training = self._spec.training
        progress = min(epochs_done / training.epochs, 1.0)
        return training.learning_rate + (training.final_learning_rate - training.learning_rate) * progress


class _Waiting:
    """Batches, and the seconds that were waited for them."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = iter(batches)
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        start = time.perf_counter()
        batch = next(self._batches)
        self.seconds += time.perf_counter() - start
        return batch


def derive_seed(*numbers: int) -> int:
    """One seed of 64 bits from several numbers, so that neighbours have nothing in common."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def _check_fits(state: State, expected: State) -> None:
    """Raise ValueError naming the first tensor that is missing, too many, or has another shape than expected."""
    for name in sorted(state.keys() | expected.keys()):
        if name not in state or name not in expected or state[name].shape != expected[name].shape:
            found = tuple(state[name].shape) if name in state else "missing"
            wanted = tuple(expected[name].shape) if name in expected else "nothing"
            raise ValueError(f"tensor {name!r} is {found}, the network has {wanted}")
