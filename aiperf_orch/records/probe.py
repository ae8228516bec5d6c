"""What the small job of `check` and the login node write to each other, and the names of the files that it stands in.

The login node writes GREETING before it submits. Every task of the job reads it and reports; the first one also writes
what it read to SEEN, which the login node answers with ANSWER. DATA holds the settings of the data set, where trials load one.
"""

from __future__ import annotations

from importlib import metadata
from typing import Final

from aiperf_orch.records.base import Natural, Record

GREETING: Final = "greeting"
SEEN: Final = "seen"
ANSWER: Final = "answer"
DATA: Final = "data.json"
_PACKAGES: Final = ("aiperf-orch", "numpy", "pydantic", "submitit", "torch")


def report_name(rank: int) -> str:
    """The file that a task's report stands in."""
    return f"report-{rank}.json"


class ProbeStep(Record):
    """Something that was tried on a node: the seconds that it took, and why it failed, empty when it did not.

    `files` are those that an import opened, None of anything else.
    """

    seconds: float
    fault: str = ""
    files: Natural | None = None


class LoadingReport(Record):
    """What a trial with torch loads: torch, then its data set (not tried without torch), and the GPUs that torch sees."""

    torch: ProbeStep
    data: ProbeStep | None = None
    gpus: list[str] = []


class NodeReport(Record):
    """What one task of the small job saw.

    `greeting` is what it read, None when the file was not there. `answered` are the seconds from writing SEEN to
    reading ANSWER; None when no answer came, or this is not the first task. `clock_skew` is how far this node's clock
    is ahead of the file server's, at least. `package` is what every trial imports. `visible_gpus` is what the scheduler
    gave by CUDA_VISIBLE_DEVICES or its like, `driver_gpus` what nvidia-smi lists; None where there is no such thing.
    `loading` is None where the trainer is not torch.
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
    """Versions of the distributions that should be the same on the login node and on the nodes; imports none of them."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
