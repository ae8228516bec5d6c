"""What Slurm's reasons of pending jobs mean."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.schedulers.slurm.pending_reasons import STUCK, in_words


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Resources", "Resources: waits for nodes to become free"),
        ("(Resources)", "Resources: waits for nodes to become free"),
        (" Priority ", "Priority: jobs of higher priority are before it"),
        (
            "QOSMaxSubmitJobPerUserLimit",
            "QOSMaxSubmitJobPerUserLimit: you have as many jobs in the queue as the QOS allows a user",
        ),
        (
            "PartitionTimeLimit",
            "PartitionTimeLimit: its time limit is above the partition's: lower scheduler.time_limit",
        ),
    ],
)
def test_known_reasons(reason: str, words: str) -> None:
    assert in_words(reason) == words


@pytest.mark.parametrize(
    ("reason", "meaning"),
    [
        ("AssocMaxSubmitJobLimit", "the limit of jobs in the queue is reached"),
        ("QOSGrpSubmitJobsLimit", "the limit of jobs in the queue is reached"),
        ("AssocGrpJobsLimit", "the limit of jobs that run is reached"),
        ("AssocMaxJobsLimit", "the limit of jobs that run is reached"),
        ("AssocGrpCpuLimit", "the limit of resources is reached"),
        ("QOSMaxGRESPerUser", "the limit of resources is reached"),
        ("QOSMaxWallDurationPerJobLimit", "the limit of time is reached, or its time limit is above it"),
        ("QOSMinGRES", "it asks for less than it must"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-4]", "nodes that it needs are down, drained or reserved"),
        (
            "Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved_for_jobs_in_higher_priority_partitions",
            "nodes that it needs are down, drained or reserved",
        ),
    ],
)
def test_reasons_of_a_family(reason: str, meaning: str) -> None:
    assert in_words(reason) == f"{reason}: {meaning}"


def test_an_unknown_reason_is_given_as_it_is() -> None:
    assert in_words("SomethingOfALaterSlurm") == "SomethingOfALaterSlurm"
    assert in_words("") == ""


@pytest.mark.parametrize("reason", sorted(STUCK))
def test_reasons_that_never_pass_are_explained(reason: str) -> None:
    assert in_words(reason) != reason


@settings(deadline=None)
@given(st.text())
def test_no_text_is_too_odd(text: str) -> None:
    assert isinstance(in_words(text), str)
