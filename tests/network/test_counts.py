"""Operation counts: published table of ResNet-50, every kind of layer, values beyond 64 bits."""

from __future__ import annotations

import pytest

from aiperf_orch.network.counts import LayerOperations, Operations, count, count_by_layer, count_tensor
from aiperf_orch.network.graph import ATTRIBUTES, MAX_SIDE, Graph, Layer
from aiperf_orch.network.seeds import SEEDS, resnet50
from aiperf_orch.records.operations import OperationsPerImage

pytestmark = pytest.mark.unit

# ResNet-50 v1, one image of 224 x 224 x 3: kind, number, forward, backward
RESNET50 = [
    ("conv", 53, 7_711_850_496, 15_234_582_912),
    ("batch_norm", 53, 74_109_952, 1_908),
    ("relu", 49, 9_081_856, 0),
    ("add", 16, 5_519_360, 0),
    ("max_pool", 1, 1_806_336, 0),
    ("global_avg_pool", 1, 106_496, 0),
    ("dense", 1, 4_096_000, 12_290_000),
    ("softmax", 1, 12_999, 0),
]


def operations_of(graph: Graph) -> dict[int, tuple[str, int, int]]:
    """Kind, forward and backward by layer id, without the softmax."""
    rows = [row for row in count_by_layer(graph) if row.kind != "softmax"]
    assert len({row.id for row in rows}) == len(rows)
    return {row.id: (row.kind, row.operations.forward, row.operations.backward) for row in rows}


@pytest.mark.parametrize(("kind", "number", "forward", "backward"), RESNET50)
def test_resnet50_matches_each_row_of_the_published_table(kind: str, number: int, forward: int, backward: int) -> None:
    rows = [row.operations for row in count_by_layer(resnet50()) if row.kind == kind]
    assert len(rows) == number
    assert sum(rows, Operations(0, 0)) == Operations(forward, backward)


def test_resnet50_matches_the_published_totals() -> None:
    assert {row.kind for row in count_by_layer(resnet50())} == {row[0] for row in RESNET50}
    total = count(resnet50())
    assert total == Operations(7_806_583_495, 15_246_874_820)
    assert total.train == 23_053_458_315


