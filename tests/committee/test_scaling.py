"""Tests of weak scaling: efficiencies, comparable campaigns, figures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from aiperf_orch.committee.scaling import Scaling, read_campaign, rows_of, scaling
from aiperf_orch.committee.scaling_figure import write_figure
from aiperf_orch.records.journal import Finished
from aiperf_orch.results.rules import OF_JOURNAL_FORMAT
from aiperf_orch.util.errors import UsageError


@pytest.fixture
def sized(campaign: Callable[..., Any]) -> Callable[..., Any]:
    """Builds a campaign of `size` concurrent trials with one epoch of 10 s each, multiplied by `slower`."""

    def make(name: str, size: int, slower: float = 1.0, **changes: Any) -> Any:
        made = campaign(name, campaign__concurrency=size, **changes)
        for trial in range(size):
            made.trial(trial, [(10 * slower, 0.5)])
        made.write(Finished, reason="over", by_deadline=False)
        return made

    return make


def _scaling(*made: Any, by: str | None = None, allow: bool = False) -> Scaling:
    return scaling([read_campaign(each.path) for each in made], by, allow_differences=allow)


def test_efficiency_is_relative_to_the_smallest_campaign(sized: Any) -> None:
    found = _scaling(sized("c", 8, slower=2.0), sized("a", 1), sized("b", 4, slower=1.25))
    assert (found.unit, found.notes, found.simulated) == ("concurrency", [], True)
    assert [(point.size, point.efficiency) for point in found.points] == [(1, 1.0), (4, 0.8), (8, 0.5)]
    assert [row["score"] for row in rows_of(found)] == [22.0, 70.4, 88.0]
    assert [row["ideal_score"] for row in rows_of(found)] == [22.0, 88.0, 176.0]


def test_the_base_is_the_better_of_equal_sizes(sized: Any) -> None:
    found = _scaling(sized("a", 1, slower=2.0), sized("b", 1), sized("c", 2))
    assert [(point.size, point.efficiency) for point in found.points] == [(1, 1.0), (1, 0.5), (2, 1.0)]


def test_the_default_unit_is_the_first_that_all_campaigns_state(sized: Any) -> None:
    def named(name: str, size: int, nodes: int, accelerators: int | None) -> Any:
        return sized(name, size, system__number_of_nodes=nodes, system__accelerators_per_node=accelerators)

    small, large = named("a", 1, 2, 4), named("b", 2, 4, 4)
    assert (_scaling(small, large).unit, _scaling(small, large).points[1].size) == ("accelerators", 16)
    assert _scaling(small, large, by="nodes").points[1].size == 4
    assert _scaling(small, named("c", 2, 4, None)).unit == "nodes"
    assert _scaling(small, named("d", 2, 2, 4)).unit == "concurrency"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training__trainer": "torch"}, "b: simulated is no, but yes in .*a: the results are not comparable"),
        ({"training__epochs": 7}, r"training.epochs: 5 before, 7 now\n.*--allow-differences"),
        ({"campaign__duration": "2h"}, "campaign.duration: 1h before, 2h now"),
    ],
)
def test_campaigns_with_different_settings_are_refused(sized: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _scaling(sized("a", 1), sized("b", 2, **changes))


def test_allowed_differences_are_noted(sized: Any) -> None:
    found = _scaling(sized("a", 1), sized("b", 2, training__epochs=7), allow=True)
    [note] = found.notes
    assert note.endswith("training.epochs: 5 before, 7 now")


def test_campaigns_with_different_rules_are_never_compared(sized: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_campaign(sized("a", 1).path)
    monkeypatch.setitem(cast(Any, OF_JOURNAL_FORMAT), 2, "aiperf-1.0")
    with pytest.raises(UsageError, match=r"rules is aiperf-1\.0, but aiperf-1\.1 in"):
        scaling([first, read_campaign(sized("b", 2).path)], None, allow_differences=True)


def test_incomparable_campaigns_are_refused(sized: Any, campaign: Any) -> None:
    one, two = sized("a", 1), sized("b", 2)
    with pytest.raises(UsageError, match="at least two"):
        _scaling(one)
    with pytest.raises(UsageError, match="is the same campaign as an earlier argument"):
        _scaling(one, two, one)
    with pytest.raises(UsageError, match="all these campaigns have 1 concurrency"):
        _scaling(one, sized("c", 1))
    with pytest.raises(UsageError, match="does not state its number of nodes"):
        _scaling(one, two, by="nodes")
    with pytest.raises(UsageError, match="has no score: no epoch has ended"):
        _scaling(one, campaign("empty"))


# the figure


@pytest.mark.parametrize(
    ("name", "begins"), [("f.html", b"<!DOCTYPE html>"), ("f.svg", b"<?xml"), ("f.png", b"\x89PNG"), ("f.pdf", b"%PDF")]
)
def test_a_figure_is_deterministic_and_marks_simulated_campaigns(
    sized: Any, tmp_path: Path, name: str, begins: bytes
) -> None:
    found = _scaling(sized("a", 1), sized("b", 2))
    write_figure(found, tmp_path / name)
    first = (tmp_path / name).read_bytes()
    assert first.startswith(begins)
    write_figure(found, tmp_path / name)
    assert (tmp_path / name).read_bytes() == first
    if name.endswith(("html", "svg")):
        assert b"SIMULATED" in first


@pytest.mark.usefixtures("earlier_notes")
def test_a_browser_opens_the_page_without_errors(chromium: Any, sized: Any, tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    write_figure(_scaling(sized("a", 1, system__name=hostile), sized("b", 2)), tmp_path / "f.html")
    chromium.open(tmp_path / "f.html")
    assert chromium.log_messages() == []
    assert chromium.requests() == [(tmp_path / "f.html").as_uri()]
    assert chromium.evaluate("document.querySelectorAll('script').length") == 0
    assert hostile in chromium.evaluate("document.body.innerText")


# the command


def test_the_command_prints_rows_and_writes_a_figure(aiperf: Any, sized: Any, tmp_path: Path) -> None:
    paths = [sized("a", 1).path, sized("b", 2, slower=1.25).path]
    done = aiperf("scaling", *paths, "--output", "f.svg")
    assert done.returncode == 0
    assert done.stdout.splitlines()[2].split()[3:9] == ["2", "35.2", "OPS", "44", "OPS", "80.0%"]
    assert done.stderr == "note: SIMULATED: no training took place in any of these campaigns\n"
    assert (tmp_path / "f.svg").exists()
    rows = list(csv.DictReader(io.StringIO(aiperf("scaling", *paths, "--format", "csv").stdout)))
    assert [(row["concurrency"], row["efficiency"]) for row in rows] == [("1", "1.0"), ("2", "0.8")]
    assert json.loads(aiperf("scaling", *paths, "--format", "json").stdout)[1]["efficiency"] == 0.8


def test_an_unknown_figure_format_is_refused(aiperf: Any, sized: Any) -> None:
    done = aiperf("scaling", sized("a", 1).path, sized("b", 2).path, "--output", "f.gif")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: f.gif: the suffix must name a format: .html, .svg, .png, .pdf\n"
