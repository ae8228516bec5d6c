"""The interface of all sources, and reading of values that may be missing. A thread of the task uses it.

Every source answers with None where a value is unknown: no number stands in for it, and no error leaves a source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Source(Protocol):
    """A part of what is known of a node. Used from one thread."""

    def sample(self) -> None:
        """Measure power; called every second."""

    def line(self) -> dict[str, Any]:
        """Return the keys of a line and their values; means are since the previous call."""


class EnergySource(Source, Protocol):
    """A part of the node with a known energy.

    Attributes:
        counted: Whether the part belongs to the node's energy. It never changes: differences would be wrong.
    """

    counted: bool

    def joules(self) -> float | None:
        """Measure the energy so far, from an arbitrary start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceleratorState:
    """What is measured of an accelerator besides its power.

    Attributes:
        use: Share of the time in which it computed.
        memory_bytes: Used memory.
        temperature_celsius: Temperature of the chip.
        throttled: Whether the hardware lowers its clocks: for its temperature, or for the power that it is given.
    """

    use: float | None = None
    memory_bytes: int | None = None
    temperature_celsius: float | None = None
    throttled: bool | None = None


class Driver(Protocol):
    """A vendor's accelerators that the trial uses.

    Attributes:
        numbers: Their numbers on the node; every answer has a value for each of them, in this order. Empty where their
            values cannot be known.
        counted: Whether the trial has any.
        pause: Seconds from one measurement of power to the next, at least.
    """

    numbers: Sequence[int]
    counted: bool
    pause: float

    def watts(self) -> Sequence[float | None]:
        """Power."""

    def joules(self) -> Sequence[float | None] | None:
        """Counters of energy; None if there are none, and the energy follows from the power."""

    def states(self) -> Sequence[AcceleratorState]:
        """Everything else."""

    def close(self) -> None:
        """End what was started."""


def value_or_none(query: Callable[[], Any]) -> Any:
    """Result of a query; None if it raises: drivers and the kernel raise exceptions of any type."""
    try:
        return query()
    except Exception:
        return None


def sum_known(parts: Sequence[float | None]) -> float | None:
    """Sum of the parts; None if one is unknown, or there are none."""
    known = [part for part in parts if part is not None]
    return sum(known) if known and len(known) == len(parts) else None


def scaled(value: float | None, factor: float) -> float | None:
    """The value times the factor; None if it is unknown."""
    return None if value is None else value * factor


def read_text(path: Path) -> str | None:
    """Text of a kernel's file without its end of line; None if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def read_number(path: Path) -> float | None:
    """Number in a kernel's file; None if it cannot be read."""
    try:
        return float(read_text(path) or "")
    except ValueError:
        return None
