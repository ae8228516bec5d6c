"""Source of a PyTorch module for a network, in readable code that needs nothing but PyTorch.

Modules are named by their role and number in topological order: `conv1`, `norm1`, `dense1`. A statement of `forward`
covers a chain of layers up to a ReLU, a merge, a pooling or a layer with several readers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from aiperf_orch.network.graph import MERGES, Graph, Layer

_ROLES: Final[Mapping[str, str]] = {"conv": "conv", "batch_norm": "norm", "dense": "dense"}
_NEEDS_MAP: Final = frozenset({"conv", "batch_norm", "max_pool", "global_avg_pool"})
_ENDS_STATEMENT: Final = frozenset({"relu", "add", "concat", "max_pool", "global_avg_pool", "dense"})


def module_names(graph: Graph) -> dict[int, str]:
    """Layer id -> name of its module, for layers with parameters."""
    names: dict[int, str] = {}
    numbers = dict.fromkeys(_ROLES.values(), 0)
    for layer in graph.layers:
        if (role := _ROLES.get(layer.kind)) is not None:
            numbers[role] += 1
            names[layer.id] = f"{role}{numbers[role]}"
    return names


def module_lines(graph: Graph) -> list[str]:
    """Statements that make the modules, in topological order, each with the shape of its output as a comment."""
    names = module_names(graph)
    lines = []
    for layer in graph.layers:
        if layer.id in names:
            height, width, channels = graph.shapes[layer.id]
            made = f"self.{names[layer.id]} = {_module(graph, layer)}"
            lines.append(f"{made}  # {channels} x {height} x {width}")
    return lines


def forward_lines(graph: Graph) -> list[str]:
    """Statements that compute the logits (N, classes) from `images` (N, channels, height, width)."""
    names, values = module_names(graph), {graph.layers[0].id: "images"}
    lines: list[str] = []
    for layer in graph.layers[1:]:
        value = _expression(graph, layer, names, [values[source] for source in layer.inputs])
        readers = [graph.by_id[reader] for reader in graph.consumers[layer.id]]
        if layer is graph.output:
            lines.append(f"return {value}.flatten(1)")
        elif _ends_statement(layer, readers):
            name = f"x{len(lines) + 1}"
            lines.append(f"{name} = {value}")
            values[layer.id] = name
        else:
            values[layer.id] = value
    return lines


def renamed_tensors(graph: Graph) -> Iterator[tuple[str, str]]:
    """Prefix of a layer's tensors in a campaign's weights, and in those of the module: `12.`, `conv3.`."""
    for layer, name in module_names(graph).items():
        yield f"{layer}.", f"{name}."


def _ends_statement(layer: Layer, readers: Sequence[Layer]) -> bool:
    if len(readers) > 1 or readers[0].kind in MERGES:
        return True
    return layer.kind in _ENDS_STATEMENT and not (layer.kind in MERGES and readers[0].kind == "relu")


def _module(graph: Graph, layer: Layer) -> str:
    height, width, channels = graph.shapes[layer.inputs[0]]
    if layer.kind == "conv":
        size = f"{channels}, {layer.filters}, {layer.kernel}"
        return f"nn.Conv2d({size}, stride={layer.stride}, padding={layer.kernel // 2}, bias=False)"
    if layer.kind == "batch_norm":
        return f"nn.BatchNorm2d({channels})"
    return f"nn.Linear({height * width * channels}, {layer.units})"


def _expression(graph: Graph, layer: Layer, names: Mapping[int, str], inputs: list[str]) -> str:
    """Expression of a layer's output, from those of its inputs."""
    source = inputs[0]
    match layer.kind:
        case "conv" | "batch_norm":
            return f"self.{names[layer.id]}({source})"
        case "dense":
            # a map of side 1 only where the next layer needs one
            readers = (graph.by_id[reader].kind for reader in graph.consumers[layer.id])
            as_map = "[:, :, None, None]" if any(kind in _NEEDS_MAP for kind in readers) else ""
            return f"self.{names[layer.id]}(self.dropout({source}.flatten(1))){as_map}"
        case "relu":
            return f"torch.relu({source})"
        case "add":
            return " + ".join(inputs)
        case "concat":
            return f"torch.cat([{', '.join(inputs)}], dim=1)"
        case "global_avg_pool":
            return f"{source}.mean(dim=(2, 3), keepdim=True)"
        case "max_pool":
            return _max_pool(graph, layer, source)
    raise AssertionError(f"no expression for a layer of kind {layer.kind}")


def _max_pool(graph: Graph, layer: Layer, source: str) -> str:
    kernel, stride = layer.kernel, layer.stride
    if kernel % 2 == 1:
        return f"functional.max_pool2d({source}, {kernel}, {stride}, padding={kernel // 2})"
    # an even window starts at its output position, and may exceed the right and the lower edge
    height, width, _ = graph.shapes[layer.inputs[0]]
    bottom, right = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in (height, width))
    if bottom or right:
        source = f'functional.pad({source}, (0, {right}, 0, {bottom}), value=float("-inf"))'
    return f"functional.max_pool2d({source}, {kernel}, {stride})"
