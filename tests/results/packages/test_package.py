"""What a package holds, and what never leaves."""

from __future__ import annotations

import hashlib
from pathlib import Path

from aiperf_orch.results.verify import verify


def test_a_true_package_is_verified(true_package: Path) -> None:
    found = verify(true_package)
    assert found.faults == []
    assert found.verified
    assert not found.rankable
    assert found.missed_rules == ["trained", "data"] or found.missed_rules == ["duration", "trained", "data"]
    assert found.sha256 == hashlib.sha256(true_package.read_bytes()).hexdigest()
