"""What `check` looks at where the campaign will lie: who else could change it, and whether there is room."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.durable_files import translate_os_errors
from aiperf_orch.campaign.ownership import check_trusted, parent_warnings
from aiperf_orch.doctor.findings import Finding, fault, ok, warning
from aiperf_orch.network.seeds import SEEDS
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import AiperfError
from aiperf_orch.util.units import format_duration

_FILES_A_TRIAL: Final = 9  # its specification, its events, its job's folder and what lies in it
_BYTES_A_TRIAL: Final = 100_000  # those files, without weights
_COPIES: Final = 4  # of a running trial's parameters: best weights, and a checkpoint with momentum and the best so far
_GROWTH: Final = 10  # how much larger than the seed networks are taken to become, where no bound is set
# of short trials: the more trials, the more files
_TRIAL_SECONDS: Final = {"digits": 10.0, "synthetic": 10.0, "cifar10": 60.0, "imagenet": 600.0}


def checks(settings: SiteSettings, folder: Path) -> Iterator[Finding]:
    """Whether the campaign's place can be trusted, and has room.

    Args:
        settings: the campaign's.
        folder: one that was made where the campaign's directory will be made.
    """
    parent = folder.parent
    try:
        check_trusted(folder)
    except AiperfError as error:
        yield fault("place", str(error))
        return
    found = parent_warnings(folder)
    yield from (warning("place", doubt, "put the campaign where only you can write: --campaign-dir") for doubt in found)
    if not found:
        yield ok("place", f"{parent}: only you can change what is in it")
    with translate_os_errors(parent, action="read"):
        room = os.statvfs(parent)
    yield from judge_room(settings, parent, room.f_bavail * room.f_frsize, room.f_favail if room.f_files else None)


def judge_room(settings: SiteSettings, parent: Path, free_bytes: int, free_files: int | None) -> Iterator[Finding]:
    """Whether there is room for the campaign's files.

    Args:
        settings: the campaign's.
        parent: where its directory will lie.
        free_bytes: what the file system has for us.
        free_files: how many more files it can hold, None where it has no bound.
    """
    trials, assumed = _trials(settings)
    parameters = settings.network.max_parameters or _GROWTH * SEEDS[settings.network.seed]().parameters
    kept = min(settings.campaign.keep_weights, trials)
    needed = 4 * parameters * (kept + _COPIES * settings.campaign.concurrency) + trials * _BYTES_A_TRIAL
    message = (
        f"{parent}: {_size(free_bytes)} free, about {_size(needed)} needed for {trials:,} trials{assumed} "
        f"of up to {parameters:,} parameters"
    )
    if free_bytes < needed:
        yield fault("disk", message, "free some room, choose another --campaign-dir, or lower campaign.keep_weights")
    elif free_bytes < 2 * needed:
        yield warning("disk", message, "free some room: it is an estimate")
    else:
        yield ok("disk", message)
    files = trials * _FILES_A_TRIAL
    if free_files is None:
        yield ok("files", f"{parent}: the file system has no bound of their number")
    elif free_files < files:
        yield fault(
            "files",
            f"{parent}: room for {free_files:,} more, about {files:,} needed for {trials:,} trials{assumed}",
            "choose another --campaign-dir",
        )
    else:
        yield ok("files", f"{parent}: room for {free_files:,} more, about {files:,} needed")


def _trials(settings: SiteSettings) -> tuple[int, str]:
    """How many trials the campaign is taken to have, and what is assumed for that."""
    campaign = settings.campaign
    if campaign.max_trials is not None:
        return campaign.max_trials, ""
    each = _TRIAL_SECONDS[settings.data.name]
    trials = campaign.concurrency * math.ceil(campaign.duration / each)
    return trials, f" (if each takes {format_duration(each)})"


def _size(number: float) -> str:
    """Bytes for people: `1.2 GB`."""
    power = next((power for power in range(5) if number < 999.5 * 1000**power), 5)
    return f"{number / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB', 'PB')[power]}"
