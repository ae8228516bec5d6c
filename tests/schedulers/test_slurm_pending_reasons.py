"""Meaning of Slurm's reasons of pending jobs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.schedulers.slurm.pending_reasons import STUCK, describe_pending, describe_reason

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("reason", "description"),
    [
        ("Resources", "Resources: waits for nodes to become free"),
        ("(Resources)", "Resources: waits for nodes to become free"),
        (" Priority ", "Priority: jobs of higher priority come first"),
        (
            "QOSMaxSubmitJobPerUserLimit",
            "QOSMaxSubmitJobPerUserLimit: you have as many jobs in the queue as the QOS allows a user",
        ),
        (
            "PartitionTimeLimit",
            "PartitionTimeLimit: its time limit is above the partition's: lower time_limit in the site file",
        ),
    ],
)
def test_known_reasons(reason: str, description: str) -> None:
    assert describe_reason(reason) == description


@pytest.mark.parametrize(
    ("reason", "meaning"),
    [
        ("AssocMaxSubmitJobLimit", "the limit on jobs in the queue is reached"),
        ("QOSGrpSubmitJobsLimit", "the limit on jobs in the queue is reached"),
        ("AssocGrpJobsLimit", "the limit on running jobs is reached"),
        ("AssocMaxJobsLimit", "the limit on running jobs is reached"),
        ("AssocGrpCpuLimit", "the limit on resources is reached"),
        ("QOSMaxGRESPerUser", "the limit on resources is reached"),
        ("QOSMaxWallDurationPerJobLimit", "the limit on time is reached, or its time limit exceeds it"),
        ("QOSMinGRES", "it requests less than the minimum"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-4]", "nodes that it needs are down, drained or reserved"),
        (
            "Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved_for_jobs_in_higher_priority_partitions",
            "nodes that it needs are down, drained or reserved",
        ),
    ],
)
def test_reasons_that_match_a_pattern(reason: str, meaning: str) -> None:
    assert describe_reason(reason) == f"{reason}: {meaning}"


def test_an_unknown_reason_is_returned_unchanged() -> None:
    assert describe_reason("SomethingOfALaterSlurm") == "SomethingOfALaterSlurm"
    assert describe_reason("") == ""


@pytest.mark.parametrize("reason", sorted(STUCK))
def test_reasons_of_stuck_jobs_are_explained(reason: str) -> None:
    assert describe_reason(reason) != reason


@settings(deadline=None)
@given(st.text())
def test_any_text_is_accepted(text: str) -> None:
    assert isinstance(describe_reason(text), str)


@pytest.mark.parametrize(
    ("state", "reason", "description"),
    [
        ("PENDING", "Priority", "Priority: jobs of higher priority come first"),
        ("PENDING", "None", "None: not considered by the scheduler yet"),
        ("CONFIGURING", "None", "CONFIGURING: its nodes are being started"),
    ],
)
def test_a_job_with_nodes_waits_for_their_start(state: str, reason: str, description: str) -> None:
    assert describe_pending(state, reason) == description
