"""Settings of a command: a site file with the changes of the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.settings.base import ADVANCED
from aiperf_orch.settings.loading import LoadedSettings, load_site
from aiperf_orch.settings.models import as_site_file
from aiperf_orch.settings.site_document import Override
from aiperf_orch.util.errors import UsageError


def load(site: Path, assignments: Iterable[str], options: Mapping[str, tuple[str, str | None]]) -> LoadedSettings:
    """Load a site file.

    Args:
        site: Path of the site file.
        assignments: The values of `--set`.
        options: Dotted key -> the option that sets it and the option's value, None if it was not given.

    Raises:
        UsageError: with the file or option, the key, and the error.
    """
    given = [Override(key, text, option) for key, (option, text) in options.items() if text is not None]
    return load_site(site, [*(Override.parse(assignment) for assignment in assignments), *given])


def load_or_resume(
    site: Path | None,
    campaign_dir: Path | None,
    assignments: Iterable[str],
    options: Mapping[str, tuple[str, str | None]],
) -> LoadedSettings:
    """Load a site file; without one, the settings in force of the campaign that exists.

    Args:
        site: Path of the site file; None to resume a campaign.
        campaign_dir: The campaign's directory; None for a new one.
        assignments: The values of `--set`.
        options: As of `load`.

    Raises:
        UsageError: As `load`; without a site file also when there is no campaign, or a setting is given.
    """
    if site is not None:
        return load(site, assignments, options)
    if campaign_dir is None:
        raise UsageError("SITE: give a site file for a new campaign, or --campaign-dir with one that exists")
    if not CampaignDirectory.exists(campaign_dir):
        raise UsageError(f"--campaign-dir: {campaign_dir} holds no campaign: give a site file to make one there")
    given = [option for option, text in options.values() if text is not None] + ["--set"] * bool([*assignments])
    if given:
        raise UsageError(
            f"{given[0]}: a campaign that exists keeps its settings: leave it out; "
            f"`aiperf-orch set {campaign_dir} KEY=VALUE` changes those that may change"
        )
    directory = CampaignDirectory.open(campaign_dir)
    return LoadedSettings(directory.settings, directory.config.origins)


def describe(loaded: LoadedSettings) -> str:
    """The settings as a site file, with the origin of each value that is no default."""
    lines = []
    for section, keys in as_site_file(loaded.settings).items():
        lines.append(f"{section}:")
        advanced = keys.pop(ADVANCED, {})
        lines += [_line(loaded, section, key, value, "  ") for key, value in keys.items()]
        if advanced:
            lines.append(f"  {ADVANCED}:")
            lines += [_line(loaded, section, key, value, "    ") for key, value in advanced.items()]
    return "\n".join(lines) + "\n"


def _line(loaded: LoadedSettings, section: str, key: str, value: Any, indent: str) -> str:
    if isinstance(value, dict):
        parts = [_line(loaded, f"{section}.{key}", name, each, f"{indent}  ") for name, each in value.items()]
        return "\n".join([f"{indent}{key}:", *parts])
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, allow_unicode=True).splitlines()[0]
    origin = loaded.origins.get(f"{section}.{key}")
    return f"{indent}{key}: {text}" + (f"  # {origin}" if origin else "")
