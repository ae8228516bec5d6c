"""Tests of report.html: contents, appearance in a real browser, and hostile text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.network.morphisms import Edit
from aiperf_orch.package.page_syntax import read_page
from aiperf_orch.records.journal import Finished
from aiperf_orch.records.trial import Hyperparameters
from aiperf_orch.results.html import visible
from aiperf_orch.results.plots import draw_chart
from aiperf_orch.results.report import render_report, write_report
from aiperf_orch.results.report_data import report_data
from aiperf_orch.results.report_page import Chart, Curve
from aiperf_orch.results.result import compute_result
from aiperf_orch.results.rules import RULE_SETS, RuleSet
from aiperf_orch.results.tables import result_row
from aiperf_orch.settings.models import SiteSettings
from browser import contrast, luminance
from campaign_builder import CampaignBuilder

pytestmark = pytest.mark.usefixtures("earlier_notes")

_HOSTILE = "</style></svg>\"'><script>alert(1)</script><img src=https://example.org/x onerror=alert(1)>{{ 7*7 }}&lt;"
_TURNS = "a\u202egnp.exe\u2066\u200f\x1b[31m"


def _report(made: Any) -> str:
    return write_report(compute_result(made.directory)).read_text()


class _Text(HTMLParser):
    """The visible text of a page, and its tags with attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)


def _text(page: str) -> str:
    return _Text(page.partition("</style>")[2].partition("<script")[0]).text


def _data(page: str) -> Any:
    """The data of a page."""
    return json.loads(page.partition('id="data">')[2].partition("</script>")[0])


@pytest.fixture
def made(campaign: Callable[..., Any]) -> Any:
    """Four simulated trials, of which one failed and was retried."""
    made = campaign(system__name="Größe & Co", system__submitter="a <b>", scheduler__setup=["export TOKEN=s3cret"])
    made.trial(0, [(2, 0.5), (8, 0.3)])
    made.trial(1, [(4, 0.2)], at=1)
    made.submit(2)
    made.events(made.begin(2, 2), made.end(3, 2, reason="TRIAL_ERROR"), trial=2)
    made.began(2, 2)
    made.ended(2, reason="TRIAL_ERROR", message=f"{made.path}/jobs/00002-1/log:\nno luck", final=False)
    made.submit(2, attempt=2)
    made.trial(3, [(5, 0.4)], at=3)
    return made


def test_the_page_begins_with_score_and_rules(made: Any) -> None:
    text = _text(_report(made))
    assert text.startswith("SIMULATED No training took place.")
    order = [
        "Größe & Co",
        "a <b>",
        "Score",
        "110 OPS",
        "Error",
        "20.00 %",
        "Regulated score",
        "177 OPS",
        "Not rankable",
    ]
    order += ["missed duration", "it lasted 8s", "missed ended", "it is running", "missed trained", "Over time"]
    order += ["Throughput", "Leaderboard", "Failures and retries", "System", "Settings"]
    places = [text.index(word) for word in order]
    assert places == sorted(places)
    assert "✓ met precision" in text
    assert "4 of 9 missed" in text


def test_a_campaign_that_meets_every_rule_is_shown_as_rankable(
    campaign: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = campaign()
    made.trial(0, [(3600, 0.2)])
    monkeypatch.setitem(cast(Any, RULE_SETS), "aiperf-1.1", RuleSet("aiperf-1.1", "", ()))
    text = _text(_report(made))
    assert "Rankable by the rules aiperf-1.1" in text
    assert "Not rankable" not in text


def test_a_trained_campaign_is_not_marked_as_simulated(campaign: Callable[..., Any]) -> None:
    made = campaign(training__trainer="torch")
    made.trial(0, [(3600, 0.2)])
    assert "SIMULATED" not in _report(made)


def test_failures_are_listed_with_reason_message_node_job_log_and_consequence(made: Any) -> None:
    text = _text(_report(made))
    assert "5 attempts of 4 trials; 1 of them failed, 1 trials were retried" in text
    assert "2 1 TRIAL_ERROR jobs/00002-1/log: no luck n1 123 jobs/00002-1/log 0 retried" in text
    assert str(made.path) not in text


def test_private_settings_appear_as_hashes_only(made: Any) -> None:
    page = _report(made)
    assert "s3cret" not in page
    assert re.search(r"setup</dt><dd class=\"given\"><bdi>sha256:[0-9a-f]{64}</bdi>", page)
    assert made.directory.settings_sha256 in page


def test_every_setting_in_use_is_listed(made: Any) -> None:
    text = _text(_report(made))
    for section, keys in SiteSettings().model_dump().items():
        assert section in text
        assert all(key in text for key in (["name"] if section == "data" else keys))
    assert "1234" not in text
    assert "image_size" not in text, "the digits have one size"


def test_settings_without_a_value_are_folded(made: Any) -> None:
    folded = re.findall(r"<details>(.*?)</details>", _report(made), re.DOTALL)
    assert folded
    for part in folded:
        keys, values = re.findall(r"<dt>", part), re.findall(r"<dd><bdi>(.*?)</bdi></dd>", part)
        assert f"<summary>{len(keys)} without a value</summary>" in part
        assert set(values) <= {"", "none"}
    assert "<details open" not in _report(made)


def test_columns_of_the_leaderboard_have_one_unit(campaign: Callable[..., Any]) -> None:
    made = campaign()
    made.trial(0, [(2, 0.5)])
    made.trial(1, [(2000, 0.4)], at=1)
    page = _report(made)
    table = page.partition("<caption>Trials by lowest validation error</caption>")[2].partition("</table>")[0]
    assert re.search(r'class="number">[A-Za-z-]*OPS</th>', table)
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in table.split("<tr>")[2:]]
    assert len(rows) == 2
    assert all(re.fullmatch(r"(&lt; )?[0-9,]+\.[0-9]{3}", row[8]) for row in rows), rows


