"""Quality level of a power measurement, by the methodology of the Energy Efficient HPC Working Group (EE HPC WG).

The criteria are those of version 2.0, its table "Summary of aspects and quality levels" and the sections of the
aspects (https://github.com/EEHPCWG/PowerMeasurementMethodology, text/reporting.tex). Not judged, since no record has
it: different kinds of compute nodes, estimates of what is not measured, models of conversion loss, and whether the
intervals of a meter are of constant length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aiperf_orch.records.meter import MeterFacts


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the readings say, for a level. The core phase is the time that the score is measured over.

    Attributes:
        facts: What the site states of the meter.
        measured_nodes: Number of compute nodes that are measured.
        nodes: Number of compute nodes of the campaign.
        is_counter: Whether the readings are of an energy counter.
        watts: Mean power of the measured part in the core phase.
        core_seconds: Duration of the core phase.
        longest_interval: Seconds between two readings in the core phase, at most.
        readings: Number of readings in the core phase.
        uncovered: Seconds of the core phase before its first and after its last reading.
        covers_run: Whether the readings cover the run from the first submission to the last line of the journal.
    """

    facts: MeterFacts
    measured_nodes: int
    nodes: int
    is_counter: bool
    watts: float
    core_seconds: float
    longest_interval: float
    readings: int
    uncovered: float
    covers_run: bool

    @property
    def is_whole(self) -> bool:
        """Whether all compute nodes are measured."""
        return self.measured_nodes >= self.nodes


def reached_level(measurement: Measurement) -> int:
    """The highest level whose criteria are met, from 1 to 3; 0 for none."""
    return max((level for level in (1, 2, 3) if not missing_for(measurement, level)), default=0)


def missing_for(measurement: Measurement, level: int) -> list[str]:
    """What a measurement lacks for a level, in words; empty where its criteria are met."""
    return [*_timing(measurement, level), *_extent(measurement, level), *_instrument(measurement.facts, level)]


def _timing(found: Measurement, level: int) -> Iterator[str]:
    """Aspect 1: granularity, time span and reported measurements."""
    sampling = found.facts.sampling
    if level == 3 and not found.is_counter:
        yield "readings of an energy counter (joules)"
    most = 0.01 if level == 3 else 1.0
    if sampling is None or sampling > most:
        yield "100 samples a second or more" if level == 3 else "a sample each second or more often"
    if not found.is_counter and found.longest_interval > 10:
        yield "a reading each 10 s or more often"
    if found.core_seconds < 60:
        yield "epochs that count for one minute or longer"
    if level == 1:
        return
    if found.readings < 10:
        yield "10 readings while epochs count"
    if not found.covers_run:
        yield "readings from the first submission to the end of the campaign"
    if found.facts.idle_watts is None:
        yield "idle power"
    if level == 3 and found.uncovered > 2:
        yield "readings within 1 s of the first begin and of the last epoch's end"


def _extent(found: Measurement, level: int) -> Iterator[str]:
    """Aspects 2 and 3: fraction of the machine, subsystems."""
    share, watts = (8, 10_000) if level == 2 else (10, 2_000)
    enough = found.measured_nodes >= max(15, found.nodes / share) and found.watts >= watts
    if level == 1:
        enough = enough or found.watts >= 40_000
    if not found.is_whole and (level == 3 or not enough):
        part = f"1/{share} of the nodes, 15 nodes and {watts // 1000} kW, or all nodes"
        yield "all nodes measured" if level == 3 else part
    wanted = ("nodes+network", "all") if level == 1 else ("all",)
    if found.facts.subsystems not in wanted:
        yield "network measured" if level == 1 else "all subsystems measured that take part"


def _instrument(facts: MeterFacts, level: int) -> Iterator[str]:
    """Aspect 4: point of measurement, accuracy."""
    if facts.point != "upstream":
        yield "measured upstream of power conversion"
    accuracy = {1: 0.05, 2: 0.02, 3: 0.01}[level]
    if facts.accuracy is None or facts.accuracy > accuracy:
        yield f"accuracy of {accuracy:.0%} or better"
