"""Holds every attempt that has ended to the table of legal histories, which the controller takes its reasons from."""

from __future__ import annotations

from dataclasses import dataclass

from aiperf_orch.campaign.counted_epochs import trial_plan
from aiperf_orch.campaign.end_reasons import EndRecords, describe_mismatch, matching_history
from aiperf_orch.campaign.events import read_attempt
from aiperf_orch.campaign.trial_state import AttemptState
from aiperf_orch.package.package_index import Evidence
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import Begin, End
from aiperf_orch.records.journal import AttemptEnd
from aiperf_orch.results.collect import TrialRecords


@dataclass(frozen=True, slots=True)
class LastRun:
    """The end line of an attempt's last run, and that run's begin line: None where the controller wrote the end."""

    line: End
    begin: Begin | None


def last_run(evidence: Evidence, records: TrialRecords, attempt: AttemptState) -> LastRun | None:
    """The last run of an attempt that has ended; None where it has not, or where the end line is missing."""
    end = attempt.end
    if end is None:
        return None
    if end.reason is EndReason.SUBMIT_REFUSED and not end.files:  # 0.1.0 wrote the file, and did not list it
        planned = trial_plan(evidence.directory, records.trial)
        runs = read_attempt(evidence.directory, *attempt.key, planned)
        return LastRun(runs[-1].end, runs[-1].begin) if runs and runs[-1].end else None
    run = max((file.run for file in end.files), default=None)
    place = (attempt.attempt, run)
    line = next((line for line in records.ends if (line.attempt, line.run) == place), None)
    begin = next((begin for begin in records.begins if (begin.attempt, begin.run) == place), None)
    return LastRun(line, begin) if line else None


def check_histories(evidence: Evidence) -> None:
    """Check the end of every attempt: its runs, its end line, and that the journal's reason follows from what is known."""
    for records in evidence.trials:
        for attempt in records.trial.attempts:
            if attempt.end is not None:
                _check(evidence, records, attempt, attempt.end)


def _check(evidence: Evidence, records: TrialRecords, attempt: AttemptState, end: AttemptEnd) -> None:
    journal = evidence.at_end(*attempt.key)
    runs = [file.run for file in end.files]
    if runs != list(range(len(runs))):
        why = f"attempt {attempt.attempt} of trial {attempt.trial}: files: runs {runs}, where each from 0 on must stand"
        evidence.faults.add("attempt.runs", journal, why)
    last = last_run(evidence, records, attempt)
    if last is None:
        why = f"attempt {attempt.attempt} of trial {attempt.trial} has no end line"
        evidence.faults.add("attempt.end", journal, why)
        return
    known = EndRecords(
        reason=end.reason,
        line=last.line.reason,
        begun=last.begin is not None,
        job=attempt.job is not None,
        run=last.line.run,
    )
    if matching_history(known) is None:
        why = f"reason: {last.line.reason.value}, and {journal} says {end.reason.value}: {describe_mismatch(known)}"
        evidence.faults.add("attempt.reason", evidence.at_event(*attempt.key, "end"), why)
