"""Check of allocations and agents in the journal: their order, their numbers, and what their nodes have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from operator import attrgetter

from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.campaign.workforce import AgentState, agents_in
from aiperf_orch.package.clock_tolerance import CLOCK_TOLERANCE
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.records.journal import AgentRecord, Allocating, Entry, Joined, Submitted
from aiperf_orch.results.agent_presence import wrote_its_end
from aiperf_orch.settings.placement import PlacementSettings
from aiperf_orch.settings.schedulers import PbsSettings
from aiperf_orch.util.units import format_time


def check_agents(index: PackageIndex) -> None:
    """Check every allocation and agent of the journal, and the agents to which attempts were given."""
    if index.placement is None:
        _check_absence(index)
        return
    _check_order(index)
    _check_nodes(index)
    for agent in index.result.state.workforce.agents.values():
        _check_capacity(index, agent.record, index.placement)


def _check_absence(index: PackageIndex) -> None:
    for entry in index.entries:
        if isinstance(entry, Allocating | Joined):
            what = "an allocation" if isinstance(entry, Allocating) else "an agent"
            index.faults.add("agent.unexpected", _line(entry), f"{what}, and by the settings each trial is a job")


def _check_order(index: PackageIndex) -> None:
    """Check that allocations precede their agents, and agents the attempts that they hold."""
    allocations: set[str] = set()
    joined: dict[str, AgentRecord] = {}
    for entry in index.entries:
        match entry:
            case Allocating():
                allocations |= {record.name for record in entry.allocations}
            case Joined():
                for record in entry.agents:
                    _check_joined(index, entry, record, joined)
                    if record.allocation is not None and record.allocation not in allocations:
                        why = f"agent {record.agent} is of allocation {record.allocation}, which was not submitted"
                        index.faults.add("agent.allocation", _line(entry), why)
            case Submitted():
                for job in entry.jobs:
                    agents = agents_in(job.job)
                    missing = [agent for agent in agents if agent not in joined]
                    if missing or not agents:
                        why = f"attempt {job.attempt} of trial {job.trial}: {job.job} names no agent that had joined"
                        index.faults.add("placement.agent", _line(entry), why)


def _check_joined(index: PackageIndex, entry: Entry, record: AgentRecord, joined: dict[str, AgentRecord]) -> None:
    """Check that an agent that joins again is the one that it was, and has the name of its node."""
    if joined.setdefault(record.agent, record) != record:
        why = f"agent {record.agent} joined before as another one"
        index.faults.add("agent.record", _line(entry), why)
    again = index.result.state.workforce.agents[record.agent].absences
    returned = next((absence for absence in again if wrote_its_end(absence.leave)), None)
    if returned is not None and returned.joined_again == entry.time:
        why = f"agent {record.agent} joined again, and its log had ended ({returned.leave.reason})"
        index.faults.add("agent.record", _line(entry), why)


def _check_nodes(index: PackageIndex) -> None:
    """Check that the agents of one job fit its nodes."""
    workforce = index.result.state.workforce
    by_job: defaultdict[tuple[str, str], list[AgentState]] = defaultdict(list)
    for agent in workforce.agents.values():
        if agent.record.allocation in workforce.allocations:
            by_job[agent.record.allocation, agent.record.job].append(agent)
    share_hosts = _nodes_may_share_a_host(index)
    for (name, _), agents in by_job.items():
        agents.sort(key=attrgetter("record.time"))
        nodes = workforce.allocations[name].nodes
        hosts = {agent.record.host for agent in agents}
        if len(hosts) > nodes:
            why = f"agents of allocation {name} began on {len(hosts)} nodes; it has {nodes}"
            index.faults.add("allocation.nodes", _joined(index, agents[-1]), why)
        for agent, other in () if share_hosts else _overlapping(agents):
            why = (
                f"agent {agent.record.agent} began ({format_time(agent.record.time)}) "
                f"before agent {other.record.agent} of the same node and job had ended"
            )
            index.faults.add("agent.overlap", _joined(index, agent), why)


def _overlapping(agents: list[AgentState]) -> Iterator[tuple[AgentState, AgentState]]:
    """Agents of one job, in the order of their begins, that began before an earlier one on their node had ended.

    An agent whose end is not in the journal is taken to have ended: the controller records an end later than the begin
    of the next agent.
    """
    latest: dict[str, AgentState] = {}
    for agent in agents:
        before = latest.get(agent.record.host)
        if before is not None and before.left and before.left.time - agent.record.time > CLOCK_TOLERANCE:
            yield agent, before
        if before is None or before.left is None or (agent.left and agent.left.time > before.left.time):
            latest[agent.record.host] = agent


def _nodes_may_share_a_host(index: PackageIndex) -> bool:
    scheduler = index.directory.settings.scheduler
    return isinstance(scheduler, PbsSettings) and ("scatter" not in scheduler.place or bool(scheduler.resources))


def _check_capacity(index: PackageIndex, record: AgentRecord, placement: PlacementSettings) -> None:
    """Check that a node has what its slots need; simulated trials need nothing."""
    if index.result.simulated:
        return
    where = f"{MEMBERS.journal}:{index.joined[record.agent]}"
    for what, each, available in (
        ("cores", None if placement.share_cores else placement.cores, record.cores),
        ("GPUs", placement.gpus, record.gpus),
    ):
        if each is not None and available and record.slots * each > available:
            why = f"agent {record.agent}: {record.slots} slots of {each} {what} each; its node has {available}"
            index.faults.add("agent.slots", where, why)


def _joined(index: PackageIndex, agent: AgentState) -> str:
    return f"{MEMBERS.journal}:{index.joined[agent.record.agent]}"


def _line(entry: Entry) -> str:
    return f"{MEMBERS.journal}:{entry.seq + 1}"
