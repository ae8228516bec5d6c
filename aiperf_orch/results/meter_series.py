"""Readings of an energy meter: the CSV file, its checks, and the energy of a span of time."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from statistics import median
from typing import Final, Literal, NamedTuple

from aiperf_orch.util.errors import UsageError

Quantity = Literal["watts", "joules"]
_QUANTITIES: Final[tuple[Quantity, ...]] = ("watts", "joules")
_COLUMNS: Final = "time, watts or joules, and node where several are measured"
_LONGEST_GAP: Final = 3
"""Multiple of the median interval from which the power in between is not known."""
_LARGEST: Final = 1e18


class Reading(NamedTuple):
    """A reading and its line in the file."""

    line: int
    time: datetime
    value: float


@dataclass(frozen=True)
class MeterSeries:
    """Readings of one or several meters, each in the order of time.

    Attributes:
        name: Name of the file, for messages.
        quantity: Watts, or joules of a counter that only grows.
        readings: The readings of each node; of "" where the file has no column `node`.
    """

    name: str
    quantity: Quantity
    readings: dict[str, list[Reading]]

    def check(self, start: datetime, end: datetime) -> None:
        """Refuse readings from which the energy of this span does not follow.

        Raises:
            UsageError: With file and line, for a series that begins too late, ends too early, or has a gap in the span.
        """
        for node, readings in self.readings.items():
            of_node = f" of {node}" if node else ""
            first, last = readings[0], readings[-1]
            for reading, is_missing, what in (
                (first, first.time > start, "first"),
                (last, last.time < end, "last"),
            ):
                if is_missing:
                    raise UsageError(
                        f"{self.name}:{reading.line}: column time: the {what} reading{of_node} is of "
                        f"{_shown(reading.time)}, and the epochs that count took from {_shown(start)} to "
                        f"{_shown(end)}: export all of that time"
                    )
            if self.quantity == "watts":
                self._check_gaps(readings, start, end)

    def _check_gaps(self, readings: Sequence[Reading], start: datetime, end: datetime) -> None:
        usual = median([(after.time - before.time).total_seconds() for before, after in pairwise(readings)])
        for before, after in pairwise(readings):
            gap = (after.time - before.time).total_seconds()
            if gap > _LONGEST_GAP * usual and after.time > start and before.time < end:
                raise UsageError(
                    f"{self.name}:{after.line}: column time: no reading for {gap:,.6g} s after {_shown(before.time)}, "
                    f"and else one each {usual:,.6g} s: the power in between is not known; export it without the gap, "
                    "or a counter of joules"
                )

    def joules(self, start: datetime, end: datetime) -> float:
        """Energy between two times, which the readings cover: the trapezoidal rule for watts, differences for joules.

        At the bounds of the span readings are interpolated linearly.
        """
        if self.quantity == "watts":
            return math.fsum(part for each in self.readings.values() for part in _trapezoids(each, start, end))
        counters = self.readings.values()
        return math.fsum(sign * _value_at(each, at) for each in counters for sign, at in ((1, end), (-1, start)))

    def longest_interval(self, start: datetime, end: datetime) -> float:
        """Seconds between two readings of a meter, at most."""
        pairs = (pair for each in self.readings.values() for pair in pairwise(each))
        inside = [after.time - before.time for before, after in pairs if after.time > start and before.time < end]
        return max(inside, default=timedelta()).total_seconds()

    def count_between(self, start: datetime, end: datetime) -> int:
        """Number of readings in a span, of the meter that has the fewest."""
        return min(sum(start <= reading.time <= end for reading in each) for each in self.readings.values())

    def uncovered(self, start: datetime, end: datetime) -> float:
        """Seconds of a span before the first reading in it and after the last one, of the meter that has the most."""
        spans = []
        for each in self.readings.values():
            inside = [reading.time for reading in each if start <= reading.time <= end]
            covered = inside[-1] - inside[0] if inside else timedelta()
            spans.append((end - start - covered).total_seconds())
        return max(spans)

    def spans(self, start: datetime, end: datetime) -> bool:
        """Whether every meter has readings before and after a span, or at its bounds."""
        return all(each[0].time <= start and each[-1].time >= end for each in self.readings.values())

    def to_csv(self) -> bytes:
        """The readings as a package has them: times in UTC, and numbers in place of the names of nodes."""
        several = len(self.readings) > 1 or "" not in self.readings
        lines = [f"time,node,{self.quantity}" if several else f"time,{self.quantity}"]
        for number, node in enumerate(sorted(self.readings), start=1):
            middle = f",{number:05d}," if several else ","
            lines += [f"{_written(reading.time)}{middle}{reading.value!r}" for reading in self.readings[node]]
        return ("\n".join(lines) + "\n").encode()


def parse_series(text: str, name: str) -> MeterSeries:
    """Read a CSV file with the columns `time`, `watts` or `joules`, and optionally `node`.

    Raises:
        UsageError: With file, line and column of the first cell that is not as it must be.
    """
    rows = enumerate(csv.reader(io.StringIO(text, newline=""), strict=True), start=1)
    try:
        _, header = next(rows, (1, []))
        columns, quantity = _columns(header, name)
        readings: defaultdict[str, list[Reading]] = defaultdict(list)
        for line, row in rows:
            if len(row) != len(header):
                raise UsageError(f"{name}:{line}: has {len(row)} cells, and the header has {len(header)}")
            time = _time(row[columns["time"]], f"{name}:{line}: column time")
            value = _number(row[columns[quantity]], f"{name}:{line}: column {quantity}")
            node = row[columns["node"]].strip() if "node" in columns else ""
            if "node" in columns and not node:
                raise UsageError(f"{name}:{line}: column node: is empty")
            reading = Reading(line, time, value)
            if readings[node]:
                _check_order(readings[node][-1], reading, name, quantity)
            readings[node].append(reading)
    except csv.Error as error:
        raise UsageError(f"{name}: cannot be read as CSV: {error}") from None
    short = [each for each in readings.values() if len(each) < 2]
    if short or not readings:
        where = f"{name}:{short[0][0].line}" if short else name
        raise UsageError(f"{where}: a series needs two readings at least")
    return MeterSeries(name, quantity, dict(readings))


def _columns(header: Sequence[str], name: str) -> tuple[dict[str, int], Quantity]:
    columns = {column.strip().lower(): number for number, column in enumerate(header)}
    quantities = [quantity for quantity in _QUANTITIES if quantity in columns]
    unknown = columns.keys() - {"time", "node", *_QUANTITIES}
    if unknown or "time" not in columns or len(quantities) != 1 or len(columns) != len(header):
        raise UsageError(f"{name}:1: its columns are {', '.join(header) or 'none'}; they must be {_COLUMNS}")
    return columns, quantities[0]


def _time(cell: str, where: str) -> datetime:
    try:
        time = datetime.fromisoformat(cell.strip())
        known = time.astimezone(timezone.utc) if time.tzinfo else None
    except (ValueError, OverflowError):
        raise UsageError(f"{where}: {cell[:40]!r} is no time such as 2026-01-02T03:04:05Z") from None
    if known is None:
        raise UsageError(f"{where}: {cell[:40]!r} has no time zone: write 2026-01-02T03:04:05Z or ...+01:00")
    return known


def _number(cell: str, where: str) -> float:
    try:
        value = float(cell) if "_" not in cell else math.nan
    except ValueError:
        value = math.nan
    if not 0 <= value <= _LARGEST:
        raise UsageError(f"{where}: {cell[:40]!r} is no number from 0 to {_LARGEST:.0e}")
    return value


def _check_order(before: Reading, reading: Reading, name: str, quantity: Quantity) -> None:
    where = f"{name}:{reading.line}: column"
    if reading.time <= before.time:
        raise UsageError(f"{where} time: {_shown(reading.time)} is not after the reading of line {before.line}")
    if quantity == "joules" and reading.value < before.value:
        raise UsageError(
            f"{where} joules: the counter fell from {before.value:.15g} to {reading.value:.15g}: it was reset or has "
            "wrapped around; export watts, or add what it lost to all later readings"
        )


def _trapezoids(readings: Sequence[Reading], start: datetime, end: datetime) -> Iterator[float]:
    for before, after in pairwise(readings):
        first, last = max(before.time, start), min(after.time, end)
        if first < last:
            mean = (_between(before, after, first) + _between(before, after, last)) / 2
            yield mean * (last - first).total_seconds()


def _value_at(readings: Sequence[Reading], time: datetime) -> float:
    before, after = next(pair for pair in pairwise(readings) if pair[1].time >= time)
    return _between(before, after, time)


def _between(before: Reading, after: Reading, time: datetime) -> float:
    share = (time - before.time) / (after.time - before.time)
    return before.value + (after.value - before.value) * share


def _shown(time: datetime) -> str:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")


def _written(time: datetime) -> str:
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")
