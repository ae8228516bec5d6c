"""Verification of a package: every number follows from its records, which are complete and consistent.

Two properties are independent. *Verified*: the records agree with one another and with every number that was computed
from them. *Rankable*: the rules of a ranked result are met. Neither proves that the records are true: a consistently
invented campaign is detected only by a signature, by the scheduler's accounting, or by an audit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiperf_orch.campaign.format_versions import NEWER_VERSION
from aiperf_orch.package.check_accounting import check_accounting
from aiperf_orch.package.check_allocation_accounting import check_allocation_accounting
from aiperf_orch.package.check_begins import check_begins
from aiperf_orch.package.check_commitment import check_commitment
from aiperf_orch.package.check_copies import check_copies
from aiperf_orch.package.check_end_reasons import check_histories
from aiperf_orch.package.check_ends import check_ends
from aiperf_orch.package.check_events import check_events
from aiperf_orch.package.check_formats import check_formats
from aiperf_orch.package.check_journal import check_journal
from aiperf_orch.package.check_meter import check_meter
from aiperf_orch.package.check_placements import check_placements
from aiperf_orch.package.check_questionnaire import check_questionnaire, questionnaire_score
from aiperf_orch.package.check_report import check_report
from aiperf_orch.package.check_scripts import check_scripts
from aiperf_orch.package.check_speeds import check_speeds
from aiperf_orch.package.check_tables import check_manifest, check_tables
from aiperf_orch.package.check_training import check_training
from aiperf_orch.package.check_trials import check_trials
from aiperf_orch.package.check_unusual import check_unusual
from aiperf_orch.package.check_weights import check_weights
from aiperf_orch.package.findings import Fault, Faults
from aiperf_orch.package.package_index import PackageIndex, index_package
from aiperf_orch.package.reading import Package, open_package
from aiperf_orch.package.replay_request import ReplayRequest
from aiperf_orch.package.signature import check_signature
from aiperf_orch.results.rules import Miss, rules_of
from aiperf_orch.results.tables import result_row
from aiperf_orch.util.progress import begin_part


@dataclass(frozen=True)
class Verification:
    """Result of verifying a package.

    Attributes:
        faults: in the order in which they were found, up to a limit.
        remarks: what is unusual or was not checked, which does not change the verdict.
        more_faults: number of faults beyond that limit.
        result_row: the row of result.csv, recomputed from the records; None when they cannot be read.
        misses: rules that the result misses, with reasons.
        sha256: hash of the file; None when it is not a package.
        signed_by: principal of the valid signature; None without one, or when none was required.
        questionnaire: score of the questionnaire of reproducibility, from 0 to 1; None without one.
    """

    faults: list[Fault]
    more_faults: int
    result_row: dict[str, Any] | None
    misses: list[Miss]
    sha256: str | None
    signed_by: str | None = None
    remarks: list[Fault] = field(default_factory=list)
    questionnaire: float | None = None

    @property
    def verified(self) -> bool:
        """Whether every number follows from the records."""
        return not self.faults

    @property
    def is_newer(self) -> bool:
        """Whether a newer version of aiperf-orch wrote the package in a way that this one cannot read."""
        return any(fault.id == NEWER_VERSION for fault in self.faults)

    @property
    def missed_rules(self) -> list[str]:
        """Ids of the rules that the result misses."""
        return [miss.rule.id for miss in self.misses]

    @property
    def rankable(self) -> bool:
        """Whether the recomputed result meets the rules; a ranking requires `verified` as well."""
        return self.result_row is not None and not self.misses


@dataclass(frozen=True)
class _Recomputed:
    """What follows from the records, with the attributes of `Verification`; by default of a package without records."""

    result_row: dict[str, Any] | None = None
    misses: list[Miss] = field(default_factory=list)
    questionnaire: float | None = None


def verify(
    path: Path,
    signers: Path | None = None,
    *,
    replay: ReplayRequest | None = None,
    commitment: str | None = None,
    inspect: Callable[[PackageIndex], None] | None = None,
    report: Path | None = None,
) -> Verification:
    """Verify a package. The contents of the package never raise an error; its faults are listed.

    Args:
        path: the file; a detached signature is expected beside it, with `.sig` appended to the name.
        signers: an `allowed_signers` file of ssh-keygen: requires a valid signature by one of them. None requires none.
        replay: the proposals that are made again; None makes none.
        commitment: the commitment that was announced when the campaign began; None was announced.
        inspect: called with the records after all checks, while the package is open; not called when they cannot be
            read as a campaign.
        report: where to write a report that is rendered from the records, if they can be read; None writes none.

    Raises:
        UsageError: The file does not exist, or ssh-keygen is required and missing.
        AiperfError: There is no space to unpack the package, or the report cannot be written.
    """
    faults = Faults()
    with open_package(path, faults) as package:
        signed_by = check_signature(path, signers, faults) if signers else None
        shown = _Recomputed() if package is None else _examine(package, faults, replay, commitment, inspect, report)
        newer = [fault for fault in faults.listed if fault.id == NEWER_VERSION]
        if newer:  # other faults follow from records that this version does not understand
            signature = [fault for fault in faults.listed if fault.id.startswith("signature.")]
            faults, shown = Faults([*newer[:1], *signature]), _Recomputed()
        return Verification(
            faults.listed,
            faults.unlisted,
            shown.result_row,
            shown.misses,
            package.sha256 if package else None,
            signed_by,
            faults.remarks,
            shown.questionnaire,
        )


def check_package(package: Package, faults: Faults) -> PackageIndex | None:
    """Add every fault of an opened package; returns its index, None where its records cannot be read."""
    manifest = check_manifest(package, faults)
    index = index_package(package, faults)
    if index is None:
        return None
    check_formats(index)
    check_journal(index)
    check_trials(index)
    begin_part("checking records")
    check_begins(index)
    check_events(index)
    check_training(index)
    check_copies(index)
    check_speeds(index)
    check_histories(index)
    check_ends(index)
    check_placements(index)
    check_accounting(index)
    check_allocation_accounting(index)
    check_meter(index)
    begin_part("checking tables and report")
    check_tables(index, manifest)
    check_report(index, manifest)
    check_scripts(index, manifest)
    check_weights(index)
    check_questionnaire(index, manifest)
    check_unusual(index)
    return index


def _examine(
    package: Package,
    faults: Faults,
    replay: ReplayRequest | None,
    commitment: str | None,
    inspect: Callable[[PackageIndex], None] | None,
    report: Path | None,
) -> _Recomputed:
    """Add every fault of a package; returns what is recomputed from its records."""
    index = check_package(package, faults)
    if index is None:
        return _Recomputed()
    if commitment is not None:
        check_commitment(index, commitment)
    if replay is not None:
        from aiperf_orch.package.check_replay import check_replay  # it loads SciPy

        check_replay(index, replay)
    if inspect is not None:
        inspect(index)
    if report is not None:
        from aiperf_orch.results.report import write_report  # it loads matplotlib

        write_report(index.result, report)
    misses = rules_of(index.result).misses(index.result)
    return _Recomputed(result_row(index.result), misses, questionnaire_score(index))
