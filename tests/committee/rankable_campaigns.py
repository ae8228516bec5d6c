"""Campaigns that meet the rules, for scenarios of rankings: one trial on ImageNet, of three epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiperf_orch.package.packing import write_package
from aiperf_orch.records.journal import Finished, Opened
from aiperf_orch.settings.models import SiteSettings
from campaign_builder import CampaignBuilder

_SETTINGS: dict[str, Any] = {
    "system": {
        "name": "a system",
        "submitter": "a site",
        "number_of_nodes": 2,
        "accelerators_per_node": 4,
        "accelerator_peak_ops": 1e13,
    },
    "scheduler": {"job_per_trial": True},
    "campaign": {"duration": "1h"},
    "data": {"name": "imagenet", "path": "/data/imagenet"},
    "network": {"seed": "small_residual", "max_layers": 60},
    "training": {"warmup_epochs": [3], "epochs": 3},
}
_IMAGES = (1_281_167, 50_000)


def rankable_campaign(path: Path, *, longer: float = 0.0, loss: float = 0.0, **changes: Any) -> CampaignBuilder:
    """Build a campaign with true records that meets the rules.

    Args:
        path: of the campaign directory.
        longer: seconds by which the last epoch lasts longer, which lowers the score.
        loss: added to every loss: campaigns of different values are different measurements.
        **changes: of settings, as `system__name="a"`.
    """
    settings = {section: dict(keys) for section, keys in _SETTINGS.items()}
    for key, value in changes.items():
        section, _, field = key.partition("__")
        settings[section][field] = value
    builder = CampaignBuilder(path, SiteSettings.model_validate(settings), images=_IMAGES)
    builder.write(Opened, at=-4, host="login1", pid=4)
    builder.submit(0, at=-2)
    ends = [1100.125 + 7 * loss, 2200.5 + 7 * loss, 3400.25 + longer]
    starts = [0.25, *ends]
    epochs = [
        builder.epoch(number, end, (10_000 - number) / 50_000, start=start + 0.001)
        for number, (start, end) in enumerate(zip(starts, ends, strict=False), start=1)
    ]
    epochs = [type(epoch)(**{**_fields(epoch), "loss": epoch.loss + loss}) for epoch in epochs]
    builder.run(builder.begin(0, precision="bf16", data_sha256="1" * 64), epochs, ends[-1] + 0.5)
    builder.write(Finished, at=3601, reason="its 1h are over", by_deadline=True)
    return builder


def rankable_package(path: Path, **changes: Any) -> Path:
    """The package of a rankable campaign, `PATH.tar.gz`."""
    package = path.with_name(f"{path.name}.tar.gz")
    write_package(rankable_campaign(path, **changes).directory, package, with_pseudonyms=False)
    return package


def _fields(epoch: Any) -> dict[str, Any]:
    return {name: getattr(epoch, name) for name in epoch.__dataclass_fields__}
