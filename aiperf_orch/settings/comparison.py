"""Comparison of settings, key by key."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from aiperf_orch.settings.base import written_key
from aiperf_orch.settings.examples import as_text
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.units import format_duration, parse_duration

_SECONDS: Final = re.compile(r"[0-9]+(\.[0-9]+)?s")


def different_keys(frozen: SiteSettings, present: SiteSettings) -> set[str]:
    """Dotted keys of the settings that differ."""
    before, after = flatten(frozen.model_dump(mode="json")), flatten(present.model_dump(mode="json"))
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def differences(
    frozen: SiteSettings,
    present: SiteSettings,
    keys: Collection[str] | None = None,
    origins: Mapping[str, str] | None = None,
) -> list[str]:
    """One line for each key that differs, as a site file has them: `campaign.duration: 12h there, 2h now`.

    Args:
        frozen: Settings of a campaign.
        present: Settings to compare with them.
        keys: Keys to list; None for all that differ.
        origins: Key -> where its present value comes from, as `site.yaml:3`, which is named.
    """
    before, after = flatten(frozen.model_dump(mode="json")), flatten(present.model_dump(mode="json"))
    listed = sorted(different_keys(frozen, present) if keys is None else keys)
    lines = []
    for key in listed:
        origin = f" ({origins[key]})" if origins and key in origins else ""
        written = _written_key(key, present if key in after else frozen)
        lines.append(f"{written}: {_written(before.get(key))} there, {_written(after.get(key))} now{origin}")
    return lines


def _written_key(key: str, settings: SiteSettings) -> str:
    section, _, rest = key.partition(".")
    return f"{section}.{written_key(getattr(settings, section), rest)}"


def _written(value: Any) -> str:
    """A JSON value as a site file has it, a duration in its largest units."""
    if value is None:
        return "not set"
    if isinstance(value, str) and _SECONDS.fullmatch(value):
        seconds = parse_duration(value)
        short = format_duration(seconds)
        return short if parse_duration(short) == seconds else value
    return as_text(value)


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
