"""submitit's Slurm executor, with our rendered script in place of its own, arrays included.

submitit submits first and names the pickle after the job's id, so that a crash in between loses the job. Here the
pickle (it holds a CommandFunction, nothing of ours) lies in the job's folder before sbatch is called, and the script
gives it the id's name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import DelayedSubmission
from submitit.slurm import slurm as submitit_slurm

from aiperf_orch.schedulers.base import JobRequest, array_element
from aiperf_orch.util.errors import SubmitPostponedError
from aiperf_orch.util.job_files import PICKLE, SCRIPT


class SlurmExecutor(submitit_slurm.SlurmExecutor):
    """Submits requests, which are one job or elements of one array, with one call of sbatch."""

    def __init__(
        self,
        requests: Sequence[JobRequest],
        render: Callable[[Sequence[JobRequest]], str],
        sbatch: Callable[[Path], str],
    ) -> None:
        """Args: the requests, what makes their script, and what submits a script and returns the id."""
        super().__init__(folder=requests[0].submit_folder, max_num_timeout=0)
        self._requests, self._render, self._sbatch = requests, render, sbatch

    @classmethod
    def name(cls) -> str:
        """What the job's environment calls this executor."""
        return "slurm"

    def submit_all(self) -> str:
        """Submit; returns the id, of the array where it is one.

        Raises:
            SchedulerUnreachableError, SubmitRefusedError, SubmitPostponedError, QueueFullError: as the sbatch callable does;
                SubmitPostponedError also when a file of the job cannot be written.
        """
        try:
            with self.batch():
                jobs = [self.submit(submitit.helpers.CommandFunction(list(each.command))) for each in self._requests]
        except OSError as error:
            raise SubmitPostponedError(
                f"{error.filename or self.folder}: cannot be written: {error.strerror}"
            ) from error
        return str(jobs[0].job_id).partition("_")[0]

    def _internal_process_submissions(
        self, delayed_submissions: list[DelayedSubmission]
    ) -> list[submitit.core.core.Job[Any]]:
        for request, delayed in zip(self._requests, delayed_submissions, strict=True):
            delayed.set_timeout(0, self.max_num_timeout)
            delayed.dump(request.folder / PICKLE)
        script = self.folder / SCRIPT
        script.write_text(self._make_submission_file_text("", ""), encoding="utf-8")
        job = self._sbatch(script)
        elements = [array_element(request.name) for request in self._requests]
        ids = [f"{job}_{element[1]}" if element else job for element in elements]
        folders = [request.folder for request in self._requests]
        return [submitit_slurm.SlurmJob(folder, ident, [0]) for folder, ident in zip(folders, ids, strict=True)]

    def _make_submission_file_text(self, command: str, uid: str) -> str:  # noqa: ARG002  submitit's signature
        return self._render(self._requests)
