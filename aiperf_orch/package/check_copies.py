"""Check that no trial has the measurements of another one.

Two trials may by chance have an epoch of equal loss and error. Not by chance they have equal shares of time that
training waited for data, which are measured in nanoseconds, or equal losses and errors of several epochs in a row.
Simulated trials are not checked.
"""

from __future__ import annotations

from typing import Final

from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.records.events import Epoch

_IN_A_ROW: Final = 3
"""Number of epochs in a row whose losses and errors are equal by copying only, even among millions of epochs."""


def check_copies(index: PackageIndex) -> None:
    """Compare the epochs of all trials that count."""
    if index.result.simulated:
        return
    measured: dict[tuple[float, float, float], int] = {}
    rows: dict[int, tuple[int, int]] = {}  # hash of epochs in a row -> position of their trial, and of the first one
    for position, records in enumerate(index.trials):
        trial = records.trial.trial
        for number, epoch in enumerate(records.epochs):
            other = _measured_before(measured, epoch)
            if other == trial:
                row = _values(records.epochs, number)
                place = rows.setdefault(hash(row), (position, number)) if row else (position, number)
                copied = place[0] != position and _values(index.trials[place[0]].epochs, place[1]) == row
                other = index.trials[place[0]].trial.trial if copied else trial
            if other != trial:
                why = f"epoch {epoch.epoch}: loss and error are to the last digit those of an epoch of trial {other}"
                where = str(MEMBERS.events(epoch.trial, epoch.attempt, epoch.run))
                index.faults.add("epoch.copied", where, why)
                break


def _measured_before(measured: dict[tuple[float, float, float], int], epoch: Epoch) -> int:
    """The first trial with an epoch of these measurements; its own where there is none, or nothing was measured."""
    if epoch.data_wait is None or epoch.data_wait in (0.0, 1.0):
        return epoch.trial
    return measured.setdefault((epoch.loss, epoch.error, epoch.data_wait), epoch.trial)


def _values(epochs: list[Epoch], first: int) -> tuple[tuple[int, float, float], ...]:
    """Number, loss and error of epochs in a row; empty where there are too few."""
    row = epochs[first : first + _IN_A_ROW]
    return tuple((each.epoch, each.loss, each.error) for each in row) if len(row) == _IN_A_ROW else ()
