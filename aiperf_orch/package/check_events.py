"""Checks what the trials did: times, images, ends, sums and speed, each against the journal and the settings.

Lines that contradict themselves or their trial's plan were told when they were read (`campaign.events`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from aiperf_orch.campaign.events import best_epoch
from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.campaign.trial_state import AttemptState
from aiperf_orch.package.check_end_reasons import LastRun, last_run
from aiperf_orch.package.package_index import Evidence
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import Begin, Epoch
from aiperf_orch.results.collect import TrialRecords
from aiperf_orch.util.units import format_duration, format_ops, format_time

_CLOCKS_APART: Final = 10.0
"""Seconds that a node's clock may differ from the controller's, beyond the skew that its begin line states."""
_LARGEST_SKEW: Final = 86400.0


def check_events(evidence: Evidence) -> None:
    """Check every attempt, every trial's sums, every epoch, and the journal's own time."""
    _check_journal_times(evidence)
    for records in evidence.trials:
        for attempt in records.trial.attempts:
            begins = [begin for begin in records.begins if begin.attempt == attempt.attempt]
            _check_begins(evidence, attempt, begins)
            last = last_run(evidence, records, attempt)
            if last is not None:
                _check_end_time(evidence, attempt, last, begins)
        _check_sums(evidence, records)
        _check_epochs(evidence, records)
    _check_data(evidence)
    _check_system(evidence)


def _check_data(evidence: Evidence) -> None:
    """All trials must have read the same data: the first that states another listing is told."""
    begins = [begin for records in evidence.trials for begin in records.begins]
    first = begins[0] if begins else None
    other = next((begin for begin in begins if first and begin.data_sha256 != first.data_sha256), None)
    if first and other:
        why = f"data_sha256: {other.data_sha256}, and trial {first.trial} read {first.data_sha256}: other data"
        evidence.faults.add("data.digest", evidence.at_event(other.trial, other.attempt, "begin"), why)


def _check_journal_times(evidence: Evidence) -> None:
    latest = evidence.entries[0].time
    for entry in evidence.entries:
        if entry.time < latest - timedelta(seconds=_CLOCKS_APART):
            why = f"{format_time(entry.time)} is earlier than a line before it, {format_time(latest)}"
            evidence.faults.add("journal.time", f"{MEMBERS.journal}:{entry.seq + 1}", why)
        latest = max(latest, entry.time)


def _check_begins(evidence: Evidence, attempt: AttemptState, begins: list[Begin]) -> None:
    line, submitted = evidence.submitted[attempt.key]
    for begin in begins:
        if begin.time < submitted - _apart([begin]):
            where = evidence.at_event(*attempt.key, "begin")
            why = f"begins at {format_time(begin.time)}, before journal.jsonl:{line} submitted it ({format_time(submitted)})"
            evidence.faults.add("attempt.time", where, why)
    began = attempt.began
    if began is not None and attempt.end is not None and began.run not in {begin.run for begin in begins}:
        why = f"attempt {attempt.attempt} of trial {attempt.trial} began, and ended without a begin line of run {began.run}"
        evidence.faults.add("attempt.began", evidence.at_end(*attempt.key), why)
    seen = next((begin for begin in begins if began is not None and begin.run == began.run), None)
    if began is not None and seen is not None:
        for field in ("time", "hosts", "job"):
            if getattr(began, field) != getattr(seen, field):
                why = f"{field}: is not what the journal saw when the attempt began"
                evidence.faults.add("attempt.began", evidence.at_event(*attempt.key, "begin"), why)


def _apart(begins: list[Begin]) -> timedelta:
    """How far the clocks of an attempt's nodes may be from the controller's."""
    stated = max((abs(begin.clock_skew) for begin in begins), default=0.0)
    return timedelta(seconds=_CLOCKS_APART + min(stated, _LARGEST_SKEW))


def _check_end_time(evidence: Evidence, attempt: AttemptState, last: LastRun, begins: list[Begin]) -> None:
    """The end line's time: by the clock of the trial where it wrote the line, else by the controller's."""
    journal, time = evidence.ended[attempt.key]
    if last.line.time > time + _apart(begins):
        why = f"ends at {format_time(last.line.time)}, after journal.jsonl:{journal} saw it end ({format_time(time)})"
        evidence.faults.add("attempt.time", evidence.at_event(*attempt.key, "end"), why)
    if last.begin is not None and last.line.time < last.begin.time:
        evidence.faults.add("attempt.time", evidence.at_event(*attempt.key, "end"), "ends before it begins")


def _check_sums(evidence: Evidence, records: TrialRecords) -> None:
    """The sums of a trial that is over, as the journal has them."""
    end = records.trial.end
    if end is None:
        return
    best = best_epoch(records.epochs)
    expected = {
        "epochs": len(records.epochs),
        "train_images": sum(epoch.train_images for epoch in records.epochs),
        "val_images": sum(epoch.val_images for epoch in records.epochs),
        "ops": sum(epoch.ops for epoch in records.epochs),
        "best_error": best.error if best else None,
        "best_epoch": best.epoch if best else None,
        "last_end": max((epoch.end for epoch in records.epochs), default=None),
    }
    for field, value in expected.items():
        stated = getattr(end, field)
        if stated != value:
            why = f"trial {end.trial}: {field}: {stated} stated; by its events it is {value}"
            evidence.faults.add("attempt.sums", evidence.at_end(end.trial, end.attempt), why)
    last = records.ends[-1] if records.ends else None
    alone = len(records.trial.attempts) == 1 and len(records.begins) == 1
    if alone and last and best and end.reason in (EndReason.COMPLETED, EndReason.EARLY_STOPPED):
        late = last.time >= (evidence.result.started or last.time) + timedelta(seconds=evidence.result.duration)
        if (last.best_error, last.best_epoch) != (best.error, best.epoch) and not late:
            why = f"best_error {last.best_error} at epoch {last.best_epoch} stated; by its epochs {best.error} at {best.epoch}"
            evidence.faults.add("attempt.best", evidence.at_event(end.trial, end.attempt, "end"), why)


def _check_epochs(evidence: Evidence, records: TrialRecords) -> None:
    sizes = evidence.directory.settings.data.sizes
    peaks = _peaks(evidence, records)
    latest = {attempt.attempt: _latest(evidence, records, attempt) for attempt in records.trial.attempts}
    for epoch in records.epochs:
        if sizes and (epoch.train_images > sizes[0] or epoch.val_images > sizes[1]):
            why = f"epoch {epoch.epoch}: {epoch.train_images} and {epoch.val_images} images; the data set has {sizes}"
            evidence.faults.add("epoch.images", _at(evidence, epoch), why)
        end = latest[epoch.attempt]
        if end is not None and epoch.end > end:
            evidence.faults.add("epoch.time", _at(evidence, epoch), f"epoch {epoch.epoch}: ends after its attempt")
        peak = peaks.get(epoch.attempt)
        seconds = (epoch.end - epoch.start).total_seconds()
        if peak is not None and epoch.ops > peak * seconds:
            speed = format_ops(epoch.ops / seconds) if seconds else "no time"
            why = f"epoch {epoch.epoch}: {speed}, and its accelerators reach {format_ops(peak)} at best"
            evidence.faults.add("speed.peak", _at(evidence, epoch), why)


def _latest(evidence: Evidence, records: TrialRecords, attempt: AttemptState) -> datetime | None:
    """When an attempt's epochs must have ended: by its end line, and where that is by another clock than they, some later."""
    last = last_run(evidence, records, attempt)
    begins = [begin for begin in records.begins if begin.attempt == attempt.attempt]
    if last is None:
        return None
    one_clock = last.begin is not None and len(begins) == 1
    return last.line.time if one_clock else last.line.time + _apart(begins)


