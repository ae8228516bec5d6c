"""submitit's Slurm executor with our batch script, arrays included.

submitit submits first and then names the pickle after the job's id, so that a crash in between loses the job. Here the
pickle (it holds a CommandFunction, no class of ours) is written before sbatch is called, and the script links it to the
name with the id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.core import core, utils

from aiperf_orch.schedulers.base import JobRequest, array_element
from aiperf_orch.schedulers.submitit_adapter import DelayedSlurmExecutor
from aiperf_orch.util.errors import SubmitPostponedError
from aiperf_orch.util.job_files import PICKLE, SCRIPT


class SlurmExecutor(DelayedSlurmExecutor):
    """Submits one job, or elements of one array, by one call of sbatch."""

    def __init__(
        self,
        requests: Sequence[JobRequest],
        render: Callable[[Sequence[JobRequest]], str],
        sbatch: Callable[[Path], str],
    ) -> None:
        """Make the executor of one submission.

        Args:
            requests: one job, or elements of one array.
            render: returns the batch script of the requests.
            sbatch: submits a script and returns the job's id.
        """
        super().__init__(folder=requests[0].submit_folder, max_num_timeout=0)
        self._requests, self._render, self._sbatch = requests, render, sbatch

    @classmethod
    def name(cls) -> str:
        """Return the executor's name in the job's environment."""
        return "slurm"

    def submit_all(self) -> str:
        """Submit the requests; returns the id of the job, or of the array.

        Raises:
            SchedulerUnreachableError, SubmitRefusedError, SubmitPostponedError, QueueFullError: as the sbatch callable;
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

    def submit_delayed(self, delayed: Sequence[utils.DelayedSubmission]) -> list[core.Job[Any]]:
        """Write the pickles and the script, and call sbatch."""
        for request, submission in zip(self._requests, delayed, strict=True):
            submission.set_timeout(0, self.max_num_timeout)
            submission.dump(request.folder / PICKLE)
        script = self.folder / SCRIPT
        script.write_text(self._render(self._requests), encoding="utf-8")
        job = self._sbatch(script)
        elements = [array_element(request.name) for request in self._requests]
        ids = [f"{job}_{element[1]}" if element else job for element in elements]
        folders = [request.folder for request in self._requests]
        return [submitit.SlurmJob(folder, ident, [0]) for folder, ident in zip(folders, ids, strict=True)]
