"""Drained nodes: what a controller does about its requests, and real trials that leave a node."""

import threading

import pytest

from aiperf_orch.campaign.requests import leave_request, requester, take_answer
from aiperf_orch.campaign.state import Phase
from aiperf_orch.cli import main
from aiperf_orch.commands.drain import drain_nodes
from aiperf_orch.commands.status import show_status
from aiperf_orch.controller.controller import Controller
from aiperf_orch.records.journal import Drained, Paused
from aiperf_orch.records.requests import DrainRequest
from aiperf_orch.schedulers.base import SubmitResult
from aiperf_orch.util.errors import UsageError
from controller.following import check_goes_on, ends_of, once, run_until, trained
from controller.stepping import Scheduler, ends, write_events
from controller.test_allocations import ALLOCATIONS

SITE = {
    "scheduler__kind": "slurm",
    "campaign__duration": "9h",
    "campaign__max_attempts": 1,
    "campaign__concurrency": 2,
    **{f"scheduler__{name}": "10ms" for name in ("poll_interval", "silent_after", "lost_after")},
}


class Draining(Scheduler):
    """Notes the nodes that each job excludes, and what it was told of drained nodes."""

    def __init__(self):
        super().__init__()
        self.excluded, self.told = {}, None

    def set_drained(self, nodes):
        self.told = list(nodes)

    def submit(self, requests):
        self.excluded |= {request.name.split("-", 1)[1]: request.drained for request in requests}
        return super().submit(requests)


@pytest.fixture
def made(campaign):
    """A campaign with a controller whose two trials are submitted; the first one has begun on n1."""
    return campaign(**SITE)


@pytest.fixture
def scheduler():
    return Draining()


@pytest.fixture
def controller(made, scheduler, warnings):
    controller = Controller(made.directory, scheduler, resume=True, warn=warnings.append)
    controller.builder = made
    controller.step()
    write_events(controller, epochs=[1])
    controller.step()
    assert scheduler.calls == [("submit", "00000-1"), ("submit", "00001-1")]
    scheduler.calls.clear()
    yield controller
    controller.close()


def ask(controller, *nodes, **fields):
    """Leave a request, let the controller step, and return its answer."""
    request = DrainRequest(**requester(), nodes=list(nodes), **fields)
    leave_request(controller.directory, request)
    controller.step()
    return take_answer(controller.directory, request.id)


def test_a_job_that_waits_is_submitted_again_without_the_node(controller, scheduler):
    answer = ask(controller, "n1")
    assert (answer.accepted, "1 waiting trial(s)" in answer.message) == (True, True)
    assert ends(controller) == [(1, 1, "PREEMPTED", False)]
    assert controller.state.phase is Phase.RUNNING
    assert scheduler.calls == [("cancel", "00001-1"), ("submit", "00001-2")]
    assert (scheduler.excluded["00001-2"], scheduler.told) == (("n1",), ["n1"])
    controller.step()
    assert len(scheduler.calls) == 2, "a job that excludes the node stays in the queue"


def test_running_trials_leave_at_once_only_where_that_is_asked(controller, scheduler):
    scheduler.never_starts = False
    ask(controller, "n1")
    assert ("cancel", "00000-1") not in scheduler.calls
    assert "1 trial(s) end there" in ask(controller, "n1", now=True).message
    assert ("cancel", "00000-1") in scheduler.calls
    assert [each.now for each in controller.state.drained.entries.values()] == [True]


def test_a_node_may_get_trials_again(controller, scheduler):
    ask(controller, "n1")
    scheduler.calls.clear()
    answer = ask(controller, "n1", undo=True)
    assert answer.message == "n1: may get trials again; 1 waiting trial(s) are submitted again"
    assert scheduler.calls == [("cancel", "00001-2"), ("submit", "00001-3")]
    assert scheduler.excluded["00001-3"] == ()
    assert (scheduler.told, controller.state.drained.entries) == ([], {})


def test_the_next_controller_carries_out_what_was_only_journalled(controller, made, scheduler, warnings):
    controller.close()
    request = DrainRequest(**requester(), nodes=["n1"])
    leave_request(made.directory, request)
    made.write(Drained, request=request.id, user=request.user, host=request.host, nodes=["n1"])
    again = Controller(made.directory, scheduler, resume=False, warn=warnings.append)
    again.step()
    assert take_answer(made.directory, request.id).accepted
    assert [entry.type for entry in again._campaign.entries].count("drained") == 1
    assert ends(again) == [(1, 1, "PREEMPTED", False)]
    again.close()


