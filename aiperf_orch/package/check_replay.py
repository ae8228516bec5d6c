"""Replay of the search: proposals follow from the seed, the settings and the journal, and are made again.

A changed error, network, seed or forecast changes most later proposals. Each trial is proposed after the journal's own
lines before it, so that one difference does not cause the next. The linear algebra of another machine may differ in the
last bits, which rarely changes a proposal: one that follows from a bound that is rounded differently is such a
difference, and no fault. Measurements are in docs/research/packages.md.

Settings can make each proposal take hours. After a time limit the proposals that were made are compared.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Final

from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.package.replay_request import ReplayRequest
from aiperf_orch.records.journal import AttemptRecord, Created, Opened, ProposalRecord, Submitting
from aiperf_orch.search import SEARCH_VERSION, JournalSearch
from aiperf_orch.search.reference import has_reference_proposals
from aiperf_orch.util.errors import NetworkError
from aiperf_orch.util.progress import tracked
from aiperf_orch.util.signals import time_limit
from aiperf_orch.util.units import format_duration

_OFFSETS: Final = tuple(sign * 10.0**-digits for digits in range(15, 9, -1) for sign in (1, -1))
"""Offsets of bounds, the least first, by which arithmetic of another machine is imitated."""
_DROPOUT_TOLERANCE: Final = 1e-9
_MOST_EXPLAINED: Final = 20
"""Number of unexplained differences after which another machine's arithmetic is not tried, which takes 13 proposals."""


class _OutOfTimeError(Exception):
    """The time limit has passed."""


@dataclass
class _Tally:
    """Proposals that were made again.

    Attributes:
        replayed: their number.
        by_arithmetic: number of those that differ by arithmetic only.
        differing: trials whose proposals differ otherwise, each with the reason.
        out_of_time: whether the time limit ended the replay.
    """

    replayed: int = 0
    by_arithmetic: int = 0
    differing: list[tuple[int, str]] = field(default_factory=list)
    out_of_time: bool = False


def check_replay(index: PackageIndex, request: ReplayRequest) -> None:
    """Propose trials again, and compare; only where no fault was found before, since records then may not fit."""
    faults, where = index.faults, str(MEMBERS.journal)
    if faults:
        faults.remark("replay.skipped", where, "no proposal was made again, since the package has faults")
        return
    versions = _search_versions(index)
    known = {trial for trial, version in versions.items() if version == SEARCH_VERSION}
    if len(known) < len(versions):
        faults.remark("replay.version", where, _other_versions(versions))
        if not known:
            return
    drawn = _drawn(known, request)
    limit = request.time_limit(len(drawn))
    tally = _replay(index, drawn, limit)
    if tally.differing and not has_reference_proposals():
        why = "this installation does not make the proposals that its version of the search should: use another NumPy"
        faults.remark("replay.installation", where, f"proposals differ, and are not judged: {why}")
        return
    for trial, why in tally.differing:
        faults.add("proposal.replay", index.at_submission(index.result.state.trials[trial]), why)
    if tally.out_of_time:
        ended = f"the time limit of {format_duration(limit)} ended the replay; --replay-time DURATION sets another one"
        faults.remark("replay.time", where, f"{_summary(tally, len(drawn), request)}; {ended}")
    else:
        faults.remark("replay.done", where, _summary(tally, len(known), request))
    if tally.by_arithmetic:
        why = "by the last digits of its numbers, as on a machine with other linear algebra"
        faults.remark("replay.arithmetic", where, f"{tally.by_arithmetic} of {tally.replayed} proposals differ {why}")


def _search_versions(index: PackageIndex) -> dict[int, int | None]:
    """Version of the search that proposed each trial."""
    version: int | None = None
    versions: dict[int, int | None] = {}
    for entry in index.entries:
        match entry:
            case Created() | Opened():
                version = entry.search
            case Submitting():
                versions |= {record.trial: version for record in entry.attempts if record.proposal is not None}
    return versions


