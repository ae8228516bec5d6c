"""Tests of the pages of a ranking's website: contents, hostile text, sorting and appearance in a real browser."""

from __future__ import annotations

import http.server
import json
import os
import re
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.commands.ranking_website import add_to_website
from aiperf_orch.committee.commitments import Announcement
from aiperf_orch.committee.repetitions import repetitions_of
from aiperf_orch.committee.submission import ResultRow, Submission
from aiperf_orch.committee.website_folder import open_website
from aiperf_orch.committee.website_pages import page_names
from browser import contrast
from committee.rankable_campaigns import rankable_package
from committee.result_rows import cells
from committee.submissions import package, ranked, result_csv
from package_fixtures import TamperedPackage

_HOSTILE = "</style></script>\"'><script>alert(1)</script><img src=https://example.org/x onerror=alert(1)>{{ 7*7 }}&lt;"
_TURNS = "a\u202egnp.exe\u2066\u200f\x1b[31m"
_LONG = "x" * 200
_WIDTHS = (360, 800, 1400)


def _hostile(submission: Submission) -> Submission:
    """The submission with a row that no reader has checked."""
    changes = dict.fromkeys(("campaign", "rules", "missed_rules", "data", "started", "aiperf_orch"), _HOSTILE)
    row = ResultRow.model_construct(
        **{**cells(), **changes, "system": _HOSTILE, "submitter": _TURNS, "rankable": "no", "division": None}
    )
    return Submission(
        Path(_HOSTILE.replace("/", "") + _TURNS),
        row,
        verified=True,
        signed_by=_HOSTILE,
        records=submission.records,
        remarks=(_HOSTILE,),
    )


def _website(folder: Path, *lists: Sequence[Submission], **options: Any) -> Path:
    """A website with these lists; returns its page."""
    for sent in lists:
        website, entries = open_website(folder), ranked(sent, **options)
        reports = {submission.path: folder / "none" for submission in sent}
        add_to_website(website, entries, repetitions_of(entries), options.get("announced"), reports)
    return folder / "index.html"


@pytest.fixture
def many() -> list[Submission]:
    """Eighty packages, of which some have long names, and other files."""
    sent: list[Submission] = [
        package(f"{n}.tar.gz", n % 16, range(20 * n, 20 * n + 20), operations=(n + 1) * 10**17, system=f"system {n}",
                settings_sha256=f"{n:064x}", submitter=_LONG if n % 20 == 0 else f"site {n % 7}",
                operations_per_joule=None if n % 2 else float(n + 1), signed_by=f"{n}@example.org",
                peak_ops=1e15)
        for n in range(80)
    ]  # fmt: skip
    return [*sent, result_csv("r.csv", 3, system=_LONG), Submission(Path(_LONG), None, False, "is cut off " + _LONG)]


def _first(chromium: Any, table: int, column: int) -> list[str]:
    """Values of a column of a table, row by row."""
    rows = f"[...document.querySelectorAll('table')[{table}].tBodies[0].rows]"
    cells: list[str] = chromium.evaluate(
        f"{rows}.map(row => row.cells[{column}].dataset.value ?? row.cells[{column}].textContent)"
    )
    return cells


def _click(chromium: Any, table: int, column: int) -> None:
    chromium.evaluate(
        f"document.querySelectorAll('table')[{table}].tHead.rows[0].cells[{column}].querySelector('button').click()"
    )


# contents


def test_a_website_of_real_packages_has_their_reports(aiperf: Any, tmp_path: Path) -> None:
    good, other = rankable_package(tmp_path / "good"), rankable_package(tmp_path / "other", loss=1, longer=9)
    (tmp_path / "cut.tar.gz").write_bytes(good.read_bytes()[:-100])
    done = aiperf("rank", good, "cut.tar.gz", "--output", "website")
    assert done.returncode == 0
    assert "website/index.html: written" in done.stderr
    assert "aiperf-1.1, imagenet, closed" in done.stdout
    done = aiperf("rank", good, other, "--output", "website", "--format", "json")
    website = tmp_path / "website"
    assert json.loads((website / "ranking.json").read_text()) == json.loads(done.stdout)
    assert (website / "ranking.csv").read_text() == aiperf("rank", good, other, "--format", "csv").stdout
    reports = list((website / "reports").iterdir())
    assert len(reports) == 2  # that of the package in both lists is one file
    assert all('<script type="application/json" id="data">' in report.read_text() for report in reports)
    pages = list(website.glob("history/*/systems/*.html"))
    assert len(pages) == 3
    for page in pages:
        [report] = re.findall(r'<a href="(\.\./\.\./\.\./reports/[0-9a-f]{32}\.html)">', page.read_text())
        assert (page.parent / report).is_file()
    assert "cut.tar.gz" in (website / "index.html").read_text()


