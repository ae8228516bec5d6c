"""Campaigns whose trials are placed on agents in allocations: real agents, on a private Slurm cluster and here."""

import contextlib
import signal

import psutil
import pytest

from aiperf_orch.campaign.agent_files import follow_log
from aiperf_orch.campaign.state import Phase
from aiperf_orch.controller.controller import Controller
from aiperf_orch.schedulers.registry import make_trial_scheduler
from controller.following import once, run_until
from processes import words_of
from waiting import wait_for

ALLOCATIONS = {
    "scheduler__allocations": {"nodes": 2, "time_limit": "10m", "cpus_per_node": 2, "lost_after": "10s"},
    "scheduler__warn_before": "5s",
    "campaign__duration": "8m",  # one allocation lasts to its end
    "campaign__concurrency": 4,
    "campaign__max_trials": 12,
}
HERE = {"scheduler__job_per_trial": False, "campaign__concurrency": 2, "campaign__max_trials": 6}


def entries(campaign, *types):
    """The journal's entries of these types."""
    return [entry for entry in campaign.journal() if entry["type"] in types]


def ends_of_allocations(campaign):
    """Name and reason of each allocation's end, in the order of the journal."""
    return [
        (end["name"].partition("-")[2], end["reason"])
        for entry in entries(campaign, "allocation-ended")
        for end in entry["allocations"]
    ]


def joined(campaign):
    """The agents' records in the journal."""
    return [agent for entry in entries(campaign, "joined") for agent in entry["agents"]]


def begins(campaign):
    """The begin lines of all trials."""
    return [event for events in campaign.events().values() for event in events if event["type"] == "begin"]


def _number_of_epochs(controller):
    return sum(len(run.epochs) for live in controller.live_attempts.values() for run in live.runs)


def check_order(campaign):
    """An agent joins in the journal before an attempt is submitted to it."""
    known = set()
    for entry in campaign.journal():
        if entry["type"] == "joined":
            known |= {agent["agent"] for agent in entry["agents"]}
        if entry["type"] == "submitted":
            assert known >= {name for job in entry["jobs"] for name in job["job"].split(",")}


@pytest.fixture
def make_here(make_campaign):
    """Makes campaigns on an agent of this machine; agents that are left are ended."""
    made = []

    def make(**changes):
        made.append(make_campaign(**HERE | changes))
        return made[-1]

    yield make
    for campaign in made:
        campaign.end_jobs()


@pytest.mark.slurm
def test_a_campaign_in_one_allocation_of_slurm(make_slurm_campaign, slurm):
    campaign = make_slurm_campaign(**ALLOCATIONS)
    phase, state = campaign.run()
    assert (phase, len(state.ends)) == (Phase.FINISHED, 12)
    agents = joined(campaign)
    assert sorted(agent["slots"] for agent in agents) == [2, 2]
    assert len({agent["host"] for agent in agents}) == 2
    assert ends_of_allocations(campaign) == [("a00001", "DISMISSED")]
    [left] = [entry["agents"] for entry in entries(campaign, "left")][-1:]
    assert {leave["reason"] for leave in left} == {"dismissed"}
    placed = begins(campaign)
    assert {(begin["agent"], begin["slot"]) for begin in placed} == {
        (agent["agent"], n) for agent in agents for n in (0, 1)
    }
    assert {begin["job"] for begin in placed} == {agents[0]["job"]}
    check_order(campaign)
    campaign.check_verifies()
    assert campaign.leaves_nothing_running()
    assert campaign.warnings == []


@pytest.mark.long  # the time limit of an allocation is a minute at least
@pytest.mark.slurm
def test_a_second_allocation_joins_after_the_time_limit_of_the_first(make_slurm_campaign, slurm):
    own = ALLOCATIONS["scheduler__allocations"] | {"nodes": 1, "time_limit": "1m"}
    more = {"campaign__max_trials": 400, "training__simulated_epoch_seconds": 0.5}
    campaign = make_slurm_campaign(**ALLOCATIONS | {"scheduler__allocations": own} | more)
    phase, _ = run_until(
        campaign,
        lambda controller: (
            len(agents := controller.state.workforce.agents.values()) >= 2 and any(agent.left for agent in agents)
        ),
    )
    assert phase is Phase.RUNNING
    first, second = joined(campaign)
    assert first["allocation"] != second["allocation"]
    [leave] = [leave for entry in entries(campaign, "left") for leave in entry["agents"]]
    assert (leave["agent"], leave["reason"]) == (first["agent"], "time limit")
    requests = [record for entry in entries(campaign, "allocating") for record in entry["allocations"]]
    assert requests[1]["after"] == requests[0]["name"]
    assert len([request for request in requests if request["after"] is None]) == 1
    phase, state = campaign.run(stop=lambda controller: True)
    assert phase is Phase.STOPPED
    assert campaign.leaves_nothing_running()
    assert all(allocation.end for allocation in state.workforce.allocations.values())


