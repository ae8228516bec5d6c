"""Fixtures: networks grown by random edits, arbitrary JSON values, and damaged JSON values."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from aiperf_orch.network import morphisms
from aiperf_orch.network.graph import Graph

_JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers(-(10**40), 10**40)
    | st.floats()
    | st.sampled_from(["", "relu", "add", "conv", "input", "dense", "StubReLU", "StubAdd", "0"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "kind", "inputs", "x"]), inner, max_size=4)
    ),
    max_leaves=6,
)


@pytest.fixture(scope="session")
def json_values() -> st.SearchStrategy[Any]:
    return _JSON_VALUES


@pytest.fixture(scope="session")
def damage() -> Callable[[Any, st.DataObject], Any]:
    """Copy a decoded JSON value with one random item replaced, removed, or repeated."""

    def change(value: Any, data: st.DataObject) -> Any:
        value = copy.deepcopy(value)
        inner: Any = value
        while True:
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            key = data.draw(st.sampled_from(keys))
            child = inner[key]
            if not (isinstance(child, dict | list) and child) or data.draw(st.integers(0, 4)) == 0:
                break
            inner = child
        match data.draw(st.sampled_from(["replace", "remove", "repeat"])):
            case "remove":
                del inner[key]
            case "repeat" if isinstance(inner, list):
                inner.insert(data.draw(st.integers(0, len(inner))), copy.deepcopy(child))
            case _:
                inner[key] = data.draw(_JSON_VALUES)
        return value

    return change


@pytest.fixture(scope="session")
def grow() -> Callable[[Graph, int, int], Graph]:
    """Apply a number of random edits, skipping those that make the network too large for a test."""
    limits = morphisms.MorphismLimits(max_layers=300, max_parameters=200_000)

    def grown(graph: Graph, seed: int, steps: int) -> Graph:
        generator = np.random.default_rng(seed)
        for _ in range(steps):
            edit = morphisms.random_edit(graph, int(generator.choice([3, 5, 7])), generator)
            assert edit is not None
            child = morphisms.apply(graph, edit)
            graph = child if limits.admit(child) else graph
        return graph

    return grown
