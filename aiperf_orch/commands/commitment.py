"""Announcement of a campaign's commitment, once it has begun."""

from __future__ import annotations

import logging
from typing import Final

from pydantic import ValidationError

from aiperf_orch.campaign.commitment import commitment_of
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import file_exists, read_file, replace_file
from aiperf_orch.records.journal import Created
from aiperf_orch.util.errors import AiperfError

_log: Final = logging.getLogger(__name__)


def read_commitment(directory: CampaignDirectory) -> tuple[str, Created] | None:
    """The commitment to a campaign and its journal's first entry; None while a controller writes that entry.

    Raises:
        FileNotFoundError: when no controller has begun the campaign.
        AiperfError: when the journal or the settings cannot be read.
        ValidationError: when the first line is damaged.
    """
    first, ended, _ = read_file(directory.journal).partition(b"\n")
    if not ended:
        return None
    created = Created.model_validate_json(first)
    return commitment_of(directory, created), created


def announce_commitment(directory: CampaignDirectory, *, again: bool = False) -> None:
    """Log the commitment to a campaign and save it in its directory.

    A campaign runs without it: a directory that cannot be written for now is a warning.

    Args:
        directory: A campaign that a controller has begun.
        again: Log it also where it was saved before.
    """
    try:
        if not again and file_exists(directory.commitment):
            return
        found = read_commitment(directory)
        if found is None:
            return
        commitment, _ = found
        _log.info(
            "commitment to this campaign: %s (send it to the committee now: its package is held to it)", commitment
        )
        replace_file(directory.commitment, f"{commitment}\n".encode())
    except FileNotFoundError:
        return  # no controller has begun it
    except (AiperfError, ValidationError) as error:
        _log.warning("the commitment to this campaign was not saved: %s", error)
