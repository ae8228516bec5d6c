"""Check that no trial has the measurements of another one.

Two trials may by chance have an epoch of equal loss and error. Not by chance they have equal shares of time that
training waited for data, which are measured in nanoseconds, or equal losses and errors of several epochs in a row.
Simulated trials are not checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.records.events import Epoch

_IN_A_ROW: Final = 3
"""Number of epochs in a row whose losses and errors are equal by copying only, even among millions of epochs."""


def check_copies(index: PackageIndex) -> None:
    """Compare the epochs of all trials that count.

    What occurs once is not kept: its hashes are sorted first, which takes a tenth of the memory.
    """
    if index.result.simulated:
        return
    all_epochs = [records.epochs for records in index.trials]
    repeated = _repeated(hash(_measured(epoch)) for epochs in all_epochs for epoch in epochs)
    repeated_rows = _repeated(hash(_values(epochs, number)) for epochs in all_epochs for number in range(len(epochs)))
    measured: dict[tuple[float, float, float], int] = {}
    rows: dict[int, tuple[int, int]] = {}  # hash of epochs in a row -> position of their trial, and of the first one
    for position, records in enumerate(index.trials):
        trial = records.trial.trial
        for number, epoch in enumerate(records.epochs):
            values = _measured(epoch)
            other = measured.setdefault(values, trial) if values and hash(values) in repeated else trial
            if other == trial:
                row = _values(records.epochs, number)
                known = row and hash(row) in repeated_rows
                place = rows.setdefault(hash(row), (position, number)) if known else (position, number)
                copied = place[0] != position and _values(index.trials[place[0]].epochs, place[1]) == row
                other = index.trials[place[0]].trial.trial if copied else trial
            if other != trial:
                why = f"epoch {epoch.epoch}: loss and error are to the last digit those of an epoch of trial {other}"
                where = str(MEMBERS.events(epoch.trial, epoch.attempt, epoch.run))
                index.faults.add("epoch.copied", where, why)
                break


def _repeated(hashes: Iterable[int]) -> set[int]:
    """The hashes that occur more than once."""
    found = np.sort(np.fromiter(hashes, dtype=np.int64))
    return set(found[1:][found[1:] == found[:-1]].tolist())


def _measured(epoch: Epoch) -> tuple[float, float, float] | None:
    """Loss, error and the share of time that training waited for data; None where that was not measured."""
    if epoch.data_wait is None or epoch.data_wait in (0.0, 1.0):
        return None
    return epoch.loss, epoch.error, epoch.data_wait


def _values(epochs: list[Epoch], first: int) -> tuple[tuple[int, float, float], ...]:
    """Number, loss and error of epochs in a row; empty where there are too few."""
    row = epochs[first : first + _IN_A_ROW]
    return tuple((each.epoch, each.loss, each.error) for each in row) if len(row) == _IN_A_ROW else ()
