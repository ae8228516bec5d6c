"""Rows as a table, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.commands.table_output import render_rows
from aiperf_orch.util.text import escape_formula

_ROWS = [
    {"trial": 0, "state": "COMPLETED", "error": 0.123456, "ops": 23_053_458_315},
    {"trial": 10, "state": "RUN", "error": None, "ops": 10**22},
]


def test_a_table_is_aligned_with_numbers_to_the_right() -> None:
    assert render_rows(_ROWS, "table") == (
        "trial  state       error                             ops\n"
        "    0  COMPLETED  0.1235                  23,053,458,315\n"
        "   10  RUN             -  10,000,000,000,000,000,000,000\n"
    )


def test_csv_is_exact() -> None:
    assert render_rows(_ROWS, "csv") == (
        "trial,state,error,ops\n0,COMPLETED,0.123456,23053458315\n10,RUN,,10000000000000000000000\n"
    )


def test_json_is_a_list_of_objects() -> None:
    text = render_rows(_ROWS, "json")
    assert json.loads(text) == _ROWS
    assert text.endswith("]\n")


def test_no_rows() -> None:
    assert render_rows([], "json") == "[]\n"
    assert render_rows([], "csv").strip() == ""
    assert render_rows([], "table").strip() == ""


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r"))


@settings(deadline=None)
@given(st.lists(st.fixed_dictionaries({"a": _TEXT, "b": st.integers() | st.none()}), min_size=1, max_size=4))
def test_any_text_comes_back_from_csv_but_formulas(rows: list[dict[str, object]]) -> None:
    read = list(csv.DictReader(io.StringIO(render_rows(rows, "csv"), newline="")))
    shown = [{"a": escape_formula(str(row["a"])), "b": "" if row["b"] is None else str(row["b"])} for row in rows]
    assert read == shown


def test_a_formula_in_csv_begins_with_an_apostrophe_and_a_number_does_not() -> None:
    rows = [{"text": text, "number": -5.5} for text in ("=1+1", "@x", "-x", "+x", "\tx", "x=1")]
    read = list(csv.DictReader(io.StringIO(render_rows(rows, "csv"), newline="")))
    assert [row["text"] for row in read] == ["'=1+1", "'@x", "'-x", "'+x", "'\tx", "x=1"]
    assert {row["number"] for row in read} == {"-5.5"}


def test_a_cell_of_a_table_is_one_line_without_escapes() -> None:
    assert render_rows([{"host": "n1\x1b[31m\nn2", "rate": 29921.4}], "table") == (
        "host              rate\n" + r"n1\x1b[31m\nn2  29,921" + "\n"
    )
