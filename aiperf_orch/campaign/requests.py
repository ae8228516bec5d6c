"""Requests to the controller of a campaign: a command leaves a file, the controller obeys and answers by another one.

The controller journals a request with its name before it answers, and deletes it after that. One that it finds again,
since no answer was written, is not carried out again. The command deletes the answer that it has read.
"""

from __future__ import annotations

import re
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from aiperf_orch.campaign.durable_files import read_file, replace_file
from aiperf_orch.campaign.file_errors import translate_os_errors
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.records.base import first_error
from aiperf_orch.records.requests import REQUEST_PATTERN, Answer, Request, request_adapter
from aiperf_orch.util.errors import AiperfError, TransientError
from aiperf_orch.util.units import now
from aiperf_orch.util.users import current_user

_REQUEST_FILE: Final = re.compile(rf"({REQUEST_PATTERN})\.json")
_MOST_BYTES: Final = 1 << 20
"""Bytes of a request that are read; a larger file is no request."""


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """A request that has no answer yet; `request` is None where its file is no request of this version."""

    id: str
    request: Request | None


def requester() -> dict[str, Any]:
    """The fields of a new request that say who makes it, where and when, with its id."""
    return {"id": secrets.token_hex(8), "user": current_user(), "host": socket.gethostname(), "time": now()}


def leave_request(layout: Layout, request: Request) -> None:
    """Write a request.

    Raises:
        AiperfError: When the file cannot be written.
    """
    with translate_os_errors(layout.requests_folder):
        layout.requests_folder.mkdir(mode=0o700, exist_ok=True)
    replace_file(layout.request(request.id), request.model_dump_json().encode() + b"\n")


def pending_requests(layout: Layout) -> list[PendingRequest]:
    """The requests without an answer, oldest first; those that cannot be read for now are left out."""
    try:
        names = sorted(path.name for path in layout.requests_folder.iterdir())
    except OSError:  # no request was ever made, or the file system is away for now
        return []
    found = [_read(layout, match[1]) for name in names if (match := _REQUEST_FILE.fullmatch(name))]
    pending = [each for each in found if each is not None]
    return sorted(pending, key=lambda each: each.request.time.timestamp() if each.request else 0.0)


def _read(layout: Layout, name: str) -> PendingRequest | None:
    try:
        data = read_file(layout.request(name), most=_MOST_BYTES, retry_for=0.0)
        request = request_adapter.validate_json(data)
    except ValidationError:
        return PendingRequest(name, None)
    except (FileNotFoundError, AiperfError):  # there is no file, it cannot be read for now, or it is a folder or a pipe
        return None
    return PendingRequest(name, request if request.id == name else None)


def answer_request(layout: Layout, answer: Answer) -> None:
    """Answer a request, and delete it.

    Raises:
        AiperfError: When a file cannot be written or deleted; the request is then found again.
    """
    replace_file(layout.answer(answer.id), answer.model_dump_json().encode() + b"\n")
    request = layout.request(answer.id)
    with translate_os_errors(request):
        request.unlink(missing_ok=True)


def take_answer(layout: Layout, name: str) -> Answer | None:
    """The answer to a request, which is deleted; None while there is none.

    Raises:
        AiperfError: When the file is no answer of this version.
    """
    path = layout.answer(name)
    try:
        answer = Answer.model_validate_json(read_file(path, most=_MOST_BYTES, retry_for=0.0))
    except (FileNotFoundError, TransientError):
        return None
    except ValidationError as error:
        raise AiperfError(
            f"{path}: no answer of this version of aiperf-orch: {first_error(error)}: use the version of the "
            "controller; `aiperf-orch report` shows which settings are in force"
        ) from None
    with suppress(OSError):
        path.unlink()
    return answer
