"""Tests of reading result.csv files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.committee.ranking import rank
from aiperf_orch.committee.ranking_rows import rows_of
from aiperf_orch.committee.submission import ResultRow, read_result_csv, read_submission
from aiperf_orch.results.result import compute_result
from aiperf_orch.results.tables import result_row, write_tables
from aiperf_orch.util.errors import RecordError, UsageError
from aiperf_orch.util.text import escape_formula
from committee.result_rows import cells, write

# reading submissions


def test_a_written_result_csv_is_read(campaign: Callable[..., Any]) -> None:
    made = campaign(system__name="Größe, 1", system__number_of_nodes=2, system__accelerators_per_node=4)
    made.trial(0, [(2, 0.5), (8, 0.3)])
    write_tables(compute_result(made.directory))
    row = read_result_csv(made.directory.result)
    assert row == ResultRow.model_validate(result_row(compute_result(made.directory)))
    assert (row.system, row.accelerators, row.missed_rules) == ("Größe, 1", 8, "duration ended trained data")


def test_the_result_csv_of_an_empty_campaign_is_read(campaign: Callable[..., Any]) -> None:
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
        ({"simulated": "yes"}, "contradicts itself: rankable: a simulated campaign is not rankable"),
        ({"score": "nan"}, "score: "),
        ({"score": "inf"}, "score: "),
        ({"error": 1.5}, "error: "),
        ({"operations": "-1"}, "operations: "),
        ({"operations": "9" * 5000}, "operations: "),
        ({"operations": "1_0"}, "operations: "),
        ({"operations": "\uff11\uff10"}, "operations: "),
        ({"operations": "+10"}, "operations: "),
        ({"operations": " 10"}, "operations: "),
        ({"operations": "010"}, "operations: "),
        ({"seconds": "4_000.0"}, "seconds: "),
        ({"seconds": "4000"}, "seconds: "),
        ({"seconds": "+4000.0"}, "seconds: "),
        ({"seconds": "4000.0 "}, "seconds: "),
        ({"error": "\u0660.\u0662\u0665"}, "error: "),
        ({"concurrency": "8.0"}, "concurrency: "),
        ({"campaign": "ab cd"}, "campaign: "),
        ({"rules": "aiperf-1.0 "}, "rules: "),
        ({"state": "finished, and won"}, "state: "),
        ({"started": "yesterday"}, "started: "),
        ({"missed_rules": "data  ended", "rankable": "no"}, "missed_rules: "),
        ({"Score": "9e15"}, "'Score' is not the name of a column"),
        ({"score ": "9e15"}, "'score ' is not the name of a column"),
        ({"s\u0441ore": "9e15"}, "is not the name of a column"),
        ({"number_of_nodes": "0"}, "number_of_nodes: "),
        ({"rankable": "perhaps"}, "rankable: "),
        ({"settings_sha256": "abc"}, "settings_sha256: "),
        ({"system": "=cmd|' /C calc'!A0"}, "system: .*spreadsheet"),
        ({"system": "a\u202eb"}, "system: .*printable"),
        ({"system": "x" * 300}, "system: "),
        ({"submitter": ""}, "submitter: "),
    ],
)
def test_invalid_cells_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=message) as raised:
        read_result_csv(write(tmp_path / "r.csv", **changes))
    assert len(str(raised.value)) < 500
    assert str(raised.value).isprintable()


def test_columns_of_a_later_version_are_ignored(tmp_path: Path) -> None:
    assert read_result_csv(write(tmp_path / "r.csv", colour="red")) == read_result_csv(write(tmp_path / "s.csv"))


def test_columns_have_the_order_of_a_result_csv(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv")
    lines = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("".join(",".join(line[::-1]) + "\n" for line in lines))
    with pytest.raises(RecordError, match="its columns are not in the order"):
        read_result_csv(path)


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"a,b\n1\n", b"a,a\n1,2\n", b"a\n1\n2\n", b"\xff\xfe", b'a\n"x', b"a" * 70_000, b"a\x00b\n1\n"]
)
def test_other_files_are_not_a_result_csv(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(data)
    submission = read_submission(path)
    assert (submission.row, submission.verified) == (None, False)
    assert submission.fault


_CELL = st.text(max_size=20) | st.sampled_from(["", "yes", "no", "1e999", "-0", "0", "1e-320", "NaN", "1" * 59, "٣"])


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(st.sampled_from(list(cells())), _CELL, max_size=8), st.binary(max_size=40), st.integers(0, 900))
def test_garbage_is_reported_as_an_error(
    tmp_path_factory: pytest.TempPathFactory, cells: dict[str, str], garbage: bytes, place: int
) -> None:
    path = tmp_path_factory.mktemp("garbage") / "r.csv"
    try:
        write(path, **cells)
    except UnicodeEncodeError:
        return
    data = path.read_bytes()
    for changed in (data, data[:place] + garbage + data[place:], data[:place], garbage):
        path.write_bytes(changed)
        submission = read_submission(path)
        assert (submission.row is None) == (submission.fault is not None)
        assert all(str(value).isprintable() for row in rows_of(rank([submission], {})) for value in row.values())


def test_a_pipe_does_not_block(tmp_path: Path, fails_if_blocked: None) -> None:
    os.mkfifo(tmp_path / "r.csv")
    with pytest.raises(UsageError, match="cannot be read: not a regular file"):
        read_submission(tmp_path / "r.csv")


@given(st.text())
def test_only_cells_that_begin_a_formula_are_escaped(text: str) -> None:
    cell = escape_formula(text)
    assert cell in (text, f"'{text}")
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
