"""Adapter for the private parts of submitit: no other module of the schedulers for Slurm and this machine uses them.

submitit renders its own batch scripts, submits before it writes the pickle, and offers no public way to change either.
`tests/schedulers/test_submitit_adapter.py` fails where a new version of submitit changes a part of `PRIVATE_PARTS`.
The plugin for PBS overrides the methods that submitit asks of every plugin; it is no part of this adapter.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final

from submitit.core import core, utils
from submitit.local import local as submitit_local
from submitit.slurm import slurm as submitit_slurm

PRIVATE_PARTS: Final[Mapping[str, str]] = {
    "submitit.core.submission.process_job": "called by `job_process`: it loads the pickle in the job's folder",
    "submitit.slurm.slurm.SlurmExecutor._internal_process_submissions": (
        "overridden, so that the pickle is written before sbatch is called, and sbatch is called by our code"
    ),
    "submitit.local.local.LocalExecutor._submit_command": "overridden, so that our batch script is started",
    "submitit.slurm.slurm._parse_node_list": "called to expand Slurm's compressed lists of nodes",
}
"""Reason for the use of each private part, by its full name."""
_MOST_NODES: Final = 200_000
"""Most names in a list; Slurm has at most 65,536 nodes, and elements of arrays are listed in the same way."""
_LONGEST_NAME: Final = 255
_LONGEST_NUMBER: Final = 20
_BETWEEN_GROUPS: Final = re.compile(r",(?![^\[]*\])")
_RANGES: Final = re.compile(r"\[([^\]]*)\]")


class DelayedSlurmExecutor(submitit_slurm.SlurmExecutor):
    """submitit's Slurm executor with its submission left to a subclass."""

    @abstractmethod
    def submit_delayed(self, delayed: Sequence[utils.DelayedSubmission]) -> list[core.Job[Any]]:
        """Write the pickles of these submissions, submit them by one call, and return their jobs."""

    def _internal_process_submissions(self, delayed_submissions: list[utils.DelayedSubmission]) -> list[core.Job[Any]]:
        return self.submit_delayed(delayed_submissions)


class ScriptLocalExecutor(submitit_local.LocalExecutor):
    """submitit's local executor with the start of the process left to a subclass."""

    @abstractmethod
    def start_job(self) -> submitit_local.LocalJob[Any]:
        """Start the job's process; the pickle lies in the job's folder."""

    def _submit_command(self, command: str) -> submitit_local.LocalJob[Any]:  # noqa: ARG002  submitit's signature
        return self.start_job()


def parse_node_list(nodes: str) -> list[str]:
    """Expand a compressed list of nodes, `n[1-3,07],m5`.

    Returns an empty list for a malformed one, and for one of more nodes than a cluster can have.
    """
    try:
        return list(submitit_slurm._parse_node_list(nodes)) if _is_possible(nodes) else []
    except submitit_slurm.SlurmParseException:
        return []


def _is_possible(nodes: str) -> bool:
    """Whether a list names at most `_MOST_NODES` nodes, with names that a host can have."""
    total = 0
    for group in _BETWEEN_GROUPS.split(nodes):
        names, outside = 1, len(group)
        for ranges in _RANGES.findall(group):
            names *= sum(map(_size, ranges.split(",")))
            outside -= len(ranges)
        total += names
        if total > _MOST_NODES or outside > _LONGEST_NAME:
            return False
    return True


def _size(part: str) -> int:
    """Number of names that `7` or `1-3` stands for; of a malformed range more than there can be."""
    low, dash, high = part.partition("-")
    if not dash:
        return 1
    try:
        return max(int(high) - int(low) + 1, 0) if len(low) <= _LONGEST_NUMBER else _MOST_NODES + 1
    except ValueError:
        return _MOST_NODES + 1