def test_a_resumed_campaign_keeps_nodes_drained(controller, made, scheduler, warnings):
    scheduler.never_starts = False
    ask(controller, "n1", now=True)
    controller.close()
    made.write(Paused, reason="a test")
    again = Controller(made.directory, scheduler, resume=True, warn=warnings.append)
    assert {attempt.cancelling.value for attempt in again.state.live.values()} == {"PREEMPTED"}
    assert scheduler.told == ["n1"]
    again.close()


def test_a_job_that_could_not_be_submitted_is_only_submitted_later(campaign, scheduler, warnings):
    made = campaign(**SITE)
    scheduler.submit_result = lambda requests: SubmitResult(waiting={each.name: "" for each in requests})
    controller = Controller(made.directory, scheduler, resume=True, warn=warnings.append)
    controller.step()
    ask(controller, "n1")
    scheduler.submit_result = lambda requests: SubmitResult(jobs={each.name: "7" for each in requests})
    controller.step()
    controller.step()
    assert not [call for call in scheduler.calls if call[0] == "cancel"]
    assert scheduler.excluded["00000-1"] == ("n1",)
    controller.close()


def test_a_request_that_cannot_be_read_is_refused(controller, made):
    ask(controller, "n1")
    made.directory.request("0" * 16).write_text('{"type": "later"}')
    controller.step()
    answer = take_answer(made.directory, "0" * 16)
    assert (answer.accepted, "cannot be read" in answer.message) == (False, True)


# the command


def test_without_a_controller_the_command_writes_the_journal(controller, made):
    controller.close()
    assert drain_nodes(made.directory.path, ["n1"], end_running=False, undo=False, take_over=False).exit_status == 0
    [entry] = [entry for entry in made.journal_lines() if '"drained"' in entry]
    assert '"nodes":["n1"],"now":false,"undo":false' in entry
    assert not made.directory.requests_folder.exists()
    assert "n1 (by " in show_status(made.directory.path, "table").text


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [(["n1"], 0, "n1: no further trial begins there"), (["n1", "--undo"], 2, "is not drained")],
)
def test_a_live_controller_carries_out_what_the_command_asks(controller, made, arguments, status, said, capsys):
    over = threading.Event()

    def step():
        while not over.wait(0.01):
            controller.step()

    stepping = threading.Thread(target=step)
    stepping.start()
    try:
        with pytest.raises(SystemExit) as ended:
            main(["drain", str(made.directory.path), *arguments])
    finally:
        over.set()
        stepping.join()
    assert (ended.value.code, said in capsys.readouterr().err) == (status, True)
    assert list(controller.state.drained.entries) == (["n1"] if status == 0 else [])
    assert not made.directory.requests_folder.exists() or not [*made.directory.requests_folder.iterdir()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["n1", "--undo"], "is not drained"),
        (["n1[2-3]"], "not names of nodes"),
        (["n1", "--now", "--undo"], "leave it out with --undo"),
    ],
)
def test_wrong_requests_are_refused(controller, made, arguments, said, capsys):
    controller.close()
    main(["drain", str(made.directory.path), *arguments], standalone_mode=False)
    assert said in capsys.readouterr().err
    assert not any('"drained"' in line for line in made.journal_lines())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "a local campaign has this machine alone"),
        ({"scheduler__kind": "pbs", "scheduler__cpus": 1}, "only in a campaign with scheduler.allocations"),
    ],
)
def test_where_nodes_cannot_be_drained_the_reason_is_said(campaign, changes, said):
    made = campaign(**changes)
    with pytest.raises(UsageError, match=said):
        drain_nodes(made.directory.path, ["n1"], end_running=False, undo=False, take_over=False)


# real trials


