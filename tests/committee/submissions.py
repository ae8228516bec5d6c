"""Submissions for tests of rankings: packages with epochs of given numbers, and rows of result.csv."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from aiperf_orch.committee.entries import RankingEntry
from aiperf_orch.committee.measurements import Measurements, measurements_of
from aiperf_orch.committee.package_records import PackageRecords
from aiperf_orch.committee.ranking import rank
from aiperf_orch.committee.submission import ResultRow, Submission
from aiperf_orch.committee.withdrawals import Withdrawal
from aiperf_orch.records.events import Epoch
from campaign_builder import START
from committee.result_rows import HASHES, cells

UNSIGNED = "x.sig: a signature is required, and the package has none"


def epoch(number: int, *, loss: float | None = None, later: float = 0.0, longer: float = 0.0) -> Epoch:
    """An epoch whose loss and times follow from its number, unless they are given."""
    start = START + timedelta(seconds=100 * number + later)
    return Epoch(
        trial=0,
        attempt=1,
        run=0,
        epoch=1,
        start=start,
        end=start + timedelta(seconds=90 + number / 1000 + longer),
        train_images=10,
        val_images=10,
        loss=number / 7 if loss is None else loss,
        error=0.5,
        ops=1000,
        batch=1,
    )


def measured(numbers: Iterable[int], *, simulated: bool = False, **changes: Any) -> Measurements:
    """Measurements of epochs of these numbers."""
    return measurements_of([epoch(number, **changes) for number in numbers], START, simulated=simulated)


def package(
    name: str,
    number: int = 0,
    epochs: Iterable[int] | Measurements | None = None,
    *,
    signed_by: str | None = None,
    unsigned: bool = False,
    peak_ops: float | None = None,
    settings: str | None = None,
    **row: Any,
) -> Submission:
    """A verified package.

    Args:
        name: of the file.
        number: of the campaign: settings' hash and commitment follow from it, and epochs if none are given.
        epochs: numbers of the epochs, or their measurements.
        signed_by: its signer.
        unsigned: signers were given, and it has no signature.
        peak_ops: of one accelerator.
        settings: equal for campaigns that repeat one another.
        **row: changed cells of its row.
    """
    if not isinstance(epochs, Measurements):
        epochs = measured(range(20 * number, 20 * number + 20) if epochs is None else epochs)
    records = PackageRecords(
        sha256=hashlib.sha256(name.encode(errors="replace")).hexdigest(),
        commitment=f"{number + 100:064x}",
        epochs=epochs,
        repetition=settings or f"settings {number}",
        peak_ops=peak_ops,
    )
    model = ResultRow.model_validate(cells(**{"settings_sha256": HASHES[number]} | row))
    reason = UNSIGNED if unsigned else None
    return Submission(Path(name), model, True, signed_by=signed_by, unsigned=reason, records=records)


def result_csv(name: str, number: int = 0, **row: Any) -> Submission:
    """A result.csv."""
    return Submission(Path(name), ResultRow.model_validate(cells(**{"settings_sha256": HASHES[number]} | row)), None)


def ranked(sent: Sequence[Submission], withdrawn: Sequence[str] = (), **options: Any) -> list[RankingEntry]:
    """The ranking of submissions with a list of withdrawn names."""
    lines = {name: Withdrawal(name, "by the site", f"list:{line}") for line, name in enumerate(withdrawn, start=1)}
    return rank(sent, lines, **options)


def outcome(sent: Sequence[Submission], withdrawn: Sequence[str] = ()) -> dict[str, str]:
    """File -> status, or place where it has one, by a ranking."""
    entries = ranked(sent, withdrawn)
    return {entry.name: str(entry.place) if entry.place else entry.status.value for entry in entries}


def notes(entries: Sequence[RankingEntry]) -> dict[str, str]:
    """File -> its notes."""
    return {entry.name: entry.note for entry in entries}
