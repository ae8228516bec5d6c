"""Campaigns in allocations and on hand-started agents, of which everything that can be lost is lost on the way."""

import time
from contextlib import ExitStack

import pytest
from pbs.instance import Pbs

from agent.running_agent import RunningAgent
from aiperf_orch.campaign.directory import CampaignDirectory
from cluster.processes import wait_until
from controller.faulted import PATIENCE, OnPbs, OnSlurm
from controller.faulted_agents import PlacedCampaign, check_campaign, end_process
from waiting import wait_for

pytestmark = pytest.mark.long
SLOTS = 2
TIMES = {
    "poll_interval": "200ms",
    "silent_after": "3s",
    "stop_grace": "20s",
    "warn_before": "3s",
}
ALLOCATIONS = {"cpus_per_node": SLOTS, "lost_after": "8s", "wait_for_controller": "180s"}


def settings_of(scheduler, trials, *, concurrency, epochs=8):
    """Settings of a simulated campaign of short trials."""
    return {
        "scheduler": scheduler | TIMES,
        "campaign": {
            "duration": "1h",
            "concurrency": concurrency,
            "max_trials": trials,
            "max_attempts": 9,
            "seed": 7,
        },
        "network": {"max_layers": 60},
        "training": {
            "trainer": "simulated",
            "warmup_epochs": [epochs],
            "epochs": epochs,
            "patience": 20,
            "simulated": {"epoch_seconds": 0.5},
        },
    }


class Allocations(PlacedCampaign):
    """A campaign in allocations of a batch system, with the faults of that."""

    def __init__(self, folder, settings, library, batch_system):
        self.batch_system = batch_system
        super().__init__(folder, settings, library)

    def lose_node(self):
        """Cut the power of a node of an allocation, but not of its first one: the allocation goes on."""

        def is_further(agent, state):
            return any(
                other.allocation == agent.allocation and other.host < agent.host
                for other in state.workforce.present_agents
            )

        agent = self.agent_at_work(is_further)
        self.batch_system.lose_node(agent.host)
        self.left(agent.agent, "lost")
        others = [
            each.left.reason
            for each in self.state.workforce.agents.values()
            if each.record.allocation == agent.allocation and each.record.host != agent.host and each.left
        ]
        assert set(others) <= {"killed", "time limit"}, others
        self.batch_system.bring_back(agent.host)

    def cancel_allocation(self):
        """Delete an allocation's job as a user would: another one takes its place."""
        agent = self.agent_at_work()
        self.batch_system.cancel(agent.job)
        end = self.wait_for(lambda state: state.workforce.allocations[agent.allocation].end, "the allocation has ended")
        assert end.reason == "CANCELLED"
        agents = self.state.workforce.agents.values()
        self.wait_until_empty([each.record.agent for each in agents if each.record.allocation == agent.allocation])
        self.wait_for_another(agent)

    def stop_server(self):
        """Stop the batch system's daemon for a while: trials are placed and end without it."""
        ends = self.state.trials_ended
        self.batch_system.stop_server()
        self.wait_for_ends(ends + 2)
        self.batch_system.start_server()

    def time_limit(self):
        """An allocation's time is over: its trials go on in the next one."""
        ended = self.wait_for(
            lambda state: [
                agent.record
                for agent in state.workforce.agents.values()
                if agent.left and agent.left.reason == "time limit"
            ],
            "an allocation is ended by its time limit",
        )
        self.wait_for_another(ended[0])

    def wait_for_another(self, agent):
        """Wait for an agent of an allocation that is submitted after that of this one."""

        def joined(state):
            names = [each.allocation for each in state.workforce.present_agents]
            return any(name > agent.allocation for name in names)

        self.wait_for(joined, f"an allocation after {agent.allocation} has joined")


@pytest.fixture(params=[pytest.param("slurm", marks=pytest.mark.slurm), pytest.param("pbs", marks=pytest.mark.pbs)])
def batch_system(request, tmp_path, monkeypatch):
    if request.param == "slurm":
        yield OnSlurm(request.getfixturevalue("slurm"))
        return
    with Pbs(tmp_path / "pbs", nodes=4) as instance:
        monkeypatch.setenv("PATH", instance.environment["PATH"])
        yield OnPbs(instance)


@pytest.fixture
def begin(tmp_path, preload):
    """Begins a campaign; its controller ends with the test."""
    with ExitStack() as closing:

        def begin(kind, *arguments):
            campaign = kind(tmp_path, arguments[0], preload("unreadable"), *arguments[1:])
            closing.callback(campaign.close)
            return campaign

        yield begin


def preloaded(folder):
    """Lines of a batch script by which a campaign's directory becomes unreadable on the nodes, too."""
    variables = {
        "LD_PRELOAD": folder / "unreadable.so",
        "UNREADABLE": folder / "unreadable",
        "UNREADABLE_PATH": folder / "campaign",
    }
    return [f"export {name}={value}" for name, value in variables.items()]


