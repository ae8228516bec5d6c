"""Version of the search: proposals do not change without it."""

import pytest

from aiperf_orch.search import SEARCH_VERSION, reference

pytestmark = pytest.mark.unit

DIGESTS = {
    1: "3dee5b95486ad8cc2d814a06ee304e54bb1c3288c2766efe786f0affbbad5bdb",
    2: "78f74c7cd680a60f4b68c8da53805a89f1af9488312e770baaa27b301a6c1c88",
}
"""Version of the search -> digest of its reference proposals."""


def test_changed_proposals_raise_the_version_of_the_search():
    """Where this fails after a change: raise SEARCH_VERSION, set REFERENCE_DIGEST, and add both here."""
    digest = reference.reference_digest()
    assert digest == reference.REFERENCE_DIGEST, f"the search proposes other trials: raise SEARCH_VERSION; now {digest}"
    assert DIGESTS[SEARCH_VERSION] == digest
    assert max(DIGESTS) == SEARCH_VERSION
    assert len(set(DIGESTS.values())) == len(DIGESTS)


def test_an_installation_knows_whether_it_makes_the_reference_proposals(monkeypatch):
    assert reference.has_reference_proposals()
    monkeypatch.setattr(reference, "REFERENCE_DIGEST", "0" * 64)
    assert not reference.has_reference_proposals()