@pytest.mark.slurm
def test_the_next_allocation_replaces_one_that_a_user_cancels(make_slurm_campaign, slurm, long_trials):
    campaign = make_slurm_campaign(**ALLOCATIONS | long_trials)

    def cancel(controller):
        [allocation] = [each for each in controller.state.workforce.live_allocations if each.after is None]
        return slurm.run("scancel", allocation.job).returncode == 0

    cancelled = once(lambda controller: _number_of_epochs(controller) > 0, cancel)
    run_until(
        campaign,
        lambda controller: any(attempt.job.endswith(".2") for attempt in controller.state.begins),
        cancelled,
    )
    assert ends_of_allocations(campaign) == [("a00001", "CANCELLED")]
    assert len({agent["allocation"] for agent in joined(campaign)}) == 2
    phase, _ = campaign.run(stop=lambda controller: True)
    assert phase is Phase.STOPPED
    assert campaign.leaves_nothing_running()


@pytest.mark.slurm
def test_stop_ends_trials_agents_and_allocations(make_slurm_campaign, slurm, long_trials):
    campaign = make_slurm_campaign(**ALLOCATIONS | long_trials)
    phase, state = campaign.run(stop=lambda controller: len(controller.state.begins) >= 4)
    assert phase is Phase.STOPPED
    assert {end.reason.value for end in state.ends} == {"STOPPED"}
    assert campaign.leaves_nothing_running()
    assert all(allocation.end for allocation in state.workforce.allocations.values())
    assert not state.workforce.present_agents
    phase, state = campaign.run(until=lambda controller: len(controller.state.workforce.present_agents) == 2)
    assert phase is Phase.RUNNING  # it goes on in a new allocation
    campaign.run(stop=lambda controller: True)
    assert campaign.leaves_nothing_running()


@pytest.mark.slurm
def test_another_controller_adopts_agents_and_allocations(make_slurm_campaign, slurm, long_trials):
    campaign = make_slurm_campaign(**ALLOCATIONS | long_trials)
    campaign.run(until=lambda controller: len(controller.state.begins) >= 4)
    agents = joined(campaign)
    phase, state = campaign.run(until=lambda controller: _number_of_epochs(controller) > 4)
    assert (phase, len(state.ends)) == (Phase.RUNNING, 0)
    assert joined(campaign) == agents
    assert len([record for entry in entries(campaign, "allocating") for record in entry["allocations"]]) == 1
    campaign.run(stop=lambda controller: True)
    assert campaign.leaves_nothing_running()


@pytest.mark.slurm
def test_a_lost_answer_of_sbatch_is_found_by_the_name(make_slurm_campaign, slurm, monkeypatch):
    campaign = make_slurm_campaign(**ALLOCATIONS)
    controller = campaign.controller()
    batch = controller.scheduler.batch
    submit = batch._sbatch

    def unanswered(script, number):
        from aiperf_orch.util.errors import SchedulerUnreachableError

        submit(script, number)
        raise SchedulerUnreachableError("sbatch: no answer")

    monkeypatch.setattr(batch, "_sbatch", unanswered)
    controller.tick()
    controller.close()
    assert [entry["type"] for entry in entries(campaign, "allocating", "allocated")][:1] == ["allocating"]
    phase, state = campaign.run()
    assert (phase, len(state.ends)) == (Phase.FINISHED, 12)
    assert len(state.workforce.allocations) == 1
    assert campaign.leaves_nothing_running()


