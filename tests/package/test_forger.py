"""The generated forger: a random change of an honest package, everything derivable made right, is found or listed.

`--hypothesis-profile=explore` forges by other seeds. `python -m package.forger FIRST LAST`, run in the folder tests,
forges by as many seeds as wanted, and prints what passes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from aiperf_orch.package.verify import verify
from package.forger.campaigns import CAMPAIGN_FORGERIES
from package.forger.changes import Change
from package.forger.derive import derive
from package.forger.fields import fields_of
from package.forger.forging import forge, honest_verdict, judge
from package.forger.honest import KINDS, honest_records
from package.forger.records import Records, restate
from package.forger.undetectable import UNDETECTABLE, why_undetectable

_forged = settings(max_examples=120, phases=[Phase.generate])
_Honest = dict[str, tuple[Records, dict[str, Any]]]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> _Honest:
    """Records, and score, error and verdict, of an honest package of each kind."""
    folder = tmp_path_factory.mktemp("honest")
    records = {kind: honest_records(kind, folder / kind) for kind in KINDS}
    return {kind: (each, honest_verdict(each, folder / "p.tar.gz")) for kind, each in records.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_an_honest_package_is_what_the_forger_derives(kind: str, honest: _Honest, tmp_path: Path) -> None:
    records = honest[kind][0].copy()
    derive(records)
    for part in ("config", "journal", "events", "specs", "accounting"):
        assert getattr(records, part) == getattr(honest[kind][0], part)
    package = records.seal()
    restate(package)
    assert list(map(str, verify(package.write(tmp_path / "p.tar.gz")).faults)) == []


@pytest.mark.parametrize("kind", KINDS)
@_forged
@given(seed=st.integers(0, 10**6))
def test_a_forgery_is_found_or_listed(kind: str, seed: int, honest: _Honest, tmp_path: Path) -> None:
    forgery = forge(*honest[kind], seed, tmp_path / "p.tar.gz")
    if forgery is not None and forgery.passes:
        assert why_undetectable(forgery.change, searched=kind == "searched"), (
            forgery.change,
            forgery.before,
            forgery.after,
        )


@pytest.mark.parametrize("name", CAMPAIGN_FORGERIES)
def test_a_forgery_of_a_campaign_is_found_or_listed(name: str, honest: _Honest, tmp_path: Path) -> None:
    forged = CAMPAIGN_FORGERIES[name]
    records, before = honest[forged.kind]
    changed = records.copy()
    forged.change(changed)
    again = (lambda: forged.change(changed)) if forged.keep else (lambda: None)
    forgery = judge(changed, Change("campaign", name, "", again), before, tmp_path / "p.tar.gz")
    found = {fault.id for fault in forgery.faults if not fault.id.startswith("script.")}  # scripts are written again
    assert found == ({forged.fault} if forged.fault else set())
    assert forged.fault or forgery.after != forgery.before
    assert forged.fault or forged.reason


def test_listed_fields_are_fields_of_records(honest: _Honest) -> None:
    known = {name for records, _ in honest.values() for name in fields_of(records)}
    listed = {(record, field) for record, field in UNDETECTABLE if record not in ("times", "lines")}
    assert listed <= known
