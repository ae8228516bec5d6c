"""Efficiency of counted epochs: images per second, wait for data, energy.

A quantity is stated only when every counted epoch has it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from aiperf_orch.records.base import EnergyOf
from aiperf_orch.records.events import Epoch
from aiperf_orch.util.units import format_number


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Efficiency of a set of epochs. A field is None when it is not known for every epoch.

    Attributes:
        images_per_second: images trained and validated per second.
        data_wait: fraction of the epochs' time in which steps waited for data.
        energy: in joules; None also when epochs measured the energy of different components.
        energy_of: the components whose energy was measured.
        operations_per_joule: operations of the epochs divided by their energy.
    """

    images_per_second: float | None = None
    data_wait: float | None = None
    energy: float | None = None
    energy_of: EnergyOf | None = None
    operations_per_joule: float | None = None


def efficiency_of(epochs: Sequence[Epoch], seconds: float | None) -> Efficiency:
    """Compute the efficiency of epochs that count.

    Args:
        epochs: The epochs that count.
        seconds: The duration that their OPS refers to; None or 0 when there is none.
    """
    images = sum(epoch.train_images + epoch.val_images for epoch in epochs)
    waits = [epoch.data_wait for epoch in epochs if epoch.data_wait is not None]
    spans = [(epoch.end - epoch.start).total_seconds() for epoch in epochs]
    span = math.fsum(spans)
    joules = [epoch.energy for epoch in epochs if epoch.energy is not None]
    components = {epoch.energy_of for epoch in epochs}
    energy_of = components.pop() if len(components) == 1 and len(joules) == len(epochs) else None
    energy = math.fsum(joules) if energy_of else None
    data_wait = None
    if len(waits) == len(epochs) and span > 0:
        data_wait = math.fsum(wait * duration for wait, duration in zip(waits, spans, strict=True)) / span
    return Efficiency(
        images_per_second=images / seconds if seconds else None,
        data_wait=data_wait,
        energy=energy,
        energy_of=energy_of,
        operations_per_joule=sum(epoch.ops for epoch in epochs) / energy if energy else None,
    )


def format_efficiency(efficiency: Efficiency) -> str:
    """Format the known quantities: `131.4 images a second; 2.1 % of the time waiting for data`; may be empty."""
    parts = []
    if efficiency.images_per_second is not None:
        parts.append(f"{format_number(efficiency.images_per_second)} images a second")
    if efficiency.data_wait is not None:
        parts.append(f"{efficiency.data_wait:.1%} of the time waiting for data")
    if efficiency.energy is not None and efficiency.operations_per_joule is not None:
        components = str(efficiency.energy_of).replace("+", " and ")
        parts.append(
            f"{format_number(efficiency.energy / 3.6e6)} kWh of the {components}, "
            f"{format_number(efficiency.operations_per_joule)} operations a joule"
        )
    return "; ".join(parts)
