"""One forgery by a seed: an honest package, a random change, everything derivable made right, and what verify says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from aiperf_orch.package.findings import Fault
from aiperf_orch.package.replay_request import ReplayRequest
from aiperf_orch.package.verify import Verification, verify
from package.forger.changes import Change, random_change
from package.forger.derive import derive
from package.forger.records import Records, restate

_MADE_AGAIN: Final = ("table.", "system.contents", "system.missing", "manifest.contents", "report.", "script.")
"""Faults of files that can be computed again."""
_VERDICT: Final = ("score", "error", "regulated_score", "rankable", "missed_rules", "simulated")


@dataclass(frozen=True)
class Forgery:
    """A changed package, and what verify says of it.

    Attributes:
        change: that was made.
        faults: that verify finds; those by a replay where there are no others.
        before: score, error and verdict of the honest package.
        after: the same of the changed one; None where it cannot be computed.
        replayed: whether the faults are of a replay.
    """

    change: Change
    faults: list[Fault]
    before: dict[str, Any]
    after: dict[str, Any] | None
    replayed: bool = False

    @property
    def passes(self) -> bool:
        """Whether it alters score, error or verdict, and no fault is found."""
        return not self.faults and self.after != self.before


def verdict(found: Verification) -> dict[str, Any] | None:
    """Score, error and verdict of a package; None where they cannot be computed."""
    return None if found.result_row is None else {key: found.result_row[key] for key in _VERDICT}


def honest_verdict(honest: Records, path: Path) -> dict[str, Any]:
    """Score, error and verdict of an honest package."""
    found = verify(honest.copy().seal().write(path))
    assert not found.faults, list(map(str, found.faults))
    known = verdict(found)
    assert known is not None
    return known


def forge(honest: Records, before: dict[str, Any], seed: int, path: Path) -> Forgery | None:
    """The forgery of a seed; None where its random choices change nothing.

    Args:
        honest: records of an honest package.
        before: its score, error and verdict.
        seed: of the random choices.
        path: the package to write.
    """
    records = honest.copy()
    change = random_change(records, Random(seed))
    return None if change is None else judge(records, change, before, path)


def judge(records: Records, change: Change, before: dict[str, Any], path: Path, *, replay: bool = True) -> Forgery:
    """Make right what follows from changed records, and verify the package.

    Args:
        records: that were changed.
        change: that was made.
        before: score, error and verdict of the honest package.
        path: the package to write.
        replay: whether proposals are made again where nothing else is found.
    """
    derive(records)
    change.repeat()
    package = records.seal()
    found = verify(package.write(path))
    faults = [fault for fault in found.faults if not fault.id.startswith(_MADE_AGAIN)]
    if faults or verdict(found) == before:
        return Forgery(change, faults, before, verdict(found))
    restate(package)
    found = verify(package.write(path))
    if not found.faults and replay:
        again = verify(path, replay=ReplayRequest())
        return Forgery(change, again.faults, before, verdict(found), replayed=True)
    return Forgery(change, found.faults, before, verdict(found))
