"""Readings of an energy meter: energy of a span, and refusals with file, line and column."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiperf_orch.results.meter_series import MeterSeries, parse_series
from aiperf_orch.util.errors import UsageError

pytestmark = pytest.mark.unit
START = datetime(2026, 1, 2, 3, tzinfo=timezone.utc)


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def _series(quantity: str, *readings: tuple[float, float]) -> MeterSeries:
    lines = [f"{_at(seconds).isoformat()},{value}" for seconds, value in readings]
    return parse_series("\n".join([f"time,{quantity}", *lines]), "m.csv")


@pytest.mark.parametrize(
    ("readings", "start", "end", "joules"),
    [
        ([(0, 100), (10, 100)], 0, 10, 1000),
        ([(0, 100), (10, 200)], 0, 10, 1500),
        ([(0, 100), (10, 200)], 5, 10, 875),  # 150 W to 200 W for 5 s
        ([(-5, 0), (5, 100), (15, 100), (25, 0)], 0, 20, (50 + 100) / 2 * 5 + 1000 + (100 + 50) / 2 * 5),
        ([(0, 100), (1, 300), (10, 300)], 0, 10, 200 + 2700),  # intervals of different length
    ],
)
def test_watts_are_integrated_by_trapezoids_within_the_span(
    readings: list[tuple[float, float]], start: float, end: float, joules: float
) -> None:
    assert _series("watts", *readings).joules(_at(start), _at(end)) == pytest.approx(joules, rel=1e-15)


def test_joules_are_differences_of_the_counter_interpolated_at_the_bounds() -> None:
    series = _series("joules", (-10, 500), (10, 2500), (30, 2500), (40, 3500))
    assert series.joules(_at(0), _at(35)) == pytest.approx(3000 - 1500, rel=1e-15)


def test_the_energy_of_several_nodes_is_their_sum() -> None:
    text = "".join(
        f"{_at(seconds).isoformat()},{node},{watts}\n" for seconds in (0, 10) for node, watts in [("a", 1), ("b", 2)]
    )
    series = parse_series(f"time,node,watts\n{text}", "m.csv")
    assert series.joules(_at(0), _at(10)) == 30
    assert b"a" not in series.to_csv().partition(b"\n")[2]


@given(
    st.lists(st.tuples(st.integers(1, 30), st.floats(0, 1e6)), min_size=3, max_size=20),
    st.sampled_from(["watts", "joules"]),
)
def test_energies_of_parts_add_up_and_survive_the_packed_form(steps: list[tuple[int, float]], quantity: str) -> None:
    seconds, readings, total = 0, [], 0.0
    for step, value in steps:
        seconds, total = seconds + step, total + value
        readings.append((seconds, value if quantity == "watts" else total))
    series = _series(quantity, *readings)
    first, last = readings[0][0], readings[-1][0]
    middle = (first + last) / 2
    parts = series.joules(_at(first), _at(middle)) + series.joules(_at(middle), _at(last))
    whole = series.joules(_at(first), _at(last))
    assert parts == pytest.approx(whole, rel=1e-9, abs=1e-6)
    packed = series.to_csv()
    again = parse_series(packed.decode(), "m.csv")
    assert again.to_csv() == packed
    assert again.joules(_at(first), _at(last)) == whole


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("", "m.csv:1: its columns are none; they must be time, watts or joules"),
        ("time,kW\n", "m.csv:1: its columns are time, kW; they must be"),
        ("time,watts,joules\n", "m.csv:1: its columns are"),
        ("time,watts,watts\n", "m.csv:1: its columns are"),
        ("time,watts\n", "m.csv: a series needs two readings"),
        ("time,watts\n2026-01-02T03:04:05Z,1\n", "m.csv:2: a series needs two readings"),
        ("time,watts\n2026-01-02T03:04:05,1\n", "m.csv:2: column time: '2026-01-02T03:04:05' has no time zone"),
        ("time,watts\nyesterday,1\n", "m.csv:2: column time: 'yesterday' is no time such as"),
        ("time,watts\n0001-01-01T00:00:00+23:00,1\n", "m.csv:2: column time: "),
        ("watts,time\n1 kW,2026-01-02T03:04:05Z\n", "m.csv:2: column watts: '1 kW' is no number"),
        ("time,watts\n2026-01-02T03:04:05Z,-1\n", "m.csv:2: column watts: '-1' is no number from 0"),
        ("time,watts\n2026-01-02T03:04:05Z,nan\n", "m.csv:2: column watts: 'nan' is no number"),
        ("time,watts\n2026-01-02T03:04:05Z,1e999\n", "m.csv:2: column watts: '1e999' is no number"),
        ("time,watts\n2026-01-02T03:04:05Z\n", "m.csv:2: has 1 cells, and the header has 2"),
        ("time,node,watts\n2026-01-02T03:04:05Z,,1\n", "m.csv:2: column node: is empty"),
        (
            "time,watts\n2026-01-02T03:04:05Z,1\n2026-01-02T04:04:05+01:00,1\n",
            "m.csv:3: column time: 2026-01-02T03:04:05Z is not after the reading of line 2",
        ),
        (
            "time,joules\n2026-01-02T03:04:05Z,9\n2026-01-02T03:04:06Z,8\n",
            "m.csv:3: column joules: the counter fell from 9 to 8: it was reset or has wrapped around",
        ),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_line_and_column(text: str, refusal: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_series(text, "m.csv")
    assert str(refused.value).startswith(refusal)


@pytest.mark.parametrize(
    ("quantity", "times", "refusal"),
    [
        ("watts", range(101), ""),
        ("watts", range(1, 101), "m.csv:2: column time: the first reading is of 2026-01-02T03:00:01Z, and the epochs"),
        ("watts", range(100), "m.csv:101: column time: the last reading is of 2026-01-02T03:01:39Z, and the epochs"),
        ("watts", [*range(50), *range(52, 101)], ""),
        ("watts", [*range(50), *range(60, 101)], "m.csv:52: column time: no reading for 11 s after"),
        ("watts", [-60, *range(101), 160], ""),  # before and after the span
        ("joules", [0, 50, 51, 100], ""),  # a counter loses nothing
    ],
)  # fmt: skip
def test_the_span_must_be_covered_without_gaps(quantity: str, times: list[int], refusal: str) -> None:
    series = _series(quantity, *((time, 100 if quantity == "watts" else 100 + time) for time in times))
    if not refusal:
        series.check(_at(0), _at(100))
        return
    with pytest.raises(UsageError) as refused:
        series.check(_at(0), _at(100))
    assert str(refused.value).startswith(refusal)
