"""`aiperf-orch ops`: the operation count of a network, from a file or a seed's name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from aiperf_orch.commands.table_output import render_rows
from aiperf_orch.network import counts, v1_import
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.seeds import SEEDS
from aiperf_orch.util.errors import NetworkError, UsageError

_MAX_BYTES: Final = 64 << 20


def report(network: str, form: str, *, by_layer: bool) -> str:
    """The count as text.

    Args:
        network: path of a graph's JSON file, or a seed's name.
        form: `table`, `csv` or `json`; as JSON an object with `forward`, `backward` and `train`, operations per image.
        by_layer: a row a layer (as JSON under `layers`) instead of the sums alone.

    Raises:
        UsageError: when the file is not a network.
    """
    graph = load(network)
    total = counts.count(graph)
    sums = _numbers(total)
    rows = [
        {"layer": row.id, "kind": row.kind, "output": "x".join(map(str, _shape(graph, row)))} | _numbers(row.operations)
        for row in counts.count_by_layer(graph)
    ]
    if form == "json":
        document: dict[str, Any] = {**sums, "convention": counts.CONVENTION, "network": graph.hash}
        return json.dumps(document | ({"layers": rows} if by_layer else {}), indent=2) + "\n"
    if by_layer:
        return render_rows([*rows, {"layer": None, "kind": "all", "output": ""} | sums], form)
    return render_rows([sums], form)


def load(network: str) -> Graph:
    """A network from a file (our format, v1.0's, or a trial's specification) or by a seed's name."""
    if network in SEEDS and not Path(network).exists():
        return SEEDS[network]()
    try:
        with Path(network).open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise UsageError(f"{network}: larger than a network can be ({_MAX_BYTES} bytes)")
        value = json.loads(data)
    except FileNotFoundError:
        raise UsageError(f"{network}: no such file, and no seed network ({', '.join(SEEDS)})") from None
    except OSError as error:
        raise UsageError(f"{network}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{network}: not JSON: {error}") from None
    try:
        if v1_import.is_v1(value):
            return v1_import.from_v1(value)
        if isinstance(value, dict) and "network_hash" in value:
            value = value.get("network")
        return Graph.from_json(value)
    except NetworkError as error:
        raise NetworkError(f"{network}: {error}") from None


def _numbers(operations: counts.Operations) -> dict[str, int]:
    return {"forward": operations.forward, "backward": operations.backward, "train": operations.train}


def _shape(graph: Graph, row: counts.LayerOperations) -> tuple[int, ...]:
    return graph.shapes[row.id]
