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
_PACKAGES: Final = ("aiperf-orch", "numpy", "pydantic", "submitit", "torch")


def report_name(rank: int) -> str:
    """Name of the file with a task's report."""
    return f"report-{rank}.json"


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


def installed_versions() -> dict[str, str]:
    """Versions of distributions that should be equal on the login node and the nodes, without importing them."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
