"""Trains a trial's network with PyTorch on one accelerator, or on the CPU: the `Trainer` behind `trainer: torch`.

An epoch depends on nothing but the state after the one before it, the seed and its number, so that going on from a
checkpoint computes what not having stopped would have. The life of a trial around it is `lifecycle`'s.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch.nn import functional

import aiperf_orch
from aiperf_orch.campaign.files import replace_file
from aiperf_orch.errors import NetworkError
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.records import EndReason, TrialSpec
from aiperf_orch.trial import sharding
from aiperf_orch.trial.datasets.opening import open_source
from aiperf_orch.trial.datasets.source import SKIPPED, Indices, Source
from aiperf_orch.trial.inherit import State, inherit
from aiperf_orch.trial.model import Model, build
from aiperf_orch.trial.trainer import EpochResult, Equipment, TrialFailure
from aiperf_orch.trial.world import World

_SMALLEST_BATCH = 2  # of one image a batch-norm over maps of side 1 has no statistics
_VALIDATION_BATCH = 512  # at most, and at most four times the training batch: no gradients take memory


class TorchTrainer:
    """Trains one specification: SGD with momentum, label smoothing and a linearly falling learning rate."""

    _model: Model
    _optimizer: torch.optim.SGD
    _source: Source
    _device: torch.device
    _batch: int
    _saved: bytes = b""
    _saved_epoch: int | None = None

    def __init__(
        self,
        spec: TrialSpec,
        parent_weights: Path | None,
        parent_network: Graph | None,
        world: World = World(),  # noqa: B008 (it is frozen)
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

    def prepare(self) -> Equipment:
        """Load data, build the model, inherit weights; called once, before any epoch.

        A parent's file that is not there (any more) means fresh weights; the equipment then says so.

        Raises:
            TrialFailure: BAD_DATA when the data cannot be loaded or do not fit the network; TRIAL_ERROR when the
                parent's weights cannot be read or do not fit the networks.
        """
        training = self._spec.training
        cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(cores)
        self._device = _device()
        self._source = open_source(self._spec.data, self._network, self._device, self._world)
        self._batch = min(self._spec.hyperparameters.batch_size, self._source.train_images)

        generator = torch.Generator().manual_seed(_mixed(self._spec.seed))
        self._model = build(self._network, self._spec.hyperparameters.dropout, generator)
        state = self._inherited_state(generator) if training.inherit_weights else None
        if state is not None:
            self._model.load_state_dict(state)
        # channels last suits tensor cores, and is a tenth faster on CPUs
        self._model.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimizer = torch.optim.SGD(
            self._model.parameters(),
            lr=training.learning_rate,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
            fused=True,
        )
        return Equipment(
            batch=self._batch,
            device=torch.cuda.get_device_name() if self._device.type == "cuda" else self._device.type,
            precision=training.precision,
            cores=cores,
            inherited=state is not None,
            data_sha256=self._source.digest,
            versions={"aiperf-orch": aiperf_orch.__version__, "torch": torch.__version__},
        )

    def run_epoch(self, epoch: int, check: Callable[[], None]) -> EpochResult:
        """Train and validate epoch `epoch` (from 1). The loss is NaN or infinite when training diverged.

        When memory does not suffice the batch is halved, for good, and the epoch begins again.

        Raises:
            TrialFailure: OUT_OF_MEMORY when not even the smallest batch fits.
        """
        before = self._saved if self._saved_epoch == epoch - 1 else self._pack(epoch - 1)
        while True:
            try:
                trained, loss = self._train(epoch, check)
                wrong = self._validate(check)
            except (RuntimeError, MemoryError) as error:
                if not _out_of_memory(error):
                    raise
                if self._batch < 2 * _SMALLEST_BATCH:
                    raise TrialFailure(
                        EndReason.OUT_OF_MEMORY, f"not even a batch of {self._batch} images fits into memory: {error}"
                    ) from error
            else:
                return EpochResult(trained, self._source.val_images, loss, wrong, self._batch)
            # outside the handler, whose traceback keeps the step's tensors alive
            batch = self._batch // 2
            self._optimizer.zero_grad(set_to_none=True)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            self._unpack(before)
            self._batch = batch

    def save_weights(self, path: Path) -> str:
        """Write the present weights as safetensors, replacing the file whole; returns the SHA-256 of its bytes."""
        state = {name: value.detach().cpu().contiguous() for name, value in self._model.state_dict().items()}
        written = safetensors.torch.save(state)
        replace_file(path, written)
        return hashlib.sha256(written).hexdigest()

    def save_checkpoint(self, path: Path, epoch: int) -> None:
        """Write all that is needed to go on after `epoch`, replacing the file whole."""
        self._saved, self._saved_epoch = self._pack(epoch), epoch
        replace_file(path, self._saved)

    def load_checkpoint(self, path: Path) -> int:
        """Go on from a checkpoint; returns the epoch it was written after.

        Raises:
            OSError: when the file cannot be read.
            ValueError: when it is not a checkpoint of this trial; the trainer is then as it was.
        """
        written = path.read_bytes()
        before = self._pack(0)
        try:
            return self._unpack(written)
        except Exception as error:  # a damaged file makes torch raise almost anything
            self._unpack(before)
            raise ValueError(f"{path} is not a checkpoint of this trial: {error}") from error

    def close(self) -> None:
        """There is nothing to let go of."""

    def _inherited_state(self, generator: torch.Generator) -> State | None:
        if self._parent_weights is None or self._parent_network is None:
            return None
        with torch.device("meta"):
            expected = Model(self._parent_network).state_dict()
        try:
            state = safetensors.torch.load_file(self._parent_weights)
            _check_fits(state, expected)
            state = inherit(self._parent_network, map(Edit.from_json, self._spec.edits), state, generator)
            _check_fits(state, self._model.state_dict())
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, ValueError, NetworkError) as error:
            raise TrialFailure(
                EndReason.TRIAL_ERROR, f"the parent's weights {self._parent_weights} cannot be inherited: {error}"
            ) from error
        return state

    def _train(self, epoch: int, check: Callable[[], None]) -> tuple[int, float]:
        """Train one epoch; how many images, and the mean loss over them."""
        smoothing = self._spec.training.label_smoothing
        seed = _mixed(self._spec.seed, epoch)
        torch.manual_seed(seed)  # dropout's
        batches = sharding.training_batches(self._source.train_images, self._batch, self._world, seed)
        trained = 0
        total = torch.zeros((), device=self._device)
        self._model.train()
        for step, (images, labels, skipped) in enumerate(self._source.training(batches, seed)):
            check()
            self._optimizer.param_groups[0]["lr"] = self._learning_rate(epoch - 1 + step / len(batches))
            with self._autocast():
                logits = self._model(images)
                loss = functional.cross_entropy(logits, labels, label_smoothing=smoothing, ignore_index=SKIPPED)
            self._optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            self._optimizer.step()
            total.add_(loss.detach(), alpha=len(labels) - skipped)
            trained += len(labels) - skipped
        return trained, float(total) / trained

    def _validate(self, check: Callable[[], None]) -> int:
        """How many validation images get a wrong label."""
        wrong = torch.zeros((), dtype=torch.int64, device=self._device)
        self._model.eval()
        with torch.inference_mode():
            for images, labels, _ in self._source.validation(self._validation_batches()):
                check()
                with self._autocast():
                    logits = self._model(images)
                wrong += (logits.argmax(1) != labels).sum()
        return int(wrong)

    def _validation_batches(self) -> list[Indices]:
        size = min(4 * self._batch, _VALIDATION_BATCH)
        return sharding.validation_batches(self._source.val_images, size, self._world)

    def _learning_rate(self, epochs_done: float) -> float:
        training = self._spec.training
        progress = min(epochs_done / training.epochs, 1.0)
        return training.learning_rate + (training.final_learning_rate - training.learning_rate) * progress

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._spec.training.precision == "bf16")

    def _pack(self, epoch: int) -> bytes:
        """The whole state after an epoch, as the bytes of a checkpoint."""
        buffer = io.BytesIO()
        state = {
            "epoch": epoch,
            "batch": self._batch,
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        torch.save(state, buffer)
        return buffer.getvalue()

    def _unpack(self, written: bytes) -> int:
        """Take over the state of a checkpoint; returns its epoch."""
        state: dict[str, Any] = torch.load(io.BytesIO(written), map_location=self._device, weights_only=True)
        epoch, self._batch = int(state["epoch"]), int(state["batch"])
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        return epoch


def _device() -> torch.device:
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return accelerator or torch.device("cpu")


def _mixed(*numbers: int) -> int:
    """One seed of 64 bits from several numbers, so that neighbours have nothing in common."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def _out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice; on the CPU only its message tells."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        text in str(error) for text in ("not enough memory", "can't allocate memory")
    )


def _check_fits(state: State, expected: State) -> None:
    """Raise ValueError naming the first tensor that is missing, too many, or has another shape than expected."""
    for name in sorted(state.keys() | expected.keys()):
        if name not in state or name not in expected or state[name].shape != expected[name].shape:
            found = tuple(state[name].shape) if name in state else "missing"
            wanted = tuple(expected[name].shape) if name in expected else "nothing"
            raise ValueError(f"tensor {name!r} is {found}, the network has {wanted}")
