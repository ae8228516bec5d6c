"""A model with its optimiser: the step that trains it, on one worker or many, and the state that a checkpoint keeps.

No step waits for the device: losses stay there until an epoch's end, and fp16's scale is looked after there, too. Which
images come when is `torch_trainer`'s.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.optim.sgd import sgd

from aiperf_orch.network.graph import Shape
from aiperf_orch.records.trial import TrainingRecord
from aiperf_orch.trial.data.dataset import SKIPPED
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.training.model import Model
from aiperf_orch.trial.training.precision import Precision

_NO_MEMORY: Final = ("not enough memory", "can't allocate memory", "out of memory", "ALLOC_FAILED", "CUDA calloc")
_FUSED: Final = frozenset({"cpu", "cuda", "mps", "xpu"})  # devices whose SGD is one kernel


class Learner:
    """Trains a model by SGD with momentum and label smoothing, alike on all workers."""

    def __init__(
        self, model: Model, settings: TrainingRecord, precision: Precision, device: torch.device, world: ProcessGroup
    ) -> None:
        """Take a model over and move it to its device.

        Channels last suits tensor cores, and is a tenth faster on CPUs.
        """
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = device
        self._settings = settings
        self._precision, self._world = precision, world
        self._parameters = list(self.model.parameters())
        self._fused = device.type in _FUSED
        self._optimizer = torch.optim.SGD(
            self._parameters,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            fused=self._fused,
        )
        if settings.momentum:  # from the beginning, so that memory is known and workers can give it to each other
            for parameter in self._parameters:
                self._optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        self._momenta = self._momentum_buffers()
        self._scaler = precision.scaler()
        self._forward: Callable[[Tensor], Tensor] = self.model
        self._compiled: Callable[[Tensor, Tensor], Tensor] | None = None
        self._proven = False  # whether a step of the compiled model has succeeded

    def connect(self, *, compiled: bool) -> None:
        """Make the model ready for its first step: gradients will be averaged over all workers.

        `compiled` wants full batches computed by torch.compile. It compiles in the first step, and where that fails a
        warning says so and training goes on without.
        """
        if self._world.size == 1:
            self._forward = self.model.bound()
        else:
            # all begin alike, and statistics of batch-norms are made equal once an epoch: neither needs DDP
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # PyTorch 2.13 renames an option that 2.7 knows as this
                self._forward = DistributedDataParallel(
                    self.model,
                    broadcast_buffers=False,
                    init_sync=False,
                    gradient_as_bucket_view=True,
                    static_graph=not compiled,  # which torch.compile's cutting at buckets does not know
                )
        if compiled:
            # validation costs little, and the last step of an epoch is of another size: neither is worth compiling
            self._compiled = _compile(self._loss, self.device)

    def train(self, images: Tensor, labels: Tensor, *, of: int, full: bool, learning_rate: float) -> Tensor:
        """Take one step.

        Args:
            images: this worker's share.
            labels: of it; what is SKIPPED adds nothing to the gradient.
            of: how many images the step has on all workers together: the gradient is the mean over them, whatever
                the workers' shares are.
            full: whether the share is a whole batch.
            learning_rate: of this step.

        Returns:
            The sum of this worker's losses, on the device.
        """
        weight = self._world.size / of  # DDP takes the mean over workers
        loss = self._backward(images, labels, weight, full=full)
        self._descend(learning_rate)
        return loss

    @torch.inference_mode()
    def wrong(self, images: Tensor, labels: Tensor) -> Tensor:
        """How many images get a wrong label, on the device. The model must be in evaluation mode."""
        with self._precision.autocast():
            logits = self.model(images)
        wrong: Tensor = (logits.argmax(1) != labels).sum()
        return wrong

    def try_memory(self, shape: Shape, batch: int) -> None:
        """Do the work of a step on this worker alone, on black images, and leave everything as it was.

        Only before `connect`.

        Raises:
            RuntimeError, MemoryError: when memory does not suffice (see `out_of_memory`).
        """
        height, width, channels = shape
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        self.model.train()
        try:
            images = torch.zeros(batch, channels, height, width, device=self.device)
            labels = torch.zeros(batch, dtype=torch.int64, device=self.device)
            self._backward(images.contiguous(memory_format=torch.channels_last), labels, 1 / batch, full=False)
        finally:
            self.forget_step()
            for buffer, before in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(before)

    def forget_step(self) -> None:
        """Let go of gradients, and of memory that the device's allocator keeps."""
        self._optimizer.zero_grad(set_to_none=True)
        if self.device.type != "cpu":
            torch.get_device_module(self.device).empty_cache()

    def average_statistics(self) -> None:
        """Give every worker the mean of all workers' batch-norm statistics."""
        buffers = [buffer for buffer in self.model.buffers() if buffer.is_floating_point()]
        if self._world.size == 1 or not buffers:
            return
        mean = self._world.all_reduce(torch.cat(buffers)) / self._world.size
        for buffer, part in zip(buffers, torch.split(mean, [len(buffer) for buffer in buffers]), strict=True):
            buffer.copy_(part)

    def share(self) -> None:
        """Give every worker the state of the first."""
        if self._world.size == 1:
            return
        momenta = [momentum for momentum in self._momenta if momentum is not None]
        self._world.broadcast([*self.model.state_dict().values(), *momenta])
        scale = self._scaler.state_dict()
        if scale:
            numbers = torch.tensor([scale["scale"], scale["_growth_tracker"]], dtype=torch.float64)
            self._world.broadcast([numbers])
            scale |= {"scale": float(numbers[0]), "_growth_tracker": int(numbers[1])}
            self._scaler.load_state_dict(scale)

    def state(self) -> dict[str, Any]:
        """All that training goes on from; the tensors are the learner's own."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state. What it raises on another network's is torch's; the learner is then of no use."""
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._momenta = self._momentum_buffers()
        self._scaler.load_state_dict(state["scaler"])

    def _backward(self, images: Tensor, labels: Tensor, weight: float, *, full: bool) -> Tensor:
        """Compute the gradients of `weight` x the sum of the losses; returns the sum."""
        if full and self._compiled is not None:
            try:
                loss = self._gradients(self._compiled, images, labels, weight)
            except Exception as error:
                if self._proven or out_of_memory(error):
                    raise
                self._compiled = None
                warn_uncompiled(error)  # what is not compiling's fault comes again, without
            else:
                self._proven = True
                return loss
        return self._gradients(self._loss, images, labels, weight)

    def _gradients(
        self, compute: Callable[[Tensor, Tensor], Tensor], images: Tensor, labels: Tensor, weight: float
    ) -> Tensor:
        for parameter in self._parameters:
            parameter.grad = None
        loss = compute(images, labels)
        torch.autograd.backward(self._scaler.scale(loss * weight))
        return loss.detach()

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The sum of the images' losses."""
        with self._precision.autocast():
            return functional.cross_entropy(
                self._forward(images),
                labels,
                label_smoothing=self._settings.label_smoothing,
                ignore_index=SKIPPED,
                reduction="sum",
            )

    def _descend(self, learning_rate: float) -> None:
        """Change the weights by their gradients."""
        if self._scaler.is_enabled():
            self._optimizer.param_groups[0]["lr"] = learning_rate
            self._scaler.step(self._optimizer)
            self._scaler.update()
            return
        with torch.no_grad():  # what the optimizer's step comes to, and of a small network's step a twentieth less
            sgd(
                self._parameters,
                [parameter.grad for parameter in self._parameters],
                self._momenta,
                fused=self._fused,
                lr=learning_rate,
                momentum=self._settings.momentum,
                weight_decay=self._settings.weight_decay,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )

    def _momentum_buffers(self) -> list[Tensor | None]:
        return [self._optimizer.state.get(parameter, {}).get("momentum_buffer") for parameter in self._parameters]


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice.

    On the CPU only its message tells, and of a device where not PyTorch's allocator but a library ran out of it.
    """
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in _NO_MEMORY)


def compiles(device: torch.device) -> bool:
    """Whether torch.compile finds what it needs on this node, by a function that is compiled at once.

    Where it does not, a warning says so.
    """
    try:
        values = torch.ones(8, device=device, requires_grad=True)
        torch.autograd.backward(_compile(_small, device)(values))
    except Exception as error:  # a compiler that is missing, too old, or has no place to write: all raise differently
        warn_uncompiled(error)
        return False
    return True


def warn_uncompiled(error: Exception) -> None:
    """Say that training goes on without torch.compile, and why."""
    lines = str(error).strip().splitlines()
    print(
        f"warning: torch.compile failed, training goes on without ({type(error).__name__}: {lines[0] if lines else ''})",
        file=sys.stderr,
        flush=True,
    )


def _compile(function: Callable[..., Tensor], device: torch.device) -> Callable[..., Tensor]:
    # what calls the kernels is C++ on a CPU, too: in Python it takes a twelfth of a small network's step
    return torch.compile(function, dynamic=False, options={"cpp_wrapper": device.type == "cpu"})


def _small(values: Tensor) -> Tensor:
    return (values.relu() * 2 + 1).sum()
