"""Seed networks of the search: ResNet-50 v1 for ImageNet, a small residual network for digits and CIFAR-10."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aiperf_orch.network.graph import Graph, Layer, Shape


class _Builder:
    """List of layers under construction; each method returns the id of the last layer that it appended."""

    def __init__(self) -> None:
        self.layers = [Layer(0, "input")]

    def add(self, kind: str, *inputs: int, **attributes: int) -> int:
        layer = Layer(len(self.layers), kind, inputs, **attributes)
        self.layers.append(layer)
        return layer.id

    def conv_norm(self, source: int, filters: int, kernel: int, stride: int = 1) -> int:
        convolution = self.add("conv", source, filters=filters, kernel=kernel, stride=stride)
        return self.add("batch_norm", convolution)

    def conv_norm_relu(self, source: int, filters: int, kernel: int, stride: int = 1) -> int:
        return self.add("relu", self.conv_norm(source, filters, kernel, stride))

    def head(self, source: int, classes: int) -> None:
        self.add("dense", self.add("global_avg_pool", source), units=classes)


def resnet50(input_shape: Shape = (224, 224, 3), classes: int = 1000) -> Graph:
    """ResNet-50 v1 (He et al. 2015): the first 1x1 convolution and the projection of each stage have the stride."""
    build = _Builder()
    trunk = build.conv_norm_relu(0, 64, kernel=7, stride=2)
    trunk = build.add("max_pool", trunk, kernel=3, stride=2)
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 * 2**stage
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            inner = build.conv_norm_relu(trunk, width, kernel=1, stride=stride)
            inner = build.conv_norm_relu(inner, width, kernel=3)
            inner = build.conv_norm(inner, 4 * width, kernel=1)
            shortcut = build.conv_norm(trunk, 4 * width, kernel=1, stride=stride) if block == 0 else trunk
            trunk = build.add("relu", build.add("add", inner, shortcut))
    build.head(trunk, classes)
    return Graph(input_shape, build.layers)


def small_residual(input_shape: Shape = (8, 8, 1), classes: int = 10, width: int = 16) -> Graph:
    """Two residual blocks of 3x3 convolutions, the second with stride 2 and twice the filters."""
    build = _Builder()
    trunk = build.conv_norm_relu(0, width, kernel=3)
    for filters, stride in ((width, 1), (2 * width, 2)):
        inner = build.conv_norm_relu(trunk, filters, kernel=3, stride=stride)
        inner = build.conv_norm(inner, filters, kernel=3)
        shortcut = build.conv_norm(trunk, filters, kernel=1, stride=stride) if stride > 1 else trunk
        trunk = build.add("relu", build.add("add", inner, shortcut))
    build.head(trunk, classes)
    return Graph(input_shape, build.layers)


SEEDS: Final[dict[str, Callable[..., Graph]]] = {"resnet50": resnet50, "small_residual": small_residual}
