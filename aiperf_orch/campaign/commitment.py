"""Commitment to a campaign: a hash that is announced when it starts, and to which its package is held.

It is of the journal's first line and of the settings, in the part that every package of the campaign shows alike:
pseudonyms replace names in the section `scheduler` and in the origins of settings, which changes the hash of the
settings in that line. All else is committed: the time, the seed, the search, the recipe, the system, and private
settings by their salted hashes.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from aiperf_orch.campaign.config import parse_config
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import read_file
from aiperf_orch.campaign.public_settings import redacted_yaml
from aiperf_orch.records.journal import Created
from aiperf_orch.settings.yaml_text import parse_yaml

SETTINGS_WITH_NAMES: Final = ("cluster", "partition", "qos", "queue", "constraint", "chunk", "place")
"""Settings of a scheduler, besides private ones, that can contain the name of a host or of the cluster."""


def commitment_of(directory: CampaignDirectory, created: Created) -> str:
    """The commitment to a campaign, from its directory or its package, with or without pseudonyms.

    Args:
        directory: The campaign's directory, or the folder of its package.
        created: First entry of its journal.

    Raises:
        AiperfError: When its settings cannot be read.
    """
    data = read_file(directory.config_file)
    if directory.config.salt is not None:
        data = redacted_yaml(parse_config(data, directory.config_file)[1]).encode()
    shown: dict[str, Any] = dict(parse_yaml(data.decode(), str(directory.config_file))[0])
    del shown["origins"]
    scheduler = shown["settings"].get("scheduler", {})
    shown["settings"] = shown["settings"] | {
        "scheduler": {key: value for key, value in scheduler.items() if key not in SETTINGS_WITH_NAMES}
    }
    line = created.model_dump(mode="json", exclude={"settings_sha256"})
    text = json.dumps([line, shown], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
