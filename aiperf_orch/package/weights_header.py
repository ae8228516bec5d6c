"""Check of the header of a file of weights (safetensors) against a network, before any library reads the file.

The file is: 8 bytes, the length of the header; the header, a JSON object with type, shape and place of each tensor;
the numbers of all tensors, without gaps. `MOST_HEADER` limits the memory that a hostile header can take.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aiperf_orch.network.tensors import TensorType
from aiperf_orch.util import strict_json

LENGTH_BYTES: Final = 8
MOST_HEADER: Final = 2 << 20
"""Bytes of a header: several times those of 3,000 layers, the most that a network in a package may have."""
_METADATA: Final = "__metadata__"
_KEYS: Final = {"dtype", "shape", "data_offsets"}


def header_fault(head: bytes, size: int, expected: Mapping[str, TensorType]) -> str | None:
    """The first reason why a file does not hold the weights of a network; None if it does.

    Args:
        head: The first bytes of the file: `LENGTH_BYTES + MOST_HEADER` of them, or all if it has fewer.
        size: Bytes of the whole file.
        expected: The tensors of the network, by name.
    """
    try:
        tensors, start = _parse(head, size)
        _check_tensors(tensors, expected)
        _check_places(tensors, expected, size - start)
    except ValueError as error:
        return str(error)
    return None


def _parse(head: bytes, size: int) -> tuple[dict[str, dict[str, Any]], int]:
    """The entries of all tensors, and the place at which the numbers begin."""
    if len(head) < LENGTH_BYTES:
        raise ValueError(f"has {size} bytes: no header")
    length = int.from_bytes(head[:LENGTH_BYTES], "little")
    if length > MOST_HEADER or LENGTH_BYTES + length > size:
        raise ValueError(f"states a header of {length} bytes; the file has {size}, and a header at most {MOST_HEADER}")
    header = head[LENGTH_BYTES : LENGTH_BYTES + length]
    try:
        entries = strict_json.loads(header)
    except ValueError as error:
        raise ValueError(f"header: {error}") from None
    if not isinstance(entries, dict) or not header.startswith(b"{"):
        raise ValueError("header: not a JSON object")
    metadata = entries.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"header: {_METADATA} must be an object of texts")
    return entries, LENGTH_BYTES + length


def _check_tensors(tensors: Mapping[str, dict[str, Any]], expected: Mapping[str, TensorType]) -> None:
    """Compare names, types and shapes with those of the network."""
    for name in sorted(tensors.keys() | expected.keys()):
        if name not in tensors:
            raise ValueError(f"has no tensor {name}, which the network has")
        if name not in expected:
            raise ValueError(f"has a tensor {name:.60}, which the network does not have")
        entry = tensors[name]
        if not isinstance(entry, dict) or entry.keys() != _KEYS:
            raise ValueError(f"tensor {name}: must have {', '.join(sorted(_KEYS))}, and nothing else")
        shape = entry["shape"]
        stated = entry["dtype"], tuple(shape) if isinstance(shape, list) else shape
        if stated != expected[name] or not _are_integers(shape):
            raise ValueError(f"tensor {name}: {stated!r:.60} stated; the network has {tuple(expected[name])!r}")


def _check_places(tensors: Mapping[str, dict[str, Any]], expected: Mapping[str, TensorType], size: int) -> None:
    """Check that the tensors fill the rest of the file, each with its own bytes, without a gap."""
    for name, entry in tensors.items():
        places = entry["data_offsets"]
        if not (isinstance(places, list) and len(places) == 2 and _are_integers(places)):
            raise ValueError(f"tensor {name}: data_offsets must be two whole numbers")
    end = 0
    for name, entry in sorted(tensors.items(), key=lambda item: item[1]["data_offsets"]):
        first, last = entry["data_offsets"]
        if (first, last) != (end, end + expected[name].size):
            right = f"{end} to {end + expected[name].size}"
            raise ValueError(f"tensor {name}: data_offsets {first} to {last}; by its shape and those before it {right}")
        end = last
    if end != size:
        raise ValueError(f"has {size} bytes of numbers; its tensors have {end}")


def _are_integers(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int for value in values)
