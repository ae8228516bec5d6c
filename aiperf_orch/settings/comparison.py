"""Comparison of settings, key by key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiperf_orch.settings.models import SiteSettings


def differences(frozen: SiteSettings, present: SiteSettings) -> list[str]:
    """One line for each key that differs: `campaign.duration: 12h there, 2h now`."""
    before, after = flatten(frozen.model_dump(mode="json")), flatten(present.model_dump(mode="json"))
    return [
        f"{key}: {before.get(key)!r} there, {after.get(key)!r} now"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
