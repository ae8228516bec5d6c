"""Distances depend on structure only, approximate the edit distance, and are updated exactly by edits."""

import importlib
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from aiperf_orch.network import morphisms, seeds
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.search.embedding import UNIT, FeatureIndex, padded

some_seed = st.integers(0, 10_000)
some_edits = st.integers(0, 6)


def distance(*graphs: Graph) -> float:
    index = FeatureIndex()
    first, second = (index.vector(graph) for graph in graphs)
    columns = max(first.size, second.size)
    return float(np.abs(padded(first, columns) - padded(second, columns)).sum()) / UNIT


def shuffled(graph: Graph, seed: int) -> Graph:
    """The same structure with other layer numbers and in another topological order."""
    choose = random.Random(seed)
    numbers = choose.sample(range(1000), len(graph.layers))
    new_id = {layer.id: number for layer, number in zip(graph.layers, numbers, strict=True)}
    waiting, layers = list(graph.layers), []
    done: set[int] = set()
    while waiting:
        layer = choose.choice([each for each in waiting if done.issuperset(each.inputs)])
        waiting.remove(layer)
        done.add(layer.id)
        layers.append(replace(layer, id=new_id[layer.id], inputs=tuple(new_id[source] for source in layer.inputs)))
    return Graph(graph.input_shape, layers)


@settings(deadline=None, max_examples=30)
@given(some_seed, some_edits)
def test_equal_structures_are_at_distance_zero(descendant, seed, edits):
    graph = descendant(seed, edits)
    other = shuffled(graph, seed)
    assert other.hash == graph.hash
    assert distance(graph, other) == 0


def test_an_added_layer_costs_one_and_a_doubled_width_half():
    graph = seeds.small_residual()
    last_relu = [layer.id for layer in graph.layers if layer.kind == "relu"][-1]
    deeper = morphisms.apply(graph, Edit("deeper", last_relu, kernel=3))
    assert distance(graph, deeper) == 1
    inner = graph.layers[4]
    assert inner.kind == "conv"  # the first of the block: no other layer is tied to it
    assert distance(graph, morphisms.apply(graph, Edit("wider", inner.id))) == 0.5


def test_another_kernel_costs_half_and_another_resolution_two():
    graph = seeds.small_residual()
    first, *_, last = [layer.id for layer in graph.layers if layer.kind == "relu"]
    three = morphisms.apply(graph, Edit("deeper", first, kernel=3))
    assert distance(three, morphisms.apply(graph, Edit("deeper", first, kernel=5))) == 0.5
    assert distance(three, morphisms.apply(graph, Edit("deeper", last, kernel=3))) == 2


def test_a_skip_costs_its_layers_and_one():
    graph = seeds.small_residual()
    first = next(layer.id for layer in graph.layers if layer.kind == "relu")
    target = next(layer.id for layer in graph.layers[::-1] if layer.kind == "batch_norm")
    added = morphisms.apply(graph, Edit("skip_add", first, to=target))
    assert distance(graph, added) == 2  # the projection and the skip
    concatenated = morphisms.apply(graph, Edit("skip_concat", first, to=target))
    assert distance(added, concatenated) >= 1  # another kind of skip


@pytest.mark.parametrize(("seed_network", "least"), [(seeds.small_residual(), 0.8), (seeds.resnet50(), 0.8)])
def test_distances_correlate_with_the_edit_distance(seed_network, least, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    exact = importlib.import_module("edit_distance")
    generator, graphs = np.random.default_rng(5), [seed_network]
    while len(graphs) < 25:
        graph = graphs[generator.integers(len(graphs))]
        for _ in range(generator.integers(1, 4)):
            graph = morphisms.apply(graph, morphisms.random_edit(graph, int(generator.choice([3, 5, 7])), generator))
        graphs.append(graph)
    networks = exact.Networks([exact.features(graph) for graph in graphs])
    edit_distances = np.array([networks.distances(exact.features(graph)) for graph in graphs])
    ours = np.array([[distance(one, other) for other in graphs] for one in graphs])
    above = np.triu_indices(len(graphs), 1)
    assert spearmanr(edit_distances[above], ours[above]).statistic > least


@pytest.mark.parametrize(("columns", "length"), [(0, 256), (255, 256), (256, 256), (257, 512), (513, 768)])
def test_vectors_are_padded_with_zeros_in_steps(columns, length):
    found = padded(np.ones((2, 256), dtype=np.int32), columns)
    assert found.shape == (2, length)
    assert found.sum() == 512
