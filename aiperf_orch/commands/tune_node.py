"""`bench-node --tune`: measure alternatives to a site's settings on this node, and write the faster ones."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import click

from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.results.rules import OF_JOURNAL_FORMAT, RULE_SETS
from aiperf_orch.settings.loading import LoadedSettings
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.schedulers import ClusterSettings
from aiperf_orch.settings.site_file_edit import change_values, difference
from aiperf_orch.tuning import tuning_text
from aiperf_orch.tuning.alternatives import Alternative, Node, Setup, alternatives
from aiperf_orch.tuning.comparison import Compared, proposed
from aiperf_orch.tuning.trial_measurement import Failed, Measured, TrialMeasurement, restrict
from aiperf_orch.tuning.tune import Tuning
from aiperf_orch.util import gpus
from aiperf_orch.util.errors import AiperfError, UsageError
from aiperf_orch.util.units import count, format_duration

_SHORTEST = 60.0  # seconds of the time limit of one measurement, whose trial may have to compile
_MOST_TIMES_PRESENT = 6.0


def tune_node(
    loaded: LoadedSettings, site: Path, seconds: float, form: str, *, write: bool, yes: bool
) -> CommandOutput:
    """Measure until the time limit, and print what each alternative gained.

    Args:
        loaded: Settings of the site.
        site: The site file.
        seconds: Time limit.
        form: `table` or `json`.
        write: Write the proposed values into the site file.
        yes: The user has agreed to that beforehand.

    Raises:
        UsageError: The settings do not fit this node, or the site file cannot be changed.
        AiperfError: Not even the present settings can be measured.
    """
    before = site.read_bytes().decode()
    settings = loaded.settings
    trial_cores, trial_gpus = _of_trial(settings)
    present = _present(settings, len(trial_gpus))
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="aiperf-orch-") as folder:
        python = settings.scheduler.python or sys.executable
        trials = TrialMeasurement(settings, python, Path(folder), restrict(trial_cores, trial_gpus))
        _report(f"present settings, seed network: first measurement, of at most {format_duration(seconds)} for all")
        start = time.monotonic()
        first = trials.calibrate(Alternative(present), seconds / 4)
        if isinstance(first, Failed):
            raise AiperfError(f"the present settings cannot be measured: {first.reason}")
        node = _node(first, len(trial_gpus))
        most = max(_SHORTEST, _MOST_TIMES_PRESENT * (time.monotonic() - start))
        tuning = Tuning(present, trials.measure, lambda: deadline - time.monotonic(), most, _report)
        tuning.run(
            alternatives(
                present,
                node,
                (settings.search.batch_size[0], settings.search.batch_size[1]),
                _permitted_precisions(),
                has_loaders=settings.data.name == "imagenet",
            )
        )
    if tuning.present_failure:
        raise AiperfError(f"the present settings cannot be measured: {tuning.present_failure}")
    text = tuning_text.as_json if form == "json" else tuning_text.as_table
    best = proposed(tuning.compared, tuning.together)
    if write and best:
        _write(site, before, best, yes=yes)
    return CommandOutput(text(tuning, _heading(first, present)), form=form)


def _of_trial(settings: SiteSettings) -> tuple[int | None, list[str]]:
    """Number of cores, and GPUs, that a trial has on this node."""
    if settings.simulated:
        raise UsageError("training.trainer: simulated trials train nothing that could be faster; set trainer: torch")
    scheduler = settings.scheduler
    if isinstance(scheduler, ClusterSettings):
        cores, wanted = scheduler.trial_cores, scheduler.trial_gpus
    else:
        cores, wanted = getattr(scheduler, "cores_per_trial", None), getattr(scheduler, "gpus_per_trial", None)
    available = gpus.available_gpus(os.environ)
    if wanted is not None and wanted > len(available):
        raise UsageError(
            f"a trial has {count(wanted, 'GPU')} on a node by the section scheduler, and {len(available)} are here: "
            "start bench-node --tune in a job with the resources of a trial"
        )
    usable = len(os.sched_getaffinity(0))
    if cores is not None and cores > usable:
        _report(f"warning: a trial has {count(cores, 'core')} by the section scheduler, and {usable} are here")
    if getattr(scheduler, "nodes", 1) > 1:
        _report("note: a trial has several nodes (scheduler.nodes): its share of this node is measured")
    return cores, available[:wanted]


def _present(settings: SiteSettings, accelerators: int) -> Setup:
    training, search = settings.training, settings.search
    return Setup(
        precision=training.precision,
        batch=search.first_batch_size or search.batch_size[1],
        workers=settings.scheduler.workers_per_node or accelerators or 1,
        compile=training.compile,
        loaders=settings.data.loaders,
    )


def _node(first: Measured, accelerators: int) -> Node:
    begin = first.begin
    return Node(
        on_accelerator=begin.device != "cpu",
        precisions=frozenset({begin.precision}),
        cores=begin.cores,
        accelerators=accelerators,
    )


def _permitted_precisions() -> list[str]:
    """Precisions that the rules of a campaign that begins now permit."""
    rules = RULE_SETS[OF_JOURNAL_FORMAT[max(OF_JOURNAL_FORMAT)]].rules
    return list(next(rule.limits["precisions"] for rule in rules if rule.id == "precision"))


def _heading(first: Measured, present: Setup) -> str:
    begin = first.begin
    loaders = "" if present.loaders is None else f", {count(present.loaders, 'loader')}"
    compiled = "compiled" if begin.compiled else "not compiled"
    return (
        f"One trial on {', '.join(begin.hosts)}: {begin.device}, {count(begin.cores, 'core')}; present settings: "
        f"{begin.precision}, batch {begin.batch}, {count(begin.workers, 'worker')}{loaders}, {compiled}. "
        "Rates in images per second."
    )


def _write(site: Path, before: str, best: Compared, *, yes: bool) -> None:
    """Show the changes of the site file, ask, and write them."""
    _check_unchanged(site, before)
    after = change_values(site, before, dict(best.alternative.values))
    print(difference(site, before, after, tuning_text.reasons(best)), file=sys.stderr, end="", flush=True)
    if not yes:
        if not sys.stdin.isatty():
            _report(f"{site}: not changed: there is no terminal to confirm this; give --yes")
            return
        if not click.confirm(f"write this into {site}?", default=False, err=True):
            _report(f"{site}: not changed")
            return
    _check_unchanged(site, before)
    target = site.resolve()
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        file.write(after)
    shutil.copymode(target, temporary)
    Path(temporary).replace(target)
    _report(f"{site}: changed")


def _check_unchanged(site: Path, before: str) -> None:
    if site.read_bytes().decode() != before:
        raise UsageError(f"{site}: was changed by another program during the measurements: nothing was written")


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
