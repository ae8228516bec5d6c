"""PyTorch model of a network graph; parameters are named by the layer ids of the graph.

Keys of a state dict are `<layer id>.<name>`, such as "12.weight", so that weights follow a layer through morphisms
(`weight_inheritance`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from aiperf_orch.network.graph import Graph, Layer


class _Step(NamedTuple):
    """Computation of one layer; `finished` are the layers whose output is not read afterwards."""

    layer: Layer
    compute: Callable[..., Tensor]
    finished: tuple[int, ...]


class Model(nn.Module):
    """Network graph as a module: images (N, channels, height, width) to logits (N, classes).

    `dropout` is the rate directly before each dense layer. Parameters are uninitialised: `build` initialises them. A
    model that is made under `torch.device("meta")` takes no memory.
    """

    def __init__(self, graph: Graph, dropout: float = 0.0) -> None:
        super().__init__()
        last_reader = {source: layer.id for layer in graph.layers for source in layer.inputs}
        self._input = graph.layers[0].id
        self._output = graph.output.id
        self._steps: list[_Step] = []
        for layer in graph.layers[1:]:
            module = _module(graph, layer, dropout)
            if module is not None:
                self.add_module(str(layer.id), module)
            finished = {source for source in layer.inputs if last_reader[source] == layer.id}
            self._steps.append(_Step(layer, module or _function(graph, layer), tuple(finished)))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes) of images (N, channels, height, width)."""
        return self._run(self._steps, images)

    def bound(self) -> Callable[[Tensor], Tensor]:
        """Return `forward` in training mode with tensors bound to functions instead of module calls, which is faster.

        Changes of parameters in place, by an optimizer or `load_state_dict`, take effect. Batch-norms do not count
        batches (`num_batches_tracked`), which their exponential averages do not need. The gain is reported in
        `docs/research/training.md`.
        """
        return partial(self._run, [step._replace(compute=_bound(step.compute)) for step in self._steps])

    def _run(self, steps: list[_Step], images: Tensor) -> Tensor:
        values = {self._input: images}
        for layer, compute, finished in steps:
            values[layer.id] = compute(*[values[source] for source in layer.inputs])
            for source in finished:
                del values[source]
        return values[self._output].flatten(1)


class _Dense(nn.Linear):
    """Dropout and a dense layer over a flattened map (channel, row, column); the output is a map of side 1."""

    def __init__(self, inputs: int, units: int, dropout: float) -> None:
        super().__init__(inputs, units)
        self.dropout = dropout

    def forward(self, maps: Tensor) -> Tensor:
        flat = maps.flatten(1)
        if self.dropout > 0:
            flat = functional.dropout(flat, self.dropout, self.training)
        return super().forward(flat)[:, :, None, None]


def build(graph: Graph, dropout: float, generator: torch.Generator) -> Model:
    """Return a model on the CPU with initial weights drawn from `generator`."""
    with torch.device("meta"):
        model = Model(graph, dropout)
    model.to_empty(device="cpu")
    for module in model.children():
        if isinstance(module, nn.Conv2d):
            initialise_convolution(module.weight, generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Linear):
            # no ReLU follows: without the factor 2 of He et al.
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear", generator=generator)
            nn.init.zeros_(module.bias)
    return model


def initialise_convolution(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Initialise a weight (filters, channels, k, k) as He et al. 2015 (fan out, ReLU) and return it."""
    return nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu", generator=generator)


def _module(graph: Graph, layer: Layer, dropout: float) -> nn.Module | None:
    """Module of a layer with parameters; None for other layers."""
    height, width, channels = graph.shapes[layer.inputs[0]]
    match layer.kind:
        case "conv":
            return nn.Conv2d(
                channels, layer.filters, layer.kernel, stride=layer.stride, padding=layer.kernel // 2, bias=False
            )
        case "batch_norm":
            return nn.BatchNorm2d(channels)
        case "dense":
            return _Dense(height * width * channels, layer.units, dropout)
        case _:
            return None


def _function(graph: Graph, layer: Layer) -> Callable[..., Tensor]:
    """Function of a layer without parameters."""
    match layer.kind:
        case "relu":
            source = graph.by_id[layer.inputs[0]]
            # these do not save their output for the backward pass: it may be overwritten by its only reader
            in_place = source.kind in ("batch_norm", "add") and graph.consumers[source.id] == [layer.id]
            return torch.relu_ if in_place else torch.relu
        case "add":
            return _add
        case "concat":
            return _concatenate
        case "max_pool":
            return partial(_max_pool, kernel=layer.kernel, stride=layer.stride)
        case "global_avg_pool":
            return _global_average
    raise AssertionError(f"no function for a layer of kind {layer.kind}")


def _bound(compute: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Computation of a layer in training mode without the call of its module."""
    match compute:
        case nn.Conv2d():
            return partial(functional.conv2d, weight=compute.weight, stride=compute.stride, padding=compute.padding)
        case nn.BatchNorm2d():
            return partial(
                functional.batch_norm,
                running_mean=compute.running_mean,
                running_var=compute.running_var,
                weight=compute.weight,
                bias=compute.bias,
                training=True,
                momentum=compute.momentum,  # type: ignore[arg-type]  # None would be an average over all batches
                eps=compute.eps,
            )
        case nn.Module():
            return compute.forward
    return compute


def _add(first: Tensor, *others: Tensor) -> Tensor:
    for other in others:
        first = first + other
    return first


def _concatenate(*maps: Tensor) -> Tensor:
    return torch.cat(maps, dim=1)


def _global_average(maps: Tensor) -> Tensor:
    if maps.device.type == "cpu":
        # the gradient of a mean over rows and columns is not channels last, which slows down preceding layers
        return maps.permute(0, 2, 3, 1).flatten(1, 2).mean(1)[:, :, None, None]
    return maps.mean(dim=(2, 3), keepdim=True)


def _max_pool(maps: Tensor, kernel: int, stride: int) -> Tensor:
    if kernel % 2 == 1:
        return functional.max_pool2d(maps, kernel, stride, padding=kernel // 2)
    # an even window cannot be centred: it starts at its output position and may exceed the right and lower edge
    bottom, right = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in maps.shape[2:])
    if bottom or right:
        maps = functional.pad(maps, (0, right, 0, bottom), value=float("-inf"))
    return functional.max_pool2d(maps, kernel, stride)