@pytest.mark.slurm
def test_an_allocation_that_slurm_refuses_pauses_the_campaign(make_slurm_campaign, slurm):
    campaign = make_slurm_campaign(**ALLOCATIONS | {"scheduler__partition": "nosuch"})
    phase, state = campaign.run()
    assert phase is Phase.PAUSED
    assert "allocation" in state.phase_reason
    assert "was refused: " in state.phase_reason
    assert ends_of_allocations(campaign) == [("a00001", "SUBMIT_REFUSED")]
    assert state.trials == {}


@pytest.mark.slurm
def test_an_allocation_whose_agents_cannot_start_pauses_the_campaign(make_slurm_campaign, slurm):
    campaign = make_slurm_campaign(**ALLOCATIONS | {"scheduler__setup": ["echo no such module >&2; exit 9"]})
    phase, state = campaign.run()
    assert phase is Phase.PAUSED
    assert "none of its agents served" in state.phase_reason
    assert "no such module" in state.phase_reason


@pytest.mark.slurm
def test_steps_of_tick_run_a_campaign_to_its_end(make_slurm_campaign, slurm):
    campaign = make_slurm_campaign(**ALLOCATIONS | {"campaign__max_trials": 5})

    def is_finished():
        controller = campaign.controller(resume=False)
        try:
            return controller.tick() is Phase.FINISHED
        finally:
            controller.close()

    wait_for(is_finished, "the end of the campaign", seconds=120, interval=0.2)
    assert campaign.leaves_nothing_running()
    assert ends_of_allocations(campaign) == [("a00001", "DISMISSED")]


@pytest.mark.slurm
def test_the_queue_is_left_alone_while_agents_live(make_slurm_campaign, slurm, long_trials, monkeypatch):
    campaign = make_slurm_campaign(**ALLOCATIONS | long_trials)
    scheduler = make_trial_scheduler(campaign.directory)
    calls, query = [], scheduler.batch.query
    monkeypatch.setattr(scheduler.batch, "query", lambda names: calls.append(names) or query(names))
    controller = Controller(campaign.directory, scheduler, resume=True, warn=campaign.warnings.append)
    try:
        wait_for(lambda: controller.step() and len(controller.state.begins) >= 4, "four trials run")
        wait_for(lambda: controller.step() and not controller._keeper.running, "no query runs")
        before = len(calls)
        epochs = _number_of_epochs(controller)
        wait_for(
            lambda: controller.step() and _number_of_epochs(controller) > epochs + 100,
            "the trials have trained for a while",
        )
        assert len(calls) == before
        wait_for(lambda: controller.step(stop=True) is Phase.STOPPED and not controller.busy, "all have ended")
    finally:
        controller.close()
    assert campaign.leaves_nothing_running()


@pytest.mark.pbs
def test_a_campaign_in_one_allocation_of_pbs(make_pbs_campaign):
    campaign = make_pbs_campaign(**ALLOCATIONS)
    phase, state = campaign.run()
    assert (phase, len(state.ends)) == (Phase.FINISHED, 12)
    assert sorted((agent["host"], agent["slots"]) for agent in joined(campaign)) == [("pbsn1", 2), ("pbsn2", 2)]
    assert ends_of_allocations(campaign) == [("a00001", "DISMISSED")]
    check_order(campaign)
    campaign.check_verifies()
    assert campaign.leaves_nothing_running()


@pytest.mark.pbs
def test_trials_of_two_nodes_in_an_allocation_of_pbs(make_pbs_campaign):
    changes = {"scheduler__nodes": 2, "campaign__concurrency": 1, "campaign__max_trials": 3}
    own = {"nodes": 2, "time_limit": "10m", "lost_after": "10s"}
    campaign = make_pbs_campaign(**ALLOCATIONS | {"scheduler__allocations": own} | changes)
    phase, state = campaign.run()
    assert (phase, len(state.ends)) == (Phase.FINISHED, 3)
    assert [agent["slots"] for agent in joined(campaign)] == [1, 1]
    assert {tuple(begin["hosts"]) for begin in begins(campaign)} == {("pbsn1", "pbsn2")}
    assert {attempt.job for trial in state.trials.values() for attempt in trial.attempts} == {"pbsn1.1,pbsn2.1"}
    check_order(campaign)
    campaign.check_verifies()
    assert campaign.leaves_nothing_running()


