"""Events: claims, reading of growing files, counted epochs, and lines that cannot count."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.campaign.events import (
    EventWriter,
    RunEvents,
    TrialPlan,
    best_epoch,
    count_epochs,
    poll_attempt,
    read_attempt,
    revoke,
)
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import End
from aiperf_orch.util.errors import AiperfError, TransientError


@pytest.fixture
def made(campaign: Callable[..., Any]) -> Any:
    return campaign()


@pytest.fixture
def read(made: Any) -> Callable[..., RunEvents]:
    """Writes a first run's events, and reads them: at most 5 epochs."""

    def read(*lines: Any) -> RunEvents:
        made.events(*lines)
        [run] = read_attempt(made.directory, 0, 1, TrialPlan(made.operations, 5, "0" * 64))
        return run

    return read


def _numbers(run: RunEvents) -> list[int]:
    return [epoch.epoch for epoch in run.epochs]


def test_events_are_read_back_as_they_were_written(made: Any, read: Callable[..., RunEvents]) -> None:
    begin, end = made.begin(), made.end(3)
    epochs = [made.epoch(1, 1), made.epoch(2, 2)]
    run = read(begin, *epochs, end)
    assert (run.begin, run.epochs, run.end, run.faults) == (begin, epochs, end, [])


# the claim


def test_a_run_is_claimed_once(made: Any) -> None:
    writer = EventWriter(made.directory, 0, 1, 0)
    with pytest.raises(FileExistsError):
        EventWriter(made.directory, 0, 1, 0)
    writer.append(made.begin())
    assert not writer.superseded()
    assert abs(writer.clock_skew) < 5
    [run] = read_attempt(made.directory, 0, 1, TrialPlan(made.operations, 5, "0" * 64))
    assert run.begin == made.begin()


@pytest.mark.parametrize(
    ("looks", "skew"),
    [
        ((0, 0), 0),
        ((-50, 50), 0),  # a file server that took long to answer
        ((-50, 0), 0),
        ((0, 50), 0),
        ((20, 30), 20),  # our clock is ahead
        ((-30, -20), -20),  # and behind
    ],
)
def test_clock_skew_is_a_lower_bound(
    made: Any, monkeypatch: pytest.MonkeyPatch, looks: tuple[float, float], skew: float
) -> None:
    created = 1_000_000_000.0
    clock = iter(created + look for look in looks)
    monkeypatch.setattr("aiperf_orch.campaign.events.time", SimpleNamespace(time=lambda: next(clock)))
    monkeypatch.setattr(
        "aiperf_orch.campaign.events.os", SimpleNamespace(fstat=lambda _: SimpleNamespace(st_mtime=created))
    )
    assert EventWriter(made.directory, 0, 1, 0).clock_skew == skew


