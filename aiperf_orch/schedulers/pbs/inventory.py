"""Inventory of a PBS complex: builders of qstat and pbsnodes commands, and parsers of their output.

Used by `init` and `check`; runs no command. Text is parsed, as in `qstat`: the JSON of pbsnodes is invalid for some
values, and releases before 18.1 have none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from aiperf_orch.schedulers.pbs import qstat
from aiperf_orch.settings.schedulers import PbsSettings
from aiperf_orch.util.clock_time import parse_clock_time
from aiperf_orch.util.whole_numbers import parse_whole_number

_USABLE: Final = frozenset({"free", "busy", "job-busy", "job-exclusive", "job-sharing", "resv-exclusive", "sleep"})
_KIBIBYTES: Final = {"b": 1 / 1024, "kb": 1, "mb": 1 << 10, "gb": 1 << 20, "tb": 1 << 30, "pb": 1 << 40}


@dataclass(frozen=True, slots=True)
class PbsNode:
    """A host with the sum of its vnodes.

    Args:
        name: host name.
        states: states of all its vnodes.
        cpus: `ncpus`, over all vnodes.
        gpus: `ngpus`, over all vnodes.
        memory: in KiB.
        queue: the only queue whose jobs it runs; None if it is bound to none.
        resources: `resources_available` by resource name, as text.
    """

    name: str
    states: frozenset[str]
    cpus: int
    gpus: int
    memory: int
    queue: str | None = None
    resources: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_usable(self) -> bool:
        """Whether the node is in service: it runs jobs, or will when it is free."""
        return self.states <= _USABLE


@dataclass(frozen=True, slots=True)
class QueueOrServer:
    """A queue or the server, which have limits of the same kind: attributes by name, as text."""

    name: str
    attributes: Mapping[str, str] = field(repr=False)

    @property
    def is_routing(self) -> bool:
        """Whether this is a routing queue, which only passes jobs on to other queues."""
        return self.attributes.get("queue_type", "").lower().startswith("r")

    @property
    def destinations(self) -> list[str]:
        """Queues that a routing queue passes jobs on to."""
        return [name.partition("@")[0] for name in split_list(self.attributes.get("route_destinations", ""))]

    def is_true(self, attribute: str) -> bool:
        """Whether the attribute is set to True."""
        return self.attributes.get(attribute, "").lower() == "true"

    def walltime(self, bound: str) -> float | None:
        """Upper (`max`) or lower (`min`) bound of a job's walltime in seconds; None if there is none."""
        return parse_walltime(self.attributes.get(f"resources_{bound}.walltime", ""))

    def minimum(self, resource: str) -> int | None:
        """Minimum amount of a resource for one job, memory in KiB; None if there is no limit."""
        return parse_amount(resource, self.attributes.get(f"resources_min.{resource}", ""))

    def maximum(self, resource: str) -> int | None:
        """Maximum amount of a resource for one job, memory in KiB; None if there is no limit."""
        return parse_amount(resource, self.attributes.get(f"resources_max.{resource}", ""))


@dataclass(frozen=True, slots=True)
class Complex:
    """A PBS server with its queues and nodes.

    Args:
        server: the server.
        queues: queues by name.
        nodes: nodes; empty if pbsnodes failed.
        without_nodes: error message of pbsnodes if it failed, else None.
    """

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
        """The version of PBS."""
        return self.server.attributes.get("pbs_version", "of an unknown version")

    @property
    def default_queue(self) -> str | None:
        """The queue of jobs that are submitted without one."""
        return self.server.attributes.get("default_queue")

    def execution_queues(self, name: str) -> list[QueueOrServer]:
        """The queues in which jobs of this queue may run: itself, or its destinations if it is a routing queue."""
        queue = self.queues.get(name)
        if queue is None:
            return []
        if not queue.is_routing:
            return [queue]
        return [self.queues[each] for each in queue.destinations if each in self.queues]

    def with_server_limits(self, queue: QueueOrServer) -> QueueOrServer:
        """The queue, with the server's `resources_max` where it has none of its own, as PBS applies them."""
        defaults = {name: value for name, value in self.server.attributes.items() if name.startswith("resources_max.")}
        return QueueOrServer(queue.name, defaults | dict(queue.attributes))

    def nodes_of(self, queues: Collection[QueueOrServer]) -> list[PbsNode]:
        """Nodes that run jobs of at least one of the queues, by their own `queue` and the queue's `default_chunk`."""
        return [node for node in self.nodes if any(_serves(node, queue) for queue in queues)]


def queues_command() -> list[str]:
    """Command that lists all queues."""
    return ["qstat", "-Q", "-f"]


def parse_queues(output: str) -> dict[str, QueueOrServer]:
    """Parse `qstat -Q -f`: queues by name. Blocks whose heading cannot be the name of a queue are skipped."""
    found = qstat.parse_blocks(output, "Queue: ")
    return {
        name: QueueOrServer(name, attributes)
        for name, attributes in found
        if re.fullmatch(r"\w[\w.@-]{0,100}", name, re.ASCII)
    }


