"""One campaign a scheduler holds every legal history as a trial of its own, and verifies; every illegal one is found."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.end_reasons import HISTORIES, EndRecords, History, Writer, matching_history
from aiperf_orch.package.packing import write_package
from aiperf_orch.package.verify import verify
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import Begin, End, Epoch
from aiperf_orch.records.journal import (
    AttemptEnd,
    AttemptRecord,
    Began,
    BeganRecord,
    Ended,
    EventsFile,
    Finished,
    JobRecord,
    Submitted,
    Submitting,
)

SCHEDULERS: dict[str, dict[str, Any]] = {
    "local": {"kind": "local"},
    "slurm": {"kind": "slurm", "requeue": True},
    "pbs": {"kind": "pbs", "requeue": True},
}
_SECONDS = 100  # of each trial


@dataclass(frozen=True)
class Case:
    """A row as a trial has it. `before`: what its earlier run left, `cut` (a begin and an epoch), `ended`, `empty` or nothing."""

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
        if row.reason is EndReason.SUBMIT_REFUSED and not row.later:  # as 0.1.0 journals it
            yield Case(row, begun=False, job=False, before=None, listed=False)


CASES = list(_cases())


class Made:
    """The cases as a campaign of one scheduler, and what its accounting says."""

    def __init__(self, campaign: Any, kind: str) -> None:
        self.campaign, self.kind = campaign, kind
        self.accounting: list[dict[str, Any]] = []
        for trial, case in enumerate(CASES):
            self._attempt(trial, case)
        campaign.write(_SECONDS * len(CASES) + 9, Finished, reason="all was tried", by_deadline=False)

    def _at(self, seconds: float) -> Any:
        return self.campaign.at(seconds)

    def _attempt(self, trial: int, case: Case) -> None:
        made, at, ids = self.campaign, trial * _SECONDS, {"trial": trial, "attempt": 1}
        made.propose(trial)
        proposal, spec = made.proposal(trial)
        name = made.directory.attempt_name(trial, 1)
        job = {"local": f"{4000 + trial}", "slurm": f"{100 + trial}", "pbs": f"{100 + trial}.pbs1"}[self.kind]
        made.write(at, Submitting, attempts=[AttemptRecord(**ids, name=name, spec_sha256=spec, proposal=proposal)])
        if case.job:
            made.write(at + 1, Submitted, jobs=[JobRecord(**ids, job=job)])
        epochs, files = 0, []
        runs: list[tuple[bool, EndReason | None]] = [(case.begun, case.row.line)]
        if case.before:
            before = {"cut": (True, None), "ended": (True, EndReason.COMPLETED), "empty": (False, None)}[case.before]
            runs.insert(0, before)
        for run, (begun, line) in enumerate(runs):
            start, lines = at + 10 + 40 * run, []
            if begun:
                epochs += 1
                lines += [
                    self._begin(trial, run, start, job, spec),
                    self._epoch(trial, run, epochs, start + 1, proposal),
                ]
                if case.job:
                    seen = BeganRecord(**ids, run=run, time=self._at(start), hosts=["n1"], job=job)
                    made.write(start + 1, Began, attempts=[seen])
            if line:
                best = {"best_error": 0.5, "best_epoch": 1} if begun else {}
                lines.append(End(**ids, run=run, time=self._at(start + 20), reason=line, **best))
            data = "".join(each.to_line() + "\n" for each in lines).encode()
            made.directory.events(trial, 1, run).write_bytes(data)
            files.append(EventsFile(run=run, size=len(data), sha256=hashlib.sha256(data).hexdigest()))
            last = run == len(runs) - 1
            if case.job and (begun or last):
                self._account(name, job, start - 1 if begun else None, start + 21, case, last=last)
        ended = AttemptEnd(
            **ids, reason=case.row.reason, message="", final=True, epochs=epochs, train_images=1437 * epochs,
            val_images=360 * epochs, ops=epochs * proposal.operations.of_images(trained=1437, validated=360),
            best_error=0.5 if epochs else None, best_epoch=1 if epochs else None,
            last_end=self._at(at + 20 + 40 * (len(runs) - 1 if runs[-1][0] else 0)) if epochs else None,
            files=files if case.listed else [],
        )  # fmt: skip
        made.write(at + 10 + 40 * len(runs), Ended, attempts=[ended])

    def _begin(self, trial: int, run: int, start: float, job: str, spec: str) -> Begin:
        return Begin(
            trial=trial, attempt=1, run=run, time=self._at(start), hosts=["n1"], job=job, batch=32, spec_sha256=spec,
            trainer="simulated", device="simulated", precision="bf16", cores=2, inherited=False, clock_skew=0.01,
            versions={},
        )  # fmt: skip

    def _epoch(self, trial: int, run: int, number: int, start: float, proposal: Any) -> Epoch:
        return Epoch(
            trial=trial, attempt=1, run=run, epoch=number, start=self._at(start), end=self._at(start + 9),
            train_images=1437, val_images=360, loss=1.0, error=0.5, batch=32,
            ops=proposal.operations.of_images(trained=1437, validated=360),
        )  # fmt: skip

    def _account(self, name: str, job: str, start: float | None, end: float, case: Case, *, last: bool) -> None:
        """One record for each run; PBS keeps the last one's, and of a job that ran again no start."""
        state = "COMPLETED" if case.row.reason in (EndReason.COMPLETED, EndReason.EARLY_STOPPED) else "FAILED"
        times = {"start": start, "end": end}
        if self.kind == "pbs":
            if not last:
                return
            if case.before:
                del times["start"]
            if case.row.reason is EndReason.NODE_FAILURE:
                times["end"] = end - 40  # its mom was cut off, and the server gave it up
        elif not last or case.row.reason is EndReason.NODE_FAILURE:
            state = "NODE_FAIL" if last else "PREEMPTED"
            times["end"] = end - 15  # the queue's decision; the trial heard of it later, or never
        code = "-20" if case.row.reason is EndReason.NODE_FAILURE else "0"
        stated = {key: self._at(value).isoformat() for key, value in times.items() if value is not None}
        self.accounting.append({"name": name, "job": job, "state": state, "exit_code": code, **stated, "nodes": ["n1"]})

    def package(self, path: Path, *, accounted: bool) -> Path:
        file = self.campaign.directory.accounting
        file.unlink(missing_ok=True)
        if accounted:
            file.write_text("".join(json.dumps(job) + "\n" for job in self.accounting))
        write_package(self.campaign.directory, path, with_pseudonyms=False)
        return path


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, true_settings: Any) -> Made:
    kind = request.param
    settings = true_settings | {"scheduler": SCHEDULERS[kind], "campaign": {"duration": "24h", "concurrency": 1000}}
    campaign = request.getfixturevalue("true_campaign_class")(tmp_path_factory.mktemp(kind) / "campaign", settings)
    return Made(campaign, kind)


