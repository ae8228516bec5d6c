"""Check of a package against the commitment that was announced when its campaign began."""

from __future__ import annotations

from aiperf_orch.campaign.commitment import commitment_of
from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.records.journal import Created


def check_commitment(index: PackageIndex, announced: str) -> None:
    """Hold the first line of the journal and the settings to a commitment."""
    first = index.entries[0]
    found = commitment_of(index.directory, first) if isinstance(first, Created) else None
    if found != announced:
        why = f"is not of the campaign that was announced: its commitment is {found}, and {announced} was given"
        index.faults.add("commitment", f"{MEMBERS.journal}:1", why)
