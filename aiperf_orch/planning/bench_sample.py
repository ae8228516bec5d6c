"""Sample of a measured node: the output of `bench-node SITE --format json`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from aiperf_orch.campaign.given_file import read_given
from aiperf_orch.campaign.training_rules import PRECISIONS
from aiperf_orch.network import counts
from aiperf_orch.network.seeds import SEEDS
from aiperf_orch.planning.samples import Sample, TrialSample
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.placement import placement_settings
from aiperf_orch.util import dataset_catalogue
from aiperf_orch.util.errors import UsageError

BENCH: Final = "bench-node"
GAP_ON_AGENTS: Final = 0.7
GAP_OF_JOBS: Final = 8.2
"""Seconds between two trials of a slot, as docs/performance.md has them (Trials on agents): the idle time of slots on a
real Slurm, 0.5 s and 2.6 s, and the start of a trial with torch, 0.2 s and 5.7 s."""
_AGAIN: Final = "measure a node with it: aiperf-orch bench-node SITE --format json > bench.json"
_Rate = Annotated[float, Field(gt=0, lt=1e12)]


class _Read(BaseModel):
    """The part of the output that is used; it may have more."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class _Data(_Read):
    name: str
    image_size: int
    images_per_second: _Rate


class _Training(_Read):
    image_size: int
    precision: str
    images_per_second: _Rate


class Bench(_Read):
    """What `bench-node` measured."""

    host: str
    device: str
    data: _Data | None
    training: _Training | None
    missing: dict[str, str] = Field(default_factory=dict)
    limit: Literal["data", "training"] | None = None

    @property
    def images_per_second(self) -> float:
        """Rate of one accelerator: that of training, or of loading where that is slower."""
        rates = [each.images_per_second for each in (self.data, self.training) if each is not None]
        return min(rates)


def read_bench(path: Path) -> Bench:
    """Read a file.

    Raises:
        UsageError: It is not the output of `bench-node --format json`.
    """
    return read_given(
        path, Bench, refusal="is neither a campaign, a package, nor the output of bench-node", advice=_AGAIN
    )


def sample_of_bench(path: Path, bench: Bench, settings: SiteSettings, *, slots: int, workers: int) -> Sample:
    """The sample of a node: one trial of the seed network that trains all its epochs.

    Args:
        path: The file, for messages.
        bench: Its content.
        settings: Of the site.
        slots: Number of concurrent trials of the planned campaign.
        workers: Number of training processes of a trial, each as fast as the measured one.

    Raises:
        UsageError: Another network, data set, image size or precision was measured.
    """
    _check(path, bench, settings)
    data = settings.data
    images = data.sizes or dataset_catalogue.exact_sizes(data.name, data.outputs)
    if images is None:
        raise UsageError(f"{path}: how many images an epoch of {data.name} has is not known: give an earlier campaign")
    trained, validated = images
    network = SEEDS[settings.network.seed](data.input_shape, data.outputs)
    counted = counts.count(network)
    operations = trained * counted.train + validated * counted.forward
    planned = settings.training.epochs
    is_placed = placement_settings(settings.scheduler, settings.campaign.concurrency) is not None
    trial = TrialSample(
        trial=0,
        round=0,
        parent=None,
        planned=planned,
        epochs=planned,
        is_complete=True,
        before=0.0,
        period=(trained + validated) / (bench.images_per_second * workers),
        after=0.0,
        gaps=1,
        ops=float(operations),
        validation=validated * counted.forward / operations,
    )
    return Sample(BENCH, slots, [trial], gaps=[GAP_ON_AGENTS if is_placed else GAP_OF_JOBS])


def _check(path: Path, bench: Bench, settings: SiteSettings) -> None:
    data, training, network = settings.data, bench.training, settings.network
    if training is None:
        why = bench.missing.get("training", "no reason stated")
        raise UsageError(f"{path}: training was not measured ({why}): {_AGAIN}")
    if network.seed != "resnet50":
        raise UsageError(
            f"{path}: ResNet-50 was measured, and network.seed is {network.seed}: give an earlier campaign"
        )
    if bench.data is None or bench.data.name != data.name:
        measured = bench.data.name if bench.data else "no data set"
        raise UsageError(f"{path}: {measured} was measured, and data.name is {data.name}: {_AGAIN}")
    side = data.input_shape[0]
    for what, measured_side in (("training", training.image_size), ("data loading", bench.data.image_size)):
        if measured_side != side:
            raise UsageError(
                f"{path}: {what} was measured with images of {measured_side} px, and those of the site have {side}: "
                f"{_AGAIN}, on a node with its accelerators"
            )
    if training.precision not in PRECISIONS[settings.training.precision]:
        raise UsageError(
            f"{path}: {training.precision} was measured, and training.precision is {settings.training.precision}: "
            f"{_AGAIN}"
        )
