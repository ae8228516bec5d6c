"""What a PBS complex has: builders of qstat and pbsnodes commands, and parsers of what they print. Runs nothing.

Text, not JSON, as of the queue (`qstat`): the JSON of pbsnodes is as loose, and releases before 18.1 have none. For `init`
and `check`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from aiperf_orch.schedulers.pbs import qstat
from aiperf_orch.settings.schedulers import PbsSettings
from aiperf_orch.util.clock_time import parse_clock_time

_USABLE: Final = frozenset({"free", "busy", "job-busy", "job-exclusive", "job-sharing", "resv-exclusive", "sleep"})
_KIBIBYTES: Final = {"b": 1 / 1024, "kb": 1, "mb": 1 << 10, "gb": 1 << 20, "tb": 1 << 30, "pb": 1 << 40}


@dataclass(frozen=True, slots=True)
class PbsNode:
    """A host with all of its vnodes: `memory` in KiB, `queue` the only one that it serves, where it is bound to one."""

    name: str
    states: frozenset[str]
    cpus: int
    gpus: int
    memory: int
    queue: str | None = None
    resources: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_usable(self) -> bool:
        """Whether jobs run on it, now or when it is free."""
        return self.states <= _USABLE


@dataclass(frozen=True, slots=True)
class QueueOrServer:
    """A queue, or the server, which has limits of the same kind: its attributes by name as text."""

    name: str
    attributes: Mapping[str, str] = field(repr=False)

    @property
    def is_route(self) -> bool:
        """Whether it only hands jobs on to other queues."""
        return self.attributes.get("queue_type", "").lower().startswith("r")

    @property
    def destinations(self) -> list[str]:
        """Where a routing queue hands jobs on to."""
        return [name.partition("@")[0] for name in listed(self.attributes.get("route_destinations", ""))]

    def is_true(self, attribute: str) -> bool:
        """Whether this attribute is set and true."""
        return self.attributes.get(attribute, "").lower() == "true"

    def walltime(self, bound: str) -> float | None:
        """Seconds that a job may take at maximum (`max`) or must ask for at least (`min`); None is no bound."""
        return parse_walltime(self.attributes.get(f"resources_{bound}.walltime", ""))

    def maximum(self, resource: str) -> int | None:
        """How much of a resource one job may have, memory in KiB; None is no limit."""
        return parse_amount(resource, self.attributes.get(f"resources_max.{resource}", ""))


@dataclass(frozen=True, slots=True)
class Complex:
    """A server with its queues and hosts; where pbsnodes does not tell of them, `without_nodes` is_true so."""

    server: QueueOrServer
    queues: Mapping[str, QueueOrServer]
    nodes: tuple[PbsNode, ...]
    without_nodes: str | None = None

    @property
    def name(self) -> str:
        """The server's name."""
        return self.server.name

    @property
    def version(self) -> str:
        """PBS's version."""
        return self.server.attributes.get("pbs_version", "of an unknown version")

    @property
    def default_queue(self) -> str | None:
        """The queue of jobs that name none."""
        return self.server.attributes.get("default_queue")

    def execution_queues(self, name: str) -> list[QueueOrServer]:
        """The queues that jobs sent to this one may run in: itself, or where it routes them."""
        queue = self.queues.get(name)
        if queue is None:
            return []
        return [self.queues[each] for each in queue.destinations if each in self.queues] if queue.is_route else [queue]

    def with_server_limits(self, queue: QueueOrServer) -> QueueOrServer:
        """A queue with the server's `resources_max` where it has none of its own: PBS holds a job to one of both."""
        servers = {name: value for name, value in self.server.attributes.items() if name.startswith("resources_max.")}
        return QueueOrServer(queue.name, servers | dict(queue.attributes))

    def nodes_of(self, queues: Collection[QueueOrServer]) -> list[PbsNode]:
        """The hosts that serve one of these queues, by their own word and by what the queue adds to every chunk."""
        return [node for node in self.nodes if any(_serves(node, queue) for queue in queues)]


def queues_command() -> list[str]:
    """Every queue."""
    return ["qstat", "-Q", "-f"]


def parse_queues(output: str) -> dict[str, QueueOrServer]:
    """The queues in `qstat -Q -f`, by name; what no queue can be called is passed over."""
    found = qstat.blocks(output, "Queue: ")
    return {
        name: QueueOrServer(name, attributes)
        for name, attributes in found
        if re.fullmatch(r"\w[\w.@-]{0,100}", name, re.ASCII)
    }


def parse_server(output: str) -> QueueOrServer:
    """The server in `qstat -B -f`."""
    name, attributes = next(iter(qstat.blocks(output, "Server: ")), ("unknown", {}))
    return QueueOrServer(name, attributes)


def nodes_command() -> list[str]:
    """Every vnode: without `v` some releases show only the first of a host."""
    return ["pbsnodes", "-av"]


