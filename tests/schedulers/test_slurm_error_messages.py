"""Classification of Slurm's error messages: permanent, temporary, queue full, or outcome not known."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.schedulers.slurm.error_messages import ERRORS, ErrorClass, KnownSentence, classify, is_retrying

pytestmark = pytest.mark.unit

FAILED = "sbatch: error: Batch job submission failed: "
POLICY = FAILED + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"

# printed by a real Slurm 22.05.8, or in its texts
PRINTED = [
    (
        "sbatch: error: invalid partition specified: nosuch\n" + FAILED + "Invalid partition name specified",
        ErrorClass.PERMANENT,
    ),
    (FAILED + "Invalid account or account/partition combination specified", ErrorClass.PERMANENT),
    (FAILED + "Invalid qos specification", ErrorClass.PERMANENT),
    (FAILED + "Invalid feature specification", ErrorClass.PERMANENT),
    (FAILED + "More processors requested than permitted", ErrorClass.PERMANENT),
    (FAILED + "Requested node configuration is not available", ErrorClass.PERMANENT),
    (
        "sbatch: error: Memory specification can not be satisfied\n"
        + FAILED
        + "Requested node configuration is not available",
        ErrorClass.PERMANENT,
    ),
    (FAILED + "Requested time limit is invalid (missing or exceeds some limit)", ErrorClass.PERMANENT),
    (FAILED + "Node count specification invalid", ErrorClass.PERMANENT),
    ("sbatch: error: Invalid generic resource (gres) specification", ErrorClass.PERMANENT),
    ("sbatch: error: Invalid --time specification", ErrorClass.PERMANENT),
    (
        "sbatch: unrecognized option '--nosuch'\nTry \"sbatch --help\" for more information",
        ErrorClass.PERMANENT,
    ),
    (
        "sbatch: error: This does not look like a batch script.  The first\n"
        "sbatch: error: line must start with #! followed by the path to an interpreter.\n"
        "sbatch: error: For instance: #!/bin/sh",
        ErrorClass.PERMANENT,
    ),
    ("sbatch: error: Batch script is empty!", ErrorClass.PERMANENT),
    (
        "sbatch: error: Batch script contains DOS line breaks (\\r\\n)\n"
        "sbatch: error: instead of expected UNIX line breaks (\\n).",
        ErrorClass.PERMANENT,
    ),
    ("sbatch: error: Unable to open file job.sh", ErrorClass.TEMPORARY),
    (
        "sbatch: error: invalid partition specified: nosuch\nallocation failure: Invalid partition name specified",
        ErrorClass.PERMANENT,
    ),
    (FAILED + "I/O error writing script/environment to file", ErrorClass.TEMPORARY),
    (FAILED + "Required partition not available (inactive or drain)", ErrorClass.TEMPORARY),
    (FAILED + "User's group not permitted to use this partition", ErrorClass.TEMPORARY),
    (FAILED + "Unspecified error", ErrorClass.TEMPORARY),
    (
        "sbatch: error: No cluster 'nosuch' known by database.\nsbatch: error: 'nosuch' can't be reached now, or it is "
        "an invalid entry for --cluster.  Use 'sacctmgr list clusters' to see available clusters.",
        ErrorClass.TEMPORARY,
    ),
    ("sbatch: error: QOSMaxWallDurationPerJobLimit\n" + POLICY, ErrorClass.PERMANENT),
    ("sbatch: error: QOSMaxCpuPerJobLimit\n" + POLICY, ErrorClass.PERMANENT),
    ("sbatch: error: QOSMaxSubmitJobPerUserLimit\n" + POLICY, ErrorClass.QUEUE_FULL),
    ("sbatch: error: AssocMaxSubmitJobLimit\n" + POLICY, ErrorClass.QUEUE_FULL),
    ("sbatch: error: MaxSubmitJobsPerAccount\n" + POLICY, ErrorClass.QUEUE_FULL),
    ("sbatch: error: MaxCpuPerAccount\n" + POLICY, ErrorClass.TOO_MANY),
    ("sbatch: error: QOSMaxCpuPerUserLimit\n" + POLICY, ErrorClass.TOO_MANY),
    ("sbatch: error: QOSGrpCpuLimit\n" + POLICY, ErrorClass.TOO_MANY),
    (POLICY, ErrorClass.TOO_MANY),
    (FAILED + "Invalid job array specification", ErrorClass.TOO_MANY),
    (FAILED + "Pathname of a file, directory or other parameter too long", ErrorClass.TOO_MANY),
    ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", ErrorClass.QUEUE_FULL),
    (
        "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n"
        + FAILED
        + "Resource temporarily unavailable",
        ErrorClass.QUEUE_FULL,
    ),
    ("sbatch: error: Slurm job queue full, sleeping and retrying", ErrorClass.QUEUE_FULL),
    (FAILED + "Unable to contact slurm controller (connect failure)", ErrorClass.UNREACHABLE),
    (FAILED + "Socket timed out on send/recv operation", ErrorClass.UNREACHABLE),
    (FAILED + "Zero Bytes were transmitted or received", ErrorClass.UNREACHABLE),
    ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", ErrorClass.UNREACHABLE),
    ("slurm_load_partitions: Unable to contact slurm controller (connect failure)", ErrorClass.UNREACHABLE),
    (
        "scancel: error: Kill job error on job id 13_4: Unable to contact slurm controller (connect failure)",
        ErrorClass.UNREACHABLE,
    ),
    ("scancel: error: Kill job error on job id 16: Access/permission denied", ErrorClass.TEMPORARY),
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

# text of a site's plugin, and of no known version of Slurm
SITE_TEXTS = [
    (
        "sbatch: error: MySite: your authentication token could not be resolved\n"
        "sbatch: error: connection to the socket timed out; to resolve this, see https://site/\n"
        + FAILED
        + "Unspecified error",
        ErrorClass.TEMPORARY,
    ),
    (
        "sbatch: error: MySite: the queue is full: MaxSubmitJobs\n" + FAILED + "Invalid qos specification",
        ErrorClass.PERMANENT,
    ),
    ("sbatch: error: MySite: no such thing\n" + FAILED + "Requested reservation is invalid", ErrorClass.PERMANENT),
    (
        "sbatch: error: MySite: QOSMaxSubmitJobPerUserLimit is 3 here, unable to contact anybody\n"
        + FAILED
        + "Access/permission denied",
        ErrorClass.TEMPORARY,
    ),
    ("sbatch: error: to resolve this, renew your authentication token", ErrorClass.TEMPORARY),
    # only a limit's own sentence explains a violated policy, and only one prefix of a program is removed
    ("sbatch: error: Unable to open file notes.txt\n" + POLICY, ErrorClass.TOO_MANY),
    ("sbatch: error: scancel: error: Batch script is empty!", ErrorClass.TEMPORARY),
    ("sbatch: error: Munge, socket and connection refused are everyday words", ErrorClass.TEMPORARY),
    (FAILED + "A sentence of a Slurm to come", ErrorClass.TEMPORARY),
    ("Traceback (most recent call last):\nOSError: [Errno 5] Input/output error", ErrorClass.TEMPORARY),
    ("", ErrorClass.TEMPORARY),
]


@pytest.mark.parametrize(("message", "error_class"), [*PRINTED, *SITE_TEXTS])
def test_class_of_a_message(message: str, error_class: ErrorClass) -> None:
    assert classify(message) is error_class


@pytest.mark.parametrize("row", ERRORS, ids=lambda row: row.sentence[:40])
def test_each_row_of_the_table_classifies_its_sentence(row: KnownSentence) -> None:
    sentence = row.sentence.replace("*", "x")
    assert row.source
    assert classify(f"sbatch: error: {sentence}") is row.error_class
    assert classify(FAILED + sentence) is row.error_class
    if row.error_class is not ErrorClass.TEMPORARY:  # within a site's text it has no meaning
        assert classify(f"sbatch: error: MySite says: {sentence}") is ErrorClass.TEMPORARY


def test_no_sentence_is_in_the_table_twice() -> None:
    assert len({row.sentence for row in ERRORS}) == len(ERRORS) > 150


@pytest.mark.parametrize(
    ("line", "retries"),
    [
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n", True),
        ("sbatch: error: Slurm job queue full, sleeping and retrying\n", True),
        ("sbatch: error: MySite: go on sleeping and retrying\n", False),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit\n", False),
        (POLICY, False),
    ],
)
def test_lines_by_which_sbatch_states_that_it_retries(line: str, retries: bool) -> None:
    assert is_retrying(line) is retries


@settings(deadline=None)
@given(st.text())
def test_any_text_has_a_class(text: str) -> None:
    assert isinstance(classify(text), ErrorClass)
    assert isinstance(is_retrying(text), bool)


@pytest.mark.parametrize(
    "message",
    [
        "sbatch: Fehler: Ungültige Partition angegeben",
        FAILED + "Connexion refusée",
        "sbatch: エラー: 接続が時間切れになりました",
    ],
)
def test_a_refusal_in_another_language_is_one_for_now(message: str) -> None:
    assert classify(message) is ErrorClass.TEMPORARY
