"""Check of allocations and agents in the journal: their order, their numbers, and what their nodes have."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from operator import attrgetter
from typing import Final

from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.campaign.workforce import Absence, AgentState, agents_in
from aiperf_orch.package.clock_tolerance import CLOCK_TOLERANCE
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.records.agents import BY_HAND
from aiperf_orch.records.journal import Allocating, Entry, Joined, Submitted
from aiperf_orch.records.workforce import AgentRecord
from aiperf_orch.results.agent_presence import wrote_its_end
from aiperf_orch.settings.placement import PlacementSettings
from aiperf_orch.util.units import format_time

_TOLERANCE: Final = CLOCK_TOLERANCE.total_seconds()


def check_agents(index: PackageIndex) -> None:
    """Check every allocation and agent of the journal, and the agents to which attempts were given."""
    if index.placement is None:
        _check_absence(index)
        return
    _check_order(index)
    _check_nodes(index)
    _check_shared_cores(index)
    for agent in index.result.state.workforce.agents.values():
        _check_capacity(index, agent.record, index.placement)


def _check_absence(index: PackageIndex) -> None:
    for entry in index.entries:
        if isinstance(entry, Allocating | Joined):
            what = "an allocation" if isinstance(entry, Allocating) else "an agent"
            index.faults.add("agent.unexpected", _line(entry), f"{what}, and by the settings each trial is a job")


def _check_order(index: PackageIndex) -> None:
    """Check that allocations precede their agents, and that attempts are placed on agents that joined at any time.

    A controller may place an attempt and record it before it records that the agent joined.
    """
    allocations: set[str] = set()
    joined: dict[str, AgentRecord] = {}
    returned = {
        name: next((absence for absence in agent.absences if wrote_its_end(absence.leave)), None)
        for name, agent in index.result.state.workforce.agents.items()
    }
    for entry in index.entries:
        match entry:
            case Allocating():
                allocations |= {record.name for record in entry.allocations}
            case Joined():
                for record in entry.agents:
                    _check_joined(index, entry, record, joined, returned[record.agent])
                    if record.allocation is not None and record.allocation not in allocations:
                        why = f"agent {record.agent} is of allocation {record.allocation}, which was not submitted"
                        index.faults.add("agent.allocation", _line(entry), why)
            case Submitted():
                for job in entry.jobs:
                    agents = agents_in(job.job)
                    if not agents or not index.joined.keys() >= set(agents):
                        why = f"attempt {job.attempt} of trial {job.trial}: {job.job} names no agent that joined"
                        index.faults.add("placement.agent", _line(entry), why)


def _check_joined(
    index: PackageIndex,
    entry: Entry,
    record: AgentRecord,
    joined: dict[str, AgentRecord],
    returned: Absence | None,
) -> None:
    """Check that an agent that joins again is the one that it was, and has the name of its node.

    `returned` is the first of its absences after an end that it wrote itself.
    """
    if joined.setdefault(record.agent, record) != record:
        why = f"agent {record.agent} joined before as another one"
        index.faults.add("agent.record", _line(entry), why)
    if returned is not None and returned.joined_again == entry.time:
        why = f"agent {record.agent} joined again, and its log had ended ({returned.leave.reason})"
        index.faults.add("agent.record", _line(entry), why)


def _check_nodes(index: PackageIndex) -> None:
    """Check that the agents of each allocation are on no more nodes than it has."""
    workforce = index.result.state.workforce
    by_job: defaultdict[tuple[str, str], list[AgentRecord]] = defaultdict(list)
    for agent in workforce.agents.values():
        if agent.record.allocation in workforce.allocations:
            by_job[agent.record.allocation, agent.record.job].append(agent.record)
    for (name, _), records in by_job.items():
        hosts, nodes = {record.host for record in records}, workforce.allocations[name].nodes
        if len(hosts) > nodes:
            why = f"agents of allocation {name} began on {len(hosts)} nodes; it has {nodes}"
            index.faults.add("allocation.nodes", _joined(index, records[-1]), why)


def _check_shared_cores(index: PackageIndex) -> None:
    """Check that agents of one job on one node, at the same time, have different cores; simulated trials need none.

    An agent whose end is not in the journal is taken to have ended: the controller may record an end later than the
    begin of the agent that takes its place.
    """
    if index.result.simulated:
        return
    by_node: defaultdict[tuple[str, str], list[AgentState]] = defaultdict(list)
    for agent in index.result.state.workforce.agents.values():
        if agent.record.job != BY_HAND:
            by_node[agent.record.host, agent.record.job].append(agent)
    for agents in by_node.values():
        agents.sort(key=attrgetter("record.time"))
        holders: dict[int, AgentState] = {}  # core -> the agent that has it for the longest time
        for agent in agents:
            others = [holders[core] for core in agent.record.core_ids if core in holders]
            before = next((each for each in others if _seconds_left(each, agent.record.time) > _TOLERANCE), None)
            if before is not None:
                began = format_time(agent.record.time)
                why = f"agent {agent.record.agent} began ({began}) on cores that agent {before.record.agent} still had"
                index.faults.add("agent.overlap", _joined(index, agent.record), why)
            for core in agent.record.core_ids:
                if core not in holders or agent.left is None or _seconds_left(holders[core], agent.left.time) <= 0:
                    holders[core] = agent


def _seconds_left(agent: AgentState, time: datetime) -> float:
    """Seconds from a time to the end of an agent; 0 where its end is not known."""
    return (agent.left.time - time).total_seconds() if agent.left else 0.0


def _check_capacity(index: PackageIndex, record: AgentRecord, placement: PlacementSettings) -> None:
    """Check that a node has what its slots need, unless trials are simulated or may share cores."""
    if index.result.simulated or placement.share_cores:
        return
    for what, each, available in (("cores", placement.cores, record.cores), ("GPUs", placement.gpus, record.gpus)):
        if each is not None and record.slots * each > available:
            why = f"agent {record.agent}: {record.slots} slots of {each} {what} each; its node has {available}"
            index.faults.add("agent.slots", _joined(index, record), why)


def _joined(index: PackageIndex, record: AgentRecord) -> str:
    return f"{MEMBERS.journal}:{index.joined[record.agent]}"


def _line(entry: Entry) -> str:
    return f"{MEMBERS.journal}:{entry.seq + 1}"
