"""Requests to change settings, which `set` leaves for the controller, its answers, and the file of settings in force.

A request is a file in the campaign directory, as that of `stop`. The journal alone says which settings are in force;
the file of changed settings repeats them for the many readers that do not read the journal: agents and trials.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import JsonValue, ValidationError

from aiperf_orch.campaign.durable_files import file_exists, read_file, replace_file, write_once
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.records.base import Record, first_error
from aiperf_orch.settings.changes import apply_changes
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import AiperfError, RecordError, TransientError, UsageError
from aiperf_orch.util.units import Timestamp

AnyRecord = TypeVar("AnyRecord", bound=Record)


class SettingsRequest(Record):
    """A request to change settings.

    Attributes:
        id: Identifies the request in its answer.
        time: When it was made.
        user: Name of the user who made it.
        host: Host on which it was made.
        changes: Dotted key without `advanced` -> JSON value.
    """

    id: str
    time: Timestamp
    user: str
    host: str
    changes: dict[str, JsonValue]


class SettingsAnswer(Record):
    """The controller's answer to a request: `refused` says why nothing was changed, and is None where it was."""

    id: str
    refused: str | None


class SettingsInForce(Record):
    """Settings that were changed since the campaign was made: dotted key without `advanced` -> JSON value."""

    changes: dict[str, JsonValue]


def leave_request(layout: Layout, request: SettingsRequest) -> None:
    """Leave a request for the controller.

    Raises:
        UsageError: When another request waits for the controller.
    """
    waiting = read_request(layout)
    if waiting is not None:
        raise UsageError(
            f"{layout.settings_request}: an earlier request, to change {', '.join(waiting.changes)}, waits for the "
            "controller: try again when the controller has taken it up"
        )
    write_once(layout.settings_request, _line(request))


def read_request(layout: Layout) -> SettingsRequest | None:
    """The request that waits for the controller; None where there is none.

    Raises:
        TransientError: When it cannot be read for now.
        RecordError: When it is damaged.
    """
    return _read(layout, SettingsRequest) if file_exists(layout.settings_request) else None


def answer_request(layout: Layout, request: str, refused: str | None) -> None:
    """Answer a request, and remove it."""
    replace_file(layout.settings_answer, _line(SettingsAnswer(id=request, refused=refused)))
    layout.settings_request.unlink(missing_ok=True)


def read_answer(layout: Layout, request: str) -> SettingsAnswer | None:
    """The answer to a request; None before it is given."""
    answer = _read(layout, SettingsAnswer)
    return answer if answer and answer.id == request else None


def write_in_force(layout: Layout, changes: Mapping[str, Any]) -> None:
    """Replace the file of changed settings where it differs from these changes; without any there is no file."""
    present = _read(layout, SettingsInForce)
    if dict(changes) != (present.changes if present else {}):
        replace_file(layout.changed_settings, _line(SettingsInForce(changes=dict(changes))))


def settings_in_force(layout: Layout, frozen: SiteSettings) -> SiteSettings:
    """The settings in force as the file of changed settings has them.

    Raises:
        TransientError: When it cannot be read for now.
        RecordError: When it is damaged.
    """
    changed = _read(layout, SettingsInForce)
    if changed is None:
        return frozen
    try:
        return apply_changes(frozen, changed.changes)
    except UsageError as error:
        raise RecordError(f"{layout.changed_settings}: {error}") from None


def _line(record: Record) -> bytes:
    return record.to_line().encode() + b"\n"


def _read(layout: Layout, kind: type[AnyRecord]) -> AnyRecord | None:
    """A record of a kind, from its file; None where there is none."""
    file = {
        SettingsRequest: layout.settings_request,
        SettingsAnswer: layout.settings_answer,
        SettingsInForce: layout.changed_settings,
    }[kind]
    try:
        return kind.model_validate_json(read_file(file))
    except FileNotFoundError:
        return None
    except TransientError:
        raise
    except ValidationError as error:
        raise RecordError(
            f"{file}: damaged: {first_error(error)}: delete it; the journal has what it repeats"
        ) from None
    except AiperfError as error:
        raise RecordError(str(error)) from None
