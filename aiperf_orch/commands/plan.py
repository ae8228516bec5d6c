"""`plan`: what a campaign of a size and duration is expected to bring, from earlier campaigns or a measured node."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import replace_file
from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.plan_text import plan_text
from aiperf_orch.commands.progress_line import progress_line
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.package.verify import verify
from aiperf_orch.planning.bench_sample import read_bench, sample_of_bench
from aiperf_orch.planning.campaign_sample import count_files, sample_of
from aiperf_orch.planning.campaign_size import slots_on, trial_size
from aiperf_orch.planning.make_plan import make_plan
from aiperf_orch.planning.samples import Sample
from aiperf_orch.planning.source_check import check_source, differences_of
from aiperf_orch.results.result import compute_result
from aiperf_orch.settings.loading import LoadedSettings
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import UsageError

_log: Final = logging.getLogger(__name__)
_GZIP = b"\x1f\x8b"


def plan_campaign(
    loaded: LoadedSettings,
    sources: Sequence[Path],
    *,
    nodes: int,
    concurrency: int | None,
    form: str,
    output: Path | None,
) -> CommandOutput:
    """Predict a campaign, whose duration is that of the settings.

    Args:
        loaded: Settings of the site.
        sources: Campaign directories and packages, or outputs of `bench-node`; not both.
        nodes: Number of nodes.
        concurrency: Number of concurrent trials; None for as many as the nodes hold.
        form: `table` or `json`.
        output: File of the plan as JSON; None writes none.

    Raises:
        UsageError: A source cannot be read, or does not fit the settings or another source.
    """
    settings = loaded.settings
    if not sources:
        raise UsageError(
            "--from: nothing to predict from: give the directory or package of an earlier campaign, or a measured "
            "node (bench-node SITE --format json > bench.json)"
        )
    slots = slots_on(settings, nodes, concurrency)
    samples, notes = _read(sources, settings, slots)
    with progress_line("plan"):
        plan = make_plan(
            settings,
            samples,
            nodes=nodes,
            slots=slots,
            seconds=settings.campaign.duration,
            notes=notes,
        )
    text = plan.model_dump_json(indent=2) + "\n"
    if output is not None:
        replace_file(output, text.encode())
    return CommandOutput(text if form == "json" else plan_text(plan), form=form)


def _read(sources: Sequence[Path], settings: SiteSettings, slots: int) -> tuple[list[Sample], list[str]]:
    """Samples of the sources, those of nodes as one; and notes on them."""
    nodes, samples, notes = [], [], []
    known: dict[str, Path] = {}
    for path in dict.fromkeys(sources):
        if path.is_file() and not _is_package(path):
            bench = read_bench(path)
            nodes.append(sample_of_bench(path, bench, settings, slots=slots, workers=_workers(settings)))
            what = bench.model_dump_json()
        else:
            sample, found = _read_campaign(path, settings)
            samples.append(sample)
            notes += found
            what = sample.name
        if what in known:
            raise UsageError(f"--from: {path}: is the same source as {known[what]}: give each once")
        known[what] = path
    if nodes and samples:
        raise UsageError("--from: give either campaigns or measured nodes: they are not predicted from together")
    return samples or nodes, notes


def _workers(settings: SiteSettings) -> int:
    return trial_size(settings).workers


def _is_package(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(2) == _GZIP
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None


def _read_campaign(path: Path, settings: SiteSettings) -> tuple[Sample, list[str]]:
    """The sample of a campaign directory, or of a package that has no fault."""
    if not path.is_file():
        directory = CampaignDirectory.open(path)
        result = compute_result(directory)
        check_source(path, result, settings)
        for fault in result.faults:
            _log.warning("%s: its trial is predicted from without this record", fault)
        agents = len(result.state.workforce.agents)
        files = count_files(directory, max(len(result.collected.trials), 1), agents)
        return sample_of(path, result, files), list(differences_of(result, settings))
    read: list[tuple[Sample, list[str]]] = []

    def inspect(index: PackageIndex) -> None:
        check_source(path, index.result, settings)
        read.append((sample_of(path, index.result, None), list(differences_of(index.result, settings))))

    found = verify(path, inspect=inspect)
    if found.faults or not read:
        raise UsageError(f"{path}: its numbers are not verified: {found.faults[0]}: give a package without faults")
    return read[0]