def _at(evidence: Evidence, epoch: Epoch) -> str:
    return evidence.at_event(epoch.trial, epoch.attempt, "epoch", epoch.epoch)


def _peaks(evidence: Evidence, records: TrialRecords) -> dict[int, float]:
    """By attempt, the operations per second that its accelerators can reach; empty where the system does not say."""
    system = evidence.directory.settings.system
    if system.accelerator_peak_ops is None or system.accelerators_per_node is None:
        return {}
    node = system.accelerator_peak_ops * system.accelerators_per_node
    return {begin.attempt: node * max(len(begin.hosts), 1) for begin in records.begins}


def _check_system(evidence: Evidence) -> None:
    system, score = evidence.directory.settings.system, evidence.result.score
    if system.number_of_nodes is None:
        return
    hosts = {host for records in evidence.trials for begin in records.begins for host in begin.hosts}
    if len(hosts) > system.number_of_nodes:
        why = f"number_of_nodes: {system.number_of_nodes}, and trials ran on {len(hosts)} hosts"
        evidence.faults.add("system.nodes", str(MEMBERS.config_file), why)
    if system.accelerator_peak_ops is not None and system.accelerators_per_node is not None:
        peak = system.accelerator_peak_ops * system.accelerators_per_node * system.number_of_nodes
        if score.score > peak:
            why = f"score: {format_ops(score.score)} over {format_duration(score.seconds)}, and the system reaches {format_ops(peak)}"
            evidence.faults.add("speed.system", f"{MEMBERS.result}:2", why)
