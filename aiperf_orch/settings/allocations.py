"""Model of the part `allocations` of a batch system's settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aiperf_orch.settings.base import Count, Duration, Settings


class AllocationSettings(Settings):
    """Few batch jobs that hold all trials: what one of them requests, and how many there may be."""

    nodes: Annotated[int, Field(ge=1, le=100_000)] = Field(description="nodes of one allocation")
    time_limit: Duration = Field(description="time limit of one allocation; trials continue in the next one")
    at_once: Annotated[int, Field(ge=1, le=1000)] = Field(1, description="allocations that may run at once")
    total: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None, description="allocations in all; by default as many as the campaign's duration takes"
    )
    cpus_per_node: Count | None = Field(
        None, description="cores of each node of an allocation; by default those of the trials that it holds"
    )
    gpus_per_node: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="GPUs of each node of an allocation; by default those of the trials that it holds"
    )
    lookahead: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        None, description="trials that wait on each node beyond those that run; by default a quarter of its slots"
    )
    wait_for_controller: Duration = Field(
        900.0, description="time without a sign of the controller after which an idle agent ends"
    )
    lost_after: Duration = Field(
        180.0, description="time without a sign of life after which an agent, and its trials, are lost"
    )
