"""Classification of the errors of qsub and qdel, including every error of the recorded sessions."""

import re
from pathlib import Path

import pytest

from aiperf_orch.schedulers.command import CommandResult
from aiperf_orch.schedulers.pbs.error_messages import TABLE, PbsErrorClass, classify, make_error
from aiperf_orch.util.errors import QueueFullError, SchedulerUnreachableError, SubmitPostponedError, SubmitRefusedError

CAPTURES = Path(__file__).parents[1] / "cluster" / "captures"
PERMANENT, TEMPORARY, FULL = PbsErrorClass.PERMANENT, PbsErrorClass.TEMPORARY, PbsErrorClass.QUEUE_FULL
UNREACHABLE, GONE = PbsErrorClass.UNREACHABLE, PbsErrorClass.JOB_GONE

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("status", "text", "error_class"),
    [
        (162, "Connection refused\nqsub: cannot connect to server vm (errno=15010)", UNREACHABLE),
        (160, "Unknown Host.\nqsub: cannot connect to server vm (errno=15008)", UNREACHABLE),
        (255, "pbsconf error: pbs conf variables not found: PBS_HOME PBS_EXEC PBS_SERVER", UNREACHABLE),
        (185, "qsub: No free connections", UNREACHABLE),
        (212, "qsub: Request not allowed: Server shutting down", UNREACHABLE),
        (13, "qsub: Server connection table full", UNREACHABLE),
        (57, "qsub: Failed to save job/resv", UNREACHABLE),
        (104, "qsub: Try again later", UNREACHABLE),
        (158, "qsub: Too many submit retries", UNREACHABLE),
        (162, "qsub: System error", UNREACHABLE),
        (163, "qsub: PBS server internal error", UNREACHABLE),
        (183, "qsub: Batch protocol error", UNREACHABLE),
        (186, "qsub: No server specified", UNREACHABLE),
        (208, "qsub: Disallowed batch protocol", UNREACHABLE),
        (255, "No such file or directory\nqsub: cannot connect to server (errno=15034)", UNREACHABLE),
        (196, "qsub: Resource temporarily unavailable", FULL),
        (3, "qsub: Array job exceeds server or queue size limit", PERMANENT),
        (4, 'qsub: Resource invalid in "select" specification: x', PERMANENT),
        (1, "qsub: invalid option -- 'Q'", PERMANENT),
        (2, "qsub: invalid option -- 'Z'", PERMANENT),
        (1, "qsub: cannot send environment with the job", PERMANENT),
        (1, "qsub: standard input and output must be a terminal for interactive job submission", PERMANENT),
        (2, "qsub: cannot submit non-rerunable Array Job", PERMANENT),
        (2, "usage: qsub [-a date_time]", PERMANENT),
        (174, "qsub: Access to queue is denied", TEMPORARY),
        (191, "qsub: Job rejected by all possible destinations", TEMPORARY),
        (-9, "", UNREACHABLE),
        (137, "Killed", UNREACHABLE),
        (143, "Terminated", UNREACHABLE),
        (38, "qsub: would exceed complex's per-user limit", FULL),
        (38, "qsub: would exceed queue generic's per-user limit", FULL),
        (39, "qsub: would exceed limit on resource ncpus in queue workq", FULL),
        (198, "qsub: Maximum number of jobs already in queue", FULL),
        (170, "qsub: Unknown queue", PERMANENT),
        (187, "qsub: Unknown resource: nosuch", PERMANENT),
        (187, "qsub: Unknown resource Resource_List.nosuch", PERMANENT),
        (166, "qsub: Illegal attribute or resource value select.mem", PERMANENT),
        (188, "qsub: Job violates queue and/or server resource limits", PERMANENT),
        (154, "qsub: Bad UID for job execution", PERMANENT),
        (2, "qsub: illegal -N value\nusage: qsub [-a date_time]", PERMANENT),
        (2, "qsub: Job name is too long ", PERMANENT),
        (1, "qsub: directive error: -l walltime=10 # comment ", PERMANENT),
        (1, "qsub: script contains cr, lf", PERMANENT),
        (5, 'qsub: "-lresource=" cannot be used with "select" or "place", resource is: mem', PERMANENT),
        (6, "qsub: Cannot be used with select or place: nodes", PERMANENT),
        (173, "qsub: Queue is not enabled", TEMPORARY),
        (159, "qsub: Unauthorized Request ", TEMPORARY),
        (160, "qsub: Access from host not allowed, or unknown host", TEMPORARY),
        (175, "qsub: Bad UID for job execution", TEMPORARY),
        (197, "qsub: Bad GID for job execution", TEMPORARY),
        (1, "qsub: script file:: No such file or directory", TEMPORARY),
        (32, "qsub: Please give a project with -A\nsecond line of the message", TEMPORARY),
        (32, "qsub: Unknown queue", TEMPORARY),
        (32, "qsub: would exceed complex's per-user limit, says our hook", TEMPORARY),
        (32, "qsub: cannot connect to server of accounts, connection timed out", TEMPORARY),
        (1, "site wrapper: your request timed out: ask later", TEMPORARY),
        (99, "qsub: something that a later release says", TEMPORARY),
        (13, "a wrapper's own status", TEMPORARY),
        (153, "qsub: Unknown Job Id 99999.vm", GONE),
        (35, "qsub: Job has finished 34.vm", GONE),
        (206, "qsub: Invalid Job Dependency", GONE),
    ],
)
def test_class_of_an_error_of_qsub(status, text, error_class):
    assert classify("qsub", CommandResult(status, "", text)) is error_class


