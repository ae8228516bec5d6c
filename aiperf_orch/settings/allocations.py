"""Model of the part `allocations` of a batch system's settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aiperf_orch.settings.base import Count, Duration, Settings


class AllocationSettings(Settings):
    """Few batch jobs that hold all trials: what one of them requests, and how many there may be."""

    nodes: Annotated[int, Field(ge=1, le=100_000)] = Field(
        description="nodes of one allocation, at least those of one trial"
    )
    time_limit: Duration = Field(
        description="time limit of one allocation, above warn_before; trials continue in the next one"
    )
    at_once: Annotated[int, Field(ge=1, le=1000)] = Field(1, description="allocations that may run at once")
    total: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None, description="allocations in all; by default as many as the campaign's duration takes"
    )
    cpus_per_node: Count | None = Field(
        None,
        description="cores of each node of an allocation; with gpus_per_node they determine how many trials a node "
        "holds; by default those of one trial",
    )
    gpus_per_node: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="GPUs of each node of an allocation; by default those of one trial"
    )
    lookahead: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        None,
        description="trials that wait on each node beyond those that run; by default a quarter of its "
        "slots, at least 1",
    )
    wait_for_controller: Duration = Field(
        900.0, description="time without a sign of the controller after which an idle agent ends"
    )
    lost_after: Duration = Field(
        180.0, description="time without a sign of life after which an agent, and its trials, are lost"
    )


def slots_of_node(trial: int | None, node: int | None, key: str, what: str) -> int | None:
    """Slots that a resource of a node allows; None where it does not limit them.

    Args:
        trial: amount that one trial wants.
        node: amount that a node of an allocation has; None is that of one trial.
        key: the setting of the amount of a node.
        what: the resource, for the message of a refusal.

    Raises:
        ValueError: if the node has less than one trial wants.
    """
    if trial is None or node is None:
        return None
    if node < trial:
        raise ValueError(
            f"allocations.{key}: a node of an allocation has {node} {what}, and a trial wants {trial}; "
            f"for example {key}: {trial}"
        )
    return node // trial