every_scheduler = pytest.mark.parametrize("made", SCHEDULERS, indirect=True)


@every_scheduler
def test_a_campaign_of_every_legal_history_verifies(made: Made, tmp_path: Path) -> None:
    assert {case.row for case in CASES} == set(HISTORIES)
    for case in CASES:
        assert matching_history(case.records)
    for accounted in (False, True) if made.kind != "local" else (False,):
        found = verify(made.package(tmp_path / f"{accounted}.tar.gz", accounted=accounted))
        assert list(map(str, found.faults)) == []
        assert found.more_faults == 0


@pytest.mark.parametrize("made", ["slurm"], indirect=True)
def test_accounting_that_keeps_the_last_run_of_a_job_only_accuses_nobody(made: Made, tmp_path: Path) -> None:
    every, made.accounting = made.accounting, list({job["name"]: job for job in made.accounting}.values())
    try:
        assert len(made.accounting) < len(every)
        found = verify(made.package(tmp_path / "last.tar.gz", accounted=True))
    finally:
        made.accounting = every
    assert list(map(str, found.faults)) == []


@pytest.mark.parametrize("made", ["slurm"], indirect=True)
@pytest.mark.parametrize("shift", range(1, len(EndReason), 4))
def test_another_reason_is_found_wherever_it_makes_an_illegal_history(
    made: Made, shift: int, tmp_path: Path, tampered_class: Any
) -> None:
    reasons = list(EndReason)
    package = tampered_class(made.package(tmp_path / "true.tar.gz", accounted=False))
    told = {trial: reasons[(reasons.index(case.row.reason) + shift) % len(reasons)] for trial, case in enumerate(CASES)}
    package.each("ended", lambda item: item.update(reason=told[item["trial"]].value))
    found = verify(package.write(tmp_path / "tampered.tar.gz"))
    named = {
        int(next(filter(None, re.findall(r"events/(\d+)-|trial (\d+)", str(fault))[0])))
        for fault in found.faults
        if fault.id in ("attempt.reason", "attempt.end")
    }
    expected = set()
    for trial, case in enumerate(CASES):
        known = EndRecords(told[trial], case.row.line, case.begun, case.job, case.records.run)
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


@pytest.mark.parametrize("made", ["slurm"], indirect=True)
@pytest.mark.parametrize("name", ILLEGAL)
def test_an_illegal_history_is_found(made: Made, name: str, tmp_path: Path, tampered_class: Any) -> None:
    change, id_, message = ILLEGAL[name]
    package = tampered_class(made.package(tmp_path / "true.tar.gz", accounted=False))
    change(package)
    found = verify(package.write(tmp_path / "tampered.tar.gz"))
    assert [fault for fault in found.faults if fault.id == id_ and message in fault.message], list(
        map(str, found.faults)
    )


def _moved(job: dict[str, Any], key: str, seconds: float) -> None:
    job[key] = (datetime.fromisoformat(job[key]) + timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize("made", ["slurm"], indirect=True)
@pytest.mark.parametrize(
    ("key", "seconds", "run", "found"),
    [
        ("start", 30, 0, True),  # the first run began before it was started
        ("start", 70, 1, True),
        ("start", -30, 1, False),  # it waited for its nodes
        ("end", -30, 1, True),  # an epoch after the job's own end
        ("end", -30, 0, False),  # preempted: that is when the queue decided so
    ],
)
def test_each_run_is_compared_with_the_record_it_fits(
    made: Made, key: str, seconds: float, run: int, found: bool, tmp_path: Path, tampered_class: Any
) -> None:
    package = tampered_class(made.package(tmp_path / "true.tar.gz", accounted=True))
    jobs = package.lines("accounting.jsonl")
    name = made.campaign.directory.attempt_name(CUT, 1)
    _moved([job for job in jobs if job["name"] == name][run], key, seconds)
    package.files["accounting.jsonl"] = b"".join(json.dumps(job).encode() + b"\n" for job in jobs)
    faults = verify(package.write(tmp_path / "tampered.tar.gz")).faults
    assert [fault.id for fault in faults] == ["accounting.time"] * found, list(map(str, faults))
