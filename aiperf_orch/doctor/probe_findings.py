"""What the reports of the small job mean: each thing that a node saw, against what was asked and what the login node has."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from typing import Final

from aiperf_orch.doctor.findings import Finding, fault, ok, warning
from aiperf_orch.doctor.probe_job import Outcome
from aiperf_orch.records.probe import NodeReport, ProbeStep, installed_versions
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.schedulers import PbsSettings, SchedulerSettings, SlurmSettings
from aiperf_orch.util import gpus
from aiperf_orch.util.units import format_duration

_SLOW_FILES: Final = 10.0  # seconds for a word and its answer through the shared file system
_CORES: Final = ("cpus_per_task", "cpus", "cores_per_trial")
"""How the settings of each scheduler name the cores of a trial."""
_SLOW: Final = 20.0  # seconds, of which every trial loses so many
_SKEW: Final = 1.0  # seconds between clocks
_ENVIRONMENT: Final = "check that nodes see the Python environment whole, and scheduler.python and setup"


def evaluate_probe(settings: SiteSettings, outcome: Outcome) -> Iterator[Finding]:
    """The findings of a small job, which may have failed."""
    reports = [outcome.reports[rank] for rank in sorted(outcome.reports)]
    named = f"job {outcome.job}" if outcome.job else "the job"
    log = "".join(f"\n{line}" for line in outcome.log)
    if outcome.trouble and outcome.is_slow:
        yield warning(
            "job", f"{named}: {outcome.trouble}; it was cancelled", "what only a job can tell was not checked"
        )
    elif outcome.trouble and outcome.unseen:
        advice = (
            "put the campaign on a file system that the nodes share, and can write: --campaign-dir; "
            "a job that runs `ls -ld` of that folder shows whether a node sees it"
        )
        yield fault("job", f"{named}: {outcome.trouble}; {outcome.unseen}", advice)
    elif outcome.trouble:
        why = "its output above says why, or the administrators can" if log else "ask the administrators"
        yield fault("job", f"{named}: {outcome.trouble}{log}", why)
    else:
        waited = format_duration(round(outcome.waited or 0.0, 1))
        yield ok("job", f"{named} began after {waited}, on {', '.join(report.host for report in reports)}")
    if not reports:
        return
    yield from _files(outcome, reports)
    yield from _python(settings, reports)
    yield _versions(reports)
    yield from _gpus(settings, reports)
    yield _cores(settings, reports)
    yield _clock(reports)


def _files(outcome: Outcome, reports: Sequence[NodeReport]) -> Iterator[Finding]:
    blind = [report.host for report in reports if report.greeting != outcome.greeting]
    advice = "the campaign must lie on a file system that login and compute nodes share: --campaign-dir"
    if blind:
        yield fault("files", f"what this machine wrote was not read on {', '.join(blind)}", advice)
        return
    first = next((report for report in reports if report.rank == 0), None)
    if first is None:
        return
    if first.answered is None:
        yield fault("files", f"{first.host} read what this machine wrote, but saw no answer within 30s", advice)
    elif first.answered > _SLOW_FILES:
        yield warning(
            "files",
            f"shared, but a word from {first.host} and its answer took {format_duration(first.answered)}",
            "set scheduler.silent_after and lost_after well above that",
        )
    else:
        yield ok("files", f"shared: a word from {first.host} and its answer took {_seconds(first.answered)}")


def _python(settings: SiteSettings, reports: Sequence[NodeReport]) -> Iterator[Finding]:
    yield _step("python", [(report.host, report.package) for report in reports], "aiperf_orch is imported")
    loadings = [(report.host, report.loading) for report in reports if report.loading]
    if loadings:
        yield _step("torch", [(host, loading.torch) for host, loading in loadings], "torch is imported")
        data = [(host, loading.data) for host, loading in loadings if loading.data]
        if data:
            large = settings.data.name == "imagenet"
            deed = (
                f"{settings.data.name}'s folders and first images are read"
                if large
                else f"{settings.data.name} is loaded"
            )
            advice = "check data.path, and that nodes see what lies there" if settings.data.needs_path else _ENVIRONMENT
            yield _step("data", data, deed, advice)


def _step(subject: str, steps: Sequence[tuple[str, ProbeStep]], deed: str, advice: str = _ENVIRONMENT) -> Finding:
    failed = [(host, step.fault) for host, step in steps if step.fault]
    if failed:
        host, why = failed[0]
        also = f" (and on {len(failed) - 1} more nodes)" if len(failed) > 1 else ""
        return fault(subject, f"{host}{also}: {why}", advice)
    host, step = max(steps, key=lambda each: each[1].seconds)
    files = f", {step.files:,} files," if step.files is not None else ""
    message = f"{deed} in {_seconds(step.seconds)}{files} on {host}"
    if step.seconds > _SLOW:
        what = "data (data.stage)" if step.files is None else "Python environment (README, Start-up at scale)"
        return warning(subject, message, f"every trial loses so much: stage the {what} on the nodes' own disks")
    return ok(subject, message)


def _versions(reports: Sequence[NodeReport]) -> Finding:
    here = installed_versions() | {"python": platform.python_version()}
    for report in reports:
        there = report.versions | {"python": report.python}
        different = [
            f"{name} {there.get(name, 'none')} (here {here.get(name, 'none')})"
            for name in sorted(here.keys() | there.keys())
            if here.get(name) != there.get(name)
        ]
        if different:
            make = fault if here.get("aiperf-orch") != there.get("aiperf-orch") else warning
            advice = "let trials use the environment of the login node: scheduler.python, setup"
            return make("versions", f"{report.host}: {', '.join(different)}", advice)
    return ok("versions", f"as here: {', '.join(f'{name} {version}' for name, version in sorted(here.items()))}")


def _gpus(settings: SiteSettings, reports: Sequence[NodeReport]) -> Iterator[Finding]:
    scheduler = settings.scheduler
    asked, setting = _asked_gpus(scheduler)
    for report in reports:
        seen = _seen(report)
        names = f" ({', '.join(dict.fromkeys(report.loading.gpus))})" if report.loading and report.loading.gpus else ""
        if asked and seen < asked:
            given = _given(report)
            if given >= asked:
                message = f"{report.host}: torch sees {seen} of the {given} GPUs that were given"
                yield fault(
                    "gpus", message, "install a torch for these GPUs and their driver in the environment of the trials"
                )
            else:
                message = f"{report.host}: {asked} asked, {seen} seen"
                also = ", gpu_type and gpu_option" if isinstance(scheduler, SlurmSettings) else ""
                yield fault("gpus", message, f"see scheduler.{setting}{also}, and the node's driver")
            return
        if asked == 0 and seen:
            yield warning("gpus", f"{report.host}: {seen} seen{names}, and none asked", f"set scheduler.{setting}")
            return
        if isinstance(scheduler, PbsSettings) and asked and seen > asked and "excl" not in scheduler.place:
            message = f"{report.host}: {asked} asked, {seen} seen: PBS does not tell a job which are its own"
            advice = (
                "trials that share a node would share its first GPU: set scheduler.place: scatter:excl, or have the "
                "site set CUDA_VISIBLE_DEVICES (the hook pbs_cgroups does)"
            )
            yield warning("gpus", message, advice)
            return
    seen = _seen(reports[0])
    if asked or seen:
        yield ok(
            "gpus", f"{f'{asked} asked, ' if asked else ''}{seen} seen on {'each node' if asked else 'this machine'}"
        )
    else:
        yield ok("gpus", "none asked, none seen: trials train on the processor's cores")
    workers = scheduler.workers_per_node
    if asked and workers and workers != asked:
        what = f"{asked - workers} would idle" if workers < asked else "several workers share one"
        message = f"a trial gets {asked} GPUs on a node, and trains by {workers} workers there: {what}"
        yield warning("gpus", message, "leave scheduler.workers_per_node out: one worker a GPU is started")


def _asked_gpus(scheduler: SchedulerSettings) -> tuple[int | None, str]:
    """The GPUs that a trial asks for on each node, None where nobody is asked, and the setting that says so."""
    match scheduler:
        case SlurmSettings():
            return scheduler.gpus_per_node or 0, "gpus_per_node"
        case PbsSettings(resources=[]):
            return scheduler.gpus or 0, "gpus"
        case _:
            return None, ""


def _seen(report: NodeReport) -> int:
    """The GPUs that a trial can use: those that torch sees; without torch (whose own line says why), those that were given."""
    return len(report.loading.gpus) if report.loading and not report.loading.torch.fault else _given(report)


def _given(report: NodeReport) -> int:
    if report.visible_gpus is not None:
        return len(gpus.listed_gpus(report.visible_gpus))
    return len(report.driver_gpus or [])


def _cores(settings: SiteSettings, reports: Sequence[NodeReport]) -> Finding:
    scheduler = settings.scheduler
    asked = next(filter(None, (getattr(scheduler, name, None) for name in _CORES)), None)
    fewest = min(reports, key=lambda report: report.cores)
    if asked and fewest.cores < asked:
        advice = "see scheduler.launcher_options, directives"
        if isinstance(scheduler, PbsSettings):
            advice = "see scheduler.cpus, and how the site holds jobs to their cores (the hook pbs_cgroups)"
        return warning("cores", f"{fewest.host}: {asked} asked, {fewest.cores} given", advice)
    return ok("cores", f"{fewest.cores} for a trial{f', {asked} asked' if asked else ''}")


def _clock(reports: Sequence[NodeReport]) -> Finding:
    worst = max(reports, key=lambda report: abs(report.clock_skew))
    if abs(worst.clock_skew) > _SKEW:
        side = "ahead of" if worst.clock_skew > 0 else "behind"
        message = f"{worst.host} is {_seconds(abs(worst.clock_skew))} {side} the file server"
        return warning("clock", message, "synchronise the clocks (chrony, ntp): epochs are timed by the nodes")
    return ok("clock", f"no node is more than {_seconds(_SKEW)} off the file server's")


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f}s" if seconds < 1 else format_duration(round(seconds, 1))
