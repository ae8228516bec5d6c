"""Lookup of PBS jobs by id, with recorded or invented answers of qstat."""

import pytest

from aiperf_orch.schedulers.command import CommandResult
from aiperf_orch.schedulers.pbs.job_lookup import complete_output, look_up_jobs
from aiperf_orch.util.errors import SchedulerUnreachableError

pytestmark = pytest.mark.unit


def shown(*jobs):
    return "".join(f"Job Id: {job}\n    Job_Name = a\n    job_state = R\n\n" for job in jobs)


class Qstat:
    """Answers qstat commands from a list, and records the ids that were requested, and whether with history."""

    def __init__(self, *answers):
        self.answers, self.requested, self.history = list(answers), [], []

    def __call__(self, command):
        self.history.append("-x" in command)
        self.requested.append(command[command.index("-f") + 1 :])
        return self.answers.pop(0)


def test_many_jobs_are_looked_up_in_several_calls():
    jobs = [f"{number}.vm" for number in range(41)]
    parts = [jobs[:20], jobs[20:40], jobs[40:]]
    qstat = Qstat(*(CommandResult(0, shown(*part), "") for part in parts))
    found = look_up_jobs(qstat, jobs)
    assert list(found) == [str(number) for number in range(len(jobs))]
    assert qstat.requested == parts
    assert look_up_jobs(Qstat(), []) == {}


@pytest.mark.parametrize(
    ("status", "errors"),
    [(153, "qstat: Unknown Job Id 2.vm\n"), (0, "qstat: Unknown Job Id 2.vm\n"), (35, "qstat: Unknown Job Id 2.vm\n")],
)
def test_an_unknown_job_is_omitted(status, errors):
    assert look_up_jobs(Qstat(CommandResult(status, shown("1.vm"), errors)), ["1.vm", "2.vm"]).keys() == {"1"}


def test_ids_that_an_answer_does_not_mention_are_requested_alone():
    """One release shows the first id only, and no others after one that is unknown."""
    qstat = Qstat(
        CommandResult(0, shown("1.vm"), ""),
        CommandResult(153, "", "qstat: Unknown Job Id 2.vm\n"),
        CommandResult(0, shown("3.vm"), ""),
    )
    assert look_up_jobs(qstat, ["1.vm", "2.vm", "3.vm"]).keys() == {"1", "3"}
    assert qstat.requested == [["1.vm", "2.vm", "3.vm"], ["2.vm"], ["3.vm"]]
    assert qstat.history == [True, True, True]


def test_without_job_history_the_live_jobs_are_requested():
    no_history = CommandResult(0, "", "qstat: PBS is not configured to maintain job history 1.vm\n")
    answers = [no_history, CommandResult(0, shown("1.vm"), ""), CommandResult(153, "", "qstat: Unknown Job Id 2.vm\n")]
    qstat = Qstat(*answers)
    assert look_up_jobs(qstat, ["1.vm", "2.vm"]).keys() == {"1"}
    assert qstat.history == [True, False, False]


def test_a_second_answer_without_history_allows_no_conclusion():
    no_history = CommandResult(0, "", "qstat: PBS is not configured to maintain job history 1.vm\n")
    with pytest.raises(SchedulerUnreachableError, match="does not mention job 1"):
        look_up_jobs(Qstat(no_history, no_history), ["1.vm"])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (CommandResult(255, "", "Connection refused"), "qstat: Connection refused"),
        (CommandResult(1, shown("1.vm"), ""), "qstat: Job Id: 1.vm"),
        (CommandResult(0, "", ""), "does not mention job 1.vm"),
        (CommandResult(0, shown("2.vm"), ""), "does not mention job 1.vm"),
        (CommandResult(0, shown("1.vm")[:-1], ""), "its output is truncated"),
    ],
)
def test_other_answers_allow_no_conclusion(answer, message):
    with pytest.raises(SchedulerUnreachableError, match=message):
        look_up_jobs(Qstat(answer), ["1.vm"])


def test_only_complete_output_is_used():
    assert complete_output(CommandResult(0, shown("1.vm"), "")) == shown("1.vm")
    assert complete_output(CommandResult(0, "", "")) == ""
    with pytest.raises(SchedulerUnreachableError, match="truncated"):
        complete_output(CommandResult(0, shown("1.vm")[:20], ""))
