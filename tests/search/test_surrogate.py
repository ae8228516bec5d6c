"""Confidence bounds of the surrogate, and its independence of how it was fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.network import counts, morphisms, seeds
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit, MorphismLimits
from aiperf_orch.search import Search, embedding
from aiperf_orch.search.embedding import UNIT, padded
from aiperf_orch.search.surrogate import Surrogate
from aiperf_orch.settings.models import SearchSettings

pytestmark = pytest.mark.unit


def graph_of(descendant):
    return lambda trial: descendant(trial, trial % 5 + 1)


def bounds(descendant, beta: float) -> np.ndarray:
    """Bounds of three networks at increasing distance from the three measured ones."""
    surrogate = Surrogate(beta)
    surrogate.fit({trial: trial / 10 for trial in range(3)}, graph_of(descendant))
    return np.array([surrogate.bound(surrogate.embed(descendant(7, edits))) for edits in (1, 3, 6)])


@pytest.mark.parametrize("beta", [0.001, 0.5, 2.576, 10.0])
def test_the_bound_is_the_mean_minus_beta_standard_deviations(descendant, beta):
    mean, deviation = bounds(descendant, 0.0), bounds(descendant, 0.0) - bounds(descendant, 1.0)
    assert (deviation > 0.01).all(), "beta has no effect on the bound"
    assert bounds(descendant, beta) == pytest.approx(mean - beta * deviation, abs=2e-6 * (1 + beta)), (
        "search.beta has no effect, or another one, on the bound"
    )


def test_the_mean_is_that_of_the_errors_far_away_and_the_error_at_a_measured_network(descendant):
    errors = {0: 0.2, 1: 0.4}
    surrogate = Surrogate(0.0)
    surrogate.fit(errors, graph_of(descendant))
    for trial, error in errors.items():
        assert surrogate.bound(surrogate.embed(graph_of(descendant)(trial))) == pytest.approx(error, abs=0.01)
    far = surrogate.bound(surrogate.embed(seeds.resnet50()))
    assert far == pytest.approx(0.3, abs=1e-6)
    assert surrogate.scale == pytest.approx(0.1)


def test_bounds_are_rounded_so_that_machines_agree(descendant):
    for bound in bounds(descendant, 0.7).tolist():
        assert bound == round(bound, 6)


def test_networks_with_new_features_lengthen_all_vectors():
    """Networks of other resolutions have other features: more than a vector has columns at first."""
    networks = {trial: seeds.resnet50((size, size, 3), 10) for trial, size in enumerate(range(32, 224, 16))}
    fresh = Surrogate(0.5)
    fresh.fit(dict.fromkeys(networks, 0.5), networks.__getitem__)
    expected = [fresh.embed(graph).distances.tolist() for graph in networks.values()]
    grown = Surrogate(0.5)
    for number in (1, 2, len(networks)):
        grown.fit(dict.fromkeys(range(number), 0.5), networks.__getitem__)
    assert [grown.embed(graph).distances.tolist() for graph in networks.values()] == expected
    assert len(grown.embed(networks[0]).vector) > 256


def test_an_update_with_new_features_lengthens_all_vectors(monkeypatch):
    monkeypatch.setattr(embedding, "_COLUMN_STEP", 1)
    parent = seeds.small_residual()
    surrogate, embedded, graph = Surrogate(0.5), None, parent
    surrogate.fit({0: 0.5}, lambda _: parent)
    embedded = surrogate.embed(graph)
    inner = next(layer for layer in graph.layers[2:] if layer.kind == "conv")
    relus = [layer.id for layer in graph.layers if layer.kind == "relu"]
    edits = [Edit("deeper", relu, kernel=kernel) for kernel in (1, 3, 5, 7) for relu in relus] * 2
    for edit in [*edits, *[Edit("wider", inner.id)] * 5]:
        child = morphisms.apply(graph, edit)
        embedded, graph = surrogate.update(embedded, graph, child), child
    assert embedded.distances.tolist() == surrogate.embed(graph).distances.tolist()


@dataclass
class Proposed:
    """Network that a search proposes after four trials, and its distance from the parent in layers."""

    graph: Graph
    distance: float


def proposed(beta: float, seed: int) -> Proposed:
    """The seed network is the best of four trials; its children are the worse, the more edits they have."""
    search = Search(
        seeds.small_residual(width=4),
        SearchSettings(beta=beta, candidates=12, neighbours=3),
        MorphismLimits(),
        seed=seed,
        concurrency=1,
        keep=1,
    )
    graphs = []
    for trial in range(4):
        made = search.propose(trial)
        graphs.append(made.graph)
        train = counts.count(made.graph).train
        search.started(trial, made.parent, made.edits, made.hyperparameters, made.graph.hash, train)
        search.ended(trial, 0.1 + 0.1 * trial, None)
    found = search.propose(4)
    surrogate = Surrogate(beta)
    surrogate.fit({0: 0.1}, lambda _: graphs[0])
    return Proposed(found.graph, float(surrogate.embed(found.graph).distances[0]) / UNIT)


def test_the_beta_of_the_settings_decides_between_near_and_far_networks():
    near = [proposed(0.001, seed).distance for seed in range(2)]
    far = [proposed(50.0, seed).distance for seed in range(2)]
    assert np.mean(far) > np.mean(near) + 1, "search.beta does not reach the surrogate"


def test_a_surrogate_depends_only_on_its_last_fit(descendant):
    errors = {trial: trial / 20 for trial in range(10)}
    grown, fresh = Surrogate(2.0), Surrogate(2.0)
    for trials in ([0], [0, 1, 2], [1, 2, 5, 7], [0, 2, 3, 7, 8, 9]):
        grown.fit({trial: errors[trial] for trial in trials}, graph_of(descendant))
    fresh.fit({trial: errors[trial] for trial in trials}, graph_of(descendant))
    for seed in range(20, 30):
        embedded = [surrogate.embed(descendant(seed, 4)) for surrogate in (grown, fresh)]
        assert np.array_equal(embedded[0].distances, embedded[1].distances)
        assert grown.bound(embedded[0]) == fresh.bound(embedded[1])


def test_a_changed_error_of_a_known_trial_changes_the_bounds(descendant):
    surrogate = Surrogate(0.5)
    surrogate.fit({0: 0.1, 1: 0.2}, graph_of(descendant))
    before = surrogate.bound(surrogate.embed(descendant(0, 1)))
    surrogate.fit({0: 0.5, 1: 0.2}, graph_of(descendant))
    assert surrogate.bound(surrogate.embed(descendant(0, 1))) > before + 0.2


def test_a_fit_embeds_only_new_networks(descendant):
    asked = []

    def graph(trial):
        asked.append(trial)
        return graph_of(descendant)(trial)

    surrogate = Surrogate(0.5)
    for trials in ([0, 1], [0, 1], [1, 2], [2]):
        surrogate.fit({trial: 0.1 * trial for trial in trials}, graph)
    assert asked == [0, 1, 2]


def test_distances_are_those_to_the_measured_networks_in_the_order_of_the_fit(descendant):
    surrogate = Surrogate(0.5)
    surrogate.fit({5: 0.1, 3: 0.2, 4: 0.3}, graph_of(descendant))
    for row, trial in enumerate([5, 3, 4]):
        distances = surrogate.embed(graph_of(descendant)(trial)).distances
        assert distances[row] == 0
        assert (np.delete(distances, row) > 0).all()


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 10_000), st.integers(1, 8))
def test_an_updated_embedding_equals_one_from_all_layers(descendant, seed, edits):
    surrogate, generator = Surrogate(2.0), np.random.default_rng(seed)
    surrogate.fit({trial: trial / 10 for trial in range(6)}, graph_of(descendant))
    graph = descendant(seed, 2)
    embedded = surrogate.embed(graph)
    for _ in range(edits):
        child = morphisms.apply(graph, morphisms.random_edit(graph, int(generator.choice([3, 5, 7])), generator))
        embedded, graph = surrogate.update(embedded, graph, child), child
    full = surrogate.embed(graph)
    assert np.array_equal(embedded.distances, full.distances)
    assert np.array_equal(padded(embedded.vector, full.vector.size), padded(full.vector, embedded.vector.size))


def test_an_update_does_not_change_the_parents_embedding():
    parent = seeds.small_residual()
    surrogate = Surrogate(0.5)
    surrogate.fit({0: 0.5}, lambda _: parent)
    embedded = surrogate.embed(parent)
    vector, distances = embedded.vector.copy(), embedded.distances.copy()
    relu = next(layer.id for layer in parent.layers if layer.kind == "relu")
    surrogate.update(embedded, parent, morphisms.apply(parent, Edit("deeper", relu, kernel=3)))
    assert np.array_equal(embedded.vector, vector)
    assert np.array_equal(embedded.distances, distances)


def test_a_surrogate_without_a_fit_raises(descendant):
    surrogate = Surrogate(2.0)
    with pytest.raises(ValueError, match="no measured networks"):
        surrogate.bound(surrogate.embed(descendant(0, 0)))
