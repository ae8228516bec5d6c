"""Samples: what was measured of one campaign, or of one node, from which another campaign is predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TrialSample:
    """One trial. Times are in seconds.

    Attributes:
        trial: its number.
        round: number of its round.
        parent: number of the trial whose network was changed; None for a child of the seed network.
        planned: maximum number of its epochs.
        epochs: number of its counted epochs.
        is_complete: whether it ended by itself; otherwise the campaign's end cut it off.
        before: time from its begin line to its first epoch.
        period: mean time from the start of one epoch to the start of the next.
        after: time at work after its last counted epoch, work that does not count included.
        gaps: number of gaps that it needs, one for each of its runs.
        ops: mean operations of an epoch.
        validation: share of these operations that validate.
        energy: mean energy of an epoch in joules; None where it was not measured.
        errors: lowest error up to each of its epochs; empty where no error was measured.
    """

    trial: int
    round: int
    parent: int | None
    planned: int
    epochs: int
    is_complete: bool
    before: float
    period: float
    after: float
    gaps: int
    ops: float
    validation: float
    energy: float | None = None
    errors: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class FileSample:
    """Files of a campaign directory.

    Attributes:
        trial_files, trial_bytes: mean of a trial: specification, events, job; of the bytes also the journal.
        agent_files, agent_bytes: mean of an agent; 0 without agents.
        weights_bytes: mean size of a file of weights; 0 without any.
        other_files: number of all other files.
    """

    trial_files: float
    trial_bytes: float
    agent_files: float
    agent_bytes: float
    weights_bytes: float
    other_files: int


@dataclass(frozen=True)
class Sample:
    """What was measured of one source.

    Attributes:
        name: tag of the campaign; `bench-node` for a measured node.
        slots: number of its concurrent trials.
        trials: its trials.
        offsets: seconds from the first begin of the campaign to the first begin in each slot.
        gaps: seconds from the end of a run in a slot to the begin line of the next one.
        starts: the part of gaps from the start of a trial's process to its begin line; empty where it is not known.
        validation_images: number of validation images of an epoch.
        files: of its directory; None for a package and a node.
    """

    name: str
    slots: int
    trials: Sequence[TrialSample]
    offsets: Sequence[float] = (0.0,)
    gaps: Sequence[float] = ()
    starts: Sequence[float] = field(default=())
    validation_images: int = 1
    files: FileSample | None = None
