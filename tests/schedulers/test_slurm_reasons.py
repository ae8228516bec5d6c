"""What Slurm's words mean: why a job waits, and what follows from an error of sbatch."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.schedulers.slurm.reasons import STUCK, Complaint, classify, in_words


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


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (
            "sbatch: error: invalid partition specified: nosuch sbatch: error: Batch job submission failed: "
            "Invalid partition name specified",
            Complaint.REFUSED,
        ),
        (
            "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
            Complaint.REFUSED,
        ),
        ("sbatch: error: Batch job submission failed: Invalid qos specification", Complaint.REFUSED),
        (
            "sbatch: error: Batch job submission failed: Requested node configuration is not available",
            Complaint.REFUSED,
        ),
        ("sbatch: error: Batch job submission failed: Job violates accounting/QOS policy", Complaint.REFUSED),
        (
            "sbatch: error: AssocMaxSubmitJobLimit sbatch: error: Batch job submission failed: Job violates "
            "accounting/QOS policy (job submit limit, user's size and/or time limits)",
            Complaint.FULL,
        ),
        (
            "sbatch: error: QOSMaxSubmitJobPerUserLimit sbatch: error: Batch job submission failed: Job violates "
            "accounting/QOS policy (job submit limit, user's size and/or time limits)",
            Complaint.FULL,
        ),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", Complaint.FULL),
        (
            "sbatch: error: Batch job submission failed: Resource temporarily unavailable",
            Complaint.FULL,
        ),
        (
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
            Complaint.UNREACHABLE,
        ),
        (
            "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
            Complaint.UNREACHABLE,
        ),
        ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", Complaint.UNREACHABLE),
        (
            "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received",
            Complaint.UNREACHABLE,
        ),
        (
            "sbatch: error: If munged is up, restart with --num-threads=10 sbatch: error: Munge encode failed: Failed "
            "to access socket sbatch: error: authentication: Socket communication error",
            Complaint.UNREACHABLE,
        ),
    ],
)
def test_what_sbatch_said(message: str, complaint: Complaint) -> None:
    assert classify(message) is complaint


@settings(deadline=None)
@given(st.text())
def test_no_text_is_too_odd(text: str) -> None:
    assert isinstance(in_words(text), str)
    assert isinstance(classify(text), Complaint)
