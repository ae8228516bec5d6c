"""The estimate of training memory counts what PyTorch keeps, and grows with the network and the batch."""

from typing import get_args, get_type_hints

import pytest
import torch
from torch.nn import functional

from aiperf_orch.network import memory, seeds
from aiperf_orch.settings.models import TrainingSettings
from aiperf_orch.trial.training.model import build


def test_what_is_kept_of_an_image_is_what_pytorch_keeps(grow):
    for graph in (seeds.small_residual(width=4), grow(seeds.small_residual((32, 32, 3), width=4), 3, 6)):
        model = build(graph, 0.0, torch.Generator().manual_seed(0))
        own = {value.untyped_storage().data_ptr() for value in model.state_dict().values()}
        kept = {}

        def keep(tensor, own=own, kept=kept):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        height, width, channels = graph.input_shape
        images, labels = torch.randn(16, channels, height, width), torch.zeros(16, dtype=torch.int64)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            functional.cross_entropy(model(images), labels)
        assert sum(kept.values()) / 16 == pytest.approx(memory.estimate(graph, "fp32").per_image, rel=0.1)


def test_the_fixed_part_is_parameters_gradients_and_momentum():
    graph = seeds.small_residual()
    full, half = memory.estimate(graph, "fp32"), memory.estimate(graph, "bf16")
    assert full.fixed == 12 * graph.parameters
    assert half.per_image < full.per_image
    assert full.at(10) == full.fixed + 10 * full.per_image
    assert full.largest_batch(full.at(10)) == 10
    assert full.largest_batch(full.at(10) - 1) == 9
    assert full.largest_batch(0) == 0


def test_every_precision_has_an_estimate_and_auto_takes_the_most_of_any():
    graph = seeds.resnet50((64, 64, 3), 10)
    estimates = {name: memory.estimate(graph, name) for name in get_args(get_type_hints(TrainingSettings)["precision"])}
    assert estimates["tf32"] == estimates["fp32"]
    assert estimates["fp16"] == estimates["bf16"]
    assert estimates["auto"].fixed == max(each.fixed for each in estimates.values())
    assert estimates["auto"].per_image == max(each.per_image for each in estimates.values())
