"""PyTorch model of a graph: shapes, padding, dropout, initial weights, memory of feature maps."""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from aiperf_orch.network import morphisms, seeds
from aiperf_orch.network.graph import Graph, Layer
from aiperf_orch.network.tensors import state_tensors
from aiperf_orch.trial.training.model import Model, build


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _random_morph(graph: Graph, edits: int, seed: int) -> Graph:
    generator = np.random.default_rng(seed)
    for _ in range(edits):
        edit = morphisms.random_edit(graph, int(generator.choice([3, 5, 7])), generator)
        assert edit is not None
        graph = morphisms.apply(graph, edit)
    return graph


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9), st.integers(0, 6))
def test_every_layer_has_the_shape_of_the_graph(seed: int, height: int, width: int, edits: int) -> None:
    graph = _random_morph(seeds.small_residual((height, width, 2), 5, width=3), edits, seed)
    model = build(graph, 0.0, _generator()).eval()
    seen: dict[str, tuple[int, ...]] = {}

    def remember(name: str) -> Callable[[Any, Any, Tensor], None]:
        return lambda _module, _inputs, output: seen.__setitem__(name, tuple(output.shape[1:]))

    for name, module in model.named_children():
        module.register_forward_hook(remember(name))
    logits = model(torch.randn(2, 2, height, width))
    assert logits.shape == (2, graph.classes)
    for name, shape in seen.items():
        rows, columns, channels = graph.shapes[int(name)]
        assert shape == (channels, rows, columns)
    assert sum(parameter.numel() for parameter in model.parameters()) == graph.parameters


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(["resnet50", "small_residual"]), st.integers(0, 10**6), st.integers(0, 8))
def test_tensors_of_a_network_are_those_of_its_model(seed_network: str, seed: int, edits: int) -> None:
    graph = _random_morph(seeds.SEEDS[seed_network]((16, 16, 3), 7), edits, seed)
    with torch.device("meta"):
        state = Model(graph).state_dict()
    types = {torch.float32: "F32", torch.int64: "I64"}
    assert state_tensors(graph) == {name: (types[value.dtype], tuple(value.shape)) for name, value in state.items()}
    assert {name: tensor.size for name, tensor in state_tensors(graph).items()} == {
        name: value.nbytes for name, value in state.items()
    }


@pytest.mark.parametrize(("kernel", "stride", "side"), [*itertools.product((1, 2, 3, 4), (1, 2, 3), (1, 2, 5, 6))])
def test_max_pool_rounds_sides_up_and_ignores_its_padding(kernel: int, stride: int, side: int) -> None:
    layers = [
        Layer(0, "input"),
        Layer(1, "max_pool", (0,), kernel=kernel, stride=stride),
        Layer(2, "dense", (1,), units=1),
    ]
    graph = Graph((side, side + 1, 1), layers)
    model = build(graph, 0.0, _generator()).eval()
    nn.init.ones_(model.get_parameter("2.weight"))
    rows, columns, _ = graph.shapes[1]
    pooled = model(torch.full((1, 1, side, side + 1), -1.0))  # the sum over the map, because the weights are 1
    assert pooled.item() == -rows * columns


def test_dense_layer_flattens_channel_by_channel() -> None:
    graph = Graph((2, 3, 2), [Layer(0, "input"), Layer(1, "dense", (0,), units=12)])
    model = build(graph, 0.0, _generator())
    model.load_state_dict({"1.weight": torch.eye(12), "1.bias": torch.zeros(12)})
    image = torch.arange(12.0).reshape(1, 2, 2, 3)
    assert model(image.to(memory_format=torch.channels_last)).flatten().tolist() == list(range(12))


def test_state_is_keyed_by_layer_id() -> None:
    graph = seeds.small_residual()
    names = set(build(graph, 0.1, _generator()).state_dict())
    ids = {layer.id for layer in graph.layers if layer.kind in ("conv", "batch_norm", "dense")}
    assert {int(name.split(".")[0]) for name in names} == ids
    assert {"1.weight", "2.weight", "2.bias", "2.running_mean", "2.running_var"} <= names
    assert "1.bias" not in names


def test_initial_weights_follow_he_and_depend_only_on_the_generator() -> None:
    graph = seeds.small_residual((8, 8, 1), 10, width=64)
    before = torch.get_rng_state()
    first, again, other = (build(graph, 0.0, _generator(seed)).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["1.weight"], other["1.weight"])
    # fan out of a 3x3 convolution with 64 filters
    assert first["4.weight"].std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)


