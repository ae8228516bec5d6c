"""Check of placed attempts: their begin lines against the agents that the journal has, and no two on one slot.

A trial works as long as its agent, so that its events lie within the agent's time, by the same clock. Of an agent that
was killed or lost only the last sign of life is known: it may have worked longer, and the controller reclaims its
attempts; epochs that end before that count (`check_events` compares them with the end of the attempt).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from operator import attrgetter

from aiperf_orch.campaign.workforce import AgentState, agents_in
from aiperf_orch.package.check_agents import check_agents
from aiperf_orch.package.clock_tolerance import clock_tolerance
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.records.events import Begin
from aiperf_orch.records.journal import Ended, Opened, SettingsChanged, Submitted, Submitting
from aiperf_orch.records.workforce import AgentRecord
from aiperf_orch.results.agent_presence import microseconds, wrote_its_end
from aiperf_orch.results.occupied_slots import PlacedRun, placed_runs
from aiperf_orch.util.units import format_time

_OnHosts = Mapping[tuple[str, str], Sequence[AgentRecord]]
"""Agents by node and job id, in the order of their begins."""


def check_placements(index: PackageIndex) -> None:
    """Check all allocations, agents and placed attempts."""
    check_agents(index)
    begins = [begin for records in index.trials for begin in records.begins]
    if index.placement is None:
        for begin in begins:
            if (begin.agent, begin.allocation, begin.slot, begin.started) != (None, None, None, None):
                _add(index, "placement.agent", begin, "names an agent, and each trial is a job of its own")
        return
    agents, on_hosts = index.result.state.workforce.agents, _agents_on_hosts(index)
    for begin in begins:
        if begin.agent is None or begin.agent not in agents:
            _add(index, "placement.agent", begin, f"names no agent that joined: {begin.agent}")
            continue
        _check_begin(index, begin, agents[begin.agent].record)
        for host in begin.hosts[1:]:
            if (host, begin.job) not in on_hosts:
                _add(index, "placement.agent", begin, f"hosts: no agent of job {begin.job} joined on {host}")
    _check_placed(index, begins)
    runs = [run for records in index.trials for run in placed_runs(records) if run.begin.agent in agents]
    for run in runs:
        _check_time(index, run, agents[run.begin.agent or ""])
    _check_overlaps(index, runs, on_hosts)
    _check_concurrency(index, runs)


def _check_begin(index: PackageIndex, begin: Begin, agent: AgentRecord) -> None:
    """Check what a begin line states of its agent."""
    host = begin.hosts[0] if begin.hosts else None
    for field, stated, expected in (
        ("allocation", begin.allocation, agent.allocation),
        ("job", begin.job, agent.job),
        ("hosts", host, agent.host),
    ):
        if stated != expected:
            why = f"{field}: {stated} stated; its agent {agent.agent} has {expected}"
            _add(index, "placement.agent", begin, why)
    if begin.slot is None or begin.slot >= agent.slots:
        why = f"slot: {begin.slot}, and agent {agent.agent} has the slots 0 to {agent.slots - 1}"
        _add(index, "placement.slot", begin, why)
    if begin.started is None:
        _add(index, "placement.time", begin, "has no time at which its agent started it")


def _check_placed(index: PackageIndex, begins: Sequence[Begin]) -> None:
    """Check that attempts began on agents on which the journal placed them.

    A controller that is killed after it wrote an order, and before it wrote the journal, leaves a placement that the
    journal does not have. The next one opens the journal while the attempt is live.
    """
    placed: defaultdict[tuple[int, int], list[list[str]]] = defaultdict(list)
    controllers = 0
    first_controller: dict[tuple[int, int], int] = {}
    last_controller: dict[tuple[int, int], int] = {}
    for entry in index.entries:
        match entry:
            case Opened():
                controllers += 1
            case Submitting():
                first_controller |= {(each.trial, each.attempt): controllers for each in entry.attempts}
            case Submitted():
                for job in entry.jobs:
                    placed[job.trial, job.attempt].append(agents_in(job.job))
            case Ended():
                last_controller |= {(end.trial, end.attempt): controllers for end in entry.attempts}
    agents = index.result.state.workforce.agents
    for begin in begins:
        key = begin.trial, begin.attempt
        if key not in placed or last_controller.get(key, controllers) > first_controller[key]:
            continue
        on = [names for names in placed[key] if begin.agent in names[:1]]
        hosts = [{agents[name].record.host for name in names if name in agents} for names in on]
        if not on:
            names = " and ".join(",".join(names) for names in placed[key])
            why = f"agent: {begin.agent} stated, and the journal placed the attempt on {names}"
            _add(index, "placement.agent", begin, why)
        elif set(begin.hosts) not in hosts:
            stated, known = ", ".join(begin.hosts), ", ".join(sorted(hosts[-1]))
            why = f"hosts: {stated} stated; the agents of the attempt are on {known}"
            _add(index, "placement.agent", begin, why)


def _check_concurrency(index: PackageIndex, runs: Sequence[PlacedRun]) -> None:
    """Check that no more runs were at work at once than the settings permit, as far as clocks are known."""
    limits = _concurrency_limits(index)
    changes: list[tuple[int, int, Begin]] = []
    for run in runs:
        tolerance = _microseconds(clock_tolerance([run.begin]))
        start, end = run.started + tolerance, run.work_end - tolerance
        if start < end:
            changes += [(start, 1, run.begin), (end, -1, run.begin)]
    changes.sort(key=lambda change: change[:2])
    at_work = 0
    for _, change, begin in changes:
        at_work += change
        most = limits[begin.trial, begin.attempt]
        if change > 0 and at_work > most:
            why = f"with it {at_work} attempts are at work at once; the settings have concurrency: {most}"
            _add(index, "campaign.concurrency", begin, why)
            return


def _concurrency_limits(index: PackageIndex) -> dict[tuple[int, int], int]:
    """(trial, attempt) -> number of attempts that may be at work with it: the largest while it was live."""
    limits: dict[tuple[int, int], int] = {}
    live: set[tuple[int, int]] = set()
    for entry in index.entries:
        if isinstance(entry, SettingsChanged):
            limits |= {key: max(limits[key], index.settings_at(entry.seq + 1).campaign.concurrency) for key in live}
        elif isinstance(entry, Submitting):
            new = {(record.trial, record.attempt) for record in entry.attempts}
            limits |= dict.fromkeys(new, index.settings_at(entry.seq).campaign.concurrency)
            live |= new
        elif isinstance(entry, Ended):
            live -= {(end.trial, end.attempt) for end in entry.attempts}
    return limits


def _check_time(index: PackageIndex, run: PlacedRun, agent: AgentState) -> None:
    """Check that a run lies within the time of its agent."""
    begin, tolerance = run.begin, _microseconds(clock_tolerance([run.begin]))
    if microseconds(begin.started or begin.time) < microseconds(agent.record.time) - tolerance:
        why = f"starts before its agent {agent.record.agent} ({format_time(agent.record.time)})"
        _add(index, "placement.time", begin, why)
    if begin.started is not None and microseconds(begin.started) > microseconds(begin.time) + tolerance:
        _add(index, "placement.time", begin, f"begins before its process started ({format_time(begin.started)})")
    left = agent.left
    if left is not None and wrote_its_end(left) and run.work_end > microseconds(left.time) + tolerance:
        why = f"ends after its agent {agent.record.agent} ({format_time(left.time)}, {left.reason})"
        _add(index, "placement.time", begin, why)


def _check_overlaps(index: PackageIndex, runs: Sequence[PlacedRun], on_hosts: _OnHosts) -> None:
    """Check that no two runs were at work on one slot at the same time; a run on several nodes has all slots."""
    by_agent: defaultdict[str, list[PlacedRun]] = defaultdict(list)
    for run in runs:
        for agent in _agents_of(run, on_hosts):
            by_agent[agent].append(run)
    for agent, held in by_agent.items():
        held.sort(key=lambda run: (run.started, run.work_end))
        latest: dict[int | None, PlacedRun] = {}  # slot, None for all -> the run there that ends last
        for run in held:
            slot = _slot(run)
            others = latest.values() if slot is None else [latest[key] for key in (slot, None) if key in latest]
            before = max(others, key=lambda other: other.work_end, default=None)
            if before is not None and run.started < before.work_end - _microseconds(
                clock_tolerance([run.begin, before.begin])
            ):
                other = f"attempt {before.begin.attempt} of trial {before.begin.trial}"
                why = f"slot {run.begin.slot} of agent {agent}: starts before {other} ended there"
                _add(index, "placement.overlap", run.begin, why)
            if slot not in latest or run.work_end > latest[slot].work_end:
                latest[slot] = run


def _agents_on_hosts(index: PackageIndex) -> _OnHosts:
    found: defaultdict[tuple[str, str], list[AgentRecord]] = defaultdict(list)
    for agent in index.result.state.workforce.agents.values():
        found[agent.record.host, agent.record.job].append(agent.record)
    for records in found.values():
        records.sort(key=attrgetter("time"))
    return found


def _agents_of(run: PlacedRun, on_hosts: _OnHosts) -> list[str]:
    """The agents on which a run was at work, as far as its begin line identifies them."""
    found = [run.begin.agent or ""]
    for host in dict.fromkeys(run.begin.hosts[1:]):
        there = on_hosts.get((host, run.begin.job), ())
        before = bisect_right(there, run.begun, key=lambda each: microseconds(each.time))
        found += [each.agent for each in there[max(before - 1, 0) : before]]
    return found


def _slot(run: PlacedRun) -> int | None:
    return None if len(run.begin.hosts) > 1 else run.begin.slot


def _microseconds(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)


def _add(index: PackageIndex, fault: str, begin: Begin, why: str) -> None:
    index.faults.add(fault, index.at_event(begin.trial, begin.attempt, "begin"), why)
