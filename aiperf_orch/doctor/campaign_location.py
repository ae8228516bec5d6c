"""Checks of the directory that will contain the campaign directory: permissions and free space."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.file_errors import translate_os_errors
from aiperf_orch.campaign.permissions import check_trusted, parent_warnings
from aiperf_orch.doctor.findings import Finding, fault, ok, warning
from aiperf_orch.network.seeds import SEEDS
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import AiperfError
from aiperf_orch.util.units import format_bytes, format_duration

_FILES_PER_TRIAL: Final = 9  # specification, events, the job's folder and its files
_BYTES_PER_TRIAL: Final = 100_000  # of these files, without weights
_WEIGHT_COPIES: Final = 4  # per running trial: best weights, and a checkpoint with momentum and the best weights so far
_GROWTH: Final = 10  # assumed ratio of the largest network to the seed network, if no limit is set
_SHORT_TRIAL: Final = {"digits": 10.0, "synthetic": 10.0, "cifar10": 60.0, "imagenet": 600.0}
"""Seconds of a short trial with each data set: short trials give an upper bound of the number of files."""


def checks(settings: SiteSettings, folder: Path) -> Iterator[Finding]:
    """Check who can change the files of the campaign, and the free space for them.

    Args:
        settings: settings of the campaign.
        folder: an existing directory beside the future campaign directory.
    """
    parent = folder.parent
    try:
        check_trusted(folder)
    except AiperfError as error:
        yield fault("location", str(error))
        return
    doubts = parent_warnings(folder)
    for doubt in doubts:
        yield warning("location", doubt, "use a --campaign-dir that only you can write to")
    if not doubts:
        yield ok("location", f"{parent}: only you can change its contents")
    with translate_os_errors(parent, action="read"):
        file_system = os.statvfs(parent)
    free_files = file_system.f_favail if file_system.f_files else None
    yield from check_free_space(settings, parent, file_system.f_bavail * file_system.f_frsize, free_files)


def check_free_space(
    settings: SiteSettings, parent: Path, free_bytes: int, free_files: int | None
) -> Iterator[Finding]:
    """Check the free space for the files of a campaign.

    Args:
        settings: settings of the campaign.
        parent: directory that will contain the campaign directory.
        free_bytes: free bytes of its file system.
        free_files: number of files that can still be created; None if the file system has no limit.
    """
    trials, assumption = _number_of_trials(settings)
    parameters = settings.network.max_parameters or _GROWTH * SEEDS[settings.network.seed]().parameters
    kept = min(settings.campaign.keep_weights, trials)
    copies = kept + _WEIGHT_COPIES * settings.campaign.concurrency
    needed = 4 * parameters * copies + trials * _BYTES_PER_TRIAL
    message = (
        f"{parent}: {format_bytes(free_bytes)} free, about {format_bytes(needed)} needed for {trials:,} "
        f"trials{assumption} of up to {parameters:,} parameters"
    )
    if free_bytes < needed:
        yield fault("disk", message, "free some space, choose another --campaign-dir, or lower campaign.keep_weights")
    elif free_bytes < 2 * needed:
        yield warning("disk", message, "free some space: the need is an estimate")
    else:
        yield ok("disk", message)
    files = trials * _FILES_PER_TRIAL
    if free_files is None:
        yield ok("files", f"{parent}: the file system does not limit the number of files")
    elif free_files < files:
        yield fault(
            "files",
            f"{parent}: {free_files:,} more files possible, about {files:,} needed for {trials:,} trials{assumption}",
            "choose another --campaign-dir",
        )
    else:
        yield ok("files", f"{parent}: {free_files:,} more files possible, about {files:,} needed")


def _number_of_trials(settings: SiteSettings) -> tuple[int, str]:
    """Number of trials that the campaign is assumed to have, and the assumption in words."""
    campaign = settings.campaign
    if campaign.max_trials is not None:
        return campaign.max_trials, ""
    seconds = _SHORT_TRIAL[settings.data.name]
    trials = campaign.concurrency * math.ceil(campaign.duration / seconds)
    return trials, f" (if each takes {format_duration(seconds)})"
