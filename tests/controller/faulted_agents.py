"""Faults of a campaign whose trials are placed on agents, and what its records and the machine must say afterwards."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import time
from collections import Counter
from datetime import datetime

import psutil

from aiperf_orch.campaign.agent_files import agent_names, follow_log
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import Phase
from aiperf_orch.campaign.workforce import agents_in
from aiperf_orch.records.agents import Exited, Started
from aiperf_orch.records.base import EndReason
from aiperf_orch.results.result import compute_result
from controller.faulted import ObservedCampaign
from controller.following import check_verifies
from processes import running, words_of
from waiting import wait_for

UNREADABLE_SECONDS = 60
REASONS = {
    "killed": {EndReason.LOST},
    "lost": {EndReason.NODE_FAILURE, EndReason.PREEMPTED, EndReason.TIME_LIMIT},
    "time limit": {EndReason.TIME_LIMIT},
    "terminated": {EndReason.PREEMPTED},
}
"""Why an attempt may end, by the way in which its agent left."""


class PlacedCampaign(ObservedCampaign):
    """A campaign on agents that a process of its own controls; `faults` are done to it by name.

    Attributes:
        hidden: The file by which the campaign's directory is unreadable while it exists.
    """

    def __init__(self, folder, settings, library, environment=None):
        self.hidden = folder / "unreadable"
        self.variables = {
            "LD_PRELOAD": str(library),
            "UNREADABLE": str(self.hidden),
            "UNREADABLE_PATH": str(folder / "campaign"),
        }
        super().__init__(folder, settings, (environment or dict(os.environ)) | self.variables)

    @property
    def directory(self):
        return CampaignDirectory.open(self.path)

    # what is there

    def at_work(self, state):
        """Attempts that train, by agent."""
        found = {}
        for attempt in state.live.values():
            if attempt.began and not attempt.cancelling:
                for agent in agents_in(attempt.job):
                    found.setdefault(agent, []).append(attempt)
        return found

    def agent_at_work(self, condition=lambda agent, state: True):
        """Wait for an agent that trains; of several that for which most time is left."""

        def find(state):
            work = self.at_work(state)
            present = [agent for agent in state.workforce.present_agents if agent.agent in work]
            return sorted((agent for agent in present if condition(agent, state)), key=_end, reverse=True)

        return self.wait_for(find, "an agent at work")[0]

    def processes_of(self, agent):
        """Processes that an agent has started."""
        folder = str(self.directory.agent_folder(agent))
        return [each.process for each in running() if each.environment.get("AIPERF_ORCH_AGENT_FOLDER") == folder]

    def template_of(self, agent):
        """An agent's template process, once it is there."""

        def find():
            several = [each for each in self.processes_of(agent) if "aiperf_orch.trial.template" in words_of(each)]
            return several[0] if several else None

        return wait_for(find, f"the template process of {agent}")

    def left(self, agent, reason):
        """Wait until an agent has left for a reason, and until no attempt is on it."""
        leave = self.wait_for(
            lambda state: agent in state.workforce.agents and state.workforce.agents[agent].left, f"{agent} has left"
        )
        assert leave.reason == reason, leave
        self.wait_until_empty([agent])

    def wait_until_empty(self, agents):
        """Wait until all attempts on agents that are gone have ended, or been placed on others."""

        def is_empty(state):
            return not any(set(agents) & set(agents_in(attempt.job)) for attempt in state.live.values())

        self.wait_for(is_empty, f"no attempt is on {', '.join(agents)}")

    # faults

    def kill_agent(self):
        """kill -9 of an agent; another one takes its place and says so."""
        agent = self.agent_at_work().agent
        killed = self.template_of(agent).parent()
        killed.kill()
        self.left(agent, "killed")

    def kill_template(self):
        """kill -9 of a template process: its agent starts another one, and its trials run on."""
        agent = self.agent_at_work().agent
        killed = self.template_of(agent)
        before = {attempt.key for attempt in self.at_work(self.state).get(agent, [])}
        killed.kill()
        wait_for(lambda: self.template_of(agent).pid != killed.pid, "another template process")
        assert not {end.reason for end in self.state.ends if (end.trial, end.attempt) in before} & {EndReason.LOST}

    def kill_controller(self):
        self.kill()

    def make_unreadable(self):
        """Nothing in the campaign's directory can be opened for a while: neither agents nor attempts are lost by it."""
        self.agent_at_work()
        before = self.state
        self.hidden.touch()
        time.sleep(UNREADABLE_SECONDS)
        self.hidden.unlink()
        self.wait_for(lambda state: not before.live.keys() & state.live.keys(), "what ran has ended")
        after = self.state
        ended = [end for end in after.ends if (end.trial, end.attempt) in before.live]
        assert {end.reason for end in ended} <= {EndReason.COMPLETED, EndReason.TIME_LIMIT}, ended
        lost = [agent for agent in after.workforce.agents.values() if agent.left and agent.left.reason == "lost"]
        assert [agent for agent in lost if before.workforce.agents[agent.record.agent].left is None] == []


