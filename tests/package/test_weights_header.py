"""Check of the header of a file of weights: what it may state, and the message for each lie."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiperf_orch.network.tensors import TensorType
from aiperf_orch.package.weights_header import LENGTH_BYTES, MOST_HEADER, header_fault
from package_fixtures import weights_file

pytestmark = pytest.mark.unit

TENSORS = {
    "1.weight": TensorType("F32", (2, 3)),  # 24 bytes
    "2.bias": TensorType("F32", (2,)),  # 8 bytes
    "2.num_batches_tracked": TensorType("I64", ()),  # 8 bytes
}


def _entry(dtype: str = "F32", shape: Any = (2,), places: Any = (24, 32)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": places}


def _with_length(length: int) -> bytes:
    return length.to_bytes(LENGTH_BYTES, "little") + weights_file(TENSORS)[LENGTH_BYTES:]


def _with_header(text: bytes) -> bytes:
    return len(text).to_bytes(LENGTH_BYTES, "little") + text + bytes(40)


def _fault(data: bytes) -> str | None:
    return header_fault(data[: LENGTH_BYTES + MOST_HEADER], len(data), TENSORS)


def test_true_headers_have_no_fault() -> None:
    data = weights_file(TENSORS)
    assert _fault(data) is None
    assert _fault(weights_file(dict(reversed(TENSORS.items())))) is None
    assert _fault(weights_file(TENSORS, __metadata__={"format": "pt"})) is None
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    padded = data[LENGTH_BYTES : LENGTH_BYTES + length] + b"   "
    assert _fault(_with_header(padded)) is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "has 0 bytes: no header"),
        (b"1234567", "has 7 bytes: no header"),
        (_with_length(10**18), "states a header of 1000000000000000000 bytes"),
        (_with_length(len(weights_file(TENSORS))), "states a header of"),
        (_with_length(MOST_HEADER + 1) + bytes(MOST_HEADER), "and a header at most 2097152"),
        (_with_length(20), "header: not JSON"),
        (_with_header(b"[]"), "header: not a JSON object"),
        (_with_header(b" " + json.dumps({}).encode()), "header: not a JSON object"),
        (_with_header(b'{"1.weight":1,"1.weight":2}'), "header: the key '1.weight' occurs twice"),
        (_with_header(b"[" * 100_000), "header: nested too deeply"),
        (weights_file(TENSORS, __metadata__={"a": 1}), "header: __metadata__ must be an object of texts"),
        (weights_file(TENSORS, __metadata__=[]), "header: __metadata__ must be an object of texts"),
        (_with_header(b"{}"), "has no tensor 1.weight, which the network has"),
        (weights_file(TENSORS, **{"2.bias": None}), "has no tensor 2.bias"),
        (weights_file(TENSORS, **{"3.bias": _entry()}), "has a tensor 3.bias, which the network does not have"),
        (weights_file(TENSORS, **{"2.bias": 7}), "tensor 2.bias: must have data_offsets, dtype, shape"),
        (weights_file(TENSORS, **{"2.bias": _entry() | {"more": 1}}), "tensor 2.bias: must have data_offsets"),
        (weights_file(TENSORS, **{"2.bias": _entry("F64")}), "tensor 2.bias: ('F64', (2,)) stated; the network has"),
        (weights_file(TENSORS, **{"2.bias": _entry(shape=(2, 1))}), "tensor 2.bias: ('F32', (2, 1)) stated"),
        (weights_file(TENSORS, **{"2.bias": _entry(shape=(2.0,))}), "tensor 2.bias: ('F32', (2.0,)) stated"),
        (weights_file(TENSORS, **{"2.bias": _entry(shape=2)}), "tensor 2.bias: ('F32', 2) stated"),
        (weights_file(TENSORS, **{"2.bias": _entry(places=(24, 32, 40))}), "data_offsets must be two whole numbers"),
        (weights_file(TENSORS, **{"2.bias": _entry(places=(24, 32.0))}), "data_offsets must be two whole numbers"),
        (weights_file(TENSORS, **{"2.bias": _entry(places="ab")}), "data_offsets must be two whole numbers"),
        (weights_file(TENSORS, **{"2.bias": _entry(places=(23, 31))}), "tensor 2.bias: data_offsets 23 to 31"),
        (weights_file(TENSORS, **{"2.bias": _entry(places=(25, 33))}), "by its shape and those before it 24 to 32"),
        (weights_file(TENSORS, **{"2.bias": _entry(places=(24, 2**62))}), "data_offsets 24 to 4611686018427387904"),
        (weights_file(TENSORS, **{"2.bias": _entry(places=(-8, 0))}), "tensor 2.bias: data_offsets -8 to 0"),
        (weights_file(TENSORS, **{"2.bias": _entry(places=(0, 8))}), "data_offsets 0 to 24; by its shape and"),
        (weights_file(TENSORS) + b"more", "has 44 bytes of numbers; its tensors have 40"),
        (weights_file(TENSORS)[:-1], "has 39 bytes of numbers; its tensors have 40"),
    ],
)
def test_each_lie_of_a_header_has_its_message(data: bytes, message: str) -> None:
    fault = _fault(data)
    assert fault is not None
    assert message in fault
