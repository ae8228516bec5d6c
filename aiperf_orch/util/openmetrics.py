"""Text of metrics by OpenMetrics 1.0 (https://prometheus.io/docs/specs/om/open_metrics_spec/).

Only gauges and counters, and no time stamps: node_exporter's textfile collector, which reads the older format of
Prometheus, takes `# UNIT` and `# EOF` for comments, but refuses a file with another type or a time stamp.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class MetricType(str, Enum):
    """Type of a metric."""

    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class Sample:
    """A value and the labels that tell it from the other values of its metric."""

    value: float
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric family.

    Attributes:
        name: Name that ends with the unit where it has one, without the `_total` of a counter.
        type: Its type.
        about: What it measures, in one line.
        samples: Its values; a metric without any is not written.
        unit: Its unit; empty for a number of things.
    """

    name: str
    type: MetricType
    about: str
    samples: Sequence[Sample]
    unit: str = ""


def render(metrics: Iterable[Metric]) -> str:
    """The metrics as text, which ends with `# EOF`."""
    lines = [line for metric in metrics if metric.samples for line in _lines(metric)]
    return "\n".join([*lines, "# EOF"]) + "\n"


def _lines(metric: Metric) -> list[str]:
    unit = [f"# UNIT {metric.name} {metric.unit}"] if metric.unit else []
    name = metric.name + ("_total" if metric.type is MetricType.COUNTER else "")
    return [
        f"# TYPE {metric.name} {metric.type.value}",
        *unit,
        f"# HELP {metric.name} {metric.about.translate(_ESCAPES)}",
        *(f"{name}{_labels(sample.labels)} {sample.value}" for sample in metric.samples),
    ]


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""
