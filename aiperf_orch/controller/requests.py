"""Requests of commands to the running controller: each is journalled, carried out and answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiperf_orch.campaign.drained_nodes import must_leave, nodes_to_change
from aiperf_orch.campaign.requests import PendingRequest, answer_request, pending_requests
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.controller.attempt_monitor import LiveAttempt
from aiperf_orch.controller.locked_campaign import HeldCampaign
from aiperf_orch.controller.settings_updates import change_settings
from aiperf_orch.records.journal import Drained
from aiperf_orch.records.requests import Answer, DrainRequest, SetRequest
from aiperf_orch.schedulers.base import Scheduler
from aiperf_orch.settings.drainable import why_not_drainable
from aiperf_orch.util.errors import AiperfError, UsageError
from aiperf_orch.util.units import now


class RequestHandler:
    """Carries out the requests to the controller of a campaign, those that an earlier controller left included."""

    def __init__(self, campaign: HeldCampaign, warn: Callable[[str], None]) -> None:
        """Begin without a scheduler: `use` gives one.

        Args:
            campaign: The campaign.
            warn: Receives messages for the user.
        """
        self._campaign, self._warn = campaign, warn
        self._scheduler: Scheduler | None = None
        self._unwritten: dict[str, Answer] = {}
        """Answers, by request, that could not be written: a request is carried out once."""

    def use(self, scheduler: Scheduler) -> None:
        """Go on with this scheduler of the campaign's trials, and keep from it the nodes that are drained."""
        self._scheduler = scheduler
        if self._campaign.state.drained.entries:
            scheduler.set_drained(self._campaign.state.drained.entries)

    def take(self) -> None:
        """Carry out and answer all requests; one whose answer cannot be written is answered at a later step."""
        for pending in pending_requests(self._campaign.directory):
            answer = self._unwritten.pop(pending.id, None) or carry_out(self._campaign, pending)
            if isinstance(pending.request, DrainRequest) and self._scheduler:
                self._scheduler.set_drained(self._campaign.state.drained.entries)
            try:
                answer_request(self._campaign.directory, answer)
            except AiperfError as error:
                self._unwritten[answer.id] = answer
                self._warn(f"a request was not answered: {error}")
            else:
                self._warn(f"request {answer.id}: {'' if answer.accepted else 'refused: '}{answer.message}")

    def leaving(self, attempts: Iterable[LiveAttempt]) -> list[LiveAttempt]:
        """Those of the live attempts that are to be cancelled because of drained nodes.

        Attempts that are being cancelled, or will be submitted with these nodes excluded, are not among them.
        """
        state = self._campaign.state
        if not state.drained.requests:
            return []
        return [
            live
            for live in attempts
            if live.attempt.cancelling is None
            and live.unsubmitted is None
            and must_leave(state.drained, live.attempt, state.workforce.agents)
        ]


def carry_out(campaign: HeldCampaign, pending: PendingRequest) -> Answer:
    """Journal what a request demands, unless that has been done or is not possible; returns the answer."""
    request = pending.request
    if request is None:
        message = "the request cannot be read: repeat it with the version of aiperf-orch that the controller has"
        return Answer(id=pending.id, accepted=False, message=message, time=now())
    try:
        message = _drain(campaign, request) if isinstance(request, DrainRequest) else _set(campaign, request)
    except UsageError as error:
        return Answer(id=request.id, accepted=False, message=str(error), time=now())
    return Answer(id=request.id, accepted=True, message=message, time=now())


def _set(campaign: HeldCampaign, request: SetRequest) -> str:
    changed = change_settings(campaign, request)
    return f"{'changed' if changed else 'nothing to change in'} {', '.join(request.changes)}"


def _drain(campaign: HeldCampaign, request: DrainRequest) -> str:
    reason = why_not_drainable(campaign.directory.settings.scheduler)
    if campaign.state.phase is Phase.FINISHED:
        reason = "the campaign is finished"
    if reason is not None:
        raise UsageError(reason)
    nodes = nodes_to_change(campaign.state.drained, request)
    if nodes and request.id not in campaign.state.drained.requests:
        by = {"request": request.id, "user": request.user, "host": request.host}
        campaign.append(Drained, **by, nodes=nodes, now=request.now, undo=request.undo)
    return describe(campaign.state, request)


def describe(state: CampaignState, request: DrainRequest) -> str:
    """What a request that was carried out means for the campaign's trials."""
    nodes = ", ".join(dict.fromkeys(request.nodes))
    leaving = [each for each in state.live.values() if must_leave(state.drained, each, state.workforce.agents)]
    running = sum(attempt.began is not None for attempt in leaving)
    effects = ["may get trials again" if request.undo else "no further trial begins there"]
    if running:
        effects.append(f"{running} trial(s) end there and go on elsewhere")
    if len(leaving) > running:
        effects.append(f"{len(leaving) - running} waiting trial(s) are submitted again")
    return f"{nodes}: {'; '.join(effects)}"