def test_counts_of_every_kind_of_layer() -> None:
    graph = Graph(
        (5, 7, 3),
        [
            Layer(0, "input"),
            Layer(1, "conv", (0,), filters=4, kernel=3, stride=2),  # 5x7x3 -> 3x4x4
            Layer(2, "batch_norm", (1,)),
            Layer(3, "relu", (2,)),
            Layer(4, "conv", (3,), filters=4, kernel=1, stride=1),  # 3x4x4
            Layer(5, "add", (4, 3, 3)),
            Layer(6, "concat", (5, 3)),  # 3x4x8
            Layer(7, "max_pool", (6,), kernel=3, stride=2),  # 2x2x8
            Layer(8, "conv", (0,), filters=2, kernel=5, stride=3),  # 2x3x2: reads the image too
            Layer(9, "global_avg_pool", (8,)),
            Layer(10, "global_avg_pool", (7,)),
            Layer(11, "concat", (9, 10)),
            Layer(12, "dense", (11,), units=6),  # 10 -> 6
        ],
    )
    assert {layer.kind for layer in graph.layers} == set(ATTRIBUTES)
    assert operations_of(graph) == {
        1: ("conv", 2 * 9 * 3 * 4 * 12, 9 * 3 * 4 * (2 * 12 + 2)),
        2: ("batch_norm", 7 * 48, 36),
        3: ("relu", 48, 0),
        4: ("conv", 2 * 4 * 4 * 12, 4 * 4 * (4 * 12 + 2)),
        5: ("add", 2 * 48, 0),
        6: ("concat", 0, 0),
        7: ("max_pool", 96 * 9 // 4, 0),
        8: ("conv", 2 * 25 * 3 * 2 * 6, 25 * 3 * 2 * (2 * 6 + 2)),
        9: ("global_avg_pool", (6 - 1) * 2 + 4 * 2, 0),
        10: ("global_avg_pool", (4 - 1) * 8 + 4 * 8, 0),
        12: ("dense", 2 * 10 * 6, 4 * 10 * 6 + 2 * 11 * 6),
        11: ("concat", 0, 0),
    }
    assert count_by_layer(graph)[-1] == LayerOperations(12, "softmax", Operations(8 * 6 + 5 + 4 * 6, 0))
    assert count(graph).forward == 2592 + 336 + 48 + 384 + 96 + 216 + 1800 + 18 + 56 + 120 + 77
    assert count(graph).backward == 2808 + 36 + 800 + 2100 + 372


def test_quotients_are_rounded_down() -> None:
    layers = [Layer(0, "input"), Layer(1, "max_pool", (0,), kernel=3, stride=2), Layer(2, "global_avg_pool", (1,))]
    assert operations_of(Graph((3, 5, 1), layers))[1] == ("max_pool", 33, 0)  # 15 * 9 / 4 = 33.75


def test_dense_layer_reads_every_element_and_has_a_softmax() -> None:
    layers = [Layer(0, "input"), Layer(1, "dense", (0,), units=5), Layer(2, "dense", (1,), units=2)]
    graph = Graph((2, 3, 4), layers)
    assert operations_of(graph) == {1: ("dense", 240, 4 * 24 * 5 + 2 * 25 * 5), 2: ("dense", 20, 4 * 10 + 2 * 6 * 2)}
    assert [row.operations.forward for row in count_by_layer(graph) if row.kind == "softmax"] == [64, 25]


def test_only_convolutions_of_the_image_skip_the_input_gradient() -> None:
    layers = [
        Layer(0, "input"),
        Layer(1, "batch_norm", (0,)),
        Layer(2, "conv", (1,), filters=2, kernel=1, stride=1),
        Layer(3, "global_avg_pool", (2,)),
    ]
    assert operations_of(Graph((4, 4, 3), layers))[2] == ("conv", 2 * 6 * 16, 6 * (4 * 16 + 2))


def test_counts_beyond_64_bits_are_exact() -> None:
    side = MAX_SIDE
    huge = Layer(1, "conv", (0,), filters=side, kernel=side - 1, stride=1)
    graph = Graph((side, side, side), [Layer(0, "input"), huge, Layer(2, "global_avg_pool", (1,))])
    forward = 2 * (2**20 - 1) ** 2 * 2**80
    assert operations_of(graph)[1] == ("conv", forward, (2**20 - 1) ** 2 * 2**40 * (2 * 2**40 + 2))
    assert forward.bit_length() == 121
    assert count(graph).forward == forward + (2**40 - 1) * 2**20 + 4 * 2**20
    assert OperationsPerImage.of(count(graph)).of_images(trained=1, validated=0) % 2**40 == count(graph).train % 2**40


def test_epoch_counts_trained_and_validated_images() -> None:
    operations = Operations(forward=10, backward=25)
    assert operations.train == 35
    assert OperationsPerImage.of(operations).of_images(trained=3, validated=2) == 3 * 35 + 2 * 10
    assert OperationsPerImage.of(operations).of_images(trained=0, validated=0) == 0
    epoch = OperationsPerImage.of(count(resnet50())).of_images(trained=1_281_167, validated=50_000)
    assert epoch == 1_281_167 * 23_053_458_315 + 50_000 * 7_806_583_495
    assert epoch * 10_000 > 2**64


@pytest.mark.parametrize("name", SEEDS)
def test_tensor_operations_are_those_of_convolutions_and_dense_layers(name: str) -> None:
    graph = SEEDS[name]((224, 224, 3), 1000)
    rows = [row for row in count_by_layer(graph) if row.kind in ("conv", "dense")]
    tensor = count_tensor(graph)
    assert tensor.forward == sum(row.operations.forward for row in rows)
    image = [row for row in rows if graph.by_id[row.id].inputs[0] == graph.layers[0].id]
    assert tensor.backward == 2 * tensor.forward - sum(row.operations.forward for row in image)


def test_tensor_operations_of_resnet50() -> None:
    """He et al. 2016 state 3.8 billion multiply-adds, for strides in the 1x1 convolutions."""
    assert 3.8e9 < count_tensor(SEEDS["resnet50"]((224, 224, 3), 1000)).forward / 2 < 4.2e9
