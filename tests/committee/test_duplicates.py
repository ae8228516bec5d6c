"""Tests of corrections, duplicates and conflicts, as tables: what was sent, and what stands."""

from __future__ import annotations

import pytest

from aiperf_orch.committee.submission import Submission
from committee.submissions import measured, notes, outcome, package, ranked

pytestmark = pytest.mark.unit

_CASES: dict[str, tuple[list[Submission], dict[str, str]]] = {
    "the same file twice": ([package("a"), package("b")], {"a": "1", "b": "duplicate"}),
    "the signed one of two equal files stands": (
        [package("a", unsigned=True), package("b", signed_by="s")],
        {"b": "1", "a": "duplicate"},
    ),
    "a signer's last version counts": (
        [package("a", signed_by="s", operations=10**20), package("b", signed_by="s", epochs=range(30))],
        {"b": "1", "a": "corrected"},
    ),
    "a signer sends the same version again": (
        [package("a", signed_by="s"), package("b", signed_by="s")],
        {"b": "1", "a": "duplicate"},
    ),
    "a correction can miss a rule": (
        [package("a", signed_by="s"), package("b", signed_by="s", rankable="no", missed_rules="error")],
        {"b": "not rankable", "a": "corrected"},
    ),
    "an unsigned resealed, slower copy displaces nothing": (
        [package("a", operations=10**20), package("b", operations=10**18)],
        {"a": "1", "b": "2"},
    ),
    "an unsigned copy under --signers displaces nothing": (
        [package("a", signed_by="s", operations=10**20), package("b", unsigned=True, operations=10**18)],
        {"a": "1", "b": "unsigned"},
    ),
    "another signer's copy of the campaign does not correct it": (
        [package("a", signed_by="s"), package("b", signed_by="t", operations=10**17)],
        {"a": "1", "b": "duplicate"},
    ),
    "another signer's package of the campaign with other epochs": (
        [package("a", signed_by="s"), package("b", signed_by="t", epochs=range(50, 70), operations=10**17)],
        {"a": "1", "b": "2"},
    ),
    "the epochs under another tag and submitter": (
        [package("a"), package("b", 1, range(20), campaign="other", submitter="an impostor", operations=10**20)],
        {"a": "1", "b": "duplicate"},
    ),
    "some of the epochs, and others": (
        [package("a"), package("b", 1, [*range(18, 36)], operations=10**20)],
        {"a": "1", "b": "duplicate"},
    ),
    "the losses are changed, and the times are not": (
        [package("a"), package("b", 1, measured(range(20), loss=0.1), operations=10**20)],
        {"a": "1", "b": "duplicate"},
    ),
    "the epochs at other times of the campaign": (
        [package("a"), package("b", 1, measured(range(20), later=0.5), operations=10**20)],
        {"a": "1", "b": "duplicate"},
    ),
    "a signed copy of an unsigned package, which has no place": (
        [package("a", unsigned=True), package("b", 1, range(20), signed_by="t")],
        {"b": "1", "a": "duplicate"},
    ),
    "one copied epoch does not displace a campaign": (
        [package("a", 1, [3], operations=1), package("b")],
        {"b": "1", "a": "2"},
    ),
    "a correction stands before a copy that was sent in between": (
        [
            package("a", signed_by="s"),
            package("copy", 1, range(20), signed_by="t"),
            package("b", signed_by="s", operations=10**17),
        ],
        {"b": "1", "a": "corrected", "copy": "duplicate"},
    ),
    "a version with other epochs gives a copier no earlier date": (
        [
            package("early", 1, range(100, 120), signed_by="t"),
            package("a", signed_by="s"),
            package("late", 1, range(20), signed_by="t"),
        ],
        {"a": "1", "early": "corrected", "late": "duplicate"},
    ),
    "pseudonyms change the settings' hash, and the epochs stay": (
        [package("a", signed_by="s"), package("b", 0, settings_sha256="e" * 64, signed_by="s")],
        {"b": "1", "a": "corrected"},
    ),
    "simulated campaigns of one seed and other times": (
        [
            package("a", epochs=measured(range(20), simulated=True)),
            package("b", 1, measured(range(20), simulated=True, later=1), operations=1),
        ],
        {"a": "1", "b": "2"},
    ),
    "a simulated campaign twice": (
        [package("a", epochs=measured(range(5), simulated=True)), package("b", 1, measured(range(5), simulated=True))],
        {"a": "1", "b": "duplicate"},
    ),
    "campaigns without epochs": (
        [package("a", 0, [], operations=5), package("b", 1, [], operations=1)],
        {"a": "1", "b": "2"},
    ),
}


@pytest.mark.parametrize(("sent", "expected"), _CASES.values(), ids=_CASES)
def test_what_stands(sent: list[Submission], expected: dict[str, str]) -> None:
    assert outcome(sent) == expected


def test_two_unsigned_versions_are_noted_as_a_conflict() -> None:
    said = notes(ranked([package("a", operations=10**20), package("b", operations=10**18), package("c", 1)]))
    why = "of the same campaign, and no common signer shows which one counts"
    assert said == {"a": f"conflict: b is {why}", "b": f"conflict: a is {why}", "c": ""}


def test_a_conflict_with_an_unsigned_copy_is_noted_at_the_copy_only() -> None:
    said = notes(ranked([package("a", signed_by="s"), package("b", unsigned=True, operations=1)]))
    assert said["a"] == ""
    assert "conflict: a is of the same campaign" in said["b"]


def test_the_original_and_its_copies_name_one_another() -> None:
    copies = [package(f"copy{number}", number, range(20)) for number in range(1, 6)]
    said = notes(ranked([package("a"), *copies]))
    assert said["a"] == "its epochs are also in copy1, copy2, copy3 and 2 more"
    assert said["copy5"] == "has the epochs of a, which was given first"


def test_a_correction_names_what_it_corrects() -> None:
    said = notes(ranked([package("a", signed_by="s", operations=5), package("b", signed_by="s")]))
    assert said == {"b": "corrects a", "a": "b of the same signer counts instead"}


def test_losses_of_another_campaign_at_other_times_are_noted() -> None:
    said = notes(ranked([package("a"), package("b", 1, measured(range(20), later=0.25, longer=-1.5), operations=1)]))
    assert (
        said["a"] == "has losses and errors of b: a copy with other times, or the same seed on the same kind of machine"
    )
    assert said["b"].startswith("has losses and errors of a: ")


def test_names_in_notes_are_printable() -> None:
    said = notes(ranked([package("a\x1b[31m\u202e"), package("b")]))
    assert said["b"] == "equals a\\x1b[31m\\u202e, which was given first"