def test_large_network_on_the_meta_device() -> None:
    with torch.device("meta"):
        logits = Model(seeds.resnet50())(torch.empty(2, 3, 224, 224))
    assert logits.is_meta
    assert logits.shape == (2, 1000)


def test_dropout_applies_only_before_dense_layers() -> None:
    graph = seeds.small_residual((8, 8, 1), 10, width=4)
    model = build(graph, 0.5, _generator()).train()
    read: list[Tensor] = []
    model.get_submodule(str(graph.output.id)).register_forward_hook(
        lambda _module, inputs, _out: read.append(inputs[0])
    )
    images = torch.randn(8, 1, 8, 8, generator=_generator())
    first, second = model(images), model(images)
    assert torch.equal(read[0], read[1])
    assert not torch.equal(first, second)
    model.eval()
    assert torch.equal(model(images), model(images))


def test_feature_map_is_freed_after_its_last_reader() -> None:
    graph = seeds.small_residual((8, 8, 1), 10, width=4)
    model = build(graph, 0.0, _generator()).eval()
    alive: list[weakref.ref[Tensor]] = []
    left = []

    def count(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        left.append(sum(reference() is not None for reference in alive))
        alive.append(weakref.ref(output))

    for module in model.children():
        module.register_forward_hook(count)
    with torch.no_grad():
        model(torch.randn(1, 1, 8, 8))
    assert len(left) > 10
    assert max(left) <= 2  # the map being read, and a shortcut


def test_relu_does_not_overwrite_a_map_with_other_readers() -> None:
    layers = [
        Layer(0, "input"),
        Layer(1, "batch_norm", (0,)),
        Layer(2, "relu", (1,)),
        Layer(3, "add", (1, 2, 1)),
        Layer(4, "global_avg_pool", (3,)),
    ]
    model = build(Graph((1, 1, 1), layers), 0.0, _generator()).eval()
    assert model(torch.full((1, 1, 1, 1), -1.0)).item() == pytest.approx(-2, abs=1e-4)


def test_bound_layers_train_like_modules_and_see_changes_in_place() -> None:
    graph = _random_morph(seeds.small_residual((8, 8, 3), 5, width=4), 6, seed=2)
    called, bound = (build(graph, 0.3, _generator(seed)).train() for seed in (1, 2))
    compute = bound.bound()
    bound.load_state_dict(called.state_dict())
    images = torch.randn(6, 3, 8, 8, generator=_generator())
    outputs = []
    for model, forward in ((called, called), (bound, compute)):
        for _ in range(2):
            torch.manual_seed(3)  # used by dropout
            outputs.append(forward(images))
            torch.autograd.backward(outputs[-1].square().sum())
            with torch.no_grad():
                for parameter in model.parameters():
                    assert parameter.grad is not None
                    parameter.sub_(parameter.grad, alpha=0.01)
    assert torch.equal(outputs[0], outputs[2])
    assert torch.equal(outputs[1], outputs[3])
    assert not torch.equal(outputs[0], outputs[1])
    states = (model.state_dict() for model in (called, bound))
    for (name, value), other in zip(next(states).items(), next(states).values(), strict=True):
        assert name.endswith("num_batches_tracked") or torch.equal(value, other), name


@pytest.mark.parametrize("sides", [(1, 1), (4, 4), (3, 5), (7, 7)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_global_average_is_the_mean_and_its_gradient_is_channels_last(
    sides: tuple[int, int], layout: torch.memory_format
) -> None:
    layers = [Layer(0, "input"), Layer(1, "global_avg_pool", (0,)), Layer(2, "dense", (1,), units=3)]
    model = build(Graph((*sides, 3), layers), 0.0, _generator())
    images = torch.randn(2, 3, *sides).contiguous(memory_format=layout).requires_grad_()
    gradients: list[Tensor] = []
    images.register_hook(gradients.append)
    logits = model(images)
    dense = model.get_parameter("2.weight"), model.get_parameter("2.bias")
    torch.testing.assert_close(logits, nn.functional.linear(images.mean(dim=(2, 3)), *dense))
    torch.autograd.backward(logits.sum())
    (gradient,) = gradients
    torch.testing.assert_close(gradient, (dense[0].sum(0) / math.prod(sides)).view(1, 3, 1, 1).expand_as(images))
    assert gradient.is_contiguous(memory_format=torch.channels_last)
