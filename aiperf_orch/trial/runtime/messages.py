"""Messages between the tasks and workers of one trial: commands downwards, replies upwards, a line of JSON each.

`channel` carries the lines, `rendezvous` connects the tasks.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import EpochMeasurements, NodeMeasurements, TrainingSetup


class _Message(BaseModel):
    # a loss may be infinite; pydantic reads and writes it as a JSON constant
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    def to_line(self) -> bytes:
        """Return the message as one line of JSON, with its newline."""
        return self.model_dump_json().encode() + b"\n"


class Command(_Message):
    """A command to every worker: a method of `Trainer` with its arguments, or one of the following.

    `join` comes first and initializes the process group. `dump_stacks`, `stop` and `heartbeat` are for the tasks of
    followers: let the workers write their stacks, stop them, and a sign that rank 0 is alive.

    Attributes:
        rank: Of `join`, the worker's global rank; for a follower, that of its first worker.
        size: Of `join`, the world size.
        store: Of `join`, host and port of the store of rank 0; None for a single worker.
        interface: Of `join`, the network interface for collective operations; None for the library's default.
    """

    action: Literal[
        "join",
        "prepare",
        "run_epoch",
        "save_weights",
        "save_checkpoint",
        "load_checkpoint",
        "dump_stacks",
        "stop",
        "heartbeat",
    ]
    rank: int = 0
    size: int = 1
    store: tuple[str, int] | None = None
    interface: str | None = None
    epoch: int = 0
    path: str = ""


class Reply(_Message):
    """A message from a worker or from the task of a follower.

    `done` answers a command, as does `unusable` when a checkpoint cannot be used. `step` reports that a training step
    is about to begin, `heartbeat` that a task is alive. `failed` is the last message of a worker.

    Attributes:
        rank: Global rank of the worker, filled in by its task; None before the worker has one.
        answer: Return value of the `Trainer` method.
        reason: Of `failed`, the end reason of the trial.
        message: Of `failed` and `unusable`, what went wrong.
        lost_peer: Of `failed`, whether the worker failed because it lost another one, whose reply explains more.
        node: Of the reply to `run_epoch`, what the follower's telemetry measured on its node during the epoch.
    """

    kind: Literal["done", "unusable", "step", "failed", "heartbeat"]
    rank: int | None = None
    answer: TrainingSetup | EpochMeasurements | str | int | None = None
    reason: EndReason = EndReason.TRIAL_ERROR
    message: str = ""
    lost_peer: bool = False
    node: NodeMeasurements | None = None


class ListenAddress(_Message):
    """Where rank 0 listens, as it publishes it in the campaign directory: the addresses of its node, and the port."""

    addresses: tuple[str, ...]
    port: int


class Handshake(_Message):
    """What two tasks send each other in turn when they connect.

    Attributes:
        nonce: Random text that the other side must prove to know the key for.
        proof: Answer to the other side's nonce.
        node: Node rank of the follower.
        workers: Number of workers of the follower.
    """

    nonce: str
    proof: str = ""
    node: int = 0
    workers: int = 0