def test_a_report_of_the_sender_is_never_shown(aiperf: Any, tmp_path: Path) -> None:
    """The curves of a page are not held to the records: the website has charts of its own."""
    package = TamperedPackage(rankable_package(tmp_path / "made"))
    theirs = package.files["report.html"]
    curve = theirs.index(b'<path d="M') + len(b'<path d="M')
    package.files["report.html"] = theirs[:curve] + b"9" + theirs[curve:]
    package.write(tmp_path / "drawn.tar.gz")
    assert json.loads(aiperf("rank", "drawn.tar.gz", "--output", "website", "--format", "json").stdout)[0]["place"] == 1
    [report] = (tmp_path / "website" / "reports").iterdir()
    assert report.read_bytes() == theirs


def test_a_package_with_faults_has_no_page_and_no_report(aiperf: Any, tmp_path: Path) -> None:
    package = TamperedPackage(rankable_package(tmp_path / "made"))
    package.files["report.html"] = package.files["report.html"].replace(b"Rankable", b"Excellent")
    package.write(tmp_path / "faulty.tar.gz")
    done = aiperf("rank", "faulty.tar.gz", "--output", "website", "--format", "json")
    assert json.loads(done.stdout)[0]["status"] == "faulty"
    assert not list((tmp_path / "website" / "reports").iterdir())
    assert not list((tmp_path / "website").glob("history/*/systems"))


def test_a_package_that_is_not_checked_in_time_has_no_page(aiperf: Any, tmp_path: Path) -> None:
    made = rankable_package(tmp_path / "made")
    done = aiperf("rank", made, "--output", "website", "--timeout", "1ms")
    assert done.returncode == 0
    assert "not checked" in (tmp_path / "website" / "index.html").read_text()
    assert not list((tmp_path / "website").glob("history/*/systems"))


def test_a_foreign_folder_is_refused_before_a_package_is_read(aiperf: Any, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("")
    (tmp_path / "p").write_text("")
    done = aiperf("rank", "p", "--output", "home")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: --output: home: has files (for example thesis.tex), and is not the website of a ranking: "
        "name a new or an empty folder\n"
    )


def test_a_list_without_a_result_has_a_page(tmp_path: Path, chromium: Any) -> None:
    page = _website(tmp_path, [Submission(Path("x"), None, False, "is cut off")])
    chromium.open(page)
    shown = chromium.evaluate("document.body.innerText")
    assert "No result has a place." in shown
    assert "This is the first list." in shown
    assert chromium.log_messages() == []


def test_names_of_pages_follow_from_hashes_only(many: list[Submission]) -> None:
    sent = [package("../../x", 1), package("../../x", 1), _hostile(package("p", 2))]
    names = list(page_names(ranked([*sent, *many])).values())
    assert len(names) == len(set(names)) == 83
    assert all(re.fullmatch(r"systems/[0-9a-f]{16}(-2)?\.html", name) for name in names)


