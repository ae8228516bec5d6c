"""Builders of small networks for the tests of `aiperf_orch.network`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from aiperf_orch.network.graph import ATTRIBUTES, Graph, Layer

SEED_NUMBERS = st.integers(0, 2**32 - 1)
Grow = Callable[[Graph, int, int], Graph]
"""Type of the fixture `grow`: network, seed and number of random edits to the morphed network."""


def conv(number: int, source: int, filters: int = 4, kernel: int = 3, stride: int = 1) -> Layer:
    return Layer(number, "conv", (source,), filters=filters, kernel=kernel, stride=stride)


def network(*layers: Layer, sides: tuple[int, int] = (8, 8)) -> Graph:
    """A network of an input (id 0), `layers`, and a head that reads the last of them (ids 98 and 99)."""
    head = (Layer(98, "global_avg_pool", (layers[-1].id,)), Layer(99, "dense", (98,), units=5))
    return Graph((*sides, 3), (Layer(0, "input"), *layers, *head))


def network_json() -> dict[str, Any]:
    """A network with every kind of layer, as JSON."""
    graph = network(
        conv(1, 0),
        Layer(2, "batch_norm", (1,)),
        Layer(3, "relu", (2,)),
        Layer(4, "max_pool", (3,), kernel=3, stride=2),
        conv(5, 3, stride=2),
        Layer(6, "add", (4, 5)),
        Layer(7, "concat", (6, 5)),
    )
    value: dict[str, Any] = json.loads(json.dumps(graph.to_json()))
    assert {layer["kind"] for layer in value["layers"]} == set(ATTRIBUTES)
    return value
