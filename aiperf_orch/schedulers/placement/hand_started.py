"""Scheduler of campaigns whose agents are started by hand: it has no queue, and submits nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from aiperf_orch.schedulers.base import CancelResult, JobEnd, JobRequest, JobStatus, Scheduler, SubmitResult

_ADVICE = "scheduler.kind: agents submits nothing: run `aiperf-orch agent CAMPAIGN_DIR` on each node"


class HandStartedAgents(Scheduler):
    """Submits nothing, and says what to start instead."""

    nonblocking = True

    def check(self, concurrency: int) -> list[str]:  # noqa: ARG002  as of its interface
        """Check nothing: the nodes are not known before their agents are started."""
        return []

    def render(self, request: JobRequest) -> str:
        """Return the command that starts an agent on a node."""
        return f"# {_ADVICE}\naiperf-orch agent {request.campaign}\n"

    def submit(self, requests: Sequence[JobRequest]) -> SubmitResult:
        """Refuse all jobs."""
        return SubmitResult(refused={request.name: _ADVICE for request in requests})

    def release_resources(self, names: Collection[str]) -> None:
        """Do nothing: there are no jobs."""

    def query(self, names: Collection[str]) -> Mapping[str, JobStatus]:  # noqa: ARG002  as of its interface
        """Return no job."""
        return {}

    def query_unlisted(self, jobs: Mapping[str, str]) -> Mapping[str, JobStatus | JobEnd]:  # noqa: ARG002
        """Return no job."""
        return {}

    def cancel(self, jobs: Mapping[str, str | None], *, force: bool) -> CancelResult:  # noqa: ARG002
        """Do nothing: there are no jobs."""
        return CancelResult()