def test_every_table_has_a_caption(made: Any) -> None:
    page = _report(made)
    assert len(re.findall(r"<table[^>]*>\n<caption>", page)) == page.count("<table") > 0


def test_a_long_leaderboard_states_how_many_rows_it_omits(campaign: Callable[..., Any]) -> None:
    made = campaign()
    for trial in range(30):
        made.trial(trial, [(2 + trial, 0.5)], at=trial)
    text = _text(_report(made))
    assert "The best 25 of 30 trials by error; leaderboard.csv also contains the other 5." in text


def test_a_campaign_without_an_epoch_has_a_report(campaign: Callable[..., Any]) -> None:
    made = campaign()
    assert "No trial has been submitted yet." in _text(_report(made))
    made.submit()
    made.events(made.begin())
    text = _text(_report(made))
    assert "No epoch has ended yet." in text
    assert "none measured" in text


def test_an_error_of_zero_states_the_error_that_counts(campaign: Callable[..., Any]) -> None:
    made = campaign()
    made.trial(0, [(2, 0.0)])
    assert "counts half a validation image as wrong, 5.000 %" in _text(_report(made))


def test_utilisation_is_the_share_of_slot_time_with_a_running_trial(campaign: Callable[..., Any]) -> None:
    made = campaign(campaign__concurrency=2)
    made.trial(0, [(10, 0.5)])
    made.trial(1, [(10, 0.4)], at=5)
    assert "Utilisation of the 2 slots: 75.0 %" in _text(_report(made))


def test_the_page_contains_its_data(made: Any) -> None:
    result = compute_result(made.directory)
    data = _data(_report(made))
    assert data == report_data(result)
    assert data["result"] == result_row(result)
    assert data["series"]["score"][-1] == data["score"]["score"] == result.score.score
    assert [row["trial"] for row in data["trials"]] == [1, 0, 3, 2]
    assert len(data["activity"]["ops"]) == 60


def test_a_browser_shows_the_page_without_its_data(chromium: Any, made: Any) -> None:
    chromium.open(write_report(compute_result(made.directory)))
    shown = chromium.evaluate("document.body.innerText")
    assert "Not rankable" in shown
    assert "settings_sha256" not in shown
    assert chromium.evaluate("document.getElementById('data').getClientRects().length") == 0


def test_the_same_records_give_the_same_bytes(made: Any) -> None:
    assert _report(made) == _report(made)


def test_records_that_do_not_count_are_listed(made: Any) -> None:
    path = made.directory.events(3, 1, 0)
    path.write_text(path.read_text().replace('"error":0.4', '"error":0.0'))
    text = _text(_report(made))
    assert "events/00003-1.0.jsonl: is not what the journal recorded when the attempt ended" in text
    assert str(made.path) not in text


# hostile text


@pytest.fixture
def hostile(campaign: Callable[..., Any]) -> Any:
    """A campaign in which every text is an attack on the page or its reader."""
    made = campaign(
        system__name=_HOSTILE,
        system__submitter="ab<script>alert(2)</script>",
        system__contact="x'\"><b onclick=alert(3)>",
    )
    made.submit(0, edits=[{"kind": _HOSTILE}, {"kind": _TURNS}])
    begin = made.begin(hosts=[_HOSTILE], job=_HOSTILE, device=_HOSTILE + _TURNS)
    made.events(begin, made.epoch(1, 2), made.end(3, reason="TRIAL_ERROR"))
    made.began()
    made.ended(reason="TRIAL_ERROR", message=_HOSTILE + _TURNS)
    made.write(Finished, reason=_HOSTILE, by_deadline=False)
    return made


