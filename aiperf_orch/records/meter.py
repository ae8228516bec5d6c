"""What a site states of an energy meter outside of the nodes: meter.json, beside the readings in meter.csv."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from aiperf_orch.records.base import Positive, Record, Sha256

_Finite = Annotated[float, Field(gt=0, lt=1e12)]
Instrument = Annotated[str, Field(pattern=r"^[^<>\x00-\x1f\x7f-\x9f\u2028\u2029]{0,120}$")]


class MeterFacts(Record):
    """What is known of a meter and of what it measures. None where the site does not state it.

    Attributes:
        source: Where the readings come from: power distribution unit, management controller of a node, Slurm's energy
            accounting, or the facility's own meter.
        instrument: Maker and model; empty where it is not stated.
        nodes: Number of compute nodes that are measured; None for all nodes of the campaign.
        subsystems: What is measured: compute nodes, also the network, or all that takes part.
        point: Whether the meter is upstream of the nodes' power conversion, or inside, without conversion loss.
        accuracy: Documented accuracy of the meter, a fraction.
        sampling: Seconds between two samples that the meter takes internally.
        idle_watts: Power of the measured part without any work.
        sha256: SHA-256 of meter.csv.
    """

    source: Literal["pdu", "bmc", "slurm", "facility"]
    instrument: Instrument = ""
    nodes: Positive | None = None
    subsystems: Literal["nodes", "nodes+network", "all"] = "nodes"
    point: Literal["upstream", "inside"] | None = None
    accuracy: Annotated[float, Field(gt=0, lt=1)] | None = None
    sampling: _Finite | None = None
    idle_watts: _Finite | None = None
    sha256: Sha256
