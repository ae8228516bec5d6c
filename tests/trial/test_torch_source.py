"""Source of a plain PyTorch module: the same function as our model, for random networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from aiperf_orch.network import morphisms
from aiperf_orch.network.graph import Graph, Layer
from aiperf_orch.network.seeds import SEEDS
from aiperf_orch.network.torch_source import forward_lines, module_lines, renamed_tensors
from aiperf_orch.trial.training.model import build
from aiperf_orch.util.errors import NetworkError


def _network(graph: Graph) -> nn.Module:
    """The module that the source makes."""
    body = "\n        ".join(["super().__init__()", "self.dropout = nn.Dropout(0.0)", *module_lines(graph)])
    steps = "\n        ".join(forward_lines(graph))
    source = f"class Network(nn.Module):\n    def __init__(self):\n        {body}\n"
    source += f"    def forward(self, images):\n        {steps}\n"
    names: dict[str, Any] = {"nn": nn, "torch": torch, "functional": functional}
    exec(source, names)
    made: nn.Module = names["Network"]()
    return made


def _assert_same_function(graph: Graph) -> None:
    model = build(graph, 0.0, torch.Generator().manual_seed(1))
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            nn.init.normal_(buffer, generator=torch.Generator().manual_seed(2))
    prefixes = dict(renamed_tensors(graph))
    state = {}
    for key, tensor in model.state_dict().items():
        layer, _, rest = key.partition(".")
        state[prefixes[f"{layer}."] + rest] = tensor
    network = _network(graph)
    network.load_state_dict(state)
    height, width, channels = graph.input_shape
    images = torch.randn(3, channels, height, width, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected, found = model.eval()(images), network.eval()(images)
    assert found.shape == (3, graph.classes)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_the_module_computes_what_our_model_does(seed: int) -> None:
    generator = np.random.default_rng(seed)
    graph = SEEDS["small_residual"]((9, 7, 3), 5)
    for _ in range(12):
        edit = morphisms.random_edit(graph, int(generator.choice([3, 5])), generator)
        try:
            graph = morphisms.apply(graph, edit) if edit else graph
        except NetworkError:
            continue
    _assert_same_function(graph)


def test_resnet50() -> None:
    _assert_same_function(SEEDS["resnet50"]((64, 64, 3), 7))


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (2, 1), (3, 2), (4, 3)])
def test_pooling_of_any_window(kernel: int, stride: int) -> None:
    _assert_same_function(
        Graph(
            (7, 6, 2),
            [
                Layer(0, "input"),
                Layer(1, "max_pool", (0,), kernel=kernel, stride=stride),
                Layer(2, "conv", (1,), filters=4, kernel=3, stride=1),
                Layer(3, "dense", (2,), units=6),
                Layer(4, "batch_norm", (3,)),
                Layer(5, "relu", (4,)),
                Layer(6, "dense", (5,), units=3),
            ],
        )
    )
