"""Plan of a campaign: what `aiperf-orch plan` predicted of it. A file of its own, and part of a campaign's journal."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from aiperf_orch.records.base import Error, Name, Natural, Positive, Record, Version
from aiperf_orch.util.units import NumberOnly, Timestamp

PLAN_FORMAT: Final = 1
"""Version of this format."""

_Number = Annotated[float, Field(ge=0, lt=1e60)]
_Seconds = Annotated[float, Field(gt=0, lt=1e9)]
_Sentence = Annotated[str, Field(min_length=1, max_length=400)]


class Quantity(Record):
    """A predicted number.

    Attributes:
        expected: Its median; None where it is not known.
        low: Lower bound of the interval; None where the sources have no spread.
        high: Upper bound.
        missing: What would make it known; None where it is known.
    """

    expected: _Number | None = None
    low: _Number | None = None
    high: _Number | None = None
    missing: _Sentence | None = None


class Quantities(Record):
    """All predicted numbers.

    Attributes:
        score: Operations per second.
        error: Lowest error of all epochs, a fraction.
        regulated_score: score x -ln(error).
        trials: Number of trials that begin.
        epochs: Number of epochs that count.
        node_hours: Hours of all nodes.
        energy: Energy in joules, of what the telemetry of the sources measured.
        files: Number of files of the campaign directory at its end.
        bytes: Their size.
        first_epoch: Seconds from the first begin to the end of the first epoch.
        first_trial: Seconds from the first begin to the end of the first trial.
    """

    score: Quantity
    error: Quantity
    regulated_score: Quantity
    trials: Quantity
    epochs: Quantity
    node_hours: Quantity
    energy: Quantity
    files: Quantity
    bytes: Quantity
    first_epoch: Quantity
    first_trial: Quantity


class TimeShare(Record):
    """A part of the time of all slots.

    Attributes:
        share: Fraction; None where it is not known apart.
        missing: Where the time is contained instead; None where it is known.
    """

    share: Error | None = None
    missing: _Sentence | None = None


class TimeShares(Record):
    """How the time of all slots divides.

    Attributes:
        start_up: From the start of a trial's process to its first epoch.
        staging: Copying data to the node's own disk.
        training: Training in epochs that count.
        validation: Validation in epochs that count, by the operations of both.
        lost: At work in no epoch that counts.
        idle: Without a trial.
    """

    start_up: TimeShare
    staging: TimeShare
    training: TimeShare
    validation: TimeShare
    lost: TimeShare
    idle: TimeShare


class RankableFrom(Record):
    """The smallest duration of a rankable campaign of a size.

    Attributes:
        nodes: The size.
        slots: Number of concurrent trials on these nodes.
        duration: In seconds; None where there is none that is known.
        missing: Why; None where it is known.
    """

    nodes: Positive
    slots: Positive
    duration: _Seconds | None = None
    missing: _Sentence | None = None


class PlanSource(Record):
    """What a plan was computed from.

    Attributes:
        kind: An earlier campaign, or a measured node.
        name: Tag of the campaign; `bench-node` for a node.
        slots: Number of its concurrent trials.
        trials: Number of its trials that were used.
        epochs: Number of their epochs.
    """

    kind: Literal["campaign", "bench"]
    name: Name
    slots: Positive
    trials: Natural
    epochs: Natural


class Plan(Record):
    """What a campaign of a size and duration is expected to bring.

    Attributes:
        format: Version of this format.
        version: Version of aiperf-orch that made it.
        time: When it was made.
        nodes: Number of nodes.
        slots: Number of concurrent trials.
        duration: Duration of the campaign, in seconds.
        level: Share of the playbacks that an interval holds.
        sources: What it was computed from.
        quantities: All predicted numbers.
        shares: How the time of all slots divides.
        missed_rules: Rules that no campaign with these settings meets, with the reason.
        smallest: The smallest size that is rankable.
        this_size: The same for the size of the plan.
        notes: What the prediction assumes.
    """

    format: Annotated[Literal[1], NumberOnly] = PLAN_FORMAT
    version: Version
    time: Timestamp
    nodes: Positive
    slots: Positive
    duration: _Seconds
    level: Error
    sources: Annotated[list[PlanSource], Field(min_length=1, max_length=1000)]
    quantities: Quantities
    shares: TimeShares
    missed_rules: Annotated[list[_Sentence], Field(max_length=20)]
    smallest: RankableFrom
    this_size: RankableFrom
    notes: Annotated[list[_Sentence], Field(max_length=50)]
