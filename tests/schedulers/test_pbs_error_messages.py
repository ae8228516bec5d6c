"""What an error of qsub or qdel means: every error that a real server gave, and what passes."""

import re
from pathlib import Path

import pytest

from aiperf_orch.schedulers.command import CommandResult
from aiperf_orch.schedulers.pbs.error_messages import TABLE, Meaning, complaint_of, meaning_of
from aiperf_orch.util.errors import QueueFullError, SchedulerUnreachableError, SubmitPostponedError, SubmitRefusedError

CAPTURES = Path(__file__).parents[1] / "cluster" / "captures"
GOOD, PASSING, FULL = Meaning.FOR_GOOD, Meaning.PASSING, Meaning.FULL
AWAY, GONE = Meaning.UNREACHABLE, Meaning.GONE


@pytest.mark.parametrize(
    ("status", "text", "meaning"),
    [
        (162, "Connection refused\nqsub: cannot connect to server vm (errno=15010)", AWAY),
        (160, "Unknown Host.\nqsub: cannot connect to server vm (errno=15008)", AWAY),
        (255, "pbsconf error: pbs conf variables not found: PBS_HOME PBS_EXEC PBS_SERVER", AWAY),
        (185, "qsub: No free connections", AWAY),
        (212, "qsub: Request not allowed: Server shutting down", AWAY),
        (-9, "", AWAY),
        (137, "Killed", AWAY),
        (143, "Terminated", AWAY),
        (38, "qsub: would exceed complex's per-user limit", FULL),
        (38, "qsub: would exceed queue generic's per-user limit", FULL),
        (39, "qsub: would exceed limit on resource ncpus in queue workq", FULL),
        (198, "qsub: Maximum number of jobs already in queue", FULL),
        (170, "qsub: Unknown queue", GOOD),
        (187, "qsub: Unknown resource: nosuch", GOOD),
        (187, "qsub: Unknown resource Resource_List.nosuch", GOOD),
        (166, "qsub: Illegal attribute or resource value select.mem", GOOD),
        (188, "qsub: Job violates queue and/or server resource limits", GOOD),
        (154, "qsub: Bad UID for job execution", GOOD),
        (2, "qsub: illegal -N value\nusage: qsub [-a date_time]", GOOD),
        (2, "qsub: Job name is too long ", GOOD),
        (1, "qsub: directive error: -l walltime=10 # comment ", GOOD),
        (1, "qsub: script contains cr, lf", GOOD),
        (5, 'qsub: "-lresource=" cannot be used with "select" or "place", resource is: mem', GOOD),
        (6, "qsub: Cannot be used with select or place: nodes", GOOD),
        (173, "qsub: Queue is not enabled", PASSING),
        (159, "qsub: Unauthorized Request ", PASSING),
        (160, "qsub: Access from host not allowed, or unknown host", PASSING),
        (175, "qsub: Bad UID for job execution", PASSING),
        (197, "qsub: Bad GID for job execution", PASSING),
        (1, "qsub: script file:: No such file or directory", PASSING),
        (32, "qsub: Please give a project with -A\nsecond line of the message", PASSING),
        (32, "qsub: Unknown queue", PASSING),
        (32, "qsub: would exceed complex's per-user limit, says our hook", PASSING),
        (32, "qsub: cannot connect to server of accounts, connection timed out", PASSING),
        (1, "site wrapper: your request timed out: ask later", PASSING),
        (99, "qsub: something that a later release says", PASSING),
        (13, "a wrapper's own status", PASSING),
        (153, "qsub: Unknown Job Id 99999.vm", GONE),
        (35, "qsub: Job has finished 34.vm", GONE),
        (206, "qsub: Invalid Job Dependency", GONE),
    ],
)
def test_what_a_failed_qsub_means(status, text, meaning):
    assert meaning_of("qsub", CommandResult(status, "", text)) is meaning


@pytest.mark.parametrize(
    ("status", "text", "meaning"),
    [
        (153, "qdel: Unknown Job Id 99999.vm", GONE),
        (35, "qdel: Job has finished 34.vm", GONE),
        (55, "qdel: Request invalid for finished array subjob 3000[0].vm", GONE),
        (168, "qdel: Request invalid for state of job 171.vm", GONE),
        (237, "qdel: Delete already in progress 171.vm", GONE),
        (162, "Connection refused\nCouldn't connect to cluster: vm", AWAY),
        (222, "qdel: Server could not connect to MOM 3033.vm", PASSING),
        (159, "qdel: Unauthorized Request  171.vm", GOOD),
        (1, "qdel: illegally formed job identifier: garbage", GOOD),
        (1, "pbsconf error: pbs conf variables not found: PBS_HOME\nqdel: illegally formed job identifier: 1.vm", AWAY),
    ],
)
def test_what_a_failed_qdel_means(status, text, meaning):
    assert meaning_of("qdel", CommandResult(status, "", text)) is meaning


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (162, "Connection refused\nqsub: cannot connect to server vm (errno=15010)", SchedulerUnreachableError),
        (38, "qsub: would exceed complex's per-user limit", QueueFullError),
        (170, "qsub: Unknown queue", SubmitRefusedError),
        (173, "qsub: Queue is not enabled", SubmitPostponedError),
        (32, "qsub: Please give a project with -A\nsecond line of the message", SubmitPostponedError),
        (153, "qsub: Unknown Job Id 99999.vm", SubmitPostponedError),
        (99, "", SubmitPostponedError),
    ],
)
def test_each_meaning_has_an_error_that_says_all_that_pbs_said(status, text, error):
    complaint = complaint_of("qsub", CommandResult(status, "", text))
    assert type(complaint) is error
    assert (" ".join(text.split("\n")) or "exit status 99") in str(complaint)


def test_every_captured_error_of_the_request_itself_is_known_for_good():
    found = {}
    for path in CAPTURES.glob("*.txt"):
        pattern = r"^\$ (qsub|qdel)\b.*?^--- stderr\n(.*?)^--- exit (\d+)"
        for block in re.split(r"^(?=\$ )", path.read_text(), flags=re.MULTILINE):
            for program, text, status in re.findall(pattern, block, re.DOTALL | re.MULTILINE):
                found[program, int(status), text] = meaning_of(program, CommandResult(int(status), "", text))
    assert len(found) > 30
    passing = {(program, status) for (program, status, _), meaning in found.items() if meaning is PASSING}
    assert passing <= {("qsub", 1), ("qsub", 159), ("qsub", 173), ("qsub", 175), ("qsub", 197), ("qdel", 222)}
    unknown = {text for (_, status, text), meaning in found.items() if meaning is PASSING and status == 1}
    assert unknown <= {"qsub: script file:: No such file or directory\n", "qsub: script not a file\n"}


def test_every_row_says_where_it_was_seen_and_no_row_hides_another():
    assert all(row.seen for row in TABLE)
    keys = [(row.program, row.status, row.message) for row in TABLE]
    assert len(set(keys)) == len(keys)
    for place, row in enumerate(TABLE):
        if row.status is not None:
            wider = [each for each in TABLE[:place] if (each.program, each.status) == (row.program, row.status)]
            assert all(each.message for each in wider), row