def test_hostile_text_is_escaped(hostile: Any) -> None:
    page = _report(hostile)
    known = {
        "html", "head", "meta", "title", "style", "body", "p", "strong", "header", "h1", "h2", "h3", "bdi", "code",
        "main", "section", "dl", "div", "dt", "dd", "small", "span", "ul", "li", "em", "figure", "figcaption",
        "b", "caption", "details", "summary", "a", "svg", "g", "path", "text", "table", "thead", "tbody", "tr",
        "th", "td", "footer", "script",
    }  # fmt: skip
    tags = _Text(page).tags
    assert {tag for tag, _ in tags} <= known
    assert [attributes for tag, attributes in tags if tag == "script"] == [{"type": "application/json", "id": "data"}]
    read_page(page)
    assert not [
        name for _, attributes in tags for name in attributes if name.startswith("on") or name in ("src", "style")
    ]
    links = {attributes["href"] for tag, attributes in tags if tag == "a"}
    assert links == {"leaderboard.csv", "nodes.csv", "result.csv", "series.csv"}
    assert all(tag == "a" for tag, attributes in tags if "href" in attributes)
    assert all(letter.isprintable() or letter == "\n" for letter in page)
    assert _HOSTILE.split()[0] in _text(page)
    assert "\\u202e" in page


def test_a_browser_opens_the_report_without_errors(chromium: Any, made: Any) -> None:
    page = write_report(compute_result(made.directory))
    chromium.open(page)
    assert chromium.log_messages() == []
    assert chromium.requests() == [page.as_uri()]
    assert chromium.evaluate("document.querySelectorAll('figure svg path').length") > 20
    width = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    for size in (360, 390, 1280):
        chromium.call("Emulation.setDeviceMetricsOverride", width=size, height=800, deviceScaleFactor=1, mobile=False)
        needed, there = chromium.evaluate(width)
        assert needed <= there, f"at {size} pixels it must be scrolled sideways"


def test_a_browser_runs_and_loads_nothing_from_hostile_text(chromium: Any, hostile: Any) -> None:
    page = write_report(compute_result(hostile.directory))
    chromium.open(page)
    assert chromium.log_messages() == []
    assert chromium.requests() == [page.as_uri()]
    scripts = "script:not([type='application/json'])"
    assert chromium.evaluate(f"document.querySelectorAll(`{scripts}, img, iframe, [onerror], [onclick]`).length") == 0
    shown = chromium.evaluate("JSON.parse(document.getElementById('data').textContent).system[0][1]")
    assert shown == _HOSTILE


def test_the_content_policy_blocks_unescaped_scripts(chromium: Any, made: Any) -> None:
    page = made.path / "broken.html"
    attack = "<script>document.title = 'run'</script><img src='https://localhost:1/x'><p id=x style='color: red'>x</p>"
    page.write_text(render_report(compute_result(made.directory)).replace("<main>", "<main>" + attack))
    chromium.open(page)
    assert chromium.evaluate("document.title") != "run"
    assert len([line for line in chromium.log_messages() if "Content Security Policy" in line]) == 3
    assert chromium.requests() == [page.as_uri()]  # the image was blocked before a request was sent


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_curves_have_contrast_in_light_and_dark_themes(chromium: Any, made: Any, scheme: str) -> None:
    """The contrast is at least 4.5 for text and 3 for curves, as WCAG 2.1 requires."""
    chromium.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    chromium.open(write_report(compute_result(made.directory)))
    shown = "e.childNodes.length && getComputedStyle(e).display != 'none'"
    colours = f"[...document.querySelectorAll('main *')].filter(e => {shown})"
    texts = set(chromium.evaluate(f"{colours}.map(e => getComputedStyle(e).color)"))
    curves = set(
        chromium.evaluate("[...document.querySelectorAll('.stroke-accent')].map(e => getComputedStyle(e).stroke)")
    )
    paper = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
    assert luminance(paper) < 0.1 if scheme == "dark" else luminance(paper) > 0.9
    assert texts
    assert curves
    assert min(contrast(colour, paper) for colour in texts) >= 4.5
    assert min(contrast(colour, paper) for colour in curves) >= 3


@settings(deadline=None, max_examples=200)
@given(st.text())
def test_any_text_becomes_printable(text: str) -> None:
    assert visible(text).isprintable()
    assert visible(visible(text)) == visible(text)
    if text.isprintable():
        assert visible(text) == text


