"""Where this trial's data lies: paths are private, so that a specification, which leaves the machine, has none of them.

Without torch.
"""

from __future__ import annotations

from pathlib import Path

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.records.trial import DataRecord, TrialSpec


class PlacedData(DataRecord):
    """A data set's settings with the file that keeps its listing, and whether this trial may write that file."""

    index: Path | None = None
    keeps_index: bool = False


def with_data_paths(spec: TrialSpec, path: Path, *, manual: bool, data: Path | None = None) -> TrialSpec:
    """A specification with its data's places: those of the campaign that its file lies in.

    Args:
        spec: the specification.
        path: its file.
        manual: whether a person runs the trial: then the campaign is only read.
        data: the data set's folder, in place of the campaign's.

    Raises:
        RecordError: when the campaign's settings cannot be read.
        UsageError: when its directory cannot be trusted.
    """
    if spec.training.trainer == "simulated" or not spec.data.needs_path:
        return spec
    layout = Layout.of_spec(path)
    found: dict[str, object] = {}
    if CampaignDirectory.exists(layout.path):
        frozen = CampaignDirectory.open(layout.path).settings.data
        found = {"path": frozen.path, "stage": frozen.stage, "index": layout.data_index, "keeps_index": not manual}
    if data is not None:
        found |= {"path": str(data.absolute()), "stage": None}
    return spec.model_copy(update={"data": PlacedData(**spec.data.model_dump() | found)})