def test_all_faults_of_a_campaign_in_allocations(begin, batch_system, tmp_path):
    scheduler = {"memory": "200M", "exclusive": True} if batch_system.scheduler["kind"] == "slurm" else {}
    cores = {"slurm": "cpus_per_task", "pbs": "cpus"}[batch_system.scheduler["kind"]]
    allocations = ALLOCATIONS | {"nodes": 2, "at_once": 2, "time_limit": "2m"}
    scheduler |= {
        "kind": batch_system.scheduler["kind"],
        cores: 1,
        "query_interval": "1s",
        "lost_after": "2s",
        "setup": preloaded(tmp_path),
        "allocations": allocations,
    }
    trials = 76
    campaign = begin(Allocations, settings_of(scheduler, trials, concurrency=6), batch_system)
    campaign.wait_for_ends(2)
    for fault in (
        campaign.kill_controller,
        campaign.kill_agent,
        campaign.kill_template,
        campaign.stop_server,
        campaign.lose_node,
        campaign.cancel_allocation,
        campaign.make_unreadable,
        campaign.time_limit,
        campaign.kill_controller,
    ):
        fault()
    assert campaign.process.wait(PATIENCE) == 0, campaign.said()
    wait_until(lambda: not batch_system.jobs(), "every job has left the queue")
    check_campaign(campaign, trials, SLOTS)


@pytest.mark.slurm
def test_faults_of_a_campaign_of_two_node_trials_in_an_allocation_of_four(begin, slurm, tmp_path):
    batch_system = OnSlurm(slurm)
    scheduler = {
        "kind": "slurm",
        "cpus_per_task": 1,
        "memory": "200M",
        "nodes": 2,
        "query_interval": "1s",
        "lost_after": "2s",
        "setup": preloaded(tmp_path),
        "allocations": {"nodes": 4, "time_limit": "10m", "lost_after": "8s", "wait_for_controller": "180s"},
    }
    trials = 24
    campaign = begin(Allocations, settings_of(scheduler, trials, concurrency=2, epochs=4), batch_system)
    campaign.wait_for_ends(2)
    for fault in (
        campaign.kill_controller,
        campaign.kill_agent,
        campaign.kill_template,
        campaign.cancel_allocation,
        campaign.lose_node,
        campaign.kill_controller,
    ):
        fault()
    assert campaign.process.wait(PATIENCE) == 0, campaign.said()
    wait_until(lambda: not batch_system.jobs(), "every job has left the queue")
    check_campaign(campaign, trials, 1)
    placed = {attempt.job for trial in campaign.state.trials.values() for attempt in trial.attempts}
    assert {len(job.split(",")) for job in placed if job} == {2}


class HandStarted(PlacedCampaign):
    """A campaign on agents that the test starts, each on a host of its own, as a user would."""

    def __init__(self, folder, settings, library):
        super().__init__(folder, settings, library)
        wait_for(lambda: (self.path / "campaign.yaml").exists(), "the campaign has been made")
        self._running = ExitStack()
        self._agents = {}

    def start_agent(self, host, *options):
        """Start an agent on a host."""
        variables = self.variables | {"AIPERF_ORCH_HOSTS": host}
        directory = CampaignDirectory.open(self.path)
        agent = RunningAgent(directory, "--slots", str(SLOTS), *options, environment=variables)
        self._agents[agent.name] = self._running.enter_context(agent)
        return agent

    def close(self):
        super().close()
        self._running.close()

    def kill_agent(self):
        """kill -9 of an agent; the user starts another one."""
        agent = self.agent_at_work()
        self._agents[agent.agent].kill()
        self.start_agent(agent.host)
        self.left(agent.agent, "killed")

    def lose_node(self):
        """Cut the power of a node: its agent is silent from then on."""
        agent = self.agent_at_work().agent
        end_process(self._agents[agent].process)
        self.left(agent, "lost")

    def cancel_allocation(self):
        """Terminate an agent, as a batch system does that ends its job: its trials go on in others."""
        agent = self.agent_at_work().agent
        self._agents[agent].process.terminate()
        self.left(agent, "terminated")

    def time_limit(self):
        """An agent's time is over, and another one has joined."""
        agent = self.start_agent("h8", "--ends-at", str(time.time() + 14))
        self.start_agent("h9")
        self.left(agent.name, "time limit")


@pytest.mark.local
def test_all_faults_of_a_campaign_on_agents_by_hand(begin):
    trials = 72
    campaign = begin(HandStarted, settings_of({"kind": "agents", "lost_after": "8s"}, trials, concurrency=5))
    for host in ("h1", "h2", "h3", "h4"):
        campaign.start_agent(host)
    campaign.wait_for_ends(2)
    for fault in (
        campaign.kill_controller,
        campaign.kill_agent,
        campaign.kill_template,
        campaign.lose_node,
        campaign.make_unreadable,
        campaign.cancel_allocation,
        campaign.kill_controller,
        campaign.time_limit,
    ):
        fault()
    assert campaign.process.wait(PATIENCE) == 0, campaign.said()
    check_campaign(campaign, trials, SLOTS)
