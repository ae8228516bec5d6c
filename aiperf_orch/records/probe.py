"""Files that the probe job of `check` and the login node exchange, and the report of one task.

The login node writes GREETING before it submits the job. Every task reads it and writes a report; rank 0 also copies it
to SEEN, which the login node answers with ANSWER. DATA has the data set, where trials load one.
"""

from __future__ import annotations

from importlib import metadata
from typing import Final

from pydantic import Field

from aiperf_orch.records.base import Natural, Record

GREETING: Final = "greeting"
SEEN: Final = "seen"
ANSWER: Final = "answer"
DATA: Final = "data.json"
SETTINGS: Final = "settings.json"
DATA_INDEX: Final = "data.index"
"""Listing of the data set, which the first node that is checked makes."""
_PACKAGES: Final = ("aiperf-orch", "numpy", "pydantic", "submitit", "torch")


def report_name(rank: int) -> str:
    """Name of the file with a task's report."""
    return f"report-{rank}.json"


def node_check_name(host: str) -> str:
    """Name of the file with a node's report to `check --every-node`."""
    return f"node-{host}.json"


def address_name(host: str) -> str:
    """Name of the file that says where a node listens while it is checked."""
    return f"address-{host}.json"


class ProbeStep(Record):
    """One check on a node: its duration in seconds, and its fault, empty when it succeeded.

    `files` is the number of files that an import opened; None for other checks.
    """

    seconds: float
    fault: str = ""
    files: Natural | None = None


class LoadingReport(Record):
    """Loading of torch and then of the data set (None where torch failed), and the GPUs that torch finds."""

    torch: ProbeStep
    data: ProbeStep | None = None
    gpus: list[str] = Field(default_factory=list)


class NodeReport(Record):
    """Report of one task of the probe job.

    `greeting` is the text that it read, None when there was no file. `answered` is the seconds from writing SEEN to
    reading ANSWER; None when no answer came, or on other ranks than 0. `clock_skew` is the minimum by which this node's
    clock is ahead of the file server's, in seconds. `package` is the import of what every trial imports. `visible_gpus`
    is the value of CUDA_VISIBLE_DEVICES or a similar variable, `driver_gpus` the GPUs that nvidia-smi lists; None where
    there is none. `loading` is None where the trainer is not torch.
    """

    rank: Natural
    host: str
    job: str
    greeting: str | None
    answered: float | None
    clock_skew: float
    cores: Natural
    python: str
    versions: dict[str, str]
    package: ProbeStep
    visible_gpus: str | None
    driver_gpus: list[str] | None
    loading: LoadingReport | None


class DiskReport(Record):
    """Local disk of a node: the folder that trials use, its free bytes, and why nothing can be written there."""

    path: str
    free: Natural
    fault: str = ""


class TrainingReport(Record):
    """A few steps of training on a node.

    `first_step` is the seconds from the start of the interpreter to the end of the first step, and `steps_per_second`
    the rate of the steps after it; None where training did not get that far, for the reason `fault`.
    """

    first_step: float | None = None
    steps_per_second: float | None = None
    fault: str = ""


class PeerReport(Record):
    """Connection of a node to another one: seconds until it answered, and why it did not."""

    host: str
    seconds: float
    fault: str = ""


class NodeCheck(Record):
    """Report of a node to `check --every-node`.

    `host` is the node's name as the scheduler has it. `products_per_second` is the rate of a small matrix product on
    one core. `training` is None where the trainer is not torch. `peers` are the other nodes that were there at the same
    time, at most a few.
    """

    host: str
    report: NodeReport
    disk: DiskReport
    products_per_second: float
    training: TrainingReport | None
    peers: list[PeerReport]


def installed_versions() -> dict[str, str]:
    """Versions of distributions that should be equal on the login node and the nodes, without importing them."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
