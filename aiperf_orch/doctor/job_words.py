"""Names of what the jobs of a campaign are, trials or allocations, in the findings of `check`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class JobWords:
    """How findings name the jobs of a campaign and the settings that request them.

    Attributes:
        job: one job, with its article.
        jobs: several jobs.
        count: setting of the number of jobs that run at the same time.
        lookahead: setting of the number of further jobs that wait in the queue.
        time_limit: setting of a job's time limit.
        longer: what happens to a trial that needs more time.
        keys: resource, by the name of Slurm or PBS -> setting that determines how much of it a job requests.
    """

    job: str
    jobs: str
    count: str
    lookahead: str
    time_limit: str
    longer: str
    keys: Mapping[str, str]

    @property
    def settings_of_jobs(self) -> str:
        """The settings that determine how many jobs are in the queue."""
        return self.count if self.count == self.lookahead else f"{self.count} or {self.lookahead}"


_CLUSTER: Final = {"mem": "scheduler.memory"}
TRIAL: Final = JobWords(
    job="a trial",
    jobs="trials",
    count="campaign.concurrency",
    lookahead="scheduler.lookahead",
    time_limit="scheduler.time_limit",
    longer="a trial that needs more time continues in another job",
    keys=_CLUSTER
    | {"cpu": "scheduler.cpus_per_task", "node": "scheduler.nodes", "gres/gpu": "scheduler.gpus_per_node"}
    | {"ncpus": "scheduler.cpus", "nodect": "scheduler.nodes", "ngpus": "scheduler.gpus"},
)
"""Each trial is a job."""
ALLOCATION: Final = JobWords(
    job="an allocation",
    jobs="allocations",
    count="scheduler.allocations.at_once",
    lookahead="scheduler.allocations.at_once",
    time_limit="scheduler.allocations.time_limit",
    longer="trials continue in the next allocation",
    keys=_CLUSTER
    | dict.fromkeys(("cpu", "ncpus"), "scheduler.allocations.cpus_per_node")
    | dict.fromkeys(("node", "nodect"), "scheduler.allocations.nodes")
    | dict.fromkeys(("gres/gpu", "ngpus"), "scheduler.allocations.gpus_per_node"),
)
"""Each allocation is a job."""
