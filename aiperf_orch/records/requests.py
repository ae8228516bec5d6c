"""Requests to the controller of a campaign, and its answers: one JSON file each, in the folder `requests`."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue, TypeAdapter

from aiperf_orch.records.base import Record
from aiperf_orch.util.units import Timestamp

REQUEST_PATTERN: Final = r"[0-9a-f]{16}"
RequestId = Annotated[str, Field(pattern=f"^{REQUEST_PATTERN}$")]
"""Random name of a request: of its file, in the journal entry that carries it out, and in its answer."""

NodeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$")]
"""Name of a node as the scheduler writes it; it becomes part of a batch script."""


class Requested(Record):
    """Fields of every request.

    Attributes:
        id: Its name.
        user: User who made it.
        host: Machine on which it was made.
        time: Time at which it was made, by that machine's clock.
    """

    id: RequestId
    user: str
    host: str
    time: Timestamp


class DrainRequest(Requested):
    """Take nodes out of use for further trials, or with `undo` back into use.

    Attributes:
        nodes: The nodes.
        now: Whether trials that run on them end, too, and go on elsewhere.
        undo: Whether the nodes may get trials again.
    """

    type: Literal["drain"] = "drain"
    nodes: Annotated[list[NodeName], Field(min_length=1)]
    now: bool = False
    undo: bool = False


class SetRequest(Requested):
    """Change settings of the campaign.

    Attributes:
        changes: Dotted key without `advanced` -> JSON value.
    """

    type: Literal["set"] = "set"
    changes: Annotated[dict[str, JsonValue], Field(min_length=1)]


Request = DrainRequest | SetRequest
request_adapter: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="type")])


class Answer(Record):
    """Answer of the controller to a request.

    Attributes:
        id: Name of the request.
        accepted: Whether it was carried out.
        message: What was done, or why it was refused.
        time: Time of the answer.
    """

    id: RequestId
    accepted: bool
    message: str
    time: Timestamp
