"""Weight inheritance: state of a child network that computes the same function as its parent in evaluation mode.

State dicts have the keys of `model`. In training mode parent and child differ at first, because batch-norms then use
the statistics of the batch. The layers that an edit adds or changes are defined in `network.morphisms`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from aiperf_orch.network import morphisms
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.trial.training.model import initialise_convolution

State = dict[str, Tensor]

_EPS = nn.BatchNorm2d(1).eps
_PER_CHANNEL = ("weight", "bias", "running_mean", "running_var")


def inherit(parent: Graph, edits: Iterable[Edit], state: State, generator: torch.Generator) -> State:
    """Return the state of the child that `edits` make.

    Args:
        parent: The network of the parent.
        edits: The edits that lead from the parent to the child.
        state: The state dict of the parent, on the CPU; it is not modified.
        generator: Source of the weights of new projections and of the division of weights between widened channels.

    Raises:
        NetworkError: If an edit does not fit its network.
    """
    graph, state = parent, dict(state)
    for edit in edits:
        child = morphisms.apply(graph, edit)
        match edit.kind:
            case "deeper":
                _deepen(graph, child, edit, state)
            case "wider":
                _widen(graph, edit, state, generator)
            case "skip_add":
                _skip_add(graph, child, state, generator)
            case "skip_concat":
                _skip_concat(graph, child, edit, state, generator)
        graph = child
    return state


def _deepen(graph: Graph, child: Graph, edit: Edit, state: State) -> None:
    convolution, norm, _ = _new_layers(graph, child)
    channels = graph.shapes[edit.at][2]
    weight = torch.empty(channels, channels, edit.kernel, edit.kernel)
    state[f"{convolution}.weight"] = nn.init.dirac_(weight)
    _set_identity_norm(state, norm, *_moments(graph, edit.at, state))


def _widen(graph: Graph, edit: Edit, state: State, generator: torch.Generator) -> None:
    masks = morphisms.duplicated_channels(graph, edit.at)
    sources = {layer: torch.from_numpy(morphisms.widened_from(mask)) for layer, mask in masks.items()}
    for layer in graph.layers[1:]:
        if layer.kind in ("conv", "dense") and layer.inputs[0] in sources:
            channels = graph.shapes[layer.inputs[0]][2]
            name = f"{layer.id}.weight"
            state[name] = _split(state[name], channels, sources[layer.inputs[0]], generator)
        if layer.id in sources:
            names = {"conv": ("weight",), "batch_norm": _PER_CHANNEL}.get(layer.kind, ())
            for name in names:
                state[f"{layer.id}.{name}"] = state[f"{layer.id}.{name}"][sources[layer.id]]


def _split(weight: Tensor, channels: int, source: Tensor, generator: torch.Generator) -> Tensor:
    """Weight (outputs, ...) of a reader after its input channels were widened: divided between channel and copy.

    Each output divides by its own ratio, from 1/4 to 3/4: with equal ratios the gradients of both would be parallel,
    and they would remain copies.
    """
    by_channel = weight.reshape(weight.shape[0], channels, -1)
    share = 0.25 + 0.5 * torch.rand(weight.shape[0], channels, generator=generator)
    copied = torch.bincount(source, minlength=channels) == 2
    kept = torch.where(copied, share, 1.0)
    is_copy = torch.zeros_like(source, dtype=torch.bool)
    is_copy[1:] = source[1:] == source[:-1]
    shares = torch.where(is_copy, 1 - kept[:, source], kept[:, source])
    widened = by_channel[:, source] * shares[:, :, None]
    return widened.reshape(weight.shape[0], -1, *weight.shape[2:])


def _skip_add(graph: Graph, child: Graph, state: State, generator: torch.Generator) -> None:
    convolution, norm, _ = _new_layers(graph, child)
    _set_projection(child, convolution, norm, state, generator)
    state[f"{norm}.weight"].zero_()


def _skip_concat(graph: Graph, child: Graph, edit: Edit, state: State, generator: torch.Generator) -> None:
    *projection, concatenation, convolution, norm = _new_layers(graph, child)
    if projection:
        _set_projection(child, projection[0], projection[1], state, generator)
    kept, read = child.shapes[edit.to][2], child.shapes[concatenation][2]
    state[f"{convolution}.weight"] = torch.eye(kept, read)[:, :, None, None]
    _set_identity_norm(state, norm, *_moments(graph, edit.to, state))


def _new_layers(graph: Graph, child: Graph) -> list[int]:
    """Ids of the layers that an edit added, in topological order."""
    return [layer.id for layer in child.layers if layer.id not in graph.by_id]


def _set_projection(child: Graph, convolution: int, norm: int, state: State, generator: torch.Generator) -> None:
    """Initialise a 1x1 convolution and its batch-norm."""
    layer = child.by_id[convolution]
    weight = torch.empty(layer.filters, child.shapes[layer.inputs[0]][2], 1, 1)
    state[f"{convolution}.weight"] = initialise_convolution(weight, generator)
    initial = nn.BatchNorm2d(layer.filters).state_dict()
    state.update({f"{norm}.{name}": value for name, value in initial.items()})


def _set_identity_norm(state: State, norm: int, mean: Tensor, variance: Tensor) -> None:
    """Set a batch-norm to the identity in evaluation mode, with `mean` and `variance` as its running statistics."""
    state[f"{norm}.weight"] = torch.sqrt(variance + _EPS)
    state[f"{norm}.bias"] = mean.clone()
    state[f"{norm}.running_mean"] = mean.clone()
    state[f"{norm}.running_var"] = variance.clone()
    state[f"{norm}.num_batches_tracked"] = torch.tensor(0)


def _moments(graph: Graph, layer_id: int, state: State) -> tuple[Tensor, Tensor]:
    """Approximate mean and variance of each channel of a layer's output.

    Only the start of training depends on them: with the true moments the batch-norm of `_set_identity_norm` is the
    identity in training mode too. The output of a batch-norm is assumed to be normal, the terms of an add independent.
    """
    layer = graph.by_id[layer_id]
    match layer.kind:
        case "batch_norm":
            return state[f"{layer_id}.bias"], state[f"{layer_id}.weight"] ** 2
        case "relu":
            return _rectified_moments(*_moments(graph, layer.inputs[0], state))
        case "add":
            means, variances = zip(*(_moments(graph, source, state) for source in layer.inputs), strict=True)
            return torch.stack(means).sum(0), torch.stack(variances).sum(0)
        case "max_pool":
            return _moments(graph, layer.inputs[0], state)
        case _:
            channels = graph.shapes[layer_id][2]
            return torch.zeros(channels), torch.ones(channels)


def _rectified_moments(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of max(x, 0) for normally distributed x."""
    deviation = variance.sqrt().clamp_min(1e-6)
    ratio = mean / deviation
    density = torch.exp(-(ratio**2) / 2) / math.sqrt(2 * math.pi)
    below = torch.special.ndtr(ratio)
    first = mean * below + deviation * density
    second = (mean**2 + variance) * below + mean * deviation * density
    return first, (second - first**2).clamp_min(0)