# hostile text


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A website in which every text is an attack on the page or its reader."""
    announced = {"5" * 64: Announcement("5" * 64, _HOSTILE + _TURNS, "2026-11-30")}
    sent = [
        _hostile(package("p", 1)),
        package("q", 2),
        Submission(Path(_HOSTILE + _TURNS), None, False, _HOSTILE + _TURNS),
    ]
    return _website(tmp_path, sent[1:], sent, announced=announced)


def test_a_browser_runs_and_loads_nothing_from_hostile_text(chromium: Any, hostile: Path) -> None:
    pages = [hostile, *hostile.parent.glob("history/*/index.html"), *hostile.parent.glob("history/*/systems/*.html")]
    assert len(pages) == 6
    for page in pages:
        source = page.read_text()
        assert all(letter.isprintable() or letter == "\n" for letter in source)
        chromium.open(page)
        assert chromium.log_messages() == []
        assert chromium.requests() == [page.as_uri()]
        assert chromium.evaluate("document.querySelectorAll('img, iframe, [onerror], [onclick]').length") == 0
        scripts = "[...document.scripts].map(script => script.textContent.slice(0, 13))"
        assert chromium.evaluate(scripts) == ([] if "systems" in page.parts else ['"use strict";'])
        links = chromium.evaluate("[...document.links].map(link => link.protocol)")
        assert set(links) == {"file:"}
    chromium.open(hostile)
    assert _HOSTILE in chromium.evaluate("document.body.textContent")


def test_the_content_policy_blocks_unescaped_scripts(chromium: Any, tmp_path: Path) -> None:
    page = _website(tmp_path, [package("p", 1)])
    attack = "<script>document.title = 'run'</script><img src='https://localhost:1/x'><p style='color: red'>x</p>"
    page.write_text(page.read_text().replace("<main>", "<main>" + attack))
    chromium.open(page)
    assert chromium.evaluate("document.title") != "run"
    assert len([line for line in chromium.log_messages() if "Content Security Policy" in line]) == 3
    assert chromium.requests() == [page.as_uri()]


# sorting


def test_a_click_on_a_heading_sorts_the_table(chromium: Any, tmp_path: Path, many: list[Submission]) -> None:
    page = _website(tmp_path, many)
    chromium.open(page)
    places, systems, joules, scores = 0, 1, 10, 2
    assert _first(chromium, 0, places) == [str(place) for place in range(1, 81)]
    _click(chromium, 0, places)
    _click(chromium, 0, places)
    assert _first(chromium, 0, places) == [str(place) for place in range(80, 0, -1)]
    _click(chromium, 0, systems)  # as numbers within texts
    assert _first(chromium, 0, systems) == [f"system {number}" for number in range(80)]
    for descending in (True, False):
        _click(chromium, 0, joules)
        values = _first(chromium, 0, joules)
        assert [float(value) for value in values[:40]] == sorted(range(1, 81, 2), reverse=descending)
        assert set(values[40:]) == {""}  # those without a value stay at the end
    _click(chromium, 0, scores)
    assert _first(chromium, 0, places) == [str(place) for place in range(1, 81)]
    sorts = "[...document.querySelectorAll('th')].map(head => head.getAttribute('aria-sort')).filter(sort => sort)"
    assert chromium.evaluate(sorts) == ["descending"]
    assert chromium.log_messages() == []


def test_without_scripts_the_page_reads_the_same(chromium: Any, tmp_path: Path, many: list[Submission]) -> None:
    page = _website(tmp_path, many)
    chromium.open(page)
    with_script = chromium.evaluate("document.body.innerText")
    chromium.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        chromium.open(page)
        assert chromium.evaluate("document.querySelectorAll('button').length") == 0
        assert chromium.evaluate("document.body.innerText").split() == with_script.split()
        assert chromium.log_messages() == []
    finally:
        chromium.call("Emulation.setScriptExecutionDisabled", value=False)


# appearance


@pytest.mark.parametrize("width", _WIDTHS)
def test_no_page_scrolls_sideways(chromium: Any, tmp_path: Path, many: list[Submission], width: int) -> None:
    page = _website(tmp_path, many[:4], many)
    chromium.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    for each in (page, *sorted(tmp_path.glob("history/*/systems/*"))[:2]):
        chromium.open(each)
        needed, there = chromium.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert needed <= there
    chromium.open(page)
    if width == max(_WIDTHS):  # the whole table is in view
        boxes = "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth).length"
        assert chromium.evaluate(boxes) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_links_and_labels_have_contrast(chromium: Any, tmp_path: Path, many: list[Submission], scheme: str) -> None:
    chromium.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    chromium.open(_website(tmp_path, many[:4], many[1:6]))
    colours = chromium.evaluate(
        "[...new Set([...document.querySelectorAll('body *')].map(e => getComputedStyle(e).color))]"
    )
    paper = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
    assert len(colours) >= 4
    assert min(contrast(colour, paper) for colour in colours) >= 4.5


# on a server


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str, list[str]]]:
    """A folder, the address at which a server on the loopback serves it, and the paths that were requested."""
    requested: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, *_: Any) -> None:
            requested.append(self.path)

        def log_error(self, *_: Any) -> None:
            """Print nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=os.fspath(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}/", requested
        server.shutdown()
        thread.join()


def test_a_server_is_asked_for_the_page_only(chromium: Any, served: tuple[Path, str, list[str]]) -> None:
    folder, address, requested = served
    _website(folder, [package("p", 1)])
    chromium.open_address(address)
    assert chromium.evaluate("document.querySelectorAll('th button').length") > 0
    assert chromium.log_messages() == []
    assert requested == ["/"]
