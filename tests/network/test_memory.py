"""Memory estimate: fixed part, part per image, largest batch, precisions."""

from typing import get_args, get_type_hints

import pytest

from aiperf_orch.network import memory, seeds
from aiperf_orch.network.graph import Graph, Layer
from aiperf_orch.network.memory import Memory
from aiperf_orch.settings.models import TrainingSettings

pytestmark = pytest.mark.unit


def test_estimate_counts_parameters_and_kept_maps():
    layers = [
        Layer(0, "input"),
        Layer(1, "conv", (0,), filters=5, kernel=3, stride=1),  # 4x6x5 = 120 values
        Layer(2, "batch_norm", (1,)),
        Layer(3, "relu", (2,)),  # 120
        Layer(4, "max_pool", (3,), kernel=2, stride=2),  # 2x3x5 = 30, and 30 indices
        Layer(5, "concat", (4, 4)),  # 60
        Layer(6, "add", (5, 5)),
        Layer(7, "global_avg_pool", (6,)),  # 10
        Layer(8, "dense", (7,), units=7),  # 7
    ]
    graph = Graph((4, 6, 3), layers)
    parameters, values = 9 * 3 * 5 + 2 * 5 + 11 * 7, 4 * 6 * 3 + 120 + 120 + 30 + 60 + 10 + 7
    assert memory.estimate(graph, "fp32") == Memory(12 * parameters, 4 * values + 8 * 30)
    assert memory.estimate(graph, "bf16") == Memory(14 * parameters, 2 * values + 8 * 30)


def test_memory_is_affine_in_the_batch():
    needed = Memory(fixed=100, per_image=7)
    assert (needed.at(0), needed.at(1), needed.at(10)) == (100, 107, 170)
    batches = [needed.largest_batch(limit) for limit in (0, 99, 100, 106, 107, 113, 114, 169, 170)]
    assert batches == [0, 0, 0, 0, 1, 1, 2, 9, 10]


def test_every_precision_has_an_estimate_and_auto_is_the_maximum():
    graph = seeds.resnet50((64, 64, 3), 10)
    estimates = {name: memory.estimate(graph, name) for name in get_args(get_type_hints(TrainingSettings)["precision"])}
    assert estimates["tf32"] == estimates["fp32"]
    assert estimates["fp16"] == estimates["bf16"]
    assert estimates["auto"].fixed == max(each.fixed for each in estimates.values())
    assert estimates["auto"].per_image == max(each.per_image for each in estimates.values())