def test_a_wrong_clock_of_a_node_is_detected(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    for run, ahead in enumerate((100.0, -100.0)):
        monkeypatch.setattr(
            "aiperf_orch.campaign.events.time", SimpleNamespace(time=lambda ahead=ahead: real() + ahead)
        )
        assert EventWriter(made.directory, 0, 1, run).clock_skew == pytest.approx(ahead, abs=5)


def test_of_many_processes_exactly_one_claims(made: Any) -> None:
    script = f"""
import sys
from pathlib import Path
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.events import EventWriter
directory = CampaignDirectory.open(Path({str(made.path)!r}))
sys.stdin.readline()
try:
    EventWriter(directory, 0, 1, 0)
except FileExistsError:
    print("lost")
else:
    print("won")
"""
    racers = [
        subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    outputs = [racer.communicate("go\n", timeout=60)[0].strip() for racer in racers]
    assert sorted(outputs) == ["lost", "lost", "lost", "won"]


def test_a_revoked_attempt_ends_in_its_next_run(made: Any) -> None:
    writer = EventWriter(made.directory, 0, 1, 0)
    writer.append(made.begin())
    revoke(made.directory, 0, 1, EndReason.LOST, "gone")
    assert writer.superseded()
    first, second = read_attempt(made.directory, 0, 1, TrialPlan(made.operations, 5, "0" * 64))
    assert first.end is None
    assert second.end is not None
    assert (second.end.reason, second.end.message) == (EndReason.LOST, "gone")


def test_an_unclaimed_attempt_can_be_revoked(made: Any) -> None:
    revoke(made.directory, 0, 1, EndReason.LOST, "gone")
    with pytest.raises(FileExistsError):  # a job that comes too late
        EventWriter(made.directory, 0, 1, 0)


def test_a_campaign_that_is_absent_for_a_while_claims_later(made: Any) -> None:
    aside = made.path.rename(made.path.with_name("aside"))
    with pytest.raises(TransientError, match="cannot be claimed for now: No such file or directory"):
        EventWriter(made.directory, 0, 1, 0)
    aside.rename(made.path)
    EventWriter(made.directory, 0, 1, 0).close()


def test_a_claim_on_a_full_disk_is_explained(campaign: Callable[..., Any], small_disk: Any, fill: Any) -> None:
    made = campaign("disk/campaign")
    writer = EventWriter(made.directory, 0, 1, 0)
    writer.append(made.begin())
    fill(small_disk)
    with pytest.raises(AiperfError, match="the disk is full"):
        writer.append(End(trial=0, attempt=1, run=0, time=made.start, reason=EndReason.LOST, message="x" * 10_000))
    (small_disk / "filler").unlink()
    [run] = read_attempt(made.directory, 0, 1, TrialPlan(made.operations, 5, "0" * 64))
    assert run.begin == made.begin()
    assert (run.end, run.faults) == (None, [])


# reading while it grows


def test_a_growing_file_is_read_incrementally(made: Any) -> None:
    runs: list[RunEvents] = []

    def poll() -> bool:
        return poll_attempt(made.directory, 0, 1, TrialPlan(made.operations, 5, "0" * 64), runs)

    assert not poll()
    assert runs == []
    path = made.events(made.begin())
    assert poll()
    assert not poll()
    line = made.epoch(1, 1).to_line().encode() + b"\n"
    with path.open("ab", buffering=0) as file:
        file.write(line[:50])
        assert not poll()
        assert runs[0].epochs == []
        file.write(line[50:])
        assert poll()
    assert _numbers(runs[0]) == [1]
    assert runs[0].faults == []
    made.events(made.begin(5, run=1), run=1)
    assert poll()
    assert [run.run for run in runs] == [0, 1]
    assert runs[0].recorded().size == path.stat().st_size


def test_events_are_read_up_to_the_recorded_size(made: Any, read: Callable[..., RunEvents]) -> None:
    before = read(made.begin(), made.epoch(1, 1)).recorded()
    made.events(made.begin(), made.epoch(1, 1), made.epoch(2, 2))
    again = RunEvents(made.directory.events(0, 1, 0), 0, 1, 0, TrialPlan(made.operations, 5, "0" * 64))
    again.poll(limit=before.size)
    assert again.recorded() == before
    assert _numbers(again) == [1]
    assert read(made.begin(), made.epoch(1, 1, 0.4)).recorded() != before


@settings(deadline=None, max_examples=50)
@given(cuts=st.lists(st.integers(0, 1000), max_size=6))
def test_the_sizes_of_writes_do_not_matter(made: Any, read: Callable[..., RunEvents], cuts: list[int]) -> None:
    lines = [made.begin(), "garbage", made.epoch(1, 1), made.epoch(2, 2), made.end(3)]
    whole = read(*lines)
    path = made.directory.events(0, 1, 0)
    data = path.read_bytes()
    places = sorted(min(cut, len(data)) for cut in cuts)
    path.write_bytes(b"")
    run = RunEvents(path, 0, 1, 0, TrialPlan(made.operations, 5, "0" * 64))
    for start, stop in zip([0, *places], [*places, len(data)], strict=True):
        with path.open("ab") as file:
            file.write(data[start:stop])
        run.poll()
    assert (run.begin, run.epochs, run.end, run.faults) == (whole.begin, whole.epochs, whole.end, whole.faults)
    assert run.recorded() == whole.recorded()
    assert len(run.faults) == 1


@pytest.mark.usefixtures("fails_if_blocked")
def test_a_pipe_is_not_read_as_an_events_file(made: Any) -> None:
    os.mkfifo(made.directory.events(0, 1, 0))
    [run] = read_attempt(made.directory, 0, 1, TrialPlan(made.operations, 5, "0" * 64))
    assert (run.epochs, run.faults) == ([], [f"{run.path}: cannot be read: not a regular file"])


# lines that cannot count


def test_a_torn_last_line_is_not_read(made: Any, read: Callable[..., RunEvents]) -> None:
    run = read(made.begin(), made.epoch(1, 1), made.epoch(2, 2).to_line().encode())
    assert _numbers(run) == [1]
    assert run.faults == []


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("garbage", "not an event: Invalid JSON"),
        ("", "not an event: Invalid JSON"),
        ("{}", "not an event: Unable to extract tag"),
        (b"\xff\xfe\n", "not an event: Invalid JSON"),
        (b"\x00\x00\x00\n", "not an event: Invalid JSON"),
        ("[" * 5000, "not an event: Invalid JSON"),
    ],
)
def test_an_invalid_line_is_a_fault_and_the_rest_counts(
    made: Any, read: Callable[..., RunEvents], line: Any, what: str
) -> None:
    run = read(made.begin(), made.epoch(1, 1), line, made.epoch(2, 2), made.end(3))
    assert _numbers(run) == [1, 2]
    assert run.end is not None
    [fault] = run.faults
    assert fault.startswith(f"{run.path}:3: {what}")
    assert fault.endswith(": the line does not count")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"loss": float("nan")}, "not an event: epoch.loss: "),
        ({"error": float("nan")}, "not an event: epoch.error: "),
        ({"error": 0.55}, "epoch 2: error: 0.55 is not a whole number of 10 images, and does not count"),
        ({"error": 1.1}, "not an event: epoch.error: "),
        ({"ops": 221}, "epoch 2: ops: 221 stated, but its images need 220, and does not count"),
        ({"ops": 10**30}, f"epoch 2: ops: {10**30} stated, but its images need 220"),
        ({"train_images": 400}, "epoch 2: ops: 220 stated, but its images need 12100"),
        ({"epoch": 1}, "epoch 1: out of order, or beyond the 5 epochs of its specification, and does not count"),
        ({"epoch": 6}, "epoch 6: out of order, or beyond the 5 epochs"),
        ({"epoch": 0}, "not an event: epoch.epoch: "),
        ({"trial": 7}, "trial 7, attempt 1, run 0 stand in the file of another run"),
        ({"attempt": 2}, "trial 0, attempt 2, run 0 stand in the file of another run"),
        ({"run": 1}, "trial 0, attempt 1, run 1 stand in the file of another run"),
        ({"end": "2001-01-01T00:00:00Z"}, "epoch 2: ends before it starts, or starts before the trial"),
        ({"start": "2001-01-01T00:00:00Z"}, "epoch 2: ends before it starts, or starts before the trial"),
        ({"end": "2001-01-01T00:00:00"}, "not an event: epoch.end: "),
        ({"extra": 1}, "not an event: epoch.extra: "),
    ],
)
def test_a_contradictory_line_is_a_fault_and_the_rest_counts(
    made: Any, read: Callable[..., RunEvents], changes: Any, what: str
) -> None:
    lie = json.dumps(json.loads(made.epoch(2, 2).to_line()) | changes)
    run = read(made.begin(), made.epoch(1, 1), lie, made.epoch(3, 3), made.end(4))
    assert _numbers(run) == [1, 3]
    [fault] = run.faults
    assert fault.startswith(f"{run.path}:3: {what}")


