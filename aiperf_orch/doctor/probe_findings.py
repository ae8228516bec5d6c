"""Findings of the probe job: compares the reports of its nodes with the settings and with the login node."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from typing import Final

from aiperf_orch.doctor.findings import Finding, fault, ok, warning
from aiperf_orch.doctor.probe_job import ProbeOutcome
from aiperf_orch.records.probe import NodeReport, ProbeStep, installed_versions
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.schedulers import PbsSettings, SchedulerSettings, SlurmSettings
from aiperf_orch.util import gpus
from aiperf_orch.util.torch_extra import ADVICE
from aiperf_orch.util.units import format_duration

_SLOW_FILES: Final = 10.0  # seconds for a message and its answer through the shared file system
_SLOW_STEP: Final = 20.0  # seconds that every trial loses
_CLOCK_SKEW: Final = 1.0  # seconds between clocks
_CORES: Final = ("cpus_per_task", "cpus", "cores_per_trial")
"""Settings of the schedulers for the cores of a trial."""
_ENVIRONMENT: Final = "check that the nodes have the complete Python environment, and scheduler.python and setup"


def evaluate_probe(settings: SiteSettings, outcome: ProbeOutcome) -> Iterator[Finding]:
    """Findings of a probe job, which may have failed."""
    reports = [outcome.reports[rank] for rank in sorted(outcome.reports)]
    yield _job(outcome, reports)
    if not reports:
        return
    yield from _files(outcome, reports)
    yield from _python(settings, reports)
    yield _versions(reports)
    yield from _gpus(settings, reports)
    yield _cores(settings, reports)
    yield _clock(reports)


def _job(outcome: ProbeOutcome, reports: Sequence[NodeReport]) -> Finding:
    job = f"job {outcome.job}" if outcome.job else "the job"
    if not outcome.failure:
        waited = format_duration(round(outcome.waited or 0.0, 1))
        return ok("job", f"{job} started after {waited}, on {', '.join(report.host for report in reports)}")
    if outcome.is_pending:
        message = f"{job}: {outcome.failure}; it was cancelled"
        return warning("job", message, "checks that need a job on the nodes were skipped")
    if outcome.missing_output:
        advice = (
            "put the campaign on a file system that the nodes share and can write to: --campaign-dir; "
            "a job that runs `ls -ld` of that directory shows whether a node has it"
        )
        return fault("job", f"{job}: {outcome.failure}; {outcome.missing_output}", advice)
    log = "".join(f"\n{line}" for line in outcome.log)
    advice = "see the output above, or ask the administrators" if log else "ask the administrators"
    return fault("job", f"{job}: {outcome.failure}{log}", advice)


def _files(outcome: ProbeOutcome, reports: Sequence[NodeReport]) -> Iterator[Finding]:
    without = [report.host for report in reports if report.greeting != outcome.greeting]
    advice = "put the campaign on a file system that login and compute nodes share: --campaign-dir"
    if without:
        yield fault("files", f"files of this host cannot be read on {', '.join(without)}", advice)
        return
    first = next((report for report in reports if report.rank == 0), None)
    if first is None:
        return
    if first.answered is None:
        yield fault("files", f"{first.host} read a file of this host, but saw no answer within 30s", advice)
    elif first.answered > _SLOW_FILES:
        yield warning(
            "files",
            f"shared, but a message from {first.host} and its answer took {format_duration(first.answered)}",
            "set scheduler.silent_after and lost_after well above that",
        )
    else:
        yield ok("files", f"shared: a message from {first.host} and its answer took {_seconds(first.answered)}")


def _python(settings: SiteSettings, reports: Sequence[NodeReport]) -> Iterator[Finding]:
    yield _step("python", [(report.host, report.package) for report in reports], "aiperf_orch is imported")
    loadings = [(report.host, report.loading) for report in reports if report.loading]
    if not loadings:
        return
    yield _step("torch", [(host, loading.torch) for host, loading in loadings], "torch is imported", ADVICE)
    steps = [(host, loading.data) for host, loading in loadings if loading.data]
    if steps:
        name = settings.data.name
        is_large = name == "imagenet"
        action = f"{name}'s folders and first images are read" if is_large else f"{name} is loaded"
        advice = "check data.path, and its contents on the nodes" if settings.data.needs_path else _ENVIRONMENT
        yield _step("data", steps, action, advice)


def _step(subject: str, steps: Sequence[tuple[str, ProbeStep]], action: str, advice: str = _ENVIRONMENT) -> Finding:
    """Finding of one step on all nodes: the first failure, otherwise the slowest node.

    Args:
        subject: subject of the finding.
        steps: host and step of each node.
        action: what the step does, in the passive voice.
        advice: advice for a failed step.
    """
    failed = [(host, step.fault) for host, step in steps if step.fault]
    if failed:
        host, why = failed[0]
        others = f" (and on {len(failed) - 1} more nodes)" if len(failed) > 1 else ""
        return fault(subject, f"{host}{others}: {why}", advice)
    host, step = max(steps, key=lambda each: each[1].seconds)
    files = f", {step.files:,} files," if step.files is not None else ""
    message = f"{action} in {_seconds(step.seconds)}{files} on {host}"
    if step.seconds > _SLOW_STEP:
        what = "data (data.stage)" if step.files is None else "Python environment (docs/guides/scale.md)"
        return warning(subject, message, f"every trial loses this time: stage the {what} on the nodes' own disks")
    return ok(subject, message)


def _versions(reports: Sequence[NodeReport]) -> Finding:
    here = installed_versions() | {"python": platform.python_version()}
    for report in reports:
        there = report.versions | {"python": report.python}
        different = [
            f"{name} {there.get(name, 'none')} (here {here[name]})"
            for name in sorted(here)  # torch may be installed for the trials alone
            if here[name] != there.get(name)
        ]
        if different:
            make = fault if here.get("aiperf-orch") != there.get("aiperf-orch") else warning
            advice = "use the environment of the login node for trials: scheduler.python, setup"
            return make("versions", f"{report.host}: {', '.join(different)}", advice)
    return ok("versions", f"as here: {', '.join(f'{name} {version}' for name, version in sorted(here.items()))}")


def _gpus(settings: SiteSettings, reports: Sequence[NodeReport]) -> Iterator[Finding]:
    scheduler = settings.scheduler
    requested, setting = _requested_gpus(scheduler)
    for report in reports:
        finding = _gpus_of_node(scheduler, report, requested, setting)
        if finding:
            yield finding
            return
    visible = _visible_gpus(reports[0])
    if requested:
        yield ok("gpus", f"{requested} requested, {visible} visible on each node")
    elif visible:
        yield ok("gpus", f"{visible} visible on this machine")
    else:
        yield ok("gpus", "none requested, none visible: trials train on the CPU")
    workers = scheduler.workers_per_node
    if requested and workers and workers != requested:
        effect = f"{requested - workers} would be idle" if workers < requested else "several workers share one"
        message = f"a trial has {requested} GPUs and {workers} workers on each node: {effect}"
        yield warning("gpus", message, "remove scheduler.workers_per_node: by default each GPU has one worker")


def _gpus_of_node(
    scheduler: SchedulerSettings, report: NodeReport, requested: int | None, setting: str
) -> Finding | None:
    """Finding if the GPUs of a node differ from the requested ones, None otherwise."""
    visible = _visible_gpus(report)
    if requested and visible < requested:
        allocated = _allocated_gpus(report)
        if allocated >= requested:
            message = f"{report.host}: torch sees {visible} of the {allocated} allocated GPUs"
            advice = "install a torch build for these GPUs and their driver in the environment of the trials"
            return fault("gpus", message, advice)
        others = ", gpu_type and gpu_option" if isinstance(scheduler, SlurmSettings) else ""
        message = f"{report.host}: {requested} requested, {visible} visible"
        return fault("gpus", message, f"check scheduler.{setting}{others}, and the driver of the node")
    if requested == 0 and visible:
        names = f" ({', '.join(dict.fromkeys(report.loading.gpus))})" if report.loading and report.loading.gpus else ""
        return warning(
            "gpus", f"{report.host}: {visible} visible{names}, and none requested", f"set scheduler.{setting}"
        )
    if isinstance(scheduler, PbsSettings) and requested and visible > requested and "excl" not in scheduler.place:
        message = f"{report.host}: {requested} requested, {visible} visible: PBS does not restrict a job to its own"
        advice = (
            "trials that share a node would share its first GPU: set scheduler.place: scatter:excl, or have the "
            "site set CUDA_VISIBLE_DEVICES (hook pbs_cgroups)"
        )
        return warning("gpus", message, advice)
    return None


def _requested_gpus(scheduler: SchedulerSettings) -> tuple[int | None, str]:
    """GPUs that a trial requests on each node, None if they cannot be requested; and the name of the setting."""
    match scheduler:
        case SlurmSettings():
            return scheduler.gpus_per_node or 0, "gpus_per_node"
        case PbsSettings(resources=[]):
            return scheduler.gpus or 0, "gpus"
        case _:
            return None, ""


def _visible_gpus(report: NodeReport) -> int:
    """Number of GPUs that torch sees; if torch cannot be imported, which is a finding of its own, of allocated GPUs."""
    return len(report.loading.gpus) if report.loading and not report.loading.torch.fault else _allocated_gpus(report)


def _allocated_gpus(report: NodeReport) -> int:
    if report.visible_gpus is not None:
        return len(gpus.listed_gpus(report.visible_gpus))
    return len(report.driver_gpus or [])


def _cores(settings: SiteSettings, reports: Sequence[NodeReport]) -> Finding:
    scheduler = settings.scheduler
    requested = next(filter(None, (getattr(scheduler, name, None) for name in _CORES)), None)
    fewest = min(reports, key=lambda report: report.cores)
    if requested and fewest.cores < requested:
        advice = "check scheduler.launcher_options, directives"
        if isinstance(scheduler, PbsSettings):
            advice = "check scheduler.cpus, and how the site confines jobs to their cores (hook pbs_cgroups)"
        return warning("cores", f"{fewest.host}: {requested} requested, {fewest.cores} available", advice)
    return ok("cores", f"{fewest.cores} available to a trial{f', {requested} requested' if requested else ''}")


def _clock(reports: Sequence[NodeReport]) -> Finding:
    worst = max(reports, key=lambda report: abs(report.clock_skew))
    if abs(worst.clock_skew) > _CLOCK_SKEW:
        side = "ahead of" if worst.clock_skew > 0 else "behind"
        message = f"{worst.host} is {_seconds(abs(worst.clock_skew))} {side} the file server"
        return warning("clock", message, "synchronise the clocks (chrony, ntp): nodes record the times of epochs")
    return ok("clock", f"all nodes are within {_seconds(_CLOCK_SKEW)} of the file server's clock")


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f}s" if seconds < 1 else format_duration(round(seconds, 1))