@pytest.mark.parametrize(
    ("status", "text", "error_class"),
    [
        (153, "qdel: Unknown Job Id 99999.vm", GONE),
        (35, "qdel: Job has finished 34.vm", GONE),
        (55, "qdel: Request invalid for finished array subjob 3000[0].vm", GONE),
        (168, "qdel: Request invalid for state of job 171.vm", GONE),
        (237, "qdel: Delete already in progress 171.vm", GONE),
        (162, "Connection refused\nCouldn't connect to cluster: vm", UNREACHABLE),
        (222, "qdel: Server could not connect to MOM 3033.vm", TEMPORARY),
        (159, "qdel: Unauthorized Request  171.vm", PERMANENT),
        (1, "qdel: illegally formed job identifier: garbage", PERMANENT),
        (2, "usage:\n\tqdel [-W force|suppress_email=X] [-x] job_identifier...", PERMANENT),
        (
            1,
            "pbsconf error: pbs conf variables not found: PBS_HOME\nqdel: illegally formed job identifier: 1.vm",
            UNREACHABLE,
        ),
    ],
)
def test_class_of_an_error_of_qdel(status, text, error_class):
    assert classify("qdel", CommandResult(status, "", text)) is error_class


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
def test_exception_for_an_error(status, text, error):
    raised = make_error("qsub", CommandResult(status, "", text))
    assert type(raised) is error
    assert (" ".join(text.split("\n")) or "qsub: exit status 99") in str(raised)


def test_the_exception_names_the_program_once():
    assert str(make_error("qdel", CommandResult(1, "", "a wrapper failed"))) == "qdel: a wrapper failed"
    assert str(make_error("qsub", CommandResult(170, "", "qsub: Unknown queue"))) == "qsub: Unknown queue"


@pytest.mark.parametrize(("status", "killed"), [(128, False), (129, True), (152, True), (153, False), (-1, True)])
def test_a_command_that_was_killed_may_have_been_served(status, killed):
    assert (classify("qsub", CommandResult(status, "", "text of a wrapper")) is UNREACHABLE) is killed


def test_recorded_errors_of_invalid_requests_are_permanent():
    found = {}
    for path in CAPTURES.glob("*.txt"):
        pattern = r"^\$ (qsub|qdel)\b.*?^--- stderr\n(.*?)^--- exit (\d+)"
        for block in re.split(r"^(?=\$ )", path.read_text(), flags=re.MULTILINE):
            for program, text, status in re.findall(pattern, block, re.DOTALL | re.MULTILINE):
                found[program, int(status), text] = classify(program, CommandResult(int(status), "", text))
    assert len(found) > 30
    temporary = {(program, status) for (program, status, _), each in found.items() if each is TEMPORARY}
    assert temporary <= {("qsub", 1), ("qsub", 159), ("qsub", 173), ("qsub", 175), ("qsub", 197), ("qdel", 222)}
    unmatched = {text for (_, status, text), each in found.items() if each is TEMPORARY and status == 1}
    assert unmatched <= {"qsub: script file:: No such file or directory\n", "qsub: script not a file\n"}


def test_every_rule_has_a_source_and_hides_no_later_rule():
    assert all(rule.source for rule in TABLE)
    keys = [(rule.program, rule.status, rule.message) for rule in TABLE]
    assert len(set(keys)) == len(keys)
    for index, rule in enumerate(TABLE):
        if rule.status is not None:
            earlier = [each for each in TABLE[:index] if (each.program, each.status) == (rule.program, rule.status)]
            assert all(each.message for each in earlier), rule


@pytest.mark.parametrize("rule", TABLE, ids=lambda rule: rule.source)
def test_a_message_of_each_rule_has_its_class(rule):
    """The recorded part of `source` is a message that the rule matches."""
    message = re.sub(r"^OpenPBS 23.06.06(, pbs_error.h)?: (PBSE_\w+(, )?)?|^.* reports: ", "", rule.source)
    program = rule.program or "qsub"
    if not rule.source.startswith("as Connection refused"):
        status = 99 if rule.status is None else rule.status
        assert classify(program, CommandResult(status, "", f"{program}: {message}")) is rule.error_class


@pytest.mark.parametrize("message", ["qsub: Warteschlange unbekannt", "qsub: キューがありません"])
def test_a_refusal_in_another_language_is_one_for_now(message):
    assert classify("qsub", CommandResult(1, "", message)) is PbsErrorClass.TEMPORARY
