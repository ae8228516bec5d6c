"""Check of begin lines against the settings and the specification of their trial.

Simulated trials have neither precision, workers nor data of their own; of theirs only the rest is checked.
"""

from __future__ import annotations

from collections.abc import Iterator

from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.campaign.training_rules import PRECISIONS, halvings
from aiperf_orch.campaign.trial_state import TrialState
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.records.events import SIMULATED, Begin
from aiperf_orch.settings.schedulers import AgentsSettings, ClusterSettings, PbsSettings, SchedulerSettings
from aiperf_orch.util.dataset_catalogue import known_digest


def check_begins(index: PackageIndex) -> None:
    """Check every begin line of a run that counts."""
    checks = (_trainer, _batch, _setup, _nodes, _workers, _data)
    images = _training_images(index)
    for records in index.trials:
        for begin in records.begins:
            for check in checks:
                for kind, why in check(index, records.trial, begin, images):
                    index.faults.add(kind, str(MEMBERS.events(begin.trial, begin.attempt, begin.run)), why)


def _training_images(index: PackageIndex) -> int | None:
    """Number of training images of the data set; None where neither the settings nor any epoch states it."""
    sizes = index.directory.settings.data.sizes
    return sizes[0] if sizes else max(index.result.training_sizes, default=None)


def _trainer(index: PackageIndex, _trial: TrialState, begin: Begin, _images: int | None) -> Iterator[tuple[str, str]]:
    settings = index.directory.settings
    trainer = settings.training.trainer
    if begin.trainer != trainer:
        yield "trial.trainer", f"trainer: {begin.trainer} stated; by the settings it is {trainer}"
    elif (begin.device == SIMULATED) != settings.simulated:
        yield "trial.trainer", f"device: {begin.device} stated, and the trainer is {trainer}"
    elif not settings.simulated and "torch" not in begin.versions:
        yield "trial.trainer", "versions: has no version of torch, which trained it"


def _batch(index: PackageIndex, trial: TrialState, begin: Begin, images: int | None) -> Iterator[tuple[str, str]]:
    """The batch is that of the specification, or all images if there are fewer, halved while memory does not suffice.

    A data set of unknown size without any epoch may have any number of images.
    """
    proposed = trial.proposal.hyperparameters.batch_size
    if images is None:
        possible = begin.batch <= proposed
    else:
        first = proposed if index.directory.settings.simulated else min(proposed, images)
        possible = begin.batch in halvings(first)
    if not possible:
        yield "trial.batch", f"batch: {begin.batch} stated; the specification has {proposed}, which is only halved"


def _setup(index: PackageIndex, trial: TrialState, begin: Begin, _images: int | None) -> Iterator[tuple[str, str]]:
    settings = index.directory.settings
    training = settings.training
    if begin.compiled and not training.compile:
        yield "trial.compiled", "compiled: true stated; the settings have compile: false"
    if begin.inherited and not training.inherit_weights:
        yield "trial.inherited", "inherited: true stated; the settings have inherit_weights: false"
    if begin.inherited and trial.proposal.parent is None:
        yield "trial.inherited", "inherited: true stated, and the trial has no parent"
    if not settings.simulated and begin.precision not in PRECISIONS[training.precision]:
        yield "trial.precision", f"precision: {begin.precision} stated; the settings have {training.precision}"


def _nodes(index: PackageIndex, _trial: TrialState, begin: Begin, _images: int | None) -> Iterator[tuple[str, str]]:
    """A trial has as many nodes as the settings request; directives, resources and templates may request others.

    The vnodes of a PBS job may share a host, so that there are fewer hosts than nodes.
    """
    scheduler = index.directory.settings.scheduler
    if len(set(begin.hosts)) != len(begin.hosts):
        yield "trial.nodes", f"hosts: a host is listed twice among {', '.join(begin.hosts[:5])}"
    if not begin.hosts:
        yield "trial.nodes", "hosts: names none"
    nodes = scheduler.nodes if isinstance(scheduler, ClusterSettings | AgentsSettings) else 1
    if index.placement is None and _has_code_for_nodes(scheduler):
        return
    if len(begin.hosts) > nodes:
        yield "trial.nodes", f"hosts: {len(begin.hosts)} hosts stated; a trial has {nodes} node(s)"


def _has_code_for_nodes(scheduler: SchedulerSettings) -> bool:
    if scheduler.template is not None:
        return True
    if isinstance(scheduler, PbsSettings) and scheduler.resources:
        return True
    return isinstance(scheduler, ClusterSettings) and bool(scheduler.directives)


def _workers(index: PackageIndex, _trial: TrialState, begin: Begin, _images: int | None) -> Iterator[tuple[str, str]]:
    """There are as many workers on each node as the settings say; a site's own template may start others."""
    settings = index.directory.settings
    scheduler = settings.scheduler
    if settings.simulated or scheduler.template is not None:
        return
    each = scheduler.workers_per_node
    if index.placement is not None:
        each = index.placement.workers
    elif each is None and isinstance(scheduler, ClusterSettings):
        each = scheduler.trial_gpus
    expected = None if each is None else each * len(begin.hosts)
    if expected is not None and begin.workers != expected:
        yield "trial.workers", f"workers: {begin.workers} stated; by the settings there are {expected}"


def _data(index: PackageIndex, _trial: TrialState, begin: Begin, _images: int | None) -> Iterator[tuple[str, str]]:
    data = index.directory.settings.data
    known = known_digest(data.name, data.input_shape, data.outputs)
    if known is not None and not begin.is_simulated and begin.data_sha256 != known:
        yield "data.digest", f"data_sha256: {begin.data_sha256} stated; {data.name} has {known}"