@pytest.mark.local
def test_trials_leave_a_drained_agent_and_come_back_when_it_is_undone(make_agents_campaign, long_trials):
    campaign = make_agents_campaign(campaign__max_attempts=1, campaign__max_trials=None, **long_trials)
    campaign.start_agent()
    state = run_until(campaign, lambda controller: len(controller.state.begins) >= 2 and trained(controller, 0))[1]
    host = state.begins[0].began.hosts[0]
    assert drain_nodes(campaign.directory.path, [host], end_running=True, undo=False, take_over=False).exit_status == 0
    _, state = run_until(campaign, lambda controller: controller.state.ends and not controller.state.live)
    assert len(state.ends) >= 2
    assert {end.reason.value for end in state.ends} == {"PREEMPTED"}
    assert drain_nodes(campaign.directory.path, [host], end_running=False, undo=True, take_over=False).exit_status == 0
    run_until(campaign, lambda controller: trained(controller, 0, attempt=2))
    check_goes_on(campaign, "00000-1.0.jsonl", "00000-2.0.jsonl")
    campaign.check_verifies()


@pytest.mark.slurm
def test_a_trial_leaves_a_drained_node_of_slurm(make_slurm_campaign, long_trials):
    campaign = make_slurm_campaign(
        campaign__max_trials=None, campaign__max_attempts=1, campaign__concurrency=2, scheduler__exclusive=True,
        scheduler__exclude="n[3-4]", scheduler__lookahead=1, **long_trials,
    )  # fmt: skip
    path, left = campaign.directory.path, []
    with pytest.raises(UsageError, match="the cluster has no such node; did you mean n4"):
        drain_nodes(path, ["n44"], end_running=False, undo=False, take_over=False)

    def drain(controller):
        left.append(trained(controller, 0).begin.hosts[0])
        leave_request(controller.directory, DrainRequest(**requester(), nodes=left, now=True))

    begun = once(lambda controller: trained(controller, 0, epochs=2) and len(controller.state.live) == 3, drain)
    _, state = run_until(
        campaign, lambda controller: len(ends_of(controller.state, 2)) >= 1 and ends_of(controller.state, 0), begun
    )
    assert {(end.reason.value, end.final) for end in state.ends} == {("PREEMPTED", False)}
    script = (campaign.directory.job_folder(0, 2) / "job.sh").read_text()
    assert f"#SBATCH --exclude=n[3-4],{left[0]}\n" in script
    drain_nodes(path, left, end_running=False, undo=True, take_over=False)  # jobs that wait are submitted again

    def both_work(controller):  # which of the three trials waits depends on the order of their ends
        begun = [attempt for attempt in controller.state.live.values() if attempt.began]
        return {attempt.began.hosts[0] for attempt in begun} == {"n1", "n2"} and all(
            trained(controller, *attempt.key) for attempt in begun
        )

    _, state = run_until(campaign, both_work)
    assert all(not end.final for end in state.ends), "no attempt counts: the campaign permits one"
    if state.trials[0].attempts[-1].began:
        check_goes_on(campaign, "00000-1.0.jsonl", f"00000-{len(state.trials[0].attempts)}.0.jsonl")
    campaign.check_verifies()


@pytest.mark.pbs
def test_trials_leave_a_drained_node_of_an_allocation_of_pbs(make_pbs_campaign, long_trials):
    changes = {"campaign__max_attempts": 1, "campaign__max_trials": None}
    campaign = make_pbs_campaign(**ALLOCATIONS | long_trials | changes)

    def hosts(attempts):
        return {host for attempt in attempts if attempt.began for host in attempt.began.hosts}

    def drain(controller):
        leave_request(controller.directory, DrainRequest(**requester(), nodes=["pbsn1"], now=True))

    begun = once(lambda controller: hosts(controller.state.begins) == {"pbsn1", "pbsn2"}, drain)
    left = run_until(
        campaign,
        lambda controller: (
            "pbsn1" in controller.state.drained.entries and hosts(controller.state.live.values()) == {"pbsn2"}
        ),
        begun,
    )[1]
    assert {end.reason.value for end in left.ends} == {"PREEMPTED"}
    assert not any(agent.left for agent in left.workforce.agents.values()), "the agent of the node stays"
    drain_nodes(campaign.directory.path, ["pbsn1"], end_running=False, undo=True, take_over=False)
    run_until(campaign, lambda controller: hosts(controller.state.live.values()) == {"pbsn1", "pbsn2"})
    campaign.check_verifies()
