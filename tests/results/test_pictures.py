"""Parts of pictures: axes, texts, and the picture of a network."""

from __future__ import annotations

import re
from dataclasses import asdict

import pytest

from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit, apply_all
from aiperf_orch.network.seeds import resnet50, small_residual
from aiperf_orch.results.network_blocks import blocks_of
from aiperf_orch.results.network_picture import network_picture
from aiperf_orch.results.pictures import Axis, number, picture, text

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("low", "high", "is_log", "is_whole", "ticks"),
    [
        (0, 10, False, False, [0, 2, 4, 6, 8, 10]),
        (0, 0.2, False, False, [0, 0.05, 0.1, 0.15, 0.2]),
        (2.9, 7.1, False, True, [3, 4, 5, 6, 7]),
        (2.9, 3.1, False, True, [3]),
        (20.4, 34.6, False, True, [22, 24, 26, 28, 30, 32, 34]),
        (0.09, 0.52, True, False, [0.1, 0.15, 0.2, 0.3, 0.5]),
        (0.022, 0.041, True, False, [0.025, 0.03, 0.04]),
        (0.0221, 0.0239, True, False, [0.0225, 0.023, 0.0235]),  # no round value of a logarithmic axis
        (1e3, 1e12, True, False, [1e3, 1e5, 1e7, 1e9, 1e11]),
    ],
)
def test_ticks_are_round_and_few(low: float, high: float, is_log: bool, is_whole: bool, ticks: list[float]) -> None:
    assert Axis(low, high, 0, 100, is_log, is_whole).ticks() == pytest.approx(ticks)


def test_an_error_of_zero_is_drawn_at_the_end_of_a_logarithmic_axis() -> None:
    axis = Axis.of([0.0, 0.1, 0.4], 100, 0, is_log=True)
    assert axis.at(0.0) == 100
    assert 0 < axis.at(0.4) < axis.at(0.1) < 100
    assert Axis.of([0.0], 100, 0, is_log=True).at(0.0) == 100


@pytest.mark.parametrize("values", [[5], [0], [3, 3]])
def test_equal_values_have_an_axis(values: list[float]) -> None:
    for is_log in (False, True):
        assert 0 <= Axis.of(values, 0, 100, is_log=is_log).at(values[0]) <= 100


def test_numbers_are_short_and_texts_escaped() -> None:
    assert (number(3), number(2.345), number(-0.5)) == ("3", "2.3", "-0.5")
    drawn = picture(10, 20, '"<b>', [text(1, 2, "<i>\u202e")])
    assert drawn.startswith('<svg class="picture" viewBox="0 0 10 20" role="img" aria-label="&#34;&lt;b&gt;">')
    assert "&lt;i&gt;\\u202e</text>" in drawn


# networks


def _drawn(graph: Graph) -> str:
    return network_picture([asdict(block) for block in blocks_of(graph)], "a network")


def test_a_block_is_a_layer_with_its_norms_and_activations() -> None:
    graph = small_residual((8, 8, 1), 10)
    blocks = blocks_of(graph)
    assert sum(len(block.layers) for block in blocks) == len(graph.layers)
    assert (blocks[0].kind, blocks[1].layers) == ("input", ("conv 3×3", "batch norm", "relu"))  # noqa: RUF001
    assert (blocks[-1].kind, blocks[-1].channels) == ("dense", 10)
    assert all(source < index for index, block in enumerate(blocks) for source in block.inputs)


def test_the_blocks_of_a_skip_are_joined() -> None:
    seed = small_residual((8, 8, 1), 10)
    relus, norms = seed.by_kind["relu"], seed.by_kind["batch_norm"]
    before, after = blocks_of(seed), blocks_of(apply_all(seed, [Edit("skip_add", relus[0].id, to=norms[-1].id)]))
    assert len(after) == len(before) + 2  # the projection and the add
    assert _drawn(seed).count("<title>skip from") < _drawn(
        apply_all(seed, [Edit("skip_add", relus[0].id, to=norms[-1].id)])
    ).count("<title>skip from")


@pytest.mark.parametrize("graph", [small_residual((8, 8, 1), 10), resnet50((224, 224, 3), 1000)])
def test_a_network_is_drawn_to_scale_without_overlaps(graph: Graph) -> None:
    drawn, blocks = _drawn(graph), blocks_of(graph)
    bars = re.findall(r'd="M([0-9.]+) [0-9.]+v-([0-9.]+)h([0-9.]+)v', drawn)
    assert len(bars) == len(blocks)
    widest = max(block.channels for block in blocks)
    for (_, height, _), block in zip(bars, blocks, strict=True):
        assert float(height) == pytest.approx(max(116 * block.channels / widest, 1), abs=0.06)
    ends = [float(left) + float(width) for left, _, width in bars]
    assert all(end <= float(left) for end, (left, _, _) in zip(ends, bars[1:], strict=False))
    assert ends[-1] <= 720


def _seed_with(*edits: Edit) -> Graph:
    return apply_all(small_residual((8, 8, 1), 10), list(edits))


@pytest.mark.parametrize(
    "graph",
    [
        small_residual((8, 8, 1), 10),
        _seed_with(Edit("deeper", 3, kernel=3), Edit("deeper", 3, kernel=5)),
        _seed_with(*[Edit("deeper", 3, kernel=3)] * 3),  # 14 blocks, the most that have names
        _seed_with(*[Edit("wider", 1)] * 7),
        resnet50((224, 224, 3), 1000),
    ],
)
def test_texts_of_a_network_do_not_overlap(graph: Graph) -> None:
    found = re.findall(r'<text x="([0-9.]+)" y="([0-9.]+)"[^>]*text-anchor="([a-z]+)"[^>]*>([^<]*)<', _drawn(graph))
    assert found
    boxes = []
    for x, y, anchor, words in found:
        width = 6.2 * len(words)  # of a letter at this size, with a margin
        left = float(x) - {"start": 0, "middle": width / 2, "end": width}[anchor]
        boxes.append((left, left + width, float(y)))
    for place, (left, right, y) in enumerate(boxes):
        for other_left, other_right, other_y in boxes[:place]:
            assert right <= other_left or other_right <= left or abs(y - other_y) >= 8
