"""Check of allocations against the scheduler's accounting: their nodes, and the times of trials on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.package.check_accounting import AccountingLine, read_accounting
from aiperf_orch.package.clock_tolerance import clock_tolerance
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.records.workforce import AgentRecord
from aiperf_orch.results.agent_presence import microseconds
from aiperf_orch.results.occupied_slots import PlacedRun, placed_runs
from aiperf_orch.util.units import format_time


@dataclass
class _AgentRuns:
    """An agent of an allocation, and the runs of trials that it held first."""

    record: AgentRecord
    runs: list[PlacedRun] = field(default_factory=list)

    @property
    def tolerance(self) -> timedelta:
        """Permitted difference between the clocks of its node and of the scheduler."""
        return clock_tolerance(run.begin for run in self.runs)


def check_allocation_accounting(index: PackageIndex) -> None:
    """Compare every accounted allocation with its agents and their trials, and report those without an account.

    Agents in a job other than the one that the journal has for their allocation are not compared: a submission that
    seemed to be lost may have been accepted, and the accounting is queried for one job of each name.
    """
    if index.placement is None or MEMBERS.accounting.name not in index.package.hashes:
        return
    workforce = index.result.state.workforce
    lines = read_accounting(index, {name: name for name in workforce.allocations}, "an allocation")
    for name, agents in _agents_by_allocation(index).items():
        if name in lines:
            _check_allocation(index, lines[name], agents)
        else:
            where = f"{MEMBERS.journal}:{index.joined[agents[0].record.agent]}"
            why = f"agents began in allocation {name}, and the scheduler's accounting does not have its job"
            index.faults.add("accounting.missing", where, why)


def _agents_by_allocation(index: PackageIndex) -> dict[str, list[_AgentRuns]]:
    """The agents in the known job of each allocation, with their runs."""
    workforce = index.result.state.workforce
    agents = {name: _AgentRuns(agent.record) for name, agent in workforce.agents.items()}
    for run in (run for records in index.trials for run in placed_runs(records)):
        if run.begin.agent in agents:
            agents[run.begin.agent].runs.append(run)
    found: defaultdict[str, list[_AgentRuns]] = defaultdict(list)
    for agent in agents.values():
        allocation = workforce.allocations.get(agent.record.allocation or "")
        if allocation is not None and allocation.job == agent.record.job:
            found[allocation.name].append(agent)
    return found


def _check_allocation(index: PackageIndex, lines: Sequence[AccountingLine], agents: Sequence[_AgentRuns]) -> None:
    last = lines[-1]
    name, where = last.job.name, last.where
    start = min((line.job.start for line in lines if line.job.start is not None), default=None)
    ends = [line.job.end for line in lines]
    end = max(filter(None, ends)) if all(line.job.ended_by_itself for line in lines) and all(ends) else None
    nodes = {_short(node) for line in lines for node in line.job.hosts}
    for agent in agents:
        if nodes and _short(agent.record.host) not in nodes:
            why = f"{name}: agent {agent.record.agent} began on {agent.record.host}, which is none of its nodes"
            index.faults.add("accounting.nodes", where, why)
        for run in agent.runs:
            key = f"attempt {run.begin.attempt} of trial {run.begin.trial}"
            if start is not None and run.begun < _shifted(start, -agent.tolerance):
                why = f"{name}: its start is {format_time(start)}; {key} began before that"
                index.faults.add("accounting.time", where, why)
            elif end is not None and run.work_end > _shifted(end, agent.tolerance):
                why = f"{name}: its end is {format_time(end)}; {key} ended after that"
                index.faults.add("accounting.time", where, why)
        _check_presence(index, where, agent, start)


def _check_presence(index: PackageIndex, where: str, agent: _AgentRuns, start: datetime | None) -> None:
    """Check that an agent did not begin before its job; without a trial nothing is known of its node's clock."""
    record = agent.record
    if start is not None and agent.runs and microseconds(record.time) < _shifted(start, -agent.tolerance):
        why = f"{record.allocation}: its start is {format_time(start)}; agent {record.agent} began before that"
        index.faults.add("accounting.time", where, why)


def _shifted(time: datetime, by: timedelta) -> int:
    return microseconds(time) + by // timedelta(microseconds=1)


def _short(host: str) -> str:
    """A host name without its domain, in lower case."""
    return host.partition(".")[0].casefold()
