"""Model and optimizer of a trial: training step, error count, state, averaging over workers.

No step waits for the device: losses stay on it until the end of an epoch. The order of the images and the schedule are
in `torch_trainer`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from aiperf_orch.network.graph import Shape
from aiperf_orch.records.trial import TrainingRecord
from aiperf_orch.trial.data.dataset import SKIPPED
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.training.compilation import Compilation, compile_function, warn_uncompiled
from aiperf_orch.trial.training.model import Model
from aiperf_orch.trial.training.precision import Precision
from aiperf_orch.trial.training.torch_internals import keep_addresses, scaler_numbers, set_scaler_numbers, sgd_step

_OUT_OF_MEMORY_TEXTS: Final = (
    "not enough memory",
    "can't allocate memory",
    "out of memory",
    "ALLOC_FAILED",
    "CUDA calloc",
)
_FUSED_DEVICES: Final = frozenset({"cpu", "cuda", "mps", "xpu"})  # their SGD step is one kernel


class Learner:
    """Training of a model by SGD with momentum and label smoothing, synchronously on all workers."""

    def __init__(
        self, model: Model, settings: TrainingRecord, precision: Precision, device: torch.device, group: ProcessGroup
    ) -> None:
        """Move the model to the device, in channels-last layout, and make its optimizer."""
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = device
        self._settings = settings
        self._precision, self._group = precision, group
        self._parameters = list(self.model.parameters())
        self._fused = device.type in _FUSED_DEVICES
        self._optimizer = torch.optim.SGD(
            self._parameters,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            fused=self._fused,
        )
        if settings.momentum:  # allocated now: the use of memory is known, and workers can broadcast the buffers
            for parameter in self._parameters:
                self._optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        self._momenta = self._momentum_buffers()
        self._scaler = precision.scaler()
        self._forward: Callable[[Tensor], Tensor] = self.model
        self._compiled_loss: Callable[[Tensor, Tensor], Tensor] | None = None
        self._compiled_step_succeeded = False

    def set_up_forward(self, compilation: Compilation | None) -> None:
        """Prepare the first training step; with several workers, gradients are averaged over them from now on.

        Args:
            compilation: How torch.compile compiles the computation of full batches, in the first step; None: not at
                all. If that step fails, a warning is printed and training continues without it.
        """
        if self._group.size == 1:
            self._forward = self.model.bound()
        else:
            # initial states are equal already, and batch-norm statistics are averaged once an epoch
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # PyTorch 2.13 renames an option of 2.7
                self._forward = DistributedDataParallel(
                    self.model,
                    broadcast_buffers=False,
                    init_sync=False,
                    gradient_as_bucket_view=True,
                    static_graph=compilation is None,  # torch.compile, which splits the graph at buckets, forbids it
                )
        if compilation is not None:
            if compilation is Compilation.GRAPHS:
                keep_addresses([*self._parameters, *self.model.buffers()])
            # validation is cheap, and the last step of an epoch has another size: compiling does not pay for these
            self._compiled_loss = compile_function(self._loss, self.device, compilation)

    def train(self, images: Tensor, labels: Tensor, *, step_images: int, full: bool, learning_rate: float) -> Tensor:
        """Take one step.

        Args:
            images: This worker's share of the images of the step.
            labels: Labels of the share; images labelled SKIPPED add nothing to the gradient.
            step_images: The number of images of the step on all workers. The gradient is the mean over these, however
                they are distributed.
            full: Whether the share is a full batch.
            learning_rate: The learning rate of this step.

        Returns:
            The sum of this worker's losses, on the device.
        """
        weight = self._group.size / step_images  # DDP averages over workers
        loss = self._backward(images, labels, weight, full=full)
        self._optimizer_step(learning_rate)
        return loss

    def count_errors(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the number of misclassified images, on the device. The model must be in evaluation mode."""
        return count_errors(self.model, self._precision, images, labels)

    def probe_memory(self, shape: Shape, batch: int) -> None:
        """Compute the gradients of a batch of black images on this worker alone, and restore the state.

        Call it only before `set_up_forward`.

        Args:
            shape: (height, width, channels) of an image.
            batch: The number of images.

        Raises:
            RuntimeError, MemoryError: If the memory does not suffice (see `is_out_of_memory`).
        """
        height, width, channels = shape
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        self.model.train()
        try:
            images = torch.zeros(batch, channels, height, width, device=self.device)
            labels = torch.zeros(batch, dtype=torch.int64, device=self.device)
            self._backward(images.contiguous(memory_format=torch.channels_last), labels, 1 / batch, full=False)
        finally:
            self.release_memory()
            for buffer, before in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(before)

    def release_memory(self) -> None:
        """Free the gradients and the cached memory of the device's allocator."""
        self._optimizer.zero_grad(set_to_none=True)
        if self.device.type != "cpu":
            torch.get_device_module(self.device).empty_cache()

    def average_statistics(self) -> None:
        """Replace the batch-norm statistics of every worker by their mean over all workers (collective)."""
        buffers = [buffer for buffer in self.model.buffers() if buffer.is_floating_point()]
        if self._group.size == 1 or not buffers:
            return
        mean = self._group.all_reduce(torch.cat(buffers)) / self._group.size
        for buffer, part in zip(buffers, torch.split(mean, [len(buffer) for buffer in buffers]), strict=True):
            buffer.copy_(part)

    def broadcast_state(self) -> None:
        """Replace the state of every worker by that of rank 0 (collective)."""
        if self._group.size == 1:
            return
        momenta = [momentum for momentum in self._momenta if momentum is not None]
        self._group.broadcast([*self.model.state_dict().values(), *momenta])
        if self._scaler.is_enabled():
            numbers = scaler_numbers(self._scaler)
            self._group.broadcast([numbers])
            set_scaler_numbers(self._scaler, numbers)

    def state(self) -> dict[str, Any]:
        """Return the state from which training continues; tensors are not copied."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Load a state that `state` returned.

        Raises:
            Exception: Of any type, raised by torch, if it is the state of another network. The learner is then
                unusable until a valid state is loaded.
        """
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._momenta = self._momentum_buffers()
        self._scaler.load_state_dict(state["scaler"])

    def _backward(self, images: Tensor, labels: Tensor, weight: float, *, full: bool) -> Tensor:
        """Compute the gradients of `weight` x the sum of the losses; returns the sum."""
        if full and self._compiled_loss is not None:
            try:
                loss = self._gradients(self._compiled_loss, images, labels, weight)
            except Exception as error:
                if self._compiled_step_succeeded or is_out_of_memory(error):
                    raise
                self._compiled_loss = None
                warn_uncompiled(error)  # an error that compiling did not cause is raised again below
            else:
                self._compiled_step_succeeded = True
                return loss
        return self._gradients(self._loss, images, labels, weight)

    def _gradients(
        self, loss_of: Callable[[Tensor, Tensor], Tensor], images: Tensor, labels: Tensor, weight: float
    ) -> Tensor:
        for parameter in self._parameters:
            parameter.grad = None
        loss = loss_of(images, labels)
        torch.autograd.backward(self._scaler.scale(loss * weight))
        return loss.detach()

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Sum of the losses of the images."""
        with self._precision.autocast():
            return functional.cross_entropy(
                self._forward(images),
                labels,
                label_smoothing=self._settings.label_smoothing,
                ignore_index=SKIPPED,
                reduction="sum",
            )

    def _optimizer_step(self, learning_rate: float) -> None:
        if self._scaler.is_enabled():
            self._optimizer.param_groups[0]["lr"] = learning_rate
            self._scaler.step(self._optimizer)
            self._scaler.update()
            return
        sgd_step(
            self._parameters,
            self._momenta,
            learning_rate=learning_rate,
            momentum=self._settings.momentum,
            weight_decay=self._settings.weight_decay,
            fused=self._fused,
        )

    def _momentum_buffers(self) -> list[Tensor | None]:
        return [self._optimizer.state.get(parameter, {}).get("momentum_buffer") for parameter in self._parameters]


@torch.inference_mode()
def count_errors(model: Model, precision: Precision, images: Tensor, labels: Tensor) -> Tensor:
    """Return the number of misclassified images, on the device.

    Args:
        model: On the device of the images, in evaluation mode.
        precision: The precision of the computation.
        images: A batch of images.
        labels: Their classes.
    """
    with precision.autocast():
        logits = model(images)
    errors: Tensor = (logits.argmax(1) != labels).sum()
    return errors


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the memory of the device or the host did not suffice.

    On a CPU, and if a library of the device ran out of memory, only the message of the error tells.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(text in str(error) for text in _OUT_OF_MEMORY_TEXTS)
