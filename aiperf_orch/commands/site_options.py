"""Settings of a command: a site file with the command line's changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from aiperf_orch.settings.loading import LoadedSettings, Override, load_site


def load(site: Path, assignments: Iterable[str], options: Mapping[str, tuple[str, str | None]]) -> LoadedSettings:
    """Load a site file.

    Args:
        site: its path.
        assignments: the texts given to `--set`.
        options: for a dotted key, the option that sets it and the option's value, None when it was not given.

    Raises:
        UsageError: naming file or option, key, and what is wrong.
    """
    given = [Override(key, text, option) for key, (option, text) in options.items() if text is not None]
    return load_site(site, [*(Override.parse(assignment) for assignment in assignments), *given])


def describe(loaded: LoadedSettings) -> str:
    """The resolved settings as a site file, each line that is no default with where it came from."""
    lines = []
    for section, keys in loaded.settings.model_dump(mode="json").items():
        lines.append(f"{section}:")
        for key, value in keys.items():
            text = yaml.safe_dump(value, default_flow_style=True, width=1000, allow_unicode=True)
            origin = loaded.origins.get(f"{section}.{key}")
            lines.append(f"  {key}: {text.splitlines()[0]}" + (f"  # {origin}" if origin else ""))
    return "\n".join(lines) + "\n"
