"""What follows from what Slurm's commands say when they fail: for good, passing, full, or not known."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.schedulers.slurm.error_messages import ERRORS, ErrorClass, Row, classify, is_waiting

FAILED = "sbatch: error: Batch job submission failed: "
POLICY = FAILED + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"

# word by word what a real Slurm 22.05.8 printed, or has in its texts
SEEN = [
    (
        "sbatch: error: invalid partition specified: nosuch\n" + FAILED + "Invalid partition name specified",
        ErrorClass.FOR_GOOD,
    ),
    (FAILED + "Invalid account or account/partition combination specified", ErrorClass.FOR_GOOD),
    (FAILED + "Invalid qos specification", ErrorClass.FOR_GOOD),
    (FAILED + "Invalid feature specification", ErrorClass.FOR_GOOD),
    (FAILED + "More processors requested than permitted", ErrorClass.FOR_GOOD),
    (FAILED + "Requested node configuration is not available", ErrorClass.FOR_GOOD),
    (
        "sbatch: error: Memory specification can not be satisfied\n"
        + FAILED
        + "Requested node configuration is not available",
        ErrorClass.FOR_GOOD,
    ),
    (FAILED + "Requested time limit is invalid (missing or exceeds some limit)", ErrorClass.FOR_GOOD),
    (FAILED + "Node count specification invalid", ErrorClass.FOR_GOOD),
    ("sbatch: error: Invalid generic resource (gres) specification", ErrorClass.FOR_GOOD),
    ("sbatch: error: Invalid --time specification", ErrorClass.FOR_GOOD),
    (
        "sbatch: unrecognized option '--nosuch'\nTry \"sbatch --help\" for more information",
        ErrorClass.FOR_GOOD,
    ),
    (
        "sbatch: error: This does not look like a batch script.  The first\n"
        "sbatch: error: line must start with #! followed by the path to an interpreter.\n"
        "sbatch: error: For instance: #!/bin/sh",
        ErrorClass.FOR_GOOD,
    ),
    ("sbatch: error: Batch script is empty!", ErrorClass.FOR_GOOD),
    (
        "sbatch: error: Batch script contains DOS line breaks (\\r\\n)\n"
        "sbatch: error: instead of expected UNIX line breaks (\\n).",
        ErrorClass.FOR_GOOD,
    ),
    ("sbatch: error: Unable to open file job.sh", ErrorClass.PASSING),
    (
        "sbatch: error: invalid partition specified: nosuch\nallocation failure: Invalid partition name specified",
        ErrorClass.FOR_GOOD,
    ),
    (FAILED + "I/O error writing script/environment to file", ErrorClass.PASSING),
    (FAILED + "Required partition not available (inactive or drain)", ErrorClass.PASSING),
    (FAILED + "User's group not permitted to use this partition", ErrorClass.PASSING),
    (FAILED + "Unspecified error", ErrorClass.PASSING),
    (
        "sbatch: error: No cluster 'nosuch' known by database.\nsbatch: error: 'nosuch' can't be reached now, or it is "
        "an invalid entry for --cluster.  Use 'sacctmgr list clusters' to see available clusters.",
        ErrorClass.PASSING,
    ),
    ("sbatch: error: QOSMaxWallDurationPerJobLimit\n" + POLICY, ErrorClass.FOR_GOOD),
    ("sbatch: error: QOSMaxCpuPerJobLimit\n" + POLICY, ErrorClass.FOR_GOOD),
    ("sbatch: error: QOSMaxSubmitJobPerUserLimit\n" + POLICY, ErrorClass.FULL),
    ("sbatch: error: AssocMaxSubmitJobLimit\n" + POLICY, ErrorClass.FULL),
    ("sbatch: error: MaxSubmitJobsPerAccount\n" + POLICY, ErrorClass.FULL),
    ("sbatch: error: MaxCpuPerAccount\n" + POLICY, ErrorClass.FEWER),
    ("sbatch: error: QOSMaxCpuPerUserLimit\n" + POLICY, ErrorClass.FEWER),
    ("sbatch: error: QOSGrpCpuLimit\n" + POLICY, ErrorClass.FEWER),
    (POLICY, ErrorClass.FEWER),
    (FAILED + "Invalid job array specification", ErrorClass.FEWER),
    (FAILED + "Pathname of a file, directory or other parameter too long", ErrorClass.FEWER),
    ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", ErrorClass.FULL),
    (
        "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n"
        + FAILED
        + "Resource temporarily unavailable",
        ErrorClass.FULL,
    ),
    ("sbatch: error: Slurm job queue full, sleeping and retrying", ErrorClass.FULL),
    (FAILED + "Unable to contact slurm controller (connect failure)", ErrorClass.UNREACHABLE),
    (FAILED + "Socket timed out on send/recv operation", ErrorClass.UNREACHABLE),
    (FAILED + "Zero Bytes were transmitted or received", ErrorClass.UNREACHABLE),
    ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", ErrorClass.UNREACHABLE),
    ("slurm_load_partitions: Unable to contact slurm controller (connect failure)", ErrorClass.UNREACHABLE),
    (
        "scancel: error: Kill job error on job id 13_4: Unable to contact slurm controller (connect failure)",
        ErrorClass.UNREACHABLE,
    ),
    ("scancel: error: Kill job error on job id 16: Access/permission denied", ErrorClass.PASSING),
    (
        "sbatch: error: If munged is up, restart with --num-threads=10\n"
        'sbatch: error: Munge encode failed: Failed to access "/run/munge/munge.socket.2": No such file or directory\n'
        "sbatch: error: authentication: Invalid authentication credential",
        ErrorClass.UNREACHABLE,
    ),
    (
        "sbatch: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host\n"
        "sbatch: error: fetch_config: DNS SRV lookup failed\n"
        "sbatch: error: _establish_config_source: failed to fetch config\n"
        "sbatch: fatal: Could not establish a configuration source",
        ErrorClass.UNREACHABLE,
    ),
]

# what a site's plugin adds, and what no version of Slurm is known to say
PROSE = [
    (
        "sbatch: error: MySite: your authentication token could not be resolved\n"
        "sbatch: error: connection to the socket timed out; to resolve this, see https://site/\n"
        + FAILED
        + "Unspecified error",
        ErrorClass.PASSING,
    ),
    (
        "sbatch: error: MySite: the queue is full: MaxSubmitJobs\n" + FAILED + "Invalid qos specification",
        ErrorClass.FOR_GOOD,
    ),
    ("sbatch: error: MySite: no such thing\n" + FAILED + "Requested reservation is invalid", ErrorClass.FOR_GOOD),
    (
        "sbatch: error: MySite: QOSMaxSubmitJobPerUserLimit is 3 here, unable to contact anybody\n"
        + FAILED
        + "Access/permission denied",
        ErrorClass.PASSING,
    ),
    ("sbatch: error: to resolve this, renew your authentication token", ErrorClass.PASSING),
    ("sbatch: error: Munge, socket and connection refused are everyday words", ErrorClass.PASSING),
    (FAILED + "A sentence of a Slurm to come", ErrorClass.PASSING),
    ("Traceback (most recent call last):\nOSError: [Errno 5] Input/output error", ErrorClass.PASSING),
    ("", ErrorClass.PASSING),
]


@pytest.mark.parametrize(("said", "complaint"), [*SEEN, *PROSE])
def test_what_a_command_said(said: str, complaint: ErrorClass) -> None:
    assert classify(said) is complaint


@pytest.mark.parametrize("row", ERRORS, ids=lambda row: row.sentence[:40])
def test_each_sentence_of_the_table_means_what_its_row_says(row: Row) -> None:
    sentence = row.sentence.replace("*", "x")
    assert row.seen
    assert classify(f"sbatch: error: {sentence}") is row.complaint
    assert classify(FAILED + sentence) is row.complaint
    if row.complaint is not ErrorClass.PASSING:  # in a site's prose it means nothing
        assert classify(f"sbatch: error: MySite says: {sentence}") is ErrorClass.PASSING


def test_no_sentence_stands_twice_in_the_table() -> None:
    assert len({row.sentence for row in ERRORS}) == len(ERRORS) > 150


def test_sbatch_is_not_waited_for_when_it_says_that_it_will_try_again() -> None:
    assert is_waiting("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n")
    assert is_waiting("sbatch: error: Slurm job queue full, sleeping and retrying\n")
    assert not is_waiting("sbatch: error: MySite: go on sleeping and retrying\n")
    assert not is_waiting(POLICY)


@settings(deadline=None)
@given(st.text())
def test_no_text_is_too_odd(text: str) -> None:
    assert isinstance(classify(text), ErrorClass)
    assert isinstance(is_waiting(text), bool)
