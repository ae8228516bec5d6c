"""Words that the shell completes on the command line: campaign directories and keys of settings.

A shell waits for them at each tab: nothing is imported at the top that takes long.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiperf_orch.campaign.layout import Layout

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

VARIABLE: Final = "_AIPERF_ORCH_COMPLETE"
"""Environment variable by which a shell asks for words; click derives this name from the program's."""
_MAX_ENTRIES: Final = 2000
"""Entries of a folder that are looked at: others may be slow to list, as those of a shared file system."""


def campaign_directories(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001  click's signature
    """The campaign directories whose path begins so, one folder below included; other folders where there are none."""
    from click.shell_completion import CompletionItem

    beginning = incomplete.rpartition("/")[2]
    prefix = incomplete[: len(incomplete) - len(beginning)]
    found = []
    for name in _folders(prefix or ".", beginning):
        path = prefix + name
        if _is_campaign(path):
            found.append(path)
        else:
            found += [f"{path}/{inner}" for inner in _folders(path, "") if _is_campaign(f"{path}/{inner}")]
    if not found or incomplete.startswith("~"):
        return [CompletionItem(incomplete, type="dir")]
    return [CompletionItem(path) for path in found if path.isprintable()]


def setting_assignments(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001  click's signature
    """`KEY=` for each setting of a site file, as `--set` takes it."""
    from aiperf_orch.settings.setting_facts import setting_keys

    return _items([f"{key}=" for key in setting_keys()], incomplete)


def changeable_assignments(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001  click's signature
    """`KEY=` for each setting that `set` may change."""
    from aiperf_orch.settings.changeable import CHANGEABLE

    return _items([f"{key}=" for key in CHANGEABLE], incomplete)


def setting_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001  click's signature
    """Each section and setting of a site file."""
    from aiperf_orch.settings.models import SiteSettings
    from aiperf_orch.settings.setting_facts import setting_keys

    return _items([*SiteSettings.model_fields, *setting_keys()], incomplete)


def _items(words: list[str], incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(word) for word in words if word.startswith(incomplete) and "=" not in incomplete]


def _folders(path: str, beginning: str) -> list[str]:
    """Names of the folders in a folder that begin so; hidden ones only where the beginning asks for them."""
    names = []
    try:
        with os.scandir(path) as entries:
            for entry, _ in zip(entries, range(_MAX_ENTRIES), strict=False):
                is_shown = entry.name.startswith(beginning) and (beginning or not entry.name.startswith("."))
                if is_shown and entry.is_dir():
                    names.append(entry.name)
    except OSError:  # it is absent, or may not be read: nothing is completed
        pass
    return sorted(names)


def _is_campaign(path: str) -> bool:
    try:
        return Layout(Path(path)).config_file.is_file()
    except OSError:
        return False
