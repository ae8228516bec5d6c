"""One campaign of a comparison: what is compared of its records, from a package or a campaign directory."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.failure_policy import is_failure
from aiperf_orch.committee.score_factors import ScoreFactors, score_factors
from aiperf_orch.package.check_questionnaire import questionnaire_score
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.package.verify import verify
from aiperf_orch.results.node_hours import NodeHours
from aiperf_orch.results.result import Result, compute_result
from aiperf_orch.results.tables import result_row
from aiperf_orch.settings.base import written_key
from aiperf_orch.settings.comparison import flatten
from aiperf_orch.settings.models import SiteSettings, private_keys
from aiperf_orch.util.errors import UsageError

VERIFIED = "verified package"


@dataclass(frozen=True)
class ComparedCampaign:
    """What is compared of one campaign.

    Attributes:
        path: of its package or directory.
        kind: `verified package`, or what it is instead.
        warning: why its numbers are not verified; None for a verified package.
        remarks: ids of the remarks of `verify`, with commas between them; empty without one.
        row: the row of result.csv, computed from its records.
        factors: of its score; None without one.
        attempts: number of its attempts by end reason.
        failed: number of its failed attempts.
        median_epoch: median duration of its counted epochs, in seconds; None without one.
        hosts: number of hosts on which its trials ran.
        allocations: number of its allocations.
        agents: number of its agents.
        node_hours: None where each trial is a job of its own.
        devices: of its trials, as begin lines state them.
        cores: of a trial, as begin lines state them.
        software: name -> version, or versions, as begin lines state them.
        settings: key as a site file has it -> value, without private settings.
        questionnaire: score of its questionnaire; None without one.
    """

    path: Path
    kind: str
    warning: str | None
    remarks: str
    row: Mapping[str, Any]
    factors: ScoreFactors | None
    attempts: Mapping[str, int]
    failed: int
    median_epoch: float | None
    hosts: int
    allocations: int
    agents: int
    node_hours: NodeHours | None
    devices: str
    cores: str
    software: Mapping[str, str]
    settings: Mapping[str, Any]
    questionnaire: float | None


def read_campaign(path: Path) -> ComparedCampaign:
    """Read a package, which is verified, or a campaign directory, which is scored again.

    Raises:
        UsageError: The path is neither, or its records cannot be read.
    """
    if path.is_dir():
        result = compute_result(CampaignDirectory.open(path))
        warning = "a campaign directory: its records were not verified"
        return _compared(path, result, "campaign directory", warning, "", None)
    read: list[ComparedCampaign] = []

    def inspect(index: PackageIndex) -> None:
        number = len(index.faults.listed) + index.faults.unlisted
        warning = f"NOT VERIFIED: {number} fault(s), the first: {index.faults.listed[0]}" if number else None
        kind = "package with faults" if number else VERIFIED
        remarks = ", ".join(dict.fromkeys(remark.id for remark in index.faults.remarks))
        read.append(_compared(path, index.result, kind, warning, remarks, questionnaire_score(index)))

    found = verify(path, inspect=inspect)
    if not read or found.result_row is None:
        raise UsageError(f"{path}: is no package that can be compared: {found.faults[0]}")
    return read[0]


def _compared(
    path: Path, result: Result, kind: str, warning: str | None, remarks: str, questionnaire: float | None
) -> ComparedCampaign:
    begins = [begin for trial in result.collected.trials for begin in trial.begins]
    versions: dict[str, set[str]] = {}
    for begin in begins:
        for name, version in begin.versions.items():
            versions.setdefault(name, set()).add(version)
    ends = result.state.ends
    durations = [(epoch.end - epoch.start).total_seconds() for epoch in result.collected.epochs]
    return ComparedCampaign(
        path=path,
        kind=kind,
        warning=warning,
        remarks=remarks,
        row=result_row(result),
        factors=score_factors(result),
        attempts=dict(sorted(Counter(end.reason.value for end in ends).items())),
        failed=sum(is_failure(end.reason) for end in ends),
        median_epoch=statistics.median(durations) if durations else None,
        hosts=len({host for begin in begins for host in begin.hosts}),
        allocations=len(result.state.workforce.allocations),
        agents=len(result.state.workforce.agents),
        node_hours=result.node_hours,
        devices=_listed({begin.device for begin in begins}),
        cores=_listed({str(begin.cores) for begin in begins}),
        software={name: _listed(found) for name, found in sorted(versions.items())},
        settings=_public_settings(result.directory.settings),
        questionnaire=questionnaire,
    )


def _public_settings(settings: SiteSettings) -> dict[str, Any]:
    """Settings by their keys in a site file, without private ones: a package has their salted hashes only."""
    shown = settings.model_dump(mode="json")
    for section, key in private_keys():
        shown.get(section, {}).pop(key, None)
    return {
        f"{section}.{written_key(getattr(settings, section), key)}": value
        for section, keys in shown.items()
        for key, value in flatten(keys).items()
    }


def _listed(values: set[str]) -> str:
    shown = sorted(values)
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")
