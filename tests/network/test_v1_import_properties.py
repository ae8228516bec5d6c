"""Generated AIPerf v1.0 graphs: shuffled and damaged files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.network.counts import count
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.v1_import import from_v1
from aiperf_orch.util.errors import NetworkError

DATA = Path(__file__).parent / "data"
RESIDUAL = json.loads((DATA / "v1_residual.json").read_text())
MORPHED = json.loads((DATA / "v1_morphed.json").read_text())


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_order_of_the_lists_does_not_matter(data: st.DataObject) -> None:
    value = data.draw(st.sampled_from([RESIDUAL, MORPHED]))
    shuffled = value | {name: data.draw(st.permutations(value[name])) for name in ("layer_list", "node_list")}
    graph = from_v1(shuffled)
    assert graph.hash == from_v1(value).hash
    assert graph.output == from_v1(value).output
    assert count(graph) == count(from_v1(value))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_graph_is_refused_or_read(damage: Callable[[Any, st.DataObject], Any], data: st.DataObject) -> None:
    value = damage({name: RESIDUAL[name] for name in ("layer_list", "node_list")}, data)
    try:
        graph = from_v1(value)
    except NetworkError as error:
        message = str(error)
    else:
        message = ""
        assert Graph.from_json(graph.to_json()) == graph
        assert count(graph).train > 0
    assert len(message) < 600
