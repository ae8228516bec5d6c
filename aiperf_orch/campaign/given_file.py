"""JSON files that a user gives: the output of a command, or a copy of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from aiperf_orch.campaign.format_versions import Format, explain_newer, stated_in_line
from aiperf_orch.campaign.safe_reading import read_regular
from aiperf_orch.records.base import first_error
from aiperf_orch.util import strict_json
from aiperf_orch.util.errors import UsageError

_MOST_BYTES: Final = 1 << 20
_Model = TypeVar("_Model", bound=BaseModel)


def read_given(
    path: Path,
    model: type[_Model],
    *,
    refusal: str,
    advice: str,
    form: Format | None = None,
    check: Callable[[_Model], None] | None = None,
) -> _Model:
    """Read a file of at most 1 MiB.

    Args:
        path: The file.
        model: Model of its content.
        refusal: What a file is that the model refuses: "is no plan".
        advice: What to do then.
        form: The file's format, where it states its version and its writer's as `format` and `version`.
        check: Raises a ValueError for content that the model accepts, and no command writes.

    Raises:
        UsageError: It cannot be read, a newer version wrote it, or the model refuses it.
    """
    try:
        data = read_regular(path, most=_MOST_BYTES)
        strict_json.check(data)
        if form:
            _check_version(path, data, form)
        given = model.model_validate_json(data, strict=True)
        if check:
            check(given)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        why = first_error(error)
        if form:
            _check_version(path, data, form, why)
    except ValueError as error:
        why = str(error)
    else:
        return given
    raise UsageError(f"{path}: {refusal}: {why}; {advice}")


def _check_version(path: Path, data: bytes, form: Format, fault: str | None = None) -> None:
    """Refuse a newer version's file as newer; `fault` is what the model found in it, None before that."""
    stated = stated_in_line(data)
    newer = explain_newer(form, stated.get("format"), stated.get("version"), fault)
    if newer:
        raise UsageError(f"{path}: {newer}")
