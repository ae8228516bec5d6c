"""Canonical hash of a network, independent of the numbering and the order of its layers.

Each chain of layers has a label of 64 bits, computed from the kinds and attributes of its layers. Labels are refined
by the labels of the chains that a chain reads (in order, except for an add) and of those that read it, twice in both
directions (Weisfeiler-Leman colour refinement on a directed graph). The hash is the SHA-256 of the sorted labels.
Different structures get different hashes, except for contrived ones with many identical branches that differ only in
which of them meet in which add.

Labels are mixed by integer multiplication and shifts, as in splitmix64 (Steele et al. 2014). This gives the same result
on every machine and Python version, and is much cheaper than one digest for each label. Two different networks have the
same hash only if all their labels collide; the probability that any two of 10^6 labels collide is below 10^-7.

Any change of this computation changes every hash and requires a new VERSION.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from functools import lru_cache, reduce
from typing import Final, NamedTuple, Protocol

VERSION: Final = "aiperf-hash-2"

_MASK: Final = (1 << 64) - 1
_MULTIPLIER_1: Final = 0x9E3779B97F4A7C15  # odd, about 2^64 / golden ratio: spreads neighbouring integers
_MULTIPLIER_2: Final = 0xBF58476D1CE4E5B9


class HashedLayer(Protocol):
    """Attributes of a layer that enter the hash; `id` only identifies the layer among the inputs of others."""

    @property
    def id(self) -> int: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def inputs(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def numbers(self) -> tuple[int, ...]: ...  # noqa: D102


def structure_hash(input_shape: tuple[int, int, int], layers: Sequence[HashedLayer]) -> str:
    """Return the hash (64 hex digits) of `layers`, given in a topological order that begins with the input."""
    chains, labels = _chains(layers)
    # chain -> its readers, each with its input slots encoded as one integer; the slots of an add are interchangeable
    readers: list[dict[int, int]] = [{} for _ in chains]
    for reader, chain in enumerate(chains):
        for slot, source in enumerate(chain.reads):
            slots = readers[source]
            slots[reader] = (slots.get(reader, 0) * 3 + (1 if chain.is_add else 2 + slot)) & _MASK
    for _ in range(2):
        for index, chain in enumerate(chains):
            if chain.is_add:
                other = sum([_mix(labels[source], 1) for source in chain.reads])  # noqa: C419  faster
            else:
                other = 0
                for source in chain.reads:
                    other = _mix(other, labels[source])
            labels[index] = _mix(labels[index], other)
        for index in range(len(chains) - 1, -1, -1):
            other = 0
            for reader, slots_of_reader in readers[index].items():
                other += _mix(labels[reader], slots_of_reader)
            labels[index] = _mix(labels[index], other)
    text = f"{VERSION} {input_shape} ".encode() + struct.pack(f">{len(labels)}Q", *sorted(labels))
    return hashlib.sha256(text).hexdigest()


class _Chain(NamedTuple):
    """A maximal run of layers in which each reads only the one before it, which has no other reader."""

    reads: list[int]
    is_add: bool


def _chains(layers: Sequence[HashedLayer]) -> tuple[list[_Chain], list[int]]:
    """Split a network into chains in topological order; returns the chains and the initial label of each."""
    readers: dict[int, int] = {}
    for layer in layers:
        for source in layer.inputs:
            readers[source] = readers.get(source, 0) + 1
    chains: list[_Chain] = []
    labels: list[list[int]] = []  # of the layers of each chain
    chain_of: dict[int, int] = {}
    for layer in layers:
        label = _initial_label(layer.kind, layer.numbers)
        if len(layer.inputs) == 1 and readers[layer.inputs[0]] == 1:
            chain_of[layer.id] = chain = chain_of[layer.inputs[0]]
            labels[chain].append(label)
        else:
            chain_of[layer.id] = len(chains)
            chains.append(_Chain([chain_of[source] for source in layer.inputs], layer.kind == "add"))
            labels.append([label])
    return chains, [_chain_label(tuple(each)) for each in labels]


@lru_cache(maxsize=1 << 16)  # an edit leaves most chains of a network as they were
def _chain_label(labels: tuple[int, ...]) -> int:
    return reduce(_mix, labels)


@lru_cache(maxsize=1 << 16)
def _initial_label(kind: str, numbers: tuple[int, ...]) -> int:
    return int.from_bytes(hashlib.blake2b(repr((kind, numbers)).encode(), digest_size=8).digest())


def _mix(label: int, other: int) -> int:
    """Combine two labels; not commutative."""
    mixed = (label * _MULTIPLIER_1 + other) & _MASK
    mixed = ((mixed ^ mixed >> 32) * _MULTIPLIER_2) & _MASK
    return mixed ^ mixed >> 29