def _end(agent):
    return agent.ends_at.timestamp() if agent.ends_at else 0.0


def _job(state, end):
    return state.trials[end.trial].attempts[end.attempt - 1].job


def left_running(path):
    """Processes of a campaign, by its path in their environments and command lines."""
    text = str(path)
    return [
        each.words
        for each in running()
        if each.environment.get("AIPERF_ORCH_AGENT_FOLDER", "").startswith(text)
        or any(word.startswith(text) for word in each.words)
    ]


def check_campaign(campaign, trials, slots):
    """What must hold of a campaign that is over, however many faults it has seen.

    Args:
        campaign: The campaign, whose controller has ended.
        trials: Number of its trials.
        slots: Number of slots of an agent.
    """
    directory = campaign.directory
    result = compute_result(directory)
    state = result.state
    assert state.phase is Phase.FINISHED
    assert len(state.trials) == trials
    assert {trial.end and trial.end.reason for trial in state.trials.values()} == {EndReason.COMPLETED}
    _check_epochs(directory, result)
    _check_ends(state, slots)
    _check_slots_by_logs(directory)
    _check_slots_by_events(directory)
    assert result.faults == []
    wait_for(lambda: not left_running(campaign.path), "no process is left", seconds=60)
    check_verifies(campaign.path)


def _events(directory):
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in directory.events_folder.iterdir()]


def _check_epochs(directory, result):
    """Every epoch on disk counts, and none twice."""
    on_disk = {
        (event["trial"], event["epoch"])
        for events in _events(directory)
        for event in events
        if event["type"] == "epoch"
    }
    counted = Counter((epoch.trial, epoch.epoch) for epoch in result.collected.epochs)
    assert set(counted) == on_disk
    assert set(counted.values()) == {1}
    assert result.score.operations == sum(epoch.ops for epoch in result.collected.epochs)


def _check_ends(state, slots):
    """Attempts fail by the end of an agent alone, for its reason, and no more of them than it had slots."""
    failed = Counter()
    for end in state.ends:
        if end.reason is EndReason.COMPLETED:
            continue
        agents = agents_in(_job(state, end))
        leaves = {name: state.workforce.agents[name].left for name in agents}
        possible = [reasons for leave in leaves.values() if leave for reasons in REASONS.get(leave.reason, ())]
        assert end.reason in possible, (end, leaves)
        failed.update(name for name, leave in leaves.items() if leave and end.reason in REASONS.get(leave.reason, ()))
    # others were placed on the agent until its end was known, and it is unknown whether they had started
    assert all(number <= 2 * slots for number in failed.values()), failed


def _check_slots_by_logs(directory):
    """No slot held two attempts at once, by the logs of the agents."""
    held = {}
    for name in agent_names(directory):
        begin, *lines = follow_log(directory, name).read_on()
        started = {line.name: line for line in lines if isinstance(line, Started)}
        exited = {line.name: line for line in lines if isinstance(line, Exited) and line.started}
        for attempt, start in started.items():
            end = exited[attempt].time if attempt in exited else None
            held.setdefault((begin.host, begin.job, start.slot), []).append((start.time, end, name))
    for key, times in held.items():
        times.sort(key=lambda each: each[0])
        for (_, end, agent), (start, _, other) in itertools.pairwise(times):
            # without an exit the agent was killed: what it ran had ended before the next agent began
            assert (end is not None and end <= start) or (end is None and agent != other), (key, agent, other)


def _check_slots_by_events(directory):
    """No slot held two attempts at once, by what the trials wrote."""
    hosts = {name: follow_log(directory, name).read_on()[0] for name in agent_names(directory)}
    held = {}
    for events in _events(directory):
        begin = events[0]
        if begin["type"] == "begin":
            host = hosts[begin["agent"]].host
            last = max(datetime.fromisoformat(event.get("end") or event["time"]) for event in events)
            times = held.setdefault((host, begin["job"], begin["slot"]), [])
            times.append((datetime.fromisoformat(begin["started"]), last))
    for key, times in held.items():
        times.sort()
        for (_, end), (start, _) in itertools.pairwise(times):
            assert end <= start, key


def end_process(process):
    """kill -9 of a process and of all its descendants, as the loss of its node."""
    several = [psutil.Process(process.pid)]
    several += several[0].children(recursive=True)
    for each in several:
        with contextlib.suppress(psutil.Error):
            each.send_signal(signal.SIGSTOP)
    for each in several:
        with contextlib.suppress(psutil.Error):
            each.kill()
    if isinstance(process, subprocess.Popen):
        process.wait()
