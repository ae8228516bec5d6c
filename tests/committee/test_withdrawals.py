"""Tests of lists of withdrawn campaigns, and of what they withdraw."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from aiperf_orch.committee.submission import Submission
from aiperf_orch.committee.withdrawals import read_withdrawals
from aiperf_orch.util.errors import UsageError
from committee.result_rows import HASHES
from committee.submissions import measured, notes, outcome, package, ranked, result_csv

pytestmark = pytest.mark.unit


def test_a_list_has_tags_or_hashes_and_reasons(tmp_path: Path) -> None:
    path = tmp_path / "withdrawn.txt"
    path.write_text(
        f"\ufeff# who left\n\nabcde a node\twas shared\n{HASHES[1]},by the site\nfghij\r\n", encoding="utf-8"
    )
    found = read_withdrawals(path)
    assert {name: line.reason for name, line in found.items()} == {
        "abcde": "a node was shared",
        HASHES[1]: "by the site",
        "fghij": "",
    }
    assert found["fghij"].where == f"{path}:5"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"abcde again", "'abcde' is listed twice"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b"the campaign of x", "'the' is neither the tag of a campaign nor a SHA-256"),
        (b"\x1b[31m", "'\\\\x1b[31m' is neither"),
    ],
)
def test_a_bad_line_is_a_warning_and_the_others_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, line: bytes, message: str
) -> None:
    path = tmp_path / "withdrawn"
    path.write_bytes(b"abcde first\n" + line + b"\nfghij second\n")
    with caplog.at_level(logging.WARNING):
        found = read_withdrawals(path)
    assert {name: each.reason for name, each in found.items()} == {"abcde": "first", "fghij": "second"}
    [text] = caplog.messages
    assert text.startswith(f"{path}:2: {message}")
    assert text.endswith("; the line is left out")


@pytest.mark.parametrize(
    ("data", "message"), [(b"x" * 1_100_000, "larger than"), (None, "cannot be read: No such file")]
)
def test_a_list_that_cannot_be_read_is_an_error(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "withdrawn"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UsageError, match=message):
        read_withdrawals(path)


_A = package("a")
_COPY = package("copy", 1, range(20), campaign="other", submitter="another site")
_CASES: dict[str, tuple[list[Submission], list[str], dict[str, str]]] = {
    "by tag": ([_A, package("c", 2, campaign="fghij")], ["abcde"], {"c": "1", "a": "withdrawn"}),
    "by the settings' hash": ([_A, package("c", 2)], [HASHES[0]], {"c": "1", "a": "withdrawn"}),
    "by the epochs' hash": (
        [_A, package("c", 2)],
        [_A.records.epochs.sha256 if _A.records else ""],
        {"c": "1", "a": "withdrawn"},
    ),
    "by the package's hash": (
        [_A, package("c", 2)],
        [_A.records.sha256 if _A.records else ""],
        {"c": "1", "a": "withdrawn"},
    ),
    "its epochs stay withdrawn under another tag": ([_A, _COPY], [HASHES[0]], {"a": "withdrawn", "copy": "withdrawn"}),
    "also with a signature": (
        [package("a", unsigned=True), package("copy", 1, range(20), signed_by="t")],
        [HASHES[0]],
        {"a": "withdrawn", "copy": "withdrawn"},
    ),
    "also with other losses": (
        [_A, package("copy", 1, measured(range(20), loss=0.1))],
        [HASHES[0]],
        {"a": "withdrawn", "copy": "withdrawn"},
    ),
    "also in a copy with the same tag": (
        [_A, package("copy", 1, range(20))],
        ["abcde"],
        {"a": "withdrawn", "copy": "withdrawn"},
    ),
    "a withdrawn copy does not withdraw the original": (
        [_A, _COPY],
        [HASHES[1]],
        {"a": "1", "copy": "withdrawn"},
    ),
    "a signer's earlier package with the epochs is withdrawn, too": (
        [package("a", 1, range(20), signed_by="s"), package("b", signed_by="s")],
        [HASHES[0]],
        {"a": "withdrawn", "b": "withdrawn"},
    ),
    "a tag withdraws all packages of its campaign": (
        [_A, package("b", 0, range(50, 70), operations=1)],
        ["abcde"],
        {"a": "withdrawn", "b": "withdrawn"},
    ),
    "a tag of two sites withdraws neither": (
        [_A, package("b", 1, operations=1)],
        ["abcde"],
        {"a": "1", "b": "2"},
    ),
    "a tag of one signer's campaigns withdraws them": (
        [package("a", signed_by="s"), package("b", 1, signed_by="s")],
        ["abcde"],
        {"a": "withdrawn", "b": "withdrawn"},
    ),
    "a result.csv of the same tag does not save a campaign": (
        [_A, result_csv("r.csv", 1)],
        ["abcde"],
        {"a": "withdrawn", "r.csv": "withdrawn"},
    ),
}


@pytest.mark.parametrize(("sent", "names", "expected"), _CASES.values(), ids=_CASES)
def test_what_is_withdrawn(sent: list[Submission], names: list[str], expected: dict[str, str]) -> None:
    assert outcome(sent, names) == expected


def test_a_withdrawn_campaign_is_listed_with_the_reason() -> None:
    said = notes(ranked([_A, _COPY], ["abcde"]))
    assert said == {"a": "by the site", "copy": "has the epochs of a, which is withdrawn"}


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ([_A, package("b", 1)], f"list:1: several campaigns have the tag abcde, and none is withdrawn: name one by its "
         f"settings_sha256 ({HASHES[0]}, {HASHES[1]})"),
        ([package("b", 1, campaign="other")], "list:1: none of the files is of abcde"),
    ],
)  # fmt: skip
def test_a_line_without_effect_is_a_warning(
    sent: list[Submission], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        ranked(sent, ["abcde"])
    assert caplog.messages == [message]