def parse_server(output: str) -> QueueOrServer:
    """Parse `qstat -B -f`; the server is named `unknown` if the output has none."""
    name, attributes = next(iter(qstat.parse_blocks(output, "Server: ")), ("unknown", {}))
    return QueueOrServer(name, attributes)


def nodes_command() -> list[str]:
    """Command that lists all vnodes: without `v` some releases show only the first vnode of a host."""
    return ["pbsnodes", "-av"]


def parse_nodes(output: str) -> Iterator[PbsNode]:
    """Parse `pbsnodes -av`; the vnodes of a host are added up, since a chunk may be spread over them."""
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
            sum(_parse_count(vnode.get("resources_available.ncpus", "")) or 0 for vnode in vnodes),
            sum(_parse_count(vnode.get("resources_available.ngpus", "")) or 0 for vnode in vnodes),
            sum(parse_memory(vnode.get("resources_available.mem", "")) or 0 for vnode in vnodes),
            next((vnode["queue"] for vnode in vnodes if "queue" in vnode), None),
            resources,
        )


def parse_memory(text: str) -> int | None:
    """Parse an amount of memory as PBS writes it (`24684084kb`) into KiB; None if it is malformed."""
    match = re.fullmatch(r"(\d{1,18})([kmgtp]?b)?", text.strip().lower(), re.ASCII)
    return int(int(match[1]) * _KIBIBYTES[match[2] or "b"]) if match else None


def parse_walltime(text: str) -> float | None:
    """Parse `HH:MM:SS`, `MM:SS` or a number into seconds; None if it is malformed."""
    return parse_clock_time(text) if "-" not in text else None


def parse_amount(resource: str, text: str) -> int | None:
    """Parse an amount of a resource, memory into KiB; None if it is malformed."""
    return parse_memory(text) if resource == "mem" else _parse_count(text)


def unit_of(resource: str) -> str:
    """Suffix to print after an amount that `parse_amount` returned."""
    return "kb" if resource == "mem" else ""


def split_list(text: str) -> list[str]:
    """Split a comma-separated list; empty items are dropped."""
    return [item.strip() for item in text.split(",") if item.strip()]


def requested_resources(settings: PbsSettings) -> dict[str, int]:
    """Amounts that the job of a trial requests, by resource, memory in KiB; empty if the site sets `resources`."""
    if settings.resources:
        return {}
    return {
        "nodect": settings.nodes,
        "ncpus": settings.cpus * settings.nodes,
        "ngpus": (settings.gpus or 0) * settings.nodes,
        "mem": memory_of(settings) * settings.nodes,
    }


def shortfalls(settings: PbsSettings, node: PbsNode) -> list[str]:
    """Describe each request of a trial that the node cannot satisfy; empty if the trial fits."""
    found = []
    if settings.cpus > node.cpus:
        found.append(f"cpus {settings.cpus}, and it has {node.cpus}")
    if (settings.gpus or 0) > node.gpus:
        found.append(f"gpus {settings.gpus}, and it has {node.gpus or 'none'} (ngpus)")
    if memory_of(settings) > node.memory:
        found.append(f"memory {settings.memory}, and it has {node.memory // 1024}mb")
    for name, equals, value in (part.partition("=") for part in (settings.chunk or "").split(":") if part):
        if equals and name in node.resources and value not in split_list(node.resources[name]):
            found.append(f"chunk {name}={value}, and it has {node.resources[name]}")
    return found


def trials_per_node(settings: PbsSettings, node: PbsNode) -> int:
    """Number of trials that fit on a node at once; trials of several nodes are spread by place=scatter."""
    if "excl" in settings.place:
        return 1
    bounds = [node.cpus // settings.cpus]
    if settings.gpus:
        bounds.append(node.gpus // settings.gpus)
    if settings.memory:
        bounds.append(node.memory // memory_of(settings))
    return min(bounds)


def memory_of(settings: PbsSettings) -> int:
    """Memory that a trial requests on each node, in KiB; 0 if it requests none."""
    return parse_memory(settings.memory or "") or 0


def _vnodes(output: str) -> Iterator[dict[str, str]]:
    """Split into one dict for each vnode: a line with its name, then lines of `     key = value`."""
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
    """Whether a node runs jobs of an execution queue."""
    if node.queue is not None and node.queue != queue.name:
        return False
    wanted = {
        key.removeprefix("default_chunk."): value
        for key, value in queue.attributes.items()
        if key.startswith("default_chunk.") and parse_memory(value) is None  # an amount does not select nodes
    }
    return all(value in split_list(node.resources.get(name, "")) for name, value in wanted.items())


def _parse_count(text: str) -> int | None:
    """Parse a number of at most 18 digits; None if it is malformed."""
    return parse_whole_number(text.strip())
