"""Comparison of settings, key by key."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from aiperf_orch.settings.models import SiteSettings


def different_keys(frozen: SiteSettings, present: SiteSettings) -> set[str]:
    """Dotted keys of the settings that differ."""
    before, after = flatten(frozen.model_dump(mode="json")), flatten(present.model_dump(mode="json"))
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def differences(frozen: SiteSettings, present: SiteSettings, keys: Collection[str] | None = None) -> list[str]:
    """One line for each key that differs: `campaign.duration: 12h there, 2h now`.

    Args:
        frozen: Settings of a campaign.
        present: Settings to compare with them.
        keys: Keys to list; None for all that differ.
    """
    before, after = flatten(frozen.model_dump(mode="json")), flatten(present.model_dump(mode="json"))
    listed = sorted(different_keys(frozen, present) if keys is None else keys)
    return [f"{key}: {before.get(key)!r} there, {after.get(key)!r} now" for key in listed]


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
