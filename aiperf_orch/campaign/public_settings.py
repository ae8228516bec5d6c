"""Redacted form of a campaign's settings, in which private values are salted hashes.

A hash reveals nothing of a value while the campaign's salt is secret; a user who shows both proves the value.
`settings_sha256` in the journal and in result.csv hashes this redacted form, so it can be checked from a package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, Final

from aiperf_orch.settings.base import HASHED
from aiperf_orch.settings.models import SiteSettings, private_keys
from aiperf_orch.settings.yaml_text import dump_yaml

_HEADER: Final = "# The settings of this campaign as a package shows them: private values are salted SHA-256 hashes.\n"


def redacted_yaml(config: Mapping[str, Any]) -> str:
    """campaign.yaml as a package shows it, from the content of campaign.yaml."""
    salt = config["salt"]
    settings = {section: dict(keys) for section, keys in config["settings"].items()}
    for section, key in private_keys():
        if key in settings.get(section, {}):
            settings[section][key] = redacted(settings[section][key], salt)
    origins = {key: PurePath(origin).name or origin for key, origin in config["origins"].items()}
    shown = {key: value for key, value in config.items() if key != "salt"} | {"settings": settings, "origins": origins}
    return _HEADER + dump_yaml(shown)


def private_values(settings: SiteSettings) -> list[str]:
    """Every private text in the settings."""
    data = settings.model_dump(mode="json")
    return [text for section, key in private_keys() for text in _texts(data.get(section, {}).get(key))]


def redacted(value: Any, salt: str) -> Any:
    """A private value as salted hashes, one for each text in it; a value that is a hash already is unchanged."""
    if isinstance(value, list):
        return [redacted(item, salt) for item in value]
    if isinstance(value, dict):
        return {key: redacted(item, salt) for key, item in value.items()}
    if not isinstance(value, str) or HASHED.fullmatch(value):
        return value
    return "sha256:" + hashlib.sha256(f"{salt}\n{value}".encode()).hexdigest()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
