"""Check of ended attempts against the table of legal histories, from which the controller derives end reasons."""

from __future__ import annotations

from dataclasses import dataclass

from aiperf_orch.campaign.counted_epochs import trial_plan
from aiperf_orch.campaign.end_reasons import EndRecords, describe_mismatch, matching_history
from aiperf_orch.campaign.events import read_attempt
from aiperf_orch.campaign.trial_state import AttemptState
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import Begin, End
from aiperf_orch.records.journal import AttemptEnd
from aiperf_orch.results.collected_trials import TrialRecords


@dataclass(frozen=True, slots=True)
class LastRun:
    """End line and begin line of an attempt's last run; `begin` is None where the controller wrote the end line."""

    line: End
    begin: Begin | None


def last_run(index: PackageIndex, records: TrialRecords, attempt: AttemptState) -> LastRun | None:
    """The last run of an ended attempt; None when the attempt has not ended or its end line is missing."""
    end = attempt.end
    if end is None:
        return None
    if end.reason is EndReason.SUBMIT_REFUSED and not end.files:  # 0.1.0 wrote the file and did not list it
        planned = trial_plan(index.directory, records.trial)
        runs = read_attempt(index.directory, *attempt.key, planned)
        return LastRun(runs[-1].end, runs[-1].begin) if runs and runs[-1].end else None
    run = max((file.run for file in end.files), default=None)
    key = (attempt.attempt, run)
    line = next((line for line in records.ends if (line.attempt, line.run) == key), None)
    begin = next((begin for begin in records.begins if (begin.attempt, begin.run) == key), None)
    return LastRun(line, begin) if line else None


def check_histories(index: PackageIndex) -> None:
    """Check the runs, the end line and the end reason of every attempt that the journal records as ended."""
    for records in index.trials:
        for attempt in records.trial.attempts:
            if attempt.end is not None:
                _check_end(index, records, attempt, attempt.end)


def _check_end(index: PackageIndex, records: TrialRecords, attempt: AttemptState, end: AttemptEnd) -> None:
    journal = index.at_end(*attempt.key)
    runs = [file.run for file in end.files]
    if runs != list(range(len(runs))):
        why = f"attempt {attempt.attempt} of trial {attempt.trial}: files: runs {runs}, expected every run from 0 on"
        index.faults.add("attempt.runs", journal, why)
    last = last_run(index, records, attempt)
    if last is None:
        why = f"attempt {attempt.attempt} of trial {attempt.trial} has no end line"
        index.faults.add("attempt.end", journal, why)
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
        index.faults.add("attempt.reason", index.at_event(*attempt.key, "end"), why)
