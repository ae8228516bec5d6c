"""Base classes of the submitit plugin for PBS: the only module of the plugin that uses private parts of submitit.

submitit's interface for plugins consists of methods and attributes whose names begin with an underscore. A test fails
if a new version of submitit changes one of `PRIVATE_PARTS`. The module imports little, since submitit loads it in every
job.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from submitit.core import core, job_environment, utils

PRIVATE_PARTS: Final[Mapping[str, str]] = {
    "submitit.core.core.InfoWatcher._registered": "read: jobs to query",
    "submitit.core.core.InfoWatcher._finished": "read and written: jobs that need no further query",
    "submitit.core.core.InfoWatcher._info_dict": "written: known states, since the original parses the output of sacct",
    "submitit.core.core.InfoWatcher._num_calls": "written: number of queries",
    "submitit.core.core.InfoWatcher._last_status_check": "written: the next query is due after an incomplete one",
    "submitit.core.core.Executor._equivalence_dict": "overridden: names of the parameters that all executors have",
    "submitit.core.core.Executor._valid_parameters": "overridden: names of the parameters",
    "submitit.core.core.Executor._convert_parameters": "overridden: AutoExecutor passes the memory as a number of GB",
    "submitit.core.core.Executor._internal_update_parameters": "overridden: unknown parameters are refused",
    "submitit.core.core.Executor._internal_process_submissions": (
        "overridden: the pickle is written before qsub is called, so that no crash in between loses it"
    ),
    "submitit.core.core.PicklingExecutor._throttle": "called: waits between two submissions",
    "submitit.core.core.PicklingExecutor._throttling": "written: seconds between two submissions",
    "submitit.core.core.PicklingExecutor._last_job_submitted": "written: time of the last submission",
    "submitit.core.core.PicklingExecutor._num_tasks": "abstract there, never called",
    "submitit.core.core.PicklingExecutor._make_submission_file_text": "abstract there, never called",
    "submitit.core.core.PicklingExecutor._make_submission_command": "abstract there, never called",
    "submitit.core.core.PicklingExecutor._get_job_id_from_submission_command": "abstract there, never called",
    "submitit.core.job_environment.JobEnvironment._env": "overridden: environment variables that describe the job",
    "submitit.core.job_environment.JobEnvironment._requeue": "overridden: PBS lets no user requeue a job",
}
"""Reason for the use of each private part, by its full name."""


class StateWatcher(core.InfoWatcher):
    """submitit's cache of job states; a subclass implements the query."""

    @abstractmethod
    def query(self, jobs: set[str]) -> bool:
        """Query jobs and `record` their states.

        Args:
            jobs: ids of the jobs whose end is not known.

        Returns:
            Whether there was time for all of them.
        """

    def update(self) -> None:
        """Query all jobs whose end is not known; if the query is incomplete, the next one is due immediately."""
        jobs = self._registered - self._finished
        if not jobs:
            return
        self._num_calls += 1
        complete = self.query(jobs)
        self._last_status_check = time.time() if complete else float("-inf")
        self._finished |= {job for job in jobs if self.is_done(job, mode="cache")}

    def record(self, states: Mapping[str, str]) -> None:
        """Store the states of jobs, by id."""
        self._info_dict.update({job: {"State": state} for job, state in states.items()})


class SubmitExecutor(core.PicklingExecutor):
    """submitit's executor; a subclass submits the jobs.

    Args:
        folder: folder of the jobs.
        max_num_timeout: how often submitit submits a function again that reached its time limit.
        interval: minimum time between two submissions in seconds.
    """

    defaults: ClassVar[Mapping[str, Any]]
    """Parameters with their defaults."""

    common_parameters: ClassVar[core.EquivalenceDict]
    """Names of the parameters that all executors have, by submitit's names."""

    def __init__(self, folder: Path | str, max_num_timeout: int, interval: float) -> None:
        super().__init__(folder, max_num_timeout=max_num_timeout)
        self._throttling = interval

    @abstractmethod
    def submit_delayed(self, delayed: list[utils.DelayedSubmission]) -> list[core.Job[Any]]:
        """Submit functions, and return their jobs."""

    def convert_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Convert the values of common parameters, after their names were replaced."""
        return parameters

    def check_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Check new parameters; raise ValueError for wrong ones."""

    def throttle(self) -> None:
        """Wait until the next submission is allowed."""
        self._throttle()
        self._last_job_submitted = time.time()

    @classmethod
    def _equivalence_dict(cls) -> core.EquivalenceDict:
        return cls.common_parameters

    @classmethod
    def _valid_parameters(cls) -> set[str]:
        return set(cls.defaults)

    def _convert_parameters(self, params: dict[str, Any]) -> dict[str, Any]:
        return self.convert_parameters(super()._convert_parameters(params))

    def _internal_update_parameters(self, **kwargs: Any) -> None:
        self.check_parameters(kwargs)
        super()._internal_update_parameters(**kwargs)

    def _internal_process_submissions(self, delayed_submissions: list[utils.DelayedSubmission]) -> list[core.Job[Any]]:
        return self.submit_delayed(delayed_submissions)

    def _num_tasks(self) -> int:
        raise NotImplementedError(_NOT_CALLED)

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        raise NotImplementedError(_NOT_CALLED)

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        raise NotImplementedError(_NOT_CALLED)

    @staticmethod
    def _get_job_id_from_submission_command(string: bytes | str) -> str:
        raise NotImplementedError(_NOT_CALLED)


_NOT_CALLED: Final = "jobs are submitted by submit_delayed"


class VariablesEnvironment(job_environment.JobEnvironment):
    """submitit's description of the running job, from environment variables."""

    variables: ClassVar[dict[str, str]] = {}
    """Names of the environment variables, by submitit's names of what they contain."""

    def __init_subclass__(cls) -> None:
        """Pass the names to submitit."""
        cls._env = cls.variables

    @abstractmethod
    def requeue(self) -> None:
        """Requeue the job; submitit calls this when the function is to be resumed."""

    def _requeue(self, countdown: int) -> None:  # noqa: ARG002  submitit's signature
        self.requeue()
