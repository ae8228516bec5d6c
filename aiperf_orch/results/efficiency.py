"""What epochs cost beside time: waiting for data, and energy. Nothing is said that any epoch which counts does not tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from aiperf_orch.records.base import EnergyOf
from aiperf_orch.records.events import Epoch
from aiperf_orch.util.units import format_number


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Of some epochs: images trained and validated a second, share of their time that steps waited for data, joules.

    `energy_of` names whose energy it is. None where it is not known of every epoch, or there is none; for the energy also
    where epochs measured that of different parts.
    """

    images_per_second: float | None = None
    data_wait: float | None = None
    energy: float | None = None
    energy_of: EnergyOf | None = None
    operations_per_joule: float | None = None


def efficiency_of(epochs: Sequence[Epoch], seconds: float | None) -> Efficiency:
    """The efficiency of epochs that count; `seconds` are those that their score, or OPS, is computed over."""
    images = sum(epoch.train_images + epoch.val_images for epoch in epochs)
    waits = [epoch.data_wait for epoch in epochs if epoch.data_wait is not None]
    spans = [(epoch.end - epoch.start).total_seconds() for epoch in epochs]
    span = math.fsum(spans)
    joules = [epoch.energy for epoch in epochs if epoch.energy is not None]
    parts = {epoch.energy_of for epoch in epochs}
    whose = parts.pop() if len(parts) == 1 and len(joules) == len(epochs) else None
    energy = math.fsum(joules) if whose else None
    known = len(waits) == len(epochs) and span > 0
    return Efficiency(
        images_per_second=images / seconds if seconds else None,
        data_wait=math.fsum(w * s for w, s in zip(waits, spans, strict=True)) / span if known else None,
        energy=energy,
        energy_of=whose,
        operations_per_joule=sum(epoch.ops for epoch in epochs) / energy if energy else None,
    )


def in_words(efficiency: Efficiency) -> str:
    """What is known of it, for a person: `131.4 images a second, 2.1 % of the time waiting for data`; may be empty."""
    told = []
    if efficiency.images_per_second is not None:
        told.append(f"{format_number(efficiency.images_per_second)} images a second")
    if efficiency.data_wait is not None:
        told.append(f"{efficiency.data_wait:.1%} of the time waiting for data")
    if efficiency.energy is not None and efficiency.operations_per_joule is not None:
        parts = str(efficiency.energy_of).replace("+", " and ")
        told.append(
            f"{format_number(efficiency.energy / 3.6e6)} kWh of the {parts}, "
            f"{format_number(efficiency.operations_per_joule)} operations a joule"
        )
    return "; ".join(told)