# charts


def test_a_chart_is_deterministic_and_has_no_ids_or_styles() -> None:
    curves = [Curve([0, 1, 2], [1.0, 3.0, 2.0]), Curve([0, 1, 2], [1.0, 2.0], "bars"), Curve([0, 2], [2, 2], "level")]
    pictures = [draw_chart(Chart(curves, "a <b>", "hours")) for _ in range(2)]
    assert pictures[0] == pictures[1]
    assert 'aria-label="a &lt;b&gt;"' in pictures[0]
    assert not re.search(r"\b(id|href|style|class=\"[^\"]*[^a-z\" -])=", pictures[0])
    assert "#" not in pictures[0]  # every colour comes from the style sheet


# what was searched


@pytest.fixture
def searched(campaign: Callable[..., Any], tmp_path: Path) -> Any:
    """Thirty trials with networks, in a line of three and beside it."""
    made = CampaignBuilder(tmp_path / "searched", campaign().directory.settings)
    for trial in range(30):
        point = Hyperparameters(kernel_size=3 + 2 * (trial % 3), dropout=trial / 100, batch_size=32 + trial)
        edits = [Edit("deeper", 3, kernel=point.kernel_size)] * (1 + trial % 5)
        made.propose(trial, parent=None if trial < 10 else trial - 10, edits=edits, round=0, hyperparameters=point)
        made.trial(trial, [(trial + 3, 0.5 - trial / 90), (trial + 5, 0.4 - trial / 90)], at=trial)
    return made


def test_the_page_shows_what_was_searched(searched: Any) -> None:
    text = _text(_report(searched))
    words = ["What was searched", "The winning network", "Trial 29: error 7.78 % at epoch 2", "Its lineage"]
    words += ["9 deeper after 3", "19 deeper after 3", "29 deeper after 3", "Family tree", "Learning curves"]
    words += ["solid: trial 29, 7.78 %", "Error against dropout", "; importance", "Leaderboard"]
    places = [text.index(word) for word in words]
    assert places == sorted(places)
    assert not [label for label in ("trials are drawn", "left out") if label in text]


@pytest.mark.parametrize("size", [390, 1280])
def test_a_browser_shows_pictures_with_titles_and_texts_that_can_be_read(
    chromium: Any, searched: Any, size: int
) -> None:
    page = write_report(compute_result(searched.directory))
    chromium.call("Emulation.setDeviceMetricsOverride", width=size, height=900, deviceScaleFactor=1, mobile=False)
    chromium.open(page)
    assert (chromium.log_messages(), chromium.requests()) == ([], [page.as_uri()])
    assert chromium.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    texts = "[...document.querySelectorAll('svg.picture text')]"
    sizes = f"{texts}.map(e => parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a)"
    assert chromium.evaluate(f"Math.min(...{sizes})") > 9.5
    outside = "e => {const [a, b] = [e, e.ownerSVGElement].map(x => x.getBoundingClientRect()); return "
    outside += "a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 1 || a.bottom > b.bottom + 1}"
    assert chromium.evaluate(f"{texts}.filter({outside}).map(e => e.textContent)") == []
    shown = """[...document.querySelectorAll('svg.picture g[stroke-linecap] path')].filter(e => {
        e.scrollIntoView({block: 'center', inline: 'center'})
        const at = new DOMPoint(...e.getAttribute('d').match(/[0-9.]+/g).slice(0, 2)).matrixTransform(e.getScreenCTM())
        return document.elementFromPoint(at.x, at.y)?.querySelector('title')
    }).length"""
    assert chromium.evaluate(shown) > 100  # dots that the pointer finds, though some are under others


# the commands


def test_score_and_report_write_the_report(aiperf: Any, made: Any, tmp_path: Path) -> None:
    done = aiperf("score", made.path)
    assert (done.returncode, done.stderr) == (0, "")
    first = made.directory.report.read_bytes()
    done = aiperf("report", made.path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{made.directory.report}\n", "")
    assert made.directory.report.read_bytes() == first
    done = aiperf("report", made.path, "--output", tmp_path / "out.html")
    assert (tmp_path / "out.html").read_bytes() == first


def test_score_succeeds_when_the_report_cannot_be_written(aiperf: Any, made: Any) -> None:
    made.directory.report.mkdir()
    done = aiperf("score", made.path)
    assert done.returncode == 0
    assert "score            110 OPS" in done.stdout
    assert made.directory.result.exists()
    assert done.stderr.startswith("warning: the report was not written, all other files were: ")
    assert "report.html" in done.stderr
    done = aiperf("report", made.path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {made.directory.report}: cannot be written: ")
