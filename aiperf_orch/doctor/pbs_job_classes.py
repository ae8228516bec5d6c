"""Classes of jobs of a PBS complex, each an execution queue, and which way to run trials fits them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from aiperf_orch.doctor import way_to_run
from aiperf_orch.doctor.findings import Finding
from aiperf_orch.doctor.way_to_run import Bound, JobClass, Trials
from aiperf_orch.schedulers.draft_part import DraftPart
from aiperf_orch.schedulers.pbs import inventory
from aiperf_orch.schedulers.pbs.access_lists import Submitter, denying_list, job_limit
from aiperf_orch.settings.allocation_job import trial_job
from aiperf_orch.settings.schedulers import PbsSettings


def check_way(
    settings: PbsSettings, concurrency: int, duration: float, found: inventory.Complex, submitter: Submitter
) -> Iterator[Finding]:
    """Report which of the two ways to run trials fits the limits of server and queues, and why."""
    trials = trials_of(settings, concurrency, duration, found)
    yield from way_to_run.check_way(settings, trials, job_classes(settings, found, submitter))


def draft_part(
    settings: PbsSettings, concurrency: int, duration: float, found: inventory.Complex, submitter: Submitter
) -> DraftPart:
    """The part `allocations` of a new site file."""
    return way_to_run.draft_part(
        trials_of(settings, concurrency, duration, found), job_classes(settings, found, submitter)
    )


def trials_of(settings: PbsSettings, concurrency: int, duration: float, found: inventory.Complex) -> Trials:
    """What the trials need of nodes that most jobs in the queue get."""
    trial = trial_job(settings)
    nodes = _fitting(trial, found.nodes_of(found.execution_queues(_name(settings, found))))
    shares = Counter(inventory.trials_per_node(trial, node) for node in nodes)
    per_node = max(shares, key=lambda share: shares[share], default=1)
    if trial.nodes > 1 or per_node <= 1:
        return Trials(concurrency, trial.nodes, duration)
    keys = {"cpus_per_node": trial.cpus * per_node} | ({"gpus_per_node": trial.gpus * per_node} if trial.gpus else {})
    return Trials(concurrency, trial.nodes, duration, per_node, keys)


def job_classes(settings: PbsSettings, found: inventory.Complex, submitter: Submitter) -> list[JobClass]:
    """Execution queues that take jobs of this user on nodes for a trial; those of the site file's queue first."""
    if settings.resources:
        return []  # what they request is specific to the site
    chosen = _name(settings, found)
    entries = sorted(found.queues.values(), key=lambda each: each.name != chosen)
    return [
        job_class
        for entry in entries
        if _is_open(entry, submitter) and (entry.name == chosen or not entry.is_true("from_route_only"))
        for queue in found.execution_queues(entry.name)
        if queue.is_true("started") and not denying_list(queue, submitter)
        for job_class in _job_class(settings, found, submitter, entry, queue)
    ]


def _job_class(
    settings: PbsSettings,
    found: inventory.Complex,
    submitter: Submitter,
    entry: inventory.QueueOrServer,
    queue: inventory.QueueOrServer,
) -> Iterator[JobClass]:
    """The class of jobs of an execution queue that were submitted to `entry`; none without nodes for a trial."""
    nodes = len(_fitting(trial_job(settings), found.nodes_of([queue])))
    if not nodes:
        return
    limited = found.with_server_limits(queue)
    scopes = {f"server {found.name}": found.server, f"queue {entry.name}": entry, f"queue {queue.name}": queue}
    through = f", through {entry.name}" if entry.name != queue.name else ""
    most = limited.maximum("nodect")
    yield JobClass(
        f"queue {queue.name}{through}",
        {} if entry.name == _name(settings, found) else {"queue": entry.name},
        queue.minimum("nodect") or 1,
        nodes if most is None else most,
        limited.walltime("max"),
        _tightest(settings, submitter, scopes, "run"),
        _tightest(settings, submitter, scopes, "queued"),
        nodes,
    )


def _tightest(
    settings: PbsSettings,
    submitter: Submitter,
    scopes: dict[str, inventory.QueueOrServer],
    kind: Literal["run", "queued"],
) -> Bound | None:
    """The tightest limit on numbers of jobs; limits on their resources are checked beside."""
    bounds = [
        Bound(limit.jobs, f"{limit.why} of {holder}")
        for holder, scope in scopes.items()
        if (limit := job_limit(scope, kind, submitter, settings.project, {}))
    ]
    return min(bounds, key=lambda bound: bound.jobs, default=None)


def _name(settings: PbsSettings, found: inventory.Complex) -> str:
    return settings.queue or found.default_queue or ""


def _is_open(queue: inventory.QueueOrServer, submitter: Submitter) -> bool:
    return queue.is_true("enabled") and queue.is_true("started") and not denying_list(queue, submitter)


def _fitting(trial: PbsSettings, nodes: Sequence[inventory.PbsNode]) -> list[inventory.PbsNode]:
    """Nodes with the resources of a trial."""
    return [node for node in nodes if not inventory.shortfalls(trial, node)]