def test_a_repeated_line_counts_once(made: Any, read: Callable[..., RunEvents]) -> None:
    run = read(
        made.begin(), made.begin(9), made.epoch(1, 1), made.epoch(1, 1), made.end(2), made.end(3), made.epoch(2, 2)
    )
    assert run.begin == made.begin()
    assert run.end == made.end(2)
    assert _numbers(run) == [1]
    assert [fault.removeprefix(f"{run.path}:") for fault in run.faults] == [
        "2: begin: stands twice",
        "4: epoch 1: out of order, or beyond the 5 epochs of its specification, and does not count",
        "6: end: stands after the end line, and does not count",
        "7: epoch: stands after the end line, and does not count",
    ]


def test_an_epoch_without_a_begin_does_not_count(made: Any, read: Callable[..., RunEvents]) -> None:
    run = read(made.epoch(1, 1), made.begin(), made.epoch(2, 2))
    assert _numbers(run) == [2]
    assert "1: epoch 1: stands before the begin line, and does not count" in run.faults[0]


def test_nothing_of_a_run_by_another_specification_counts(made: Any, read: Callable[..., RunEvents]) -> None:
    run = read(made.begin(spec_sha256="1" * 64), made.epoch(1, 1), made.epoch(2, 2), made.end(3))
    assert (run.begin, run.epochs) == (None, [])
    assert run.end is not None  # it has ended all the same
    assert [fault.removeprefix(f"{run.path}:") for fault in run.faults] == [
        "1: begin: its specification is not the one in the journal: nothing of this run counts",
        "2: epoch: stands in a run of another specification, and does not count",
        "3: epoch: stands in a run of another specification, and does not count",
    ]


