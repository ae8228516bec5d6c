"""Check of the journal as a whole: the order of its entries, what it may contain in which phase, names and job ids.

The state after each entry is folded again, since most of these rules are about one moment of the campaign.
"""

from __future__ import annotations

import re
from collections import defaultdict

from aiperf_orch.campaign.drained_nodes import must_leave
from aiperf_orch.campaign.failure_policy import is_final
from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.campaign.trial_state import AttemptKey
from aiperf_orch.campaign.workforce import agents_in
from aiperf_orch.package.check_settings import check_change
from aiperf_orch.package.clock_tolerance import CLOCK_TOLERANCE
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import (
    SEARCH_EXHAUSTED,
    AttemptRecord,
    Cancelling,
    Created,
    Drained,
    Ended,
    Entry,
    Finished,
    Paused,
    Resumed,
    SettingsChanged,
    Stopped,
    Submitted,
    Submitting,
)
from aiperf_orch.schedulers.base import array_element
from aiperf_orch.settings.schedulers import ClusterSettings
from aiperf_orch.util.units import format_time


def check_journal(index: PackageIndex) -> None:
    """Check every entry of the journal against the state before it."""
    _Journal(index).check()


class _Journal:
    """The journal, read entry by entry."""

    def __init__(self, index: PackageIndex) -> None:
        self._index = index
        self._settings = index.directory.config.settings  # those in force at the entry
        self._lookaheads: dict[str, int] = {}  # name of a live attempt -> the lookahead when it was submitted
        self._state = CampaignState()
        self._names: dict[str, tuple[int, int]] = {}  # name of a job -> its attempt
        self._jobs: dict[str, tuple[int, int]] = {}  # job id -> its attempt
        self._live: set[str] = set()  # names of live attempts
        self._drained: dict[tuple[int, int], dict[str, int]] = {}  # attempt -> node drained before it -> journal entry
        self._waiting: set[str] = set()  # those whose job waits for the end of another live one
        self._followers: defaultdict[str, list[str]] = defaultdict(list)  # name of a job -> those that wait for it

    def check(self) -> None:
        """Check all entries, and what is open after the last one."""
        for entry in self._index.entries:
            self._check_phase(entry)
            match entry:
                case SettingsChanged():
                    check_change(self._index, self._state, entry)
                    self._settings = self._index.settings_at(entry.seq + 1)
                case Created() if entry.seq:
                    self._add("journal.order", entry, "created: the campaign was created before")
                case Submitting():
                    self._check_submitting(entry)
                case Submitted():
                    self._check_jobs(entry)
                    self._check_agents(entry)
                case Finished():
                    self._check_finished(entry)
                case Cancelling(reason=EndReason.PREEMPTED):
                    self._check_left(entry)
                case Cancelling(reason=EndReason.RESUBMITTED):
                    self._check_replaced(entry)
                case Cancelling(reason=EndReason.CAMPAIGN_ENDED):
                    self._check_deadline(entry, "cancelling: CAMPAIGN_ENDED, by the deadline")
                case Ended() if any(end.reason is EndReason.CAMPAIGN_ENDED for end in entry.attempts):
                    self._check_deadline(entry, "ended: CAMPAIGN_ENDED, by the deadline")
            self._state.apply(entry)
            match entry:
                case Submitting():
                    self._check_live(entry)
                case Ended():
                    self._check_final(entry)
                    self._end(entry)

    def _add(self, kind: str, entry: Entry, why: str) -> None:
        self._index.faults.add(kind, f"{MEMBERS.journal}:{entry.seq + 1}", why)

    def _check_phase(self, entry: Entry) -> None:
        """Nothing is submitted unless the campaign runs, and it stops and ends only without live attempts."""
        phase = self._state.phase
        if isinstance(entry, Submitting) and phase is not Phase.RUNNING:
            self._add("journal.phase", entry, f"submitting: attempts are submitted while the campaign is {phase.value}")
        if isinstance(entry, Resumed) and phase not in (Phase.PAUSED, Phase.STOPPED):
            self._add("journal.phase", entry, f"resumed: the campaign is {phase.value}, neither paused nor stopped")
        if isinstance(entry, Paused | Stopped | Finished | Drained) and phase is Phase.FINISHED:
            self._add("journal.phase", entry, f"{entry.type}: the campaign had ended before")
        if isinstance(entry, Stopped | Finished) and self._state.live:
            trial, attempt = next(iter(self._state.live))
            why = f"{entry.type}: attempt {attempt} of trial {trial} has not ended"
            self._add("journal.open", entry, why)

    def _check_submitting(self, entry: Submitting) -> None:
        """An attempt is the first one of its trial, or follows one that ended and is retried; names are unique."""
        drained = {node: each.seq for node, each in self._state.drained.entries.items()}
        for record in entry.attempts:
            self._drained[record.trial, record.attempt] = drained
            trial = self._state.trials.get(record.trial)
            if trial is not None and record.trial not in self._state.retries:
                last = trial.attempts[-1]
                state = "has not ended" if last.end is None else "was the last one of its trial"
                why = f"attempt {record.attempt} of trial {record.trial}: attempt {last.attempt} {state}"
                self._add("journal.attempts", entry, why)
            self._check_name(entry, record)
        limit = self._settings.campaign.max_trials
        new = [record.trial for record in entry.attempts if record.attempt == 1]
        if limit is not None and new and max(new) >= limit:
            self._add("campaign.max_trials", entry, f"trial {max(new)}: the settings have max_trials: {limit}")

    def _check_name(self, entry: Entry, record: AttemptRecord) -> None:
        """The name of a job is that of its attempt, or of an element of an array."""
        key = record.trial, record.attempt
        own = self._index.directory.attempt_name(*key)
        element = array_element(record.name)
        array = element[0] if element else ""
        tag = re.escape(self._index.directory.config.tag)
        if record.name != own and not re.fullmatch(rf"{tag}-(w[0-9]{{5,}}|[0-9]{{5,}}-[0-9]{{1,2}})", array):
            self._add("attempt.name", entry, f"{record.name}: the job of attempt {key[1]} of trial {key[0]} is {own}")
        other = self._names.setdefault(record.name, key)
        if other != key:
            why = f"{record.name}: is the job of attempt {other[1]} of trial {other[0]}, too"
            self._add("attempt.name", entry, why)

    def _check_jobs(self, entry: Submitted) -> None:
        """No two attempts have one job of a batch system; the ids of local processes are used again."""
        if self._index.placement is not None or not isinstance(self._settings.scheduler, ClusterSettings):
            return
        for job in entry.jobs:
            key = job.trial, job.attempt
            other = self._jobs.setdefault(job.job, key)
            if other != key:
                what = f"attempt {key[1]} of trial {key[0]} has the job of attempt {other[1]} of trial {other[0]}"
                self._add("attempt.job", entry, f"{job.job}: {what}")

    def _check_agents(self, entry: Submitted) -> None:
        """No attempt is placed on a node that was drained before the attempt, and has been so since."""
        state = self._state
        for job in entry.jobs if state.drained.entries else ():
            agents = [state.workforce.agents[name] for name in agents_in(job.job) if name in state.workforce.agents]
            before = self._drained[job.trial, job.attempt]
            for node in state.drained.among(agent.record.host for agent in agents):
                if before.get(node) == state.drained.entries[node].seq:
                    why = f"attempt {job.attempt} of trial {job.trial} is placed on {node}, which had been drained"
                    self._add("campaign.drained", entry, why)

    def _check_finished(self, entry: Finished) -> None:
        """A campaign ends by its deadline, or when nothing is left to do."""
        if entry.by_deadline:
            self._check_deadline(entry, "finished: by its deadline")
            return
        state, most = self._state, self._settings.campaign.max_trials
        all_ended = most is not None and len(state.trials) >= most and not state.retries
        if not all_ended and not entry.reason.startswith(SEARCH_EXHAUSTED):
            why = f"finished: before its deadline, after {len(state.trials)} trials"
            if state.retries:
                why += f", and trial {min(state.retries)} was to be retried"
            self._add("campaign.finished", entry, f"{why}; the settings have max_trials: {most}")

    def _check_left(self, entry: Cancelling) -> None:
        """Attempts are cancelled as PREEMPTED, which costs no attempt, only because of drained nodes."""
        state = self._state
        for each in entry.attempts:
            attempt = state.live[AttemptKey(each.trial, each.attempt)]
            if not must_leave(state.drained, attempt, state.workforce.agents):
                why = f"attempt {each.attempt} of trial {each.trial} is cancelled as PREEMPTED, and need leave no node"
                self._add("campaign.drained", entry, why)

    def _check_replaced(self, entry: Cancelling) -> None:
        """Attempts are cancelled as RESUBMITTED, which costs no attempt, only where settings of their jobs changed."""
        for each in entry.attempts:
            attempt = self._state.live[AttemptKey(each.trial, each.attempt)]
            if not (attempt.outdated and attempt.job):
                which = f"attempt {each.attempt} of trial {each.trial}"
                why = f"{which} is cancelled as RESUBMITTED, and no setting of its job changed while it waited"
                self._add("settings.resubmitted", entry, why)

    def _check_deadline(self, entry: Entry, what: str) -> None:
        """What the deadline causes is not earlier than the deadline."""
        deadline = self._state.deadline(self._settings.campaign.duration)
        if deadline is None:
            self._add("campaign.duration", entry, f"{what}, and no trial had begun")
        elif entry.time < deadline - CLOCK_TOLERANCE:
            why = f"{what} at {format_time(entry.time)}, which is {format_time(deadline)}"
            self._add("campaign.duration", entry, why)

    def _check_live(self, entry: Submitting) -> None:
        """No more attempts are live than are trained at once, and those that wait for them.

        0.1.0, which makes settings of format 1, does not record which ones wait. What agents hold is checked in
        `check_placements`.
        """
        at_once = False
        for record in entry.attempts:
            if record.after in self._live:
                self._waiting.add(record.name)
                self._followers[record.after or ""].append(record.name)
            else:
                at_once = True
            self._live.add(record.name)
        if self._index.placement is not None:
            return
        scheduler, concurrency = self._settings.scheduler, self._settings.campaign.concurrency
        lookahead = scheduler.lookahead if isinstance(scheduler, ClusterSettings) else 0
        self._lookaheads |= dict.fromkeys((record.name for record in entry.attempts), lookahead)
        most = concurrency + max(self._lookaheads[name] for name in self._live)  # it may have been lowered since
        live, opened = len(self._live), self._state.opened
        is_later = self._index.directory.config.version > 1
        states_leaders = is_later or (opened is not None and opened.version is not None)
        if live > most:
            why = f"{live} attempts are live; by the settings there are at most {most}"
            self._add("campaign.concurrency", entry, why)
        elif at_once and states_leaders and live - len(self._waiting) > concurrency:
            why = f"{live - len(self._waiting)} attempts may run at once; the settings have concurrency: {concurrency}"
            self._add("campaign.concurrency", entry, why)

    def _end(self, entry: Ended) -> None:
        """The jobs that waited for these attempts may start."""
        for end in entry.attempts:
            name = self._state.trials[end.trial].attempts[end.attempt - 1].name
            self._live.discard(name)
            self._lookaheads.pop(name, None)
            self._waiting.discard(name)
            self._waiting.difference_update(self._followers.pop(name, ()))

    def _check_final(self, entry: Ended) -> None:
        """Whether a trial is over follows from the failure policy."""
        most = self._settings.campaign.max_attempts
        for end in entry.attempts:
            attempts = self._state.trials[end.trial].attempts
            expected = is_final(end.reason, attempts, most, progressed=end.progressed)
            if end.final != expected:
                why = f"attempt {end.attempt} of trial {end.trial} ended {end.reason.value}: final: {end.final} stated"
                self._add("attempt.final", entry, f"{why}; with max_attempts: {most} it is {expected}")
