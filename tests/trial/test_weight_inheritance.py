"""Weight inheritance: a child computes the same function as its parent, for all networks and morphisms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from aiperf_orch.network import morphisms, seeds
from aiperf_orch.network.graph import Graph, Layer
from aiperf_orch.network.morphisms import KINDS, Edit, EditKind
from aiperf_orch.trial.training.model import Model, build
from aiperf_orch.trial.training.weight_inheritance import inherit
from aiperf_orch.util.errors import NetworkError


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _branched() -> Graph:
    """Strides, both kinds of pooling windows, a concatenation, nested adds, and a dense layer over a map of 2x2."""
    return Graph(
        (13, 11, 2),
        [
            Layer(0, "input"),
            Layer(1, "conv", (0,), filters=4, kernel=5, stride=2),
            Layer(2, "batch_norm", (1,)),
            Layer(3, "relu", (2,)),
            Layer(4, "max_pool", (3,), kernel=2, stride=2),
            Layer(5, "conv", (4,), filters=4, kernel=3, stride=1),
            Layer(6, "batch_norm", (5,)),
            Layer(7, "relu", (6,)),
            Layer(8, "conv", (4,), filters=3, kernel=1, stride=1),
            Layer(9, "batch_norm", (8,)),
            Layer(10, "concat", (7, 9, 4)),
            Layer(11, "conv", (10,), filters=4, kernel=3, stride=1),
            Layer(12, "batch_norm", (11,)),
            Layer(13, "add", (12, 4)),
            Layer(14, "add", (13, 6)),
            Layer(15, "relu", (14,)),
            Layer(16, "max_pool", (15,), kernel=3, stride=2),
            Layer(17, "conv", (16,), filters=5, kernel=3, stride=1),
            Layer(18, "batch_norm", (17,)),
            Layer(19, "relu", (18,)),
            Layer(20, "concat", (19, 16)),
            Layer(21, "dense", (20,), units=6),
        ],
    )


NETWORKS = {"small": seeds.small_residual((9, 8, 2), 10, width=4), "branched": _branched()}


def _images(graph: Graph, number: int = 4) -> Tensor:
    height, width, channels = graph.input_shape
    return torch.randn(number, channels, height, width, generator=_generator(7))


def _trained(graph: Graph, seed: int = 0) -> Model:
    """A model with batch-norms like those of a trained network."""
    generator = _generator(seed)
    model = build(graph, 0.0, generator)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.uniform_(-0.5, 1.5, generator=generator)
            norm.bias.uniform_(-0.5, 0.5, generator=generator)
            norm.momentum = 0.5
        model.train()(_images(graph))
    return model.eval()


def _child(graph: Graph, edits: Sequence[Edit], model: Model, seed: int = 0) -> Model:
    child = build(morphisms.apply_all(graph, edits), 0.0, _generator(99))
    child.load_state_dict(inherit(graph, edits, model.state_dict(), _generator(seed)))
    return child.eval()


@torch.no_grad()
def _assert_same_function(graph: Graph, edits: Sequence[Edit], model: Model) -> None:
    images = _images(graph)
    expected = model(images)
    assert expected.std() > 0.01
    torch.testing.assert_close(_child(graph, edits, model)(images), expected, rtol=1e-4, atol=1e-4)


def _random_edits(graph: Graph, number: int, seed: int) -> list[Edit]:
    generator = np.random.default_rng(seed)
    edits: list[Edit] = []
    while len(edits) < number:
        edit = morphisms.random_edit(graph, int(generator.choice([3, 5, 7])), generator)
        assert edit is not None
        child = morphisms.apply(graph, edit)
        if child.parameters < 200_000:  # for a fast test
            graph, edits = child, [*edits, edit]
    return edits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_edit_preserves_the_function(name: str, kind: EditKind) -> None:
    graph = NETWORKS[name]
    model = _trained(graph)
    edits = morphisms.candidates(graph, kind, 5)
    assert edits
    for edit in edits:
        _assert_same_function(graph, [edit], model)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(NETWORKS)), st.integers(0, 10**6))
def test_chain_of_twenty_edits_preserves_the_function(name: str, seed: int) -> None:
    graph = NETWORKS[name]
    _assert_same_function(graph, _random_edits(graph, 20, seed), _trained(graph, seed))


def test_edits_of_resnet50_preserve_the_function() -> None:
    graph = seeds.resnet50((64, 64, 3), 10)
    model = _trained(graph)
    relus = [layer.id for layer in graph.layers if layer.kind == "relu"]
    norms = [layer.id for layer in graph.layers if layer.kind == "batch_norm"]
    convolutions = [layer.id for layer in graph.layers if layer.kind == "conv"]
    edits = [
        Edit("deeper", relus[4], kernel=7),
        Edit("wider", convolutions[3]),  # the last of its block: an add ties the whole first stage to it
        Edit("skip_add", relus[2], to=norms[20]),
        Edit("skip_concat", relus[2], to=norms[20]),
    ]
    assert {edit.kind for edit in edits} == set(KINDS)
    for edit in edits:
        _assert_same_function(graph, [edit], model)


def test_state_of_the_parent_is_not_modified() -> None:
    graph = NETWORKS["branched"]
    state = _trained(graph).state_dict()
    before = {name: value.clone() for name, value in state.items()}
    inherit(graph, _random_edits(graph, 8, 1), state, _generator())
    assert state.keys() == before.keys()
    assert all(torch.equal(state[name], before[name]) for name in state)


def test_same_seed_gives_the_same_weights() -> None:
    graph = NETWORKS["small"]
    model = _trained(graph)
    edits = _random_edits(graph, 8, 2)
    first, again, other = (_child(graph, edits, model, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_copy_follows_its_original_and_readers_divide_unequally() -> None:
    graph = NETWORKS["small"]
    before = _trained(graph).state_dict()
    after = inherit(graph, [Edit("wider", 4)], before, _generator())
    assert torch.equal(after["4.weight"], before["4.weight"].repeat_interleave(2, 0))
    assert torch.equal(after["5.running_var"], before["5.running_var"].repeat_interleave(2, 0))
    originals, copies = after["7.weight"][:, 0::2], after["7.weight"][:, 1::2]
    torch.testing.assert_close(originals + copies, before["7.weight"])
    assert ((originals - copies).abs() > 1e-6).float().mean() > 0.95


def test_copies_diverge_in_training() -> None:
    graph = NETWORKS["small"]
    child = _child(graph, [Edit("wider", 4)], _trained(graph)).train()
    weight = child.get_parameter("4.weight")
    assert torch.equal(weight[0::2], weight[1::2])
    optimizer = torch.optim.SGD(child.parameters(), lr=0.05)
    images, labels = _images(graph, 16), torch.arange(16) % 10
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(child(images), labels).backward()
        optimizer.step()
    distances = (weight[0::2] - weight[1::2]).detach().flatten(1).norm(dim=1)
    assert (distances > 1e-4).all()


@torch.no_grad()
def test_output_in_training_mode_is_close_to_the_parent() -> None:
    """After a batch-norm the moments are known: the inserted batch-norm is the identity in training mode too."""
    graph = NETWORKS["small"]
    model = _trained(graph)
    edits = [Edit("skip_concat", 3, to=12)]
    child = _child(graph, edits, model)
    images = _images(graph, 32)
    torch.testing.assert_close(child.train()(images), model.train()(images), rtol=0.02, atol=0.02)


def test_edit_that_does_not_fit_is_refused() -> None:
    graph = NETWORKS["small"]
    with pytest.raises(NetworkError, match="needs a conv"):
        inherit(graph, [Edit("wider", 2)], _trained(graph).state_dict(), _generator())