def parse_nodes(output: str) -> Iterator[PbsNode]:
    """The hosts in `pbsnodes -av`, whose vnodes are added up: a chunk may be spread over the vnodes of its host."""
    hosts: dict[str, list[dict[str, str]]] = {}
    for attributes in _vnodes(output):
        hosts.setdefault(attributes.get("resources_available.host", attributes["vnode"]), []).append(attributes)
    for name, vnodes in hosts.items():
        states = {state.strip() for vnode in vnodes for state in vnode.get("state", "").split(",")}
        resources: dict[str, str] = {}
        for vnode in vnodes:
            for key, value in vnode.items():
                if key.startswith("resources_available."):
                    resources.setdefault(key.removeprefix("resources_available."), value)
        yield PbsNode(
            name,
            frozenset(states),
            sum(_whole(vnode.get("resources_available.ncpus", "")) or 0 for vnode in vnodes),
            sum(_whole(vnode.get("resources_available.ngpus", "")) or 0 for vnode in vnodes),
            sum(parse_memory(vnode.get("resources_available.mem", "")) or 0 for vnode in vnodes),
            next((vnode["queue"] for vnode in vnodes if "queue" in vnode), None),
            resources,
        )


def parse_memory(text: str) -> int | None:
    """KiB in an amount as PBS writes it, `24684084kb`; None when it is none."""
    match = re.fullmatch(r"(\d{1,18})([kmgtp]?b)?", text.strip().lower(), re.ASCII)
    return int(int(match[1]) * _KIBIBYTES[match[2] or "b"]) if match else None


def parse_walltime(text: str) -> float | None:
    """Seconds in `HH:MM:SS`, `MM:SS` or a number; None when it is none of them."""
    return parse_clock_time(text) if "-" not in text else None


def parse_amount(resource: str, text: str) -> int | None:
    """An amount of a resource, memory in KiB; None when it is none."""
    return parse_memory(text) if resource == "mem" else _whole(text)


def unit_of(resource: str) -> str:
    """What stands behind an amount that `parse_amount` gave."""
    return "kb" if resource == "mem" else ""


def listed(text: str) -> list[str]:
    """The items of a list with commas."""
    return [item.strip() for item in text.split(",") if item.strip()]


def requested_resources(settings: PbsSettings) -> dict[str, int]:
    """What a trial's job asks for, by resource, memory in KiB; nothing where the site is_true it in its own language."""
    if settings.resources:
        return {}
    return {
        "nodect": settings.nodes,
        "ncpus": settings.cpus * settings.nodes,
        "ngpus": (settings.gpus or 0) * settings.nodes,
        "mem": memory_of(settings) * settings.nodes,
    }


def shortfalls(settings: PbsSettings, node: PbsNode) -> list[str]:
    """What a trial asks for and this host does not have."""
    shortfalls = []
    if settings.cpus > node.cpus:
        shortfalls.append(f"cpus {settings.cpus}, and it has {node.cpus}")
    if (settings.gpus or 0) > node.gpus:
        shortfalls.append(f"gpus {settings.gpus}, and it has {node.gpus or 'none'} (ngpus)")
    if memory_of(settings) > node.memory:
        shortfalls.append(f"memory {settings.memory}, and it has {node.memory // 1024}mb")
    for name, equals, value in (part.partition("=") for part in (settings.chunk or "").split(":") if part):
        if equals and name in node.resources and value not in listed(node.resources[name]):
            shortfalls.append(f"chunk {name}={value}, and it has {node.resources[name]}")
    return shortfalls


def trials_per_node(settings: PbsSettings, node: PbsNode) -> int:
    """How many trials a host can hold at once; those of several nodes are kept apart by place=scatter."""
    if "excl" in settings.place:
        return 1
    bounds = [node.cpus // settings.cpus]
    if settings.gpus:
        bounds.append(node.gpus // settings.gpus)
    if settings.memory:
        bounds.append(node.memory // memory_of(settings))
    return min(bounds)


def memory_of(settings: PbsSettings) -> int:
    """The memory that a trial asks for of each node, in KiB; 0 where it does not say."""
    return parse_memory(settings.memory or "") or 0


def _vnodes(output: str) -> Iterator[dict[str, str]]:
    """A vnode a block: its name at the line's begin, `     key = value` below."""
    attributes: dict[str, str] = {}
    for line in output.split("\n"):
        if line[:1].strip():
            if attributes:
                yield attributes
            attributes = {"vnode": line.strip()}
        elif attributes and (match := re.match(r"\s+([\w.-]+) = (.*)", line)):
            attributes.setdefault(match[1], match[2].strip())
    if attributes:
        yield attributes


def _serves(node: PbsNode, queue: QueueOrServer) -> bool:
    if node.queue is not None and node.queue != queue.name:
        return False
    wanted = {
        key.removeprefix("default_chunk."): value
        for key, value in queue.attributes.items()
        if key.startswith("default_chunk.") and parse_memory(value) is None  # an amount is no mark of a host
    }
    return all(value in listed(node.resources.get(name, "")) for name, value in wanted.items())


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,18}", text.strip(), re.ASCII) else None
