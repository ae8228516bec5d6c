"""Operation counts of convolutions and dense layers, compared with the counter of PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from aiperf_orch.network import counts, morphisms, seeds
from aiperf_orch.network.graph import Graph
from aiperf_orch.trial.training.model import Model


def _assert_counts_agree(graph: Graph) -> None:
    """Compare forward by layer, but backward in total: PyTorch attributes parts of it to more than one module."""
    height, width, channels = graph.input_shape
    with torch.device("meta"):
        model = Model(graph).eval()
        images = torch.empty(1, channels, height, width)
    with FlopCounterMode(display=False) as forward:
        logits = model(images)
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()

    ours = {row.id: row.operations for row in counts.count_by_layer(graph) if row.kind in ("conv", "dense")}
    theirs = {layer: sum(forward.get_flop_counts()[f"Model.{layer}"].values()) for layer in ours}
    assert {layer: operations.forward for layer, operations in ours.items()} == theirs
    assert forward.get_total_flops() == sum(theirs.values())

    # the convention also counts the update of weights and biases, 2 operations each
    updated = sum(model.get_parameter(f"{layer}.weight").numel() for layer in ours)
    updated += sum(layer.units for layer in graph.layers if layer.kind == "dense")
    assert sum(operations.backward for operations in ours.values()) - 2 * updated == backward.get_total_flops()


@pytest.mark.parametrize("seed", range(12))
def test_counts_of_random_networks_agree_with_pytorch(seed: int) -> None:
    generator = np.random.default_rng(seed)
    height, width = (int(side) for side in generator.integers(5, 20, 2))
    graph = seeds.small_residual((height, width, 3), 7, width=4)
    for _ in range(10):
        edit = morphisms.random_edit(graph, int(generator.choice([3, 5, 7])), generator)
        assert edit is not None
        graph = morphisms.apply(graph, edit)
    _assert_counts_agree(graph)


def test_counts_of_resnet50_agree_with_pytorch() -> None:
    _assert_counts_agree(seeds.resnet50())
