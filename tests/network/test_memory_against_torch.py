"""Memory estimate per image, compared with the tensors that PyTorch saves for the backward pass."""

import pytest
import torch
from torch.nn import functional

from aiperf_orch.network import memory, seeds
from aiperf_orch.trial.training.model import build


def test_estimate_per_image_is_what_pytorch_saves(grow):
    for graph in (seeds.small_residual(width=4), grow(seeds.small_residual((32, 32, 3), width=4), 3, 6)):
        model = build(graph, 0.0, torch.Generator().manual_seed(0))
        own = {value.untyped_storage().data_ptr() for value in model.state_dict().values()}
        saved = {}

        def save(tensor, own=own, saved=saved):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        height, width, channels = graph.input_shape
        images, labels = torch.randn(16, channels, height, width), torch.zeros(16, dtype=torch.int64)
        with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
            functional.cross_entropy(model(images), labels)
        assert sum(saved.values()) / 16 == pytest.approx(memory.estimate(graph, "fp32").per_image, rel=0.1)
