"""File of the settings that were changed since a campaign was made.

The journal alone says which settings are in force; this file repeats them for the many readers that do not read the
journal: agents and trials.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue, ValidationError

from aiperf_orch.campaign.durable_files import read_file, replace_file
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.records.base import Record, first_error
from aiperf_orch.settings.changes import apply_changes
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import AiperfError, RecordError, TransientError, UsageError


class SettingsInForce(Record):
    """Settings that were changed since the campaign was made: dotted key without `advanced` -> JSON value."""

    changes: dict[str, JsonValue]


def write_in_force(layout: Layout, changes: Mapping[str, Any]) -> None:
    """Replace the file of changed settings where it differs from these changes; without any there is no file."""
    if dict(changes) != _read(layout):
        line = SettingsInForce(changes=dict(changes)).to_line().encode() + b"\n"
        replace_file(layout.changed_settings, line)


def settings_in_force(layout: Layout, frozen: SiteSettings) -> SiteSettings:
    """The settings in force as the file of changed settings has them.

    Raises:
        TransientError: When it cannot be read for now.
        RecordError: When it is damaged.
    """
    changes = _read(layout)
    if not changes:
        return frozen
    try:
        return apply_changes(frozen, changes)
    except UsageError as error:
        raise RecordError(f"{layout.changed_settings}: {error}") from None


def _read(layout: Layout) -> dict[str, Any]:
    """The changes; none where there is no file."""
    file = layout.changed_settings
    try:
        return dict(SettingsInForce.model_validate_json(read_file(file)).changes)
    except FileNotFoundError:
        return {}
    except TransientError:
        raise
    except ValidationError as error:
        raise RecordError(
            f"{file}: damaged: {first_error(error)}: delete it; the journal has what it repeats"
        ) from None
    except AiperfError as error:
        raise RecordError(str(error)) from None
