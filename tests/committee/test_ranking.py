"""What a committee makes of the files that it was sent: a ranking, and a word on every file that is not in it."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.committee.ranking import Entry, rank, read_withdrawals, rows_of
from aiperf_orch.committee.submission import Row, Submission, read_result_csv, read_submission
from aiperf_orch.results.result import compute_result
from aiperf_orch.results.tables import result_row, write_tables
from aiperf_orch.util.errors import RecordError, UsageError
from aiperf_orch.util.text import escape_formula

_HASHES = [digit * 64 for digit in "0123456789abcdef"]


def _cells(**changes: Any) -> dict[str, Any]:
    """The cells of a result.csv that is rankable; its score follows from `operations`, and so on."""
    cells: dict[str, Any] = {
        "system": "a machine", "submitter": "a site", "campaign": "abcde", "error": 0.25, "rankable": "yes",
        "missed_rules": "", "rules": "aiperf-1.0", "simulated": "no", "operations": 10**18, "seconds": 4000.0,
        "started": "2026-01-02T03:04:05.678Z", "duration_limit": 4000.0, "state": "finished", "data": "imagenet",
        "precision": "bf16", "concurrency": 8, "counting": "aiperf-1.0", "aiperf_orch": "0.1.0",
        "settings_sha256": _HASHES[0], "number_of_nodes": 4, "accelerators_per_node": 8,
    }  # fmt: skip
    cells |= {
        key: value
        for key, value in changes.items()
        if key in cells and not (isinstance(value, str) and isinstance(cells[key], int | float))
    }
    cells["score"] = cells["operations"] / cells["seconds"]
    cells["regulated_score"] = cells["score"] * math.log(1 / cells["error"]) if cells["error"] else ""
    return cells | changes


def _write(path: Path, **changes: Any) -> Path:
    cells = _cells(**changes)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(cells), lineterminator="\n")
    writer.writeheader()
    writer.writerow(cells)
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def _submission(name: str, verified: bool | None = True, fault: str | None = None, **changes: Any) -> Submission:
    return Submission(Path(name), Row.model_validate(_cells(**changes)), verified, fault)


def _told(entries: list[Entry]) -> list[tuple[str, str, int | None]]:
    return [(str(entry.submission.path), entry.status.value, entry.place) for entry in entries]


# the ranking


def test_the_highest_score_is_first_and_equal_scores_share_a_place() -> None:
    scores = {"a": 10**15, "b": 3 * 10**15, "c": 2 * 10**15, "d": 2 * 10**15, "e": 10**14}
    sent = [
        _submission(name, operations=operations, settings_sha256=_HASHES[number])
        for number, (name, operations) in enumerate(scores.items())
    ]
    places = [(name, place) for name, _, place in _told(rank(sent, {}))]
    assert places == [("b", 1), ("c", 2), ("d", 2), ("a", 4), ("e", 5)]


def test_a_row_has_the_score_of_a_node_and_of_an_accelerator() -> None:
    named, unnamed = rows_of(
        rank([_submission("a"), _submission("b", settings_sha256=_HASHES[1], number_of_nodes="", operations=1)], {})
    )
    assert (named["score"], named["score_per_node"], named["score_per_accelerator"]) == (2.5e14, 6.25e13, 7.8125e12)
    assert (named["number_of_nodes"], named["accelerators"], named["place"]) == (4, 32, 1)
    assert (unnamed["score_per_node"], unnamed["score_per_accelerator"], unnamed["accelerators"]) == (None, None, None)


def test_what_misses_a_rule_is_listed_without_a_place() -> None:
    sent = [
        _submission("missed", rankable="no", missed_rules="data duration", operations=10**30),
        _submission("simulated", rankable="no", missed_rules="trained", simulated="yes", settings_sha256=_HASHES[1]),
        _submission("modified", rules="aiperf-1.0-modified-0123456789ab", settings_sha256=_HASHES[2]),
        _submission("other counts", counting="mine", settings_sha256=_HASHES[3]),
        _submission("good", settings_sha256=_HASHES[4]),
    ]
    entries = rank(sent, {})
    assert _told(entries)[0] == ("good", "ranked", 1)
    assert {status for _, status, _ in _told(entries)[1:]} == {"not rankable"}
    assert [entry.note for entry in entries[1:3]] == ["misses data duration", "misses trained"]
    assert "judged by aiperf-1.0-modified-0123456789ab" in entries[3].note


def test_a_faulty_package_says_its_first_fault_and_is_not_ranked() -> None:
    entries = rank([_submission("bad", verified=False, fault="events/00003-1.0.jsonl:4: lies"), _submission("good", settings_sha256=_HASHES[1])], {})  # fmt: skip
    assert _told(entries) == [("good", "ranked", 1), ("bad", "faulty", None)]
    assert entries[1].note == "events/00003-1.0.jsonl:4: lies"


def test_the_same_campaign_twice_counts_once() -> None:
    entries = rank([_submission("a"), _submission("b"), _submission("c", settings_sha256=_HASHES[1], operations=1)], {})
    assert _told(entries) == [("b", "ranked", 1), ("c", "ranked", 2), ("a", "duplicate", None)]
    assert entries[2].note == "says what b says"


def test_a_later_file_corrects_an_earlier_one() -> None:
    entries = rank([_submission("a", operations=10**20), _submission("b", operations=10**18)], {})
    assert _told(entries) == [("b", "ranked", 1), ("a", "corrected", None)]
    assert [entry.note for entry in entries] == ["corrects a", "b counts instead"]


def test_a_correction_may_cost_a_result_its_rank() -> None:
    entries = rank([_submission("a"), _submission("b", rankable="no", missed_rules="error")], {})
    assert _told(entries) == [("b", "not rankable", None), ("a", "corrected", None)]


def test_nothing_unverified_takes_the_place_of_a_verified_package() -> None:
    sent = [
        _submission("package"),
        _submission("row.csv", verified=None, operations=10**25),
        _submission("forged", verified=False, fault="result.csv:2: score: lies", operations=10**26),
    ]
    entries = rank(sent, {})
    assert _told(entries) == [("package", "ranked", 1), ("row.csv", "corrected", None), ("forged", "faulty", None)]
    assert rows_of(entries)[1]["verified"] == "unverified"


@pytest.mark.parametrize("name", ["abcde", _HASHES[0]])
def test_a_withdrawn_campaign_keeps_its_line_and_says_why(name: str) -> None:
    sent = [_submission("a"), _submission("b"), _submission("c", campaign="other", settings_sha256=_HASHES[1])]
    entries = rank(sent, {name: "a node was shared"})
    assert _told(entries) == [("c", "ranked", 1), ("a", "withdrawn", None), ("b", "withdrawn", None)]
    assert entries[1].note == "a node was shared"


def test_a_tag_of_two_campaigns_withdraws_neither() -> None:
    with pytest.raises(UsageError, match="abcde: is the tag of several campaigns; withdraw one by its settings_sha256"):
        rank([_submission("a"), _submission("b", settings_sha256=_HASHES[1])], {"abcde": ""})


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.builds(
            lambda verified, campaign, operations, rankable: _submission(
                "x",
                verified,
                fault="lies" if verified is False else None,
                settings_sha256=_HASHES[campaign],
                operations=operations,
                rankable="yes" if rankable else "no",
                missed_rules="" if rankable else "error",
            ),
            st.sampled_from([True, False, None]),
            st.integers(0, 3),
            st.integers(1, 5),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_no_file_is_lost_and_no_campaign_ranked_twice(sent: list[Submission]) -> None:
    entries = rank(sent, {})
    assert sorted(map(id, sent)) == sorted(id(entry.submission) for entry in entries)
    ranked = [entry.submission.row for entry in entries if entry.place is not None]
    assert len({row.settings_sha256 for row in ranked if row}) == len(ranked)
    assert [row.score for row in ranked if row] == sorted((row.score for row in ranked if row), reverse=True)
    assert all(entry.submission.verified is not False for entry in entries if entry.place is not None)


# reading what was sent


def test_our_own_result_csv_is_read(campaign: Callable[..., Any]) -> None:
    made = campaign(system__name="Größe, 1", system__number_of_nodes=2, system__accelerators_per_node=4)
    made.trial(0, [(2, 0.5), (8, 0.3)])
    write_tables(compute_result(made.directory))
    row = read_result_csv(made.directory.result)
    assert row == Row.model_validate(result_row(compute_result(made.directory)))
    assert (row.system, row.accelerators, row.missed_rules) == ("Größe, 1", 8, "duration ended trained data")


def test_an_empty_campaigns_result_csv_is_read(campaign: Callable[..., Any]) -> None:
    made = campaign()
    write_tables(compute_result(made.directory))
    row = read_result_csv(made.directory.result)
    assert (row.score, row.error, row.started) == (0.0, None, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": 1e30}, "contradicts itself: score: is not operations / seconds"),
        ({"regulated_score": 1e30}, "contradicts itself: regulated_score: is not score x -ln"),
        ({"missed_rules": "data"}, "contradicts itself: rankable: does not follow from missed_rules"),
        ({"simulated": "yes"}, "contradicts itself: rankable: what is simulated never is"),
        ({"score": "nan"}, "score: "),
        ({"score": "inf"}, "score: "),
        ({"error": 1.5}, "error: "),
        ({"operations": "-1"}, "operations: "),
        ({"operations": "9" * 5000}, "operations: "),
        ({"operations": "1_0"}, "operations: "),
        ({"number_of_nodes": "0"}, "number_of_nodes: "),
        ({"rankable": "perhaps"}, "rankable: "),
        ({"settings_sha256": "abc"}, "settings_sha256: "),
        ({"system": "=cmd|' /C calc'!A0"}, "system: .*spreadsheet"),
        ({"system": "a\u202eb"}, "system: .*printable"),
        ({"system": "x" * 300}, "system: "),
        ({"submitter": ""}, "submitter: "),
    ],
)
def test_a_cell_that_cannot_be(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=message) as raised:
        read_result_csv(_write(tmp_path / "r.csv", **changes))
    assert len(str(raised.value)) < 500
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"a,b\n1\n", b"a,a\n1,2\n", b"a\n1\n2\n", b"\xff\xfe", b'a\n"x', b"a" * 70_000, b"a\x00b\n1\n"]
)
def test_a_file_that_is_no_result_csv(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(data)
    submission = read_submission(path)
    assert (submission.row, submission.verified) == (None, False)
    assert submission.fault


_CELL = st.text(max_size=20) | st.sampled_from(["", "yes", "no", "1e999", "-0", "0", "1e-320", "NaN", "1" * 59, "٣"])


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(st.sampled_from(list(_cells())), _CELL, max_size=8), st.binary(max_size=40), st.integers(0, 900))
def test_no_garbage_is_more_than_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, cells: dict[str, str], garbage: bytes, place: int
) -> None:
    path = tmp_path_factory.mktemp("garbage") / "r.csv"
    try:
        _write(path, **cells)
    except UnicodeEncodeError:
        return
    data = path.read_bytes()
    for changed in (data, data[:place] + garbage + data[place:], data[:place], garbage):
        path.write_bytes(changed)
        submission = read_submission(path)
        assert (submission.row is None) == (submission.fault is not None)
        assert all(str(value).isprintable() for row in rows_of(rank([submission], {})) for value in row.values())


def test_a_pipe_blocks_nobody(tmp_path: Path, fails_if_blocked: None) -> None:
    os.mkfifo(tmp_path / "r.csv")
    with pytest.raises(UsageError, match="cannot be read: not a regular file"):
        read_submission(tmp_path / "r.csv")


# withdrawals


def test_withdrawals(tmp_path: Path) -> None:
    path = tmp_path / "withdrawn.txt"
    path.write_text(f"# who left\n\nabcde a node\twas shared\n{_HASHES[1]},by the site\nfghij\n")
    assert read_withdrawals(path) == {"abcde": "a node was shared", _HASHES[1]: "by the site", "fghij": ""}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"abcde x\nabcde y\n", r"withdrawn:2: 'abcde' stands twice"),
        (b"\xff", "not UTF-8 text"),
        (b"x" * 1_100_000, "larger than"),
        (None, "cannot be read: No such file"),
    ],
)
def test_withdrawals_that_cannot_be_read(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "withdrawn"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UsageError, match=message):
        read_withdrawals(path)


# the command


def test_the_command_ranks_and_warns(aiperf: Any, tmp_path: Path) -> None:
    _write(tmp_path / "a.csv", settings_sha256=_HASHES[1], operations=10**19)
    _write(tmp_path / "b.csv", settings_sha256=_HASHES[2], campaign="fghij")
    (tmp_path / "bad.csv").write_text("garbage")
    (tmp_path / "gone.txt").write_text("fghij by the site\n")
    arguments = ("rank", "b.csv", "bad.csv", "a.csv", "--withdrawn", "gone.txt")
    done = aiperf(*arguments)
    assert done.returncode == 0
    lines = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [line[:3] for line in lines] == [["1", "ranked", "unverified"], ["-", "withdrawn", "unverified"], ["-", "unreadable", "no"]]  # fmt: skip
    assert "2.5 Peta-OPS" in done.stdout
    assert done.stderr.startswith("warning: bad.csv: not a result.csv: ")
    rows = json.loads(aiperf(*arguments, "--format", "json").stdout)
    assert [row["file"] for row in rows] == ["a.csv", "b.csv", "bad.csv"]


def test_a_file_that_is_not_there(aiperf: Any) -> None:
    done = aiperf("rank", "nothing.tar.gz")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: nothing.tar.gz: cannot be read: No such file or directory\n"


def test_no_cell_begins_a_formula(aiperf: Any, tmp_path: Path) -> None:
    for number, name in enumerate(["=1+1.csv", "@x.csv", "-x.csv", "+x.csv"]):
        _write(tmp_path / name, settings_sha256=_HASHES[number])
    done = aiperf("rank", "--format", "csv", "--", *sorted(path.name for path in tmp_path.glob("*.csv")))
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 4
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())


@given(st.text())
def test_a_cell_is_harmless_or_as_it_was(text: str) -> None:
    cell = escape_formula(text)
    assert cell in (text, f"'{text}")
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
