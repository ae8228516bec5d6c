"""Adapter for the private parts of submitit: no other module of the schedulers for Slurm and this machine uses them.

submitit renders its own batch scripts, submits before it writes the pickle, and offers no public way to change either.
`tests/schedulers/test_submitit_adapter.py` fails where a new version of submitit changes a part of `PRIVATE_PARTS`.
The plugin for PBS overrides the methods that submitit asks of every plugin; it is no part of this adapter.
"""

from __future__ import annotations

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
    """Expand a compressed list of nodes, `n[1-3,07],m5`; returns an empty list for a malformed one."""
    try:
        return list(submitit_slurm._parse_node_list(nodes))
    except submitit_slurm.SlurmParseException:
        return []
