"""Check of the events of trials: times, images, ends and speed, against the journal and the settings.

Lines that contradict themselves or the plan of their trial are reported when they are read (`campaign.events`).
"""

from __future__ import annotations

from datetime import datetime

from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.campaign.trial_state import AttemptState
from aiperf_orch.package.check_end_reasons import LastRun, last_run
from aiperf_orch.package.clock_tolerance import CLOCK_TOLERANCE, clock_tolerance
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.records.events import CPU, Begin, Epoch
from aiperf_orch.results.collected_trials import TrialRecords
from aiperf_orch.util.units import format_duration, format_ops, format_time


def check_events(index: PackageIndex) -> None:
    """Check every attempt, every epoch, and the times of the journal."""
    _check_journal_times(index)
    for records in index.trials:
        for attempt in records.trial.attempts:
            begins = [begin for begin in records.begins if begin.attempt == attempt.attempt]
            _check_begins(index, attempt, begins)
            last = last_run(index, records, attempt)
            if last is not None:
                _check_end_time(index, attempt, last, begins)
        _check_epochs(index, records)
    _check_data(index)
    _check_system(index)


def _check_data(index: PackageIndex) -> None:
    """Check that all trials read the same data; the first trial with another listing is reported."""
    begins = [begin for records in index.trials for begin in records.begins]
    first = begins[0] if begins else None
    other = next((begin for begin in begins if first and begin.data_sha256 != first.data_sha256), None)
    if first and other:
        why = f"data_sha256: {other.data_sha256}, and trial {first.trial} read {first.data_sha256}: other data"
        index.faults.add("data.digest", index.at_event(other.trial, other.attempt, "begin"), why)


def _check_journal_times(index: PackageIndex) -> None:
    latest = index.entries[0].time
    for entry in index.entries:
        if entry.time < latest - CLOCK_TOLERANCE:
            why = f"{format_time(entry.time)} is earlier than a line before it, {format_time(latest)}"
            index.faults.add("journal.time", f"{MEMBERS.journal}:{entry.seq + 1}", why)
        latest = max(latest, entry.time)


def _check_begins(index: PackageIndex, attempt: AttemptState, begins: list[Begin]) -> None:
    line, submitted = index.submitted[attempt.key]
    for begin in begins:
        if begin.time < submitted - clock_tolerance([begin]):
            where = index.at_event(*attempt.key, "begin")
            submission = f"journal.jsonl:{line} submitted it ({format_time(submitted)})"
            why = f"begins at {format_time(begin.time)}, before {submission}"
            index.faults.add("attempt.time", where, why)


def _check_end_time(index: PackageIndex, attempt: AttemptState, last: LastRun, begins: list[Begin]) -> None:
    """Check the time of the end line, which is of the clock of its writer: the trial or the controller."""
    journal, time = index.ended[attempt.key]
    if last.line.time > time + clock_tolerance(begins):
        recorded = f"journal.jsonl:{journal} recorded its end ({format_time(time)})"
        why = f"ends at {format_time(last.line.time)}, after {recorded}"
        index.faults.add("attempt.time", index.at_event(*attempt.key, "end"), why)
    if last.begin is not None and last.line.time < last.begin.time:
        index.faults.add("attempt.time", index.at_event(*attempt.key, "end"), "ends before it begins")


def _check_epochs(index: PackageIndex, records: TrialRecords) -> None:
    sizes = index.directory.settings.data.sizes
    peaks = _peaks(index, records)
    latest_ends = {attempt.attempt: _latest_end(index, records, attempt) for attempt in records.trial.attempts}
    for epoch in records.epochs:
        if sizes and (epoch.train_images > sizes[0] or epoch.val_images > sizes[1]):
            why = f"epoch {epoch.epoch}: {epoch.train_images} and {epoch.val_images} images; the data set has {sizes}"
            index.faults.add("epoch.images", _at(index, epoch), why)
        end = latest_ends[epoch.attempt]
        if end is not None and epoch.end > end:
            index.faults.add("epoch.time", _at(index, epoch), f"epoch {epoch.epoch}: ends after its attempt")
        peak = peaks.get(epoch.attempt)
        seconds = (epoch.end - epoch.start).total_seconds()
        if peak is not None and epoch.ops > peak * seconds:
            speed = format_ops(epoch.ops / seconds) if seconds else "a duration of 0 s"
            why = f"epoch {epoch.epoch}: {speed}, and the peak of its accelerators is {format_ops(peak)}"
            index.faults.add("speed.peak", _at(index, epoch), why)


def _latest_end(index: PackageIndex, records: TrialRecords, attempt: AttemptState) -> datetime | None:
    """The latest permitted end of an attempt's epochs; None when its end line is missing.

    It is the time of the end line, plus the clock tolerance when the end line is of another clock than the epochs.
    """
    last = last_run(index, records, attempt)
    begins = [begin for begin in records.begins if begin.attempt == attempt.attempt]
    if last is None:
        return None
    one_clock = last.begin is not None and len(begins) == 1
    return last.line.time if one_clock else last.line.time + clock_tolerance(begins)


def _at(index: PackageIndex, epoch: Epoch) -> str:
    return index.at_event(epoch.trial, epoch.attempt, "epoch", epoch.epoch)


def _peaks(index: PackageIndex, records: TrialRecords) -> dict[int, float]:
    """Attempt -> peak operations per second of its accelerators; empty when the settings do not state it.

    A worker trains on one accelerator, or on all processors of its node.
    """
    system = index.directory.settings.system
    if system.accelerator_peak_ops is None or system.accelerators_per_node is None:
        return {}
    peaks: dict[int, float] = {}
    for begin in records.begins:
        number = system.accelerators_per_node * max(len(begin.hosts), 1)
        if begin.device != CPU and not begin.is_simulated:
            number = min(number, begin.workers)
        peaks[begin.attempt] = max(peaks.get(begin.attempt, 0.0), system.accelerator_peak_ops * number)
    return peaks


def _check_system(index: PackageIndex) -> None:
    system, score = index.directory.settings.system, index.result.score
    if system.number_of_nodes is None:
        return
    hosts = {host for records in index.trials for begin in records.begins for host in begin.hosts}
    if len(hosts) > system.number_of_nodes:
        why = f"number_of_nodes: {system.number_of_nodes}, and trials ran on {len(hosts)} hosts"
        index.faults.add("system.nodes", str(MEMBERS.config_file), why)
    if system.accelerator_peak_ops is not None and system.accelerators_per_node is not None:
        peak = system.accelerator_peak_ops * system.accelerators_per_node * system.number_of_nodes
        if score.score > peak:
            measured = f"{format_ops(score.score)} over {format_duration(score.seconds)}"
            why = f"score: {measured}, and the peak of the system is {format_ops(peak)}"
            index.faults.add("speed.system", f"{MEMBERS.result}:2", why)