def _other_versions(versions: dict[int, int | None]) -> str:
    others = [version for version in versions.values() if version != SEARCH_VERSION]
    named = sorted({version for version in others if version is not None})
    words = [f"version {version} of the search" for version in named]
    words += ["a search whose version is not named"] if None in others else []
    return (
        f"{len(others)} of {len(versions)} proposals are of {' and of '.join(words)}, and were not made again: this "
        f"aiperf-orch has version {SEARCH_VERSION}"
    )


def _drawn(trials: set[int], request: ReplayRequest) -> set[int]:
    """The trials that are proposed again; drawn by a hash, so that every version draws the same."""
    order = sorted(trials, key=lambda trial: hashlib.sha256(f"{request.draw} {trial}".encode()).digest())
    return set(order[: request.most])


def _replay(index: PackageIndex, drawn: set[int], seconds: float) -> _Tally:
    """Propose the drawn trials again, in the order of the journal, until all are done or the time is over."""
    tally = _Tally()
    try:
        with time_limit(seconds, _OutOfTimeError):
            search = JournalSearch(index.directory.config.settings)
            for entry in tracked(index.entries, "replaying the journal's lines"):
                if not isinstance(entry, Submitting):
                    search.feed(entry)
                    continue
                for record in entry.attempts:
                    if record.proposal is None:
                        continue
                    if record.trial in drawn:
                        _compare(search, record, record.proposal, tally)
                    search.started(record.trial, record.proposal)
    except _OutOfTimeError:
        tally.out_of_time = True
    return tally


def _compare(search: JournalSearch, record: AttemptRecord, proposal: ProposalRecord, tally: _Tally) -> None:
    """Propose a trial again, and count it once it is compared."""
    why = _difference(search, record.trial, proposal)
    if why is not None and len(tally.differing) < _MOST_EXPLAINED and _by_arithmetic(search, record):
        tally.by_arithmetic += 1
    elif why is not None:
        tally.differing.append((record.trial, why))
    tally.replayed += 1


def _difference(search: JournalSearch, trial: int, recorded: ProposalRecord) -> str | None:
    """Why a proposal is not what the search proposes; None where it is."""
    proposed = _propose(search, trial)
    if proposed is None:
        return f"trial {trial}: after the lines before it the search proposes no trial"
    stated = {name for name in type(recorded).model_fields if getattr(recorded, name) is not None} | {"parent"}
    names = [name for name in sorted(stated) if getattr(proposed, name) != getattr(recorded, name)]
    if not names:
        return None
    return f"trial {trial}: {', '.join(names)}: not what the search proposes after the lines before it"


def _by_arithmetic(search: JournalSearch, record: AttemptRecord) -> bool:
    """Whether a proposal is that of a machine whose numbers differ in their last digits."""
    recorded = record.proposal
    proposals = (_propose(search, record.trial, offset) for offset in (0.0, *_OFFSETS))
    return any(
        proposed is not None and recorded is not None and _with_dropout_of(recorded, proposed) == recorded
        for proposed in proposals
    )


def _propose(search: JournalSearch, trial: int, offset: float = 0.0) -> ProposalRecord | None:
    try:
        return search.propose(trial, bound_offset=offset)[1]
    except NetworkError:
        return None


def _with_dropout_of(recorded: ProposalRecord, proposed: ProposalRecord) -> ProposalRecord:
    """A proposal with the recorded dropout if that is equal but for the last digits."""
    dropout, own = recorded.hyperparameters.dropout, proposed.hyperparameters
    if not math.isclose(dropout, own.dropout, rel_tol=_DROPOUT_TOLERANCE, abs_tol=_DROPOUT_TOLERANCE):
        return proposed
    return proposed.model_copy(update={"hyperparameters": own.model_copy(update={"dropout": dropout})})


def _summary(tally: _Tally, wanted: int, request: ReplayRequest) -> str:
    drawn = f", drawn by the number {request.draw}" if request.most is not None else ""
    differ = f"{len(tally.differing)} differ" if tally.differing else "none differs"
    if tally.by_arithmetic:
        differ += f", but for {tally.by_arithmetic} by arithmetic"
    return f"{tally.replayed} of {wanted} proposals were made again{drawn}: {differ}"
