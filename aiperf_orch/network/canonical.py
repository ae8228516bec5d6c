"""The canonical hash of a network: equal for equal structure, whatever the numbering and order of its layers.

Each chain of layers has a label of 64 bits, which begins with their kinds and attributes. Labels are refined by what a
chain reads (in order, but for add) and by what reads it, twice in both directions (Weisfeiler and Leman's colour
refinement along a directed graph); the SHA-256 of the sorted labels is the hash. Different structures get different
hashes, but for contrived ones of many identical branches that differ only in which of them meet in which add.

Labels are mixed by multiplication and shifts of whole numbers, as in splitmix64 (Steele et al. 2014): the same on
every machine and with every Python, and much cheaper than a digest a label. For equal hashes of
different networks all their labels would have to meet by chance, and two of 10^6 labels do so once in 10^7 times. A change of any of this changes
every hash, and must change VERSION.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

VERSION: Final = "aiperf-hash-2"

_MASK: Final = (1 << 64) - 1
_ONE: Final = 0x9E3779B97F4A7C15  # odd, and about 2^64 times the golden ratio, which spreads neighbours
_OTHER: Final = 0xBF58476D1CE4E5B9


class Node(Protocol):
    """What the hash sees of a layer: all of it, and of its id only which layers it stands for."""

    @property
    def id(self) -> int: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def inputs(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def numbers(self) -> tuple[int, ...]: ...  # noqa: D102


def structure_hash(input_shape: tuple[int, int, int], nodes: Sequence[Node]) -> str:
    """The hash (64 hex digits) of layers in a topological order, the input first."""
    chains, labels = _chains(nodes)
    # by chain, what reads it, and in which places of its inputs (as one number); all places of an add are alike
    readers: list[dict[int, int]] = [{} for _ in chains]
    for reader, chain in enumerate(chains):
        for place, source in enumerate(chain.reads):
            places = readers[source]
            places[reader] = (places.get(reader, 0) * 3 + (1 if chain.adds else 2 + place)) & _MASK
    for _ in range(2):
        for here, chain in enumerate(chains):
            if chain.adds:
                other = sum([_mixed(labels[source], 1) for source in chain.reads])  # noqa: C419  faster
            else:
                other = 0
                for source in chain.reads:
                    other = _mixed(other, labels[source])
            labels[here] = _mixed(labels[here], other)
        for here in range(len(chains) - 1, -1, -1):
            other = 0
            for reader, at in readers[here].items():
                other += _mixed(labels[reader], at)
            labels[here] = _mixed(labels[here], other)
    text = f"{VERSION} {input_shape} ".encode() + struct.pack(f">{len(labels)}Q", *sorted(labels))
    return hashlib.sha256(text).hexdigest()


class _Chain(NamedTuple):
    """Layers of which each but the first reads only the one before it, which nothing else reads."""

    reads: list[int]
    adds: bool


def _chains(nodes: Sequence[Node]) -> tuple[list[_Chain], list[int]]:
    """The chains that a network falls into, each behind those that it reads, and the first label of each."""
    readers: dict[int, int] = {}
    for node in nodes:
        for source in node.inputs:
            readers[source] = readers.get(source, 0) + 1
    chains: list[_Chain] = []
    labels: list[int] = []
    chain_of: dict[int, int] = {}
    for node in nodes:
        label = _first_label(node.kind, node.numbers)
        if len(node.inputs) == 1 and readers[node.inputs[0]] == 1:
            chain_of[node.id] = chain = chain_of[node.inputs[0]]
            labels[chain] = _mixed(labels[chain], label)
        else:
            chain_of[node.id] = len(chains)
            chains.append(_Chain([chain_of[source] for source in node.inputs], node.kind == "add"))
            labels.append(label)
    return chains, labels


@lru_cache(maxsize=1 << 16)
def _first_label(kind: str, numbers: tuple[int, ...]) -> int:
    return int.from_bytes(hashlib.blake2b(repr((kind, numbers)).encode(), digest_size=8).digest())


def _mixed(label: int, other: int) -> int:
    """A label after something was learnt of its layer; not the same with the two exchanged."""
    mixed = (label * _ONE + other) & _MASK
    mixed = ((mixed ^ mixed >> 32) * _OTHER) & _MASK
    return mixed ^ mixed >> 29
