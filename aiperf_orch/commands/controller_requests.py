"""Requests of commands to the live controller of a campaign, which carries them out, or this process in its place."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.lock import Holder, read_holder
from aiperf_orch.campaign.requests import PendingRequest, answer_request, leave_request, pending_requests, take_answer
from aiperf_orch.commands.command_output import ExitStatus
from aiperf_orch.commands.self_invocation import command_line
from aiperf_orch.controller.locked_campaign import HeldCampaign
from aiperf_orch.controller.requests import carry_out
from aiperf_orch.records.requests import Answer, Request
from aiperf_orch.util.errors import AiperfError, LockedError, TransientError, UsageError
from aiperf_orch.util.units import format_duration

_log: Final = logging.getLogger(__name__)
_LEAST_WAIT: Final = 60.0
"""Seconds for which an answer of the controller is waited for, at least: one step of it may take that long."""


@dataclass(frozen=True, slots=True)
class Response:
    """What came of a request.

    Attributes:
        message: What was done; None where no controller has answered yet.
        by: The controller that did it; None where this process did, in the place of one.
        exit_status: Of the command.
    """

    message: str | None
    by: Holder | None = None
    exit_status: ExitStatus = ExitStatus.DONE


def request_of_controller(directory: CampaignDirectory, request: Request, *, take_over: bool = False) -> Response:
    """Have a request carried out by the live controller, or in the place of one.

    Args:
        directory: The campaign.
        request: The request.
        take_over: Carry it out in place of a controller on another host that has died.

    Raises:
        AiperfError: When the controller refused it.
        UsageError: When the campaign does not permit it.
    """
    holder = read_holder(directory.lock)
    if holder is None or holder.alive() is False or take_over:
        answer = _carry_out_here(directory, request, take_over=take_over)
        if answer is not None:
            return _response(directory, answer)
        holder = read_holder(directory.lock)
    leave_request(directory, request)
    return _wait(directory, request, holder)


def _response(directory: CampaignDirectory, answer: Answer) -> Response:
    """What came of a request that this process carried out."""
    if not answer.accepted:
        raise UsageError(f"{directory.path}: {answer.message}")
    return Response(answer.message)


def _carry_out_here(directory: CampaignDirectory, request: Request, *, take_over: bool = False) -> Answer | None:
    """Journal requests that wait, and this one after those made before it; None where the campaign is locked."""
    try:
        held = HeldCampaign(directory, resume=False, take_over=take_over)
    except LockedError:
        if take_over:
            raise
        return None
    try:
        own = take_answer(directory, request.id)  # a controller may have given it before it ended
        for pending in pending_requests(directory):
            answer = carry_out(held, pending)
            if pending.id == request.id:
                own = answer
            try:
                answer_request(directory, answer)
            except AiperfError as error:  # the folder may be another user's: this request is carried out nevertheless
                _log.warning("%s: a request was not answered: %s", directory.path, error)
        if own is None:
            own = carry_out(held, PendingRequest(request.id, request))
        with suppress(AiperfError):
            take_answer(directory, request.id)
        return own
    finally:
        held.close()


def _has_ended(directory: CampaignDirectory) -> bool:
    """Whether the campaign has no controller any more, as far as that can be known from this host."""
    try:
        holder = read_holder(directory.lock)
    except TransientError:
        return False
    return holder is None or holder.alive() is False


def _wait(directory: CampaignDirectory, request: Request, holder: Holder | None) -> Response:
    """Wait for the answer of the controller; one that ends without it is replaced by this process."""
    interval = directory.settings.scheduler.poll_interval
    who = f"process {holder.pid} on {holder.host}" if holder else "a process that is starting"
    _log.info(
        "%s: asked its controller (%s), which reads requests every %s", directory.path, who, format_duration(interval)
    )
    deadline = time.monotonic() + max(3 * interval, _LEAST_WAIT)
    try:
        while time.monotonic() < deadline:
            answer = take_answer(directory, request.id)
            if answer is not None and not answer.accepted:
                raise AiperfError(f"{directory.path}: refused: {answer.message}")
            if answer is not None:
                return Response(answer.message, holder)
            if _has_ended(directory):
                own = _carry_out_here(directory, request)
                if own is not None:
                    return _response(directory, own)
            time.sleep(0.1)
    except KeyboardInterrupt:
        _log.info("%s: no answer yet, and no longer waited for: its controller will carry it out", directory.path)
        return Response(None, holder, ExitStatus.INTERRUPTED)
    _log.info(
        "%s: no answer yet; the request stays in %s for this controller or the next one: %s",
        directory.path,
        directory.request(request.id),
        command_line(["status", str(directory.path)]),
    )
    return Response(None, holder, ExitStatus.NOT_FINISHED)
