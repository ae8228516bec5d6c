"""What the tasks and workers of one trial say to each other: orders downwards, reports upwards, a line of JSON each.

Who carries the lines is `channel`'s and `lifeline`'s.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from aiperf_orch.records.base import EndReason, EnergyOf
from aiperf_orch.trial.runtime.trainer import EpochMeasurements, TrainingSetup


class _Message(BaseModel):
    # a loss may be infinite: JSON as Python and pydantic read it has a word for that
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    def to_line(self) -> bytes:
        """The message as one line of JSON."""
        return self.model_dump_json().encode() + b"\n"


class Order(_Message):
    """What every worker is told, all the same: the methods of `Trainer` and their arguments.

    `join` comes first: the worker's `rank` (to a node, that of its first worker) of `size`, and the host and port of
    rank 0's `store`. `dump` and `end` are for the tasks of nodes: let the workers write their stacks, end them; `beat`
    says that the trial's first task lives.
    """

    do: Literal["join", "prepare", "epoch", "save_weights", "save_checkpoint", "load_checkpoint", "dump", "end", "beat"]
    rank: int = 0
    size: int = 1
    store: tuple[str, int] | None = None
    interface: str | None = None
    epoch: int = 0
    path: str = ""


class Report(_Message):
    """What a worker says, or the task of a node; the node's task adds the `rank`, which is None before a worker has one.

    `done` answers an order; `unusable` does too, when a checkpoint cannot be gone on from; `step` tells that a step is
    about to begin. `failed` is the last that is heard of a worker: `bereft` says that it lost others, whose reports then
    tell more. `beat` says that a task lives. To the answer to an epoch a node's task adds the `energy` that the node took
    for it.
    """

    kind: Literal["done", "unusable", "step", "failed", "beat"]
    rank: int | None = None
    answer: TrainingSetup | EpochMeasurements | str | int | None = None
    reason: EndReason = EndReason.TRIAL_ERROR
    message: str = ""
    bereft: bool = False
    energy: float | None = None
    energy_of: EnergyOf | None = None


class Place(_Message):
    """Where the first task listens, as it writes into the campaign: its node's addresses, and the port."""

    addresses: tuple[str, ...]
    port: int


class Hello(_Message):
    """What two tasks that meet say in turn: a nonce, and a proof for the other's nonce. `workers` are a node's."""

    nonce: str
    proof: str = ""
    node: int = 0
    workers: int = 0
