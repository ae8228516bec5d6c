"""Reference proposals: those of this version of the search for a fixed history, as one digest.

A test holds the search to the digest, so that proposals do not change unnoticed. `verify --replay` computes it where
proposals of a package differ: an installation that does not get the digest, for example because its NumPy has another
stream of random numbers, cannot judge the proposals of others.
"""

from __future__ import annotations

import hashlib
from typing import Final

from aiperf_orch.network import counts
from aiperf_orch.network.morphisms import MorphismLimits
from aiperf_orch.network.seeds import small_residual
from aiperf_orch.search.search import Search
from aiperf_orch.settings.models import SearchSettings

REFERENCE_DIGEST: Final = "78f74c7cd680a60f4b68c8da53805a89f1af9488312e770baaa27b301a6c1c88"
"""Digest of the proposals of `SEARCH_VERSION`: whoever changes it raises that version."""
_WIDE: Final = MorphismLimits(max_memory=1 << 28)
_NARROW: Final = MorphismLimits(max_layers=24, max_parameters=4500)
"""Limits that leave few networks, so that annealing often finds none."""
_CONCURRENCY: Final = 3


def has_reference_proposals() -> bool:
    """Whether the search proposes on this machine what it should; last digits of numbers may differ."""
    return reference_digest() == REFERENCE_DIGEST


def reference_digest() -> str:
    """SHA-256 of the reference proposals of this installation."""
    lines = [*_proposals(_WIDE, trials=60), *_proposals(_NARROW, trials=40)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _proposals(limits: MorphismLimits, *, trials: int) -> list[str]:
    """Proposals of a campaign whose trials end in a fixed way: some fail, run out of memory, or have a forecast."""
    seed_network = small_residual(width=4)
    settings = SearchSettings(candidates=8, neighbours=4)
    search = Search(seed_network, settings, limits, seed=7, concurrency=_CONCURRENCY, keep=16)
    found = []
    for trial in range(trials):
        proposal = search.propose(trial)
        point, network = proposal.hyperparameters, proposal.graph.hash
        found.append(
            f"{trial} {proposal.round} {proposal.parent} {network} "
            f"{point.kernel_size} {point.dropout:.9f} {point.batch_size}"
        )
        operations = counts.count(proposal.graph).train
        search.started(trial, proposal.parent, proposal.edits, point, network, operations)
        if trial >= _CONCURRENCY - 1:
            _end(search, trial - _CONCURRENCY + 1)
    return found


def _end(search: Search, trial: int) -> None:
    error = 0.2 + (37 * trial % 50) / 100
    failed = trial % 7 == 5
    search.ended(trial, None if failed else error, error / 2 if trial % 5 == 3 else None)
    if trial % 14 == 5:
        search.ran_out_of_memory(trial)
