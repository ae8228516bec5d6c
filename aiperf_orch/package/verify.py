"""Verifies a package: that every number in it follows from its records, and that these are whole and consistent.

Two questions are answered apart. *Verified*: the records agree with one another and with every number that was
computed from them. *Rankable*: the rules of a ranked result are met. Neither proves that the records are true: whoever
can invent a whole campaign consistently is told only by a signature, by the queue's accounting, or by an audit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiperf_orch.campaign.format_versions import NEWER_VERSION
from aiperf_orch.package.check_accounting import check_accounting
from aiperf_orch.package.check_end_reasons import check_histories
from aiperf_orch.package.check_events import check_events
from aiperf_orch.package.check_tables import check_manifest, check_tables
from aiperf_orch.package.check_trials import check_trials
from aiperf_orch.package.findings import Fault, Faults
from aiperf_orch.package.package_index import gather
from aiperf_orch.package.reading import Package, open_package
from aiperf_orch.package.signature import check_signature
from aiperf_orch.results import rules
from aiperf_orch.results.tables import result_row


@dataclass(frozen=True)
class Verification:
    """What was found in a package.

    `faults` are listed up to a bound, `more_faults` were only counted. `result_row` is the row of result.csv, recomputed
    from the records; None when they cannot be read. `missed_rules` are ids, of the rules that `result_row` misses.
    `sha256` is of the package's file, None when it is no package; `signed_by` whose signature of it is valid, None
    when none was asked for.
    """

    faults: list[Fault]
    more_faults: int
    result_row: dict[str, Any] | None
    missed_rules: list[str]
    sha256: str | None
    signed_by: str | None = None

    @property
    def verified(self) -> bool:
        """Whether every number follows from the records."""
        return not self.faults

    @property
    def is_newer(self) -> bool:
        """Whether a newer version of aiperf-orch wrote the package in a way that this one cannot read."""
        return any(fault.id == NEWER_VERSION for fault in self.faults)

    @property
    def rankable(self) -> bool:
        """Whether the rules are met, by the recomputed row; a ranking asks for `verified` too."""
        return self.result_row is not None and not self.missed_rules


def verify(path: Path, signers: Path | None = None) -> Verification:
    """Verify a package. Never raises for what stands in the package: every fault of it is listed.

    Args:
        path: the package's file; a detached signature is looked for beside it, with `.sig` appended.
        signers: an `allowed_signers` file of ssh-keygen: asks for a valid signature by one of them.

    Raises:
        UsageError: when there is no such file, or ssh-keygen is wanted and missing.
        AiperfError: when there is no room to unpack it.
    """
    faults = Faults()
    with open_package(path, faults) as package:
        signed_by = check_signature(path, signers, faults) if signers else None
        row, missed = (None, []) if package is None else _examine(package, faults)
        newer = [fault for fault in faults.listed if fault.id == NEWER_VERSION]
        if newer:  # what else was found follows from records that this version does not understand
            signature = [fault for fault in faults.listed if fault.id.startswith("signature.")]
            faults, row, missed = Faults([*newer[:1], *signature]), None, []
        return Verification(faults.listed, faults.unlisted, row, missed, package.sha256 if package else None, signed_by)


def _examine(package: Package, faults: Faults) -> tuple[dict[str, Any] | None, list[str]]:
    """Add every fault of a package; returns the recomputed row of result.csv, and the ids of the rules it misses."""
    manifest = check_manifest(package, faults)
    evidence = gather(package, faults)
    if evidence is None:
        return None, []
    check_trials(evidence)
    check_events(evidence)
    check_histories(evidence)
    check_accounting(evidence)
    check_tables(evidence, manifest)
    return result_row(evidence.result), [miss.rule.id for miss in rules.misses(evidence.result)]
