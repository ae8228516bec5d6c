"""Settings that `bench-node --tune` tries: one setting changed at a time, within the rules and the search's limits."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from aiperf_orch.campaign.training_rules import MIN_BATCH

PRECISION: Final = "training.precision"
BATCH: Final = "search.first_batch_size"
WORKERS: Final = "scheduler.workers_per_node"
COMPILE: Final = "training.compile"
LOADERS: Final = "data.loaders"
EFFECTS: Final = {
    PRECISION: "changes what trials compute, and so may change the error; the rules permit 16 bits and more",
    BATCH: "changes how trials learn, and so may change the error; tried only within search.batch_size",
    WORKERS: "changes how trials learn, as each worker has its own batch; the accelerators of a trial stay as they are",
    COMPILE: "changes only the speed",
    LOADERS: "changes only the speed",
}
"""Settings that are tried, in the order in which they are measured, and what they change in the benchmark."""

_CPU_PRECISIONS: Final = ("bf16", "fp32")
_ACCELERATOR_PRECISIONS: Final = ("bf16", "fp16", "tf32")


@dataclass(frozen=True, slots=True)
class Setup:
    """Settings of a measured trial; a value of None for `loaders` is the share of the cores."""

    precision: str
    batch: int
    workers: int
    compile: bool
    loaders: int | None


@dataclass(frozen=True, slots=True)
class Alternative:
    """The present settings with other values of `keys`; no key for the present settings themselves."""

    setup: Setup
    values: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """Changed keys and their values; `present settings` without any."""
        changed = (f"{key}: {str(value).lower()}" for key, value in self.values)
        return ", ".join(changed) or "present settings"


@dataclass(frozen=True, slots=True)
class Node:
    """What the first measurement shows of a node.

    Attributes:
        on_accelerator: Whether trials train on an accelerator.
        precisions: Precisions in which the networks were trained with the present settings.
        cores: Number of cores of a trial.
        accelerators: Number of accelerators of a trial; 0 without any.
    """

    on_accelerator: bool
    precisions: frozenset[str]
    cores: int
    accelerators: int


_FIELDS: Final = {
    PRECISION: "precision",
    BATCH: "batch",
    WORKERS: "workers",
    COMPILE: "compile",
    LOADERS: "loaders",
}


def alternatives(
    present: Setup, node: Node, batches: tuple[int, int], permitted: Collection[str], *, has_loaders: bool
) -> list[list[Alternative]]:
    """List the alternatives to the present settings, in one list for each key, the most promising keys first.

    Args:
        present: The present settings.
        node: The node.
        batches: Smallest and largest batch of the search.
        permitted: Precisions that the rules of a ranked result permit.
        has_loaders: Whether processes load the images of the data set.
    """
    values: dict[str, Iterator[Any]] = {
        PRECISION: _precisions(node, permitted),
        BATCH: _batches(batches),
        WORKERS: _workers(present, node),
        COMPILE: iter([not present.compile]),
        LOADERS: _loaders(present, node) if has_loaders else iter(()),
    }
    found = [
        [
            with_values(present, {key: value})
            for value in dict.fromkeys(values[key])
            if value != getattr(present, _FIELDS[key])
        ]
        for key in EFFECTS
    ]
    return [each for each in found if each]


def with_values(present: Setup, values: dict[str, Any]) -> Alternative:
    """The present settings with other values of some keys."""
    setup = replace(present, **{_FIELDS[key]: value for key, value in values.items()})
    return Alternative(setup, tuple(values.items()))


def _precisions(node: Node, permitted: Collection[str]) -> Iterator[str]:
    tried = _ACCELERATOR_PRECISIONS if node.on_accelerator else _CPU_PRECISIONS
    return (each for each in tried if each in permitted and node.precisions != {each})


def _batches(limits: tuple[int, int]) -> Iterator[int]:
    low, high = limits
    yield high
    middle = round((low * high) ** 0.5)
    yield middle - middle % 8 if middle - middle % 8 >= low else middle
    yield max(low, MIN_BATCH)


def _workers(present: Setup, node: Node) -> Iterator[int]:
    """Workers of a node: one for each accelerator, or else one, half and twice as many as now."""
    yield node.accelerators or 1
    for number in (present.workers * 2, present.workers // 2):
        if 1 <= number <= node.cores:
            yield number


def _loaders(present: Setup, node: Node) -> Iterator[int]:
    """Loaders of a worker: half, all and twice its share of the cores."""
    share = max(1, node.cores // present.workers)
    for number in (max(1, share // 2), share, share * 2):
        if not (present.loaders is None and number == share):
            yield number
