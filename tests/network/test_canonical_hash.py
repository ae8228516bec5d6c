"""Canonical hash: fixed values of the version, and structures that it distinguishes."""

from __future__ import annotations

import pytest

from aiperf_orch.network.canonical import VERSION
from aiperf_orch.network.graph import Graph, Layer
from aiperf_orch.network.morphisms import Edit, apply_all
from aiperf_orch.network.seeds import resnet50, small_residual
from network_fixtures import conv, network

pytestmark = pytest.mark.unit


CHAIN = (conv(1, 0), conv(2, 1), conv(3, 2))


SHARED = (conv(1, 0), conv(2, 1), conv(3, 1), Layer(4, "add", (2, 3)))


TWINS = (conv(1, 0), conv(2, 0))


# two pairs of equal convolutions, added crosswise; the other readers of the first pair distinguish its two
CROSSED = (
    *TWINS, conv(3, 0, kernel=1), conv(4, 0, kernel=1), Layer(9, "add", (1, 3)), Layer(10, "add", (2, 4)),
    conv(5, 1, kernel=3), conv(6, 2, kernel=5),
)  # fmt: skip


ALL = Layer(11, "add", (5, 6, 7, 8, 9, 10))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(CHAIN, (*CHAIN[:2], conv(3, 2, kernel=5)), id="kernel"),
        pytest.param(CHAIN, (*CHAIN[:2], conv(3, 2, stride=2)), id="stride"),
        pytest.param(CHAIN, (*CHAIN[:2], conv(3, 2, filters=8)), id="filters"),
        pytest.param(
            (*CHAIN, Layer(4, "max_pool", (3,), kernel=2, stride=2)),
            (*CHAIN, Layer(4, "max_pool", (3,), kernel=3, stride=2)),
            id="pool",
        ),
        pytest.param(
            (*CHAIN, conv(4, 3, kernel=1)), (CHAIN[0], conv(4, 1, kernel=1), conv(2, 4), conv(3, 2)), id="position"
        ),
        pytest.param(SHARED, (*SHARED[:2], conv(3, 0), SHARED[3]), id="where a branch begins"),
        pytest.param(
            (*SHARED[:2], conv(3, 2), Layer(4, "add", (1, 3))),
            (*SHARED[:2], conv(3, 2), Layer(4, "add", (2, 3))),
            id="where a skip begins",
        ),
        pytest.param(
            (*TWINS, conv(3, 1), conv(4, 1), Layer(5, "add", (2, 3, 4))),
            (*TWINS, conv(3, 1), conv(4, 2), Layer(5, "add", (1, 3, 4))),
            id="shared or duplicated branch",
        ),
        pytest.param(
            (conv(1, 0), Layer(2, "add", (1, 1))), (conv(1, 0), Layer(2, "add", (1, 1, 1))), id="number of inputs"
        ),
        pytest.param(
            (conv(1, 0), conv(2, 1), Layer(3, "concat", (1, 2))),
            (conv(1, 0), conv(2, 1), Layer(3, "concat", (2, 1))),
            id="order of a concatenation",
        ),
        pytest.param(
            (*TWINS, Layer(3, "concat", (1, 2)), Layer(4, "concat", (1, 2)), Layer(5, "add", (3, 4))),
            (*TWINS, Layer(3, "concat", (1, 2)), Layer(4, "concat", (2, 1)), Layer(5, "add", (3, 4))),
            id="order of one of two concatenations",
        ),
        pytest.param(
            (*TWINS, Layer(3, "add", (1, 2)), Layer(4, "add", (1, 2)), Layer(5, "add", (3, 4))),
            (*TWINS, Layer(3, "add", (1, 1)), Layer(4, "add", (2, 2)), Layer(5, "add", (3, 4))),
            id="which of two equal branches are added",
        ),
        pytest.param(
            (*CROSSED, conv(7, 3, kernel=3), conv(8, 4, kernel=5), ALL),
            (*CROSSED, conv(7, 3, kernel=5), conv(8, 4, kernel=3), ALL),
            id="which branches meet",
        ),
    ],
)
def test_hash_differs_for_different_structures(one: tuple[Layer, ...], other: tuple[Layer, ...]) -> None:
    assert network(*one).hash != network(*other).hash


def test_hash_differs_for_input_shape_and_classes() -> None:
    shapes = [((8, 8, 1), 10), ((8, 9, 1), 10), ((9, 8, 1), 10), ((8, 8, 3), 10), ((8, 8, 1), 11)]
    assert len({small_residual(shape, classes).hash for shape, classes in shapes}) == len(shapes)


MORPHED = [Edit("wider", 4), Edit("deeper", 3, kernel=5), Edit("skip_add", 3, to=12), Edit("skip_concat", 3, to=15)]


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (resnet50(), "a15c216739e3c8ca76ecc9f26cac99cff4988d661c47687fe0bb91c7c51204e1"),
        (small_residual(), "b3249ce64fce7b02414e0b10119ac02a09eba9ba11655b2d43b043eabf79f447"),
        (small_residual((32, 32, 3), 10), "6bf2fb32aa31dd25751bfbbf7e8c49e84b9bfe23895ab0a7d8a1e4aa12928c2c"),
        (apply_all(small_residual(), MORPHED), "c8c04744a1ae79257681681bf10fd416f9738bc0c9de5b855109e1c46a07ad56"),
    ],
    ids=["resnet50", "small_residual", "small_residual of 32x32", "morphed"],
)
def test_hashes_of_this_version_are_fixed(graph: Graph, expected: str) -> None:
    assert VERSION == "aiperf-hash-2"  # a change of any of these hashes requires a new version
    assert graph.hash == expected