@pytest.mark.parametrize("faults", [19, 20, 21, 22, 500])
def test_at_most_20_faults_of_a_file_are_reported(made: Any, faults: int) -> None:
    path = made.events(made.begin(), *["garbage"] * faults, made.epoch(1, 1))
    run = RunEvents(path, 0, 1, 0, TrialPlan(made.operations, 5, "0" * 64))
    run.poll()
    assert _numbers(run) == [1]
    reported = [fault.removeprefix(f"{path}:").partition(":")[0] for fault in run.faults]
    lines = [str(2 + number) for number in range(min(faults, 20))]
    assert reported == lines + [" has further lines that do not count"] * (faults > 20)
    with path.open("a") as file:  # the file grows: it is said once
        file.write("garbage\n" * 30)
    run.poll()
    assert len(run.faults) == 21
    assert len({fault for fault in run.faults if fault.endswith("has further lines that do not count")}) == 1


@settings(deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_read_without_an_error(made: Any, data: bytes) -> None:
    made.events(made.begin(), data, b"\n", made.epoch(1, 1))
    [run] = read_attempt(made.directory, 0, 1, TrialPlan(made.operations, 5, "0" * 64))
    assert run.begin == made.begin()
    assert _numbers(run) == [1]
    assert len(run.faults) == min(data.count(b"\n") + 1, 21)


# counting


def test_of_two_ends_of_one_epoch_the_earlier_counts(made: Any) -> None:
    first, second = made.epoch(1, 5, 0.3), made.epoch(1, 4, 0.4, attempt=2)
    assert count_epochs([first, second]) == {1: second}
    assert count_epochs([second, first]) == {1: second}
    same = made.epoch(1, 4, 0.1, attempt=3)
    assert count_epochs([second, same]) == {1: second}


def test_an_epoch_that_ended_after_the_deadline_does_not_count(made: Any) -> None:
    epochs = [made.epoch(1, 1), made.epoch(2, 2), made.epoch(3, 2.001)]
    assert list(count_epochs(epochs, made.at(2))) == [1, 2]
    late, early = made.epoch(1, 9), made.epoch(1, 1, attempt=2)
    assert count_epochs([late, early], made.at(5)) == {1: early}


def test_epochs_are_counted_in_order(made: Any) -> None:
    epochs = [made.epoch(number, 10 - number) for number in (3, 1, 2)]
    assert list(count_epochs(epochs)) == [1, 2, 3]


def test_the_best_epoch_is_the_earliest_of_equals(made: Any) -> None:
    epochs = [made.epoch(3, 1, 0.2), made.epoch(2, 2, 0.2), made.epoch(1, 3, 0.3)]
    assert best_epoch(epochs) == epochs[1]
    assert best_epoch([]) is None
