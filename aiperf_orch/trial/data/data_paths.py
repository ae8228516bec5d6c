"""Paths of a trial's data, which are private and therefore not part of a specification. Does not import torch."""

from __future__ import annotations

from pathlib import Path

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.records.trial import DataRecord, TrialSpec


class LocatedDataSettings(DataRecord):
    """Settings of a dataset with its paths: `index` is the file that keeps its listing.

    `writes_index` says whether this trial may write that file. At most `stage_readers` nodes copy packed data at the
    same time, by leases in the folder `read_slots`; None for no limit.
    """

    index: Path | None = None
    writes_index: bool = False
    stage_readers: int = 1
    read_slots: Path | None = None


def with_data_paths(spec: TrialSpec, path: Path, *, manual: bool, data: Path | None = None) -> TrialSpec:
    """Return a specification that has the paths of its data, taken from the campaign of its file.

    Args:
        spec: The specification.
        path: The file of the specification.
        manual: Whether a user runs the trial manually; the campaign is then only read.
        data: The folder of the dataset, instead of that of the campaign.

    Raises:
        RecordError: If the settings of the campaign cannot be read.
        UsageError: If the campaign directory cannot be trusted.
    """
    if spec.training.trainer == "simulated" or not spec.data.needs_path:
        return spec
    layout = Layout.of_spec(path)
    paths: dict[str, object] = {}
    if CampaignDirectory.exists(layout.path):
        settings = CampaignDirectory.open(layout.path).settings.data
        paths = {
            "path": settings.path,
            "stage": settings.stage,
            "index": layout.data_index,
            "writes_index": not manual,
            "stage_readers": settings.stage_readers,
            "read_slots": None if manual else layout.read_slots_folder,
        }
    if data is not None:
        paths |= {"path": str(data.absolute()), "stage": None}
    return spec.model_copy(update={"data": LocatedDataSettings(**spec.data.model_dump() | paths)})
