"""`ops`: operations per image of a network, from a file or a seed network's name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.table_output import render_rows
from aiperf_orch.network import counts, v1_import
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.seeds import SEEDS
from aiperf_orch.util.errors import NetworkError, UsageError

_MAX_BYTES: Final = 64 << 20


def count_operations(network: str, form: str, *, by_layer: bool) -> CommandOutput:
    """Count a network's operations per image.

    Args:
        network: Path of a graph's JSON file, or the name of a seed network.
        form: `table`, `csv` or `json`; JSON is an object with `forward`, `backward` and `train`, operations per image.
        by_layer: One row per layer (in JSON under `layers`) in addition to the sums.

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
        layers = {"layers": rows} if by_layer else {}
        return CommandOutput(json.dumps(document | layers, indent=2) + "\n", form=form)
    if by_layer:
        last: dict[str, Any] = {"layer": None, "kind": "all", "output": ""}
        return CommandOutput(render_rows([*rows, last | sums], form), form=form)
    return CommandOutput(render_rows([sums], form), form=form)


def load(network: str) -> Graph:
    """Load a network from a file (ours, AIPerf v1.0's, or a trial specification) or by the name of a seed network."""
    if network in SEEDS and not Path(network).exists():
        return SEEDS[network]()
    try:
        with Path(network).open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise UsageError(f"{network}: larger than the limit of {_MAX_BYTES} bytes")
        value = json.loads(data)
    except FileNotFoundError:
        raise UsageError(f"{network}: neither a file nor a seed network ({', '.join(SEEDS)})") from None
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