@pytest.mark.long
@pytest.mark.pbs
def test_an_agent_that_hung_joins_again_and_gets_trials(make_pbs_campaign, long_trials):
    own = ALLOCATIONS["scheduler__allocations"] | {"lost_after": "3s"}
    campaign = make_pbs_campaign(**ALLOCATIONS | {"scheduler__allocations": own} | long_trials)
    hung = []

    def hang_and_return(controller):
        if not hung and _number_of_epochs(controller) > 0:
            agent = controller.state.workforce.present_agents[0].agent
            hung.append(psutil.Process(follow_log(campaign.directory, agent).read_on()[0].pid))
            hung[0].suspend()
        elif hung and any(agent.left for agent in controller.state.workforce.agents.values()):
            hung[0].resume()

    try:
        run_until(
            campaign,
            lambda controller: any(each.job.endswith(".2") for each in controller.state.begins),
            hang_and_return,
        )
    finally:
        for process in hung:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
    [leave] = [leave for entry in entries(campaign, "left") for leave in entry["agents"]]
    assert leave["reason"] == "lost"
    assert ends_of_allocations(campaign) == []
    campaign.run(stop=lambda controller: True)
    assert campaign.leaves_nothing_running()
    campaign.check_verifies()


@pytest.mark.local
def test_a_campaign_on_the_agent_of_this_machine(make_here):
    campaign = make_here()
    phase, state = campaign.run()
    assert (phase, len(state.ends)) == (Phase.FINISHED, 6)
    assert ends_of_allocations(campaign) == [("a00001", "DISMISSED")]
    assert {begin["slot"] for begin in begins(campaign)} == {0, 1}
    check_order(campaign)
    assert campaign.leaves_nothing_running()
    assert campaign.warnings == []


@pytest.mark.local
def test_a_killed_agent_of_this_machine_is_followed_by_another(make_here, long_trials):
    campaign = make_here(**long_trials)

    def kill(controller):
        for process in campaign.processes():
            if "aiperf_orch.agent" in words_of(process)[2:4]:
                process.send_signal(signal.SIGKILL)
                return True
        return False

    killed = once(lambda controller: _number_of_epochs(controller) > 0, kill)
    run_until(campaign, lambda controller: any(each.job.endswith(".2") for each in controller.state.begins), killed)
    assert [agent["agent"].rpartition(".")[2] for agent in joined(campaign)] == ["1", "2"]
    assert len(entries(campaign, "allocating")) == 1
    [leave] = [leave for entry in entries(campaign, "left") for leave in entry["agents"]]
    assert leave["reason"] == "killed"
    campaign.run(stop=lambda controller: True)
    assert campaign.leaves_nothing_running()


@pytest.mark.local
def test_the_deadline_ends_trials_and_their_agent(make_here, long_trials):
    campaign = make_here(campaign__duration="3s", **long_trials)
    phase, state = campaign.run()
    assert phase is Phase.FINISHED
    assert {end.reason.value for end in state.ends} == {"CAMPAIGN_ENDED"}
    assert ends_of_allocations(campaign) == [("a00001", "DISMISSED")]
    assert campaign.leaves_nothing_running()


class _KilledError(BaseException):
    """Stands for SIGKILL."""


@pytest.mark.local
@pytest.mark.parametrize("lines", range(2, 9))
def test_a_controller_killed_before_any_line_is_replaced(make_here, lines):
    campaign = make_here(campaign__max_trials=3)
    controller = campaign.controller()
    held, append = controller._campaign, controller._campaign.append

    def append_or_die(kind, **fields):
        if len(held.entries) >= lines:
            raise _KilledError
        return append(kind, **fields)

    held.append = append_or_die
    with pytest.raises(_KilledError):
        wait_for(lambda: controller.step() is not Phase.RUNNING, "the end of the campaign, or of its controller")
    held.close()
    phase, state = campaign.run()
    assert (phase, len(state.trials)) == (Phase.FINISHED, 3)
    assert {trial.end.reason.value for trial in state.trials.values()} == {"COMPLETED"}
    assert len(state.workforce.allocations) == 1
    assert all(allocation.end for allocation in state.workforce.allocations.values())
    check_order(campaign)
    assert campaign.leaves_nothing_running()
