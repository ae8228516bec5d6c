"""Tests of end reasons: for each scheduler, a campaign with every legal history verifies; illegal ones are found."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.end_reasons import HISTORIES, EndRecords, History, Writer, matching_history
from aiperf_orch.campaign.events import best_epoch
from aiperf_orch.campaign.failure_policy import is_final
from aiperf_orch.campaign.journal import read_journal
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.package import findings
from aiperf_orch.package.packing import write_package
from aiperf_orch.package.verify import verify
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import Begin, End, Epoch
from aiperf_orch.records.journal import Finished, Submitting
from aiperf_orch.settings.models import SiteSettings
from campaign_builder import CampaignBuilder
from package_fixtures import TRUE_SETTINGS, TamperedPackage

SCHEDULERS: dict[str, dict[str, Any]] = {
    "local": {"kind": "local", "job_per_trial": True},
    "slurm": {"kind": "slurm", "requeue": True},
    "pbs": {"kind": "pbs", "requeue": True},
}
_LIMIT = TRUE_SETTINGS["training"]["epochs"]
_SECONDS = 100  # for each trial


@dataclass(frozen=True)
class Case:
    """A legal history as a trial.

    `before` describes an earlier run: `cut` (begin line and epoch), `ended`, `empty`, or None without an earlier run.
    """

    row: History
    begun: bool
    job: bool
    before: str | None
    listed: bool = True

    @property
    def records(self) -> EndRecords:
        return EndRecords(self.row.reason, self.row.line, self.begun, self.job, 1 if self.before else 0)


def _cases() -> Iterator[Case]:
    for row in HISTORIES:
        jobs = (True, False) if row.job is None else (row.job,)
        if row.writer is Writer.TRIAL:
            for begun in (True, False) if row.begun is None else (row.begun,):
                yield from (Case(row, begun, job, None) for job in jobs)
                yield Case(row, begun, job=jobs[0], before="cut")
            continue
        befores = [before for before in (None, "empty", "cut", "ended") if before or not row.later]
        if row.job is False:
            befores = [None, "empty"]
        yield from (Case(row, begun=False, job=jobs[-1], before=before) for before in befores if before != "cut")
        if row.job is not False:
            yield Case(row, begun=False, job=True, before="cut")
        if row.reason is EndReason.SUBMIT_REFUSED and not row.later:  # as 0.1.0 wrote the journal
            yield Case(row, begun=False, job=False, before=None, listed=False)


CASES = list(_cases())
_DURATION = _SECONDS * len(CASES)  # of the campaign: each trial begins before its deadline


class HistoriesCampaign:
    """The cases as trials of one campaign on one scheduler, with the accounting of its jobs."""

    def __init__(self, builder: CampaignBuilder, kind: str) -> None:
        self.builder, self.kind = builder, kind
        self.directory = builder.directory
        self.accounting: list[dict[str, Any]] = []
        self._ends_at_deadline: list[Callable[[], None]] = []
        self._packages: dict[bool, Path] = {}
        for trial, case in enumerate(CASES):
            self._add_attempt(trial, case)
        for add_end in self._ends_at_deadline:
            add_end()
        builder.write(Finished, at=_DURATION + 30, reason=f"its {_DURATION}s are over", by_deadline=True)

    def _add_attempt(self, trial: int, case: Case) -> None:
        builder, at = self.builder, trial * _SECONDS
        job = {"local": f"{4000 + trial}", "slurm": f"{100 + trial}", "pbs": f"{100 + trial}.pbs1"}[self.kind]
        if case.job:
            builder.submit(trial, at=at, job=job)
        else:
            builder.write(Submitting, at=at, attempts=[builder.attempt_record(trial)])
        runs: list[tuple[bool, EndReason | None]] = [(case.begun, case.row.line)]
        match case.before:
            case "cut":
                runs.insert(0, (True, None))
            case "ended":
                runs.insert(0, (True, EndReason.COMPLETED))
            case "empty":
                runs.insert(0, (False, None))
        for run, (begun, line) in enumerate(runs):
            start, last = at + 10 + 40 * run, run == len(runs) - 1
            self._add_run(trial, run, start, begun=begun, line=line, with_job=case.job)
            if case.job and (begun or last):
                self._account(trial, job, start - 1 if begun else None, start + 21, case, last=last)
        files: dict[str, Any] = {} if case.listed else {"files": []}
        reason, final = case.row.reason, self._final(trial)
        by_deadline = reason is EndReason.CAMPAIGN_ENDED
        end = _DURATION + 20 if by_deadline else at + 10 + 40 * len(runs)
        add_end = partial(builder.ended, trial, runs=len(runs), reason=reason.value, at=end, final=final, **files)
        if by_deadline:
            self._ends_at_deadline.append(add_end)
        else:
            add_end()

    def _final(self, trial: int) -> bool:
        """Whether a trial is over after its only attempt, by the failure policy."""
        attempt = CampaignState.of(read_journal(self.directory.journal)).trials[trial].attempts[0]
        progressed = bool(self.builder.epochs(trial))
        return is_final(CASES[trial].row.reason, [attempt], 3, progressed=progressed)

    def _add_run(
        self, trial: int, run: int, start: float, *, begun: bool, line: EndReason | None, with_job: bool
    ) -> None:
        builder = self.builder
        epochs = self._epochs(trial, run, start, line) if begun else []
        events: list[Begin | Epoch | End] = [builder.begin(start, trial, run=run), *epochs] if begun else []
        if begun and with_job:
            builder.began(start, trial, run=run)
        if line:
            known = best_epoch([*builder.epochs(trial), *epochs]) if begun else None
            best: dict[str, Any] = {"best_error": known.error, "best_epoch": known.epoch} if known else {}
            events.append(builder.end(start + 20, trial, run=run, reason=line.value, **best))
        builder.events(*events, trial=trial, run=run)

    def _epochs(self, trial: int, run: int, start: float, line: EndReason | None) -> list[Epoch]:
        """The epochs of a run with this end: all of the trial, those until its patience ends, or one."""
        first = 1 + len(self.builder.epochs(trial))
        last = {EndReason.COMPLETED: _LIMIT, EndReason.EARLY_STOPPED: max(first, 2)}.get(line or EndReason.LOST, first)
        return [
            self.builder.epoch(
                number,
                start + 1 + 3 * number,
                0.5 if line is EndReason.EARLY_STOPPED else 1 / (1 + number),
                trial=trial,
                run=run,
                start=start - 1 + 3 * number,
            )
            for number in range(first, last + 1)
        ]

    def _account(self, trial: int, job: str, start: float | None, end: float, case: Case, *, last: bool) -> None:
        """Add the account of a run. PBS keeps only the last run, without a start if the job was requeued."""
        state = "COMPLETED" if case.row.reason in (EndReason.COMPLETED, EndReason.EARLY_STOPPED) else "FAILED"
        times = {"start": start, "end": end}
        if self.kind == "pbs":
            if not last:
                return
            if case.before:
                del times["start"]
            if case.row.reason is EndReason.NODE_FAILURE:
                times["end"] = end - 40  # its node was disconnected, and the server discarded the job
        elif not last or case.row.reason is EndReason.NODE_FAILURE:
            state = "NODE_FAIL" if last else "PREEMPTED"
            times["end"] = end - 15  # the time of the scheduler's decision, which the trial notices later or never
        stated = {key: self.builder.at(value).isoformat() for key, value in times.items() if value is not None}
        self.accounting.append(
            {
                "name": self.directory.attempt_name(trial, 1),
                "job": job,
                "state": state,
                "exit_code": "-20" if case.row.reason is EndReason.NODE_FAILURE else "0",
                **stated,
                "nodes": ["n1"],
            }
        )

    def package(self, path: Path, *, with_accounting: bool) -> Path:
        self.directory.accounting.unlink(missing_ok=True)
        if with_accounting:
            self.builder.write_accounting(self.accounting)
        write_package(self.directory, path, with_pseudonyms=False)
        return path

    def tampered(self, *, with_accounting: bool) -> TamperedPackage:
        """The files of its package, for changes; the package is made once."""
        if with_accounting not in self._packages:
            path = self.directory.path.with_name(f"{with_accounting}.tar.gz")
            self._packages[with_accounting] = self.package(path, with_accounting=with_accounting)
        return TamperedPackage(self._packages[with_accounting])


@pytest.fixture(scope="module")
def histories(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> HistoriesCampaign:
    kind = request.param
    settings = TRUE_SETTINGS | {
        "scheduler": SCHEDULERS[kind],
        "campaign": {"duration": f"{_DURATION}s", "concurrency": 1000},
    }
    path = tmp_path_factory.mktemp(kind) / "campaign"
    return HistoriesCampaign(CampaignBuilder(path, SiteSettings.model_validate(settings)), kind)


every_scheduler = pytest.mark.parametrize("histories", SCHEDULERS, indirect=True)


@every_scheduler
def test_a_campaign_of_every_legal_history_verifies(histories: HistoriesCampaign, tmp_path: Path) -> None:
    assert {case.row for case in CASES} == set(HISTORIES)
    for case in CASES:
        assert matching_history(case.records)
    for with_accounting in (False, True) if histories.kind != "local" else (False,):
        found = verify(histories.package(tmp_path / f"{with_accounting}.tar.gz", with_accounting=with_accounting))
        assert list(map(str, found.faults)) == []
        assert found.more_faults == 0


@pytest.mark.parametrize("histories", ["slurm"], indirect=True)
def test_accounting_of_the_last_run_only_causes_no_fault(histories: HistoriesCampaign, tmp_path: Path) -> None:
    every, histories.accounting = (
        histories.accounting,
        list({job["name"]: job for job in histories.accounting}.values()),
    )
    try:
        assert len(histories.accounting) < len(every)
        found = verify(histories.package(tmp_path / "last.tar.gz", with_accounting=True))
    finally:
        histories.accounting = every
    assert list(map(str, found.faults)) == []


@pytest.mark.parametrize("histories", ["slurm"], indirect=True)
@pytest.mark.parametrize("shift", range(1, len(EndReason), 4))
def test_a_changed_end_reason_is_found_where_it_is_illegal(
    histories: HistoriesCampaign, shift: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "_MOST_LISTED", 10_000)
    reasons = list(EndReason)
    package = histories.tampered(with_accounting=False)
    changed = {
        trial: reasons[(reasons.index(case.row.reason) + shift) % len(reasons)] for trial, case in enumerate(CASES)
    }
    package.each("ended", lambda item: item.update(reason=changed[item["trial"]].value))
    found = verify(package.write(tmp_path / "tampered.tar.gz"))
    named = {
        int(next(filter(None, re.findall(r"events/(\d+)-|trial (\d+)", str(fault))[0])))
        for fault in found.faults
        if fault.id in ("attempt.reason", "attempt.end")
    }
    expected = set()
    for trial, case in enumerate(CASES):
        known = EndRecords(changed[trial], case.row.line, case.begun, case.job, case.records.run)
        if matching_history(known) is None or not case.listed:
            expected.add(trial)
    assert named == expected
    assert len(expected) > len(CASES) / 2


def _first(condition: Callable[[Case], bool]) -> int:
    return next(trial for trial, case in enumerate(CASES) if condition(case))


def _without_job(trial: int) -> Callable[[Any], None]:
    def change(entries: list[dict[str, Any]]) -> None:
        entries[:] = [
            entry
            for entry in entries
            if entry["type"] not in ("submitted", "began")
            or not any(each["trial"] == trial for each in entry.get("jobs", []) + entry.get("attempts", []))
        ]

    return change


def _without_run(package: Any, trial: int, run: int) -> None:
    package.files.pop(f"events/{trial:05d}-1.{run}.jsonl")
    keep = [file for file in range(2) if file != run]

    def change(item: dict[str, Any]) -> None:
        if item["trial"] == trial:
            item["files"] = [item["files"][number] for number in keep]

    package.each("ended", change)


def _without_begin(package: Any, trial: int) -> None:
    package.events(f"{trial:05d}-1.0.jsonl", lambda lines: lines.__setitem__(slice(None), lines[-1:]))


CUT = _first(lambda case: case.before == "cut" and case.begun)
DONE = _first(lambda case: case.row.reason is EndReason.COMPLETED and case.before is None and case.job)
PREEMPTED = _first(lambda case: case.row.reason is EndReason.PREEMPTED and not case.before)
ILLEGAL: dict[str, tuple[Callable[[Any], Any], str, str]] = {
    "an earlier run dropped": (lambda package: _without_run(package, CUT, 0), "attempt.runs", "runs [1]"),
    "the last run dropped": (lambda package: _without_run(package, CUT, 1), "attempt.end", "has no end line"),
    "completed without a begin": (
        lambda package: _without_begin(package, DONE), "attempt.reason", "its last run has no begin line",
    ),
    "begun by the journal alone": (
        lambda package: _without_begin(package, DONE), "attempt.began", "ended without a begin line of run 0",
    ),
    "preempted without a job": (
        lambda package: package.journal(_without_job(PREEMPTED)), "attempt.reason", "the journal knows no job of it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("histories", ["slurm"], indirect=True)
@pytest.mark.parametrize("name", ILLEGAL)
def test_an_illegal_history_is_found(histories: HistoriesCampaign, name: str, tmp_path: Path) -> None:
    change, id_, message = ILLEGAL[name]
    package = histories.tampered(with_accounting=False)
    change(package)
    found = verify(package.write(tmp_path / "tampered.tar.gz"))
    assert [fault for fault in found.faults if fault.id == id_ and message in fault.message], list(
        map(str, found.faults)
    )


def _moved(job: dict[str, Any], key: str, seconds: float) -> None:
    job[key] = (datetime.fromisoformat(job[key]) + timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize("histories", ["slurm"], indirect=True)
@pytest.mark.parametrize(
    ("key", "seconds", "run", "expected"),
    [
        ("start", 30, 0, ["accounting.time"]),  # the first run began before its job was started
        ("start", 70, 1, ["accounting.time"]),
        ("start", -30, 1, []),  # it waited for its nodes
        ("end", -30, 1, ["accounting.time"]),  # an epoch ended after the job
        ("end", -30, 0, []),  # preempted: the time of the scheduler's decision
    ],
)
def test_each_run_is_compared_with_its_accounting_record(
    histories: HistoriesCampaign, key: str, seconds: float, run: int, expected: list[str], tmp_path: Path
) -> None:
    package = histories.tampered(with_accounting=True)
    jobs = package.lines("accounting.jsonl")
    name = histories.directory.attempt_name(CUT, 1)
    _moved([job for job in jobs if job["name"] == name][run], key, seconds)
    package.files["accounting.jsonl"] = b"".join(json.dumps(job).encode() + b"\n" for job in jobs)
    faults = verify(package.write(tmp_path / "tampered.tar.gz")).faults
    assert [fault.id for fault in faults] == expected, list(map(str, faults))
