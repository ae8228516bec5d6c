"""The documentation as a site: links, search, and nothing from elsewhere. It is built strictly, as mkdocs calls it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from aiperf_orch.settings.setting_facts import models_with_settings
from browser import Chromium
from documentation.shown_commands import ROOT

_LOADING = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
_MARKDOWN = re.compile(r"\n(?:- |\d+\. |\| ?-)|^\s*\$ ")  # of a list, a table, a block of code
_EXTERNAL = ("https:", "http:", "mailto:")


class _Page(HTMLParser):
    """What a built page links to, loads and offers as anchors, and the texts of its paragraphs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.paragraphs: list[str] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.anchors |= {given[key] for key in ("id", "name") if key in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in _LOADING and _LOADING[tag] in given and given.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(given[_LOADING[tag]])
        if tag == "p":
            self.paragraphs.append("")
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag != "p"

    def handle_data(self, data: str) -> None:
        if self._open:
            self.paragraphs[-1] += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site; AIPERF_ORCH_SITE names one that was built before."""
    if given := os.environ.get("AIPERF_ORCH_SITE"):
        return Path(given)
    pytest.importorskip("material", reason="the site needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, _Page]:
    """Every page of the site by its file."""
    return {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


def test_every_link_and_anchor_within_the_site_exists(site: Path, pages: dict[Path, _Page]) -> None:
    wrong = [
        f"{path.relative_to(site)}: {link}"
        for path, page in pages.items()
        if path.name != "404.html"
        for link in page.links
        if not link.startswith(_EXTERNAL) and not _exists(path, link, pages)
    ]
    assert not wrong


def _exists(path: Path, link: str, pages: dict[Path, _Page]) -> bool:
    parts = urlsplit(link)
    target = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
    if not target.is_file():
        return False
    return not parts.fragment or target not in pages or unquote(parts.fragment) in pages[target].anchors


def test_pages_load_what_is_in_the_site_and_nothing_else(site: Path, pages: dict[Path, _Page]) -> None:
    for path, page in pages.items():
        found = [address for address in page.loaded if address.startswith((*_EXTERNAL, "//"))]
        assert not found, f"{path.relative_to(site)} loads {found}"
        own = [address for address in page.loaded if not address.startswith(("/", "data:", *_EXTERNAL))]
        lacking = [address for address in own if not (path.parent / urlsplit(address).path).is_file()]
        assert not lacking, f"{path.relative_to(site)} loads {lacking}, which do not exist"


def test_no_list_and_no_block_of_code_became_a_paragraph(site: Path, pages: dict[Path, _Page]) -> None:
    """Markdown of code-hosting sites and of mkdocs differ in blank lines and indents."""
    for path, page in pages.items():
        wrong = [text for text in page.paragraphs if _MARKDOWN.search(text)]
        assert not wrong, f"{path.relative_to(site)}: {wrong[0]!r}"


def _sections(site: Path) -> Iterator[tuple[str, str]]:
    """Location and text of each section that the search knows."""
    for entry in json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]:
        yield entry["location"], f"{entry['title']} {entry['text']}"


def test_the_search_knows_each_setting_in_its_section(site: Path) -> None:
    known: dict[str, set[str]] = defaultdict(set)
    for location, text in _sections(site):
        if location.startswith("reference/settings.html#"):
            known[location.partition("#")[2]] |= set(re.findall(r"<code>(\w+)</code>", text))
    everywhere = set().union(*known.values())
    for section, model, _ in models_with_settings():
        own = known[section.replace(".", "")] if section in ("system", "campaign", "data", "network") else everywhere
        lacking = set(model.model_fields) - own
        assert not lacking, f"the search finds no {lacking} in {section}"


def test_the_search_works_from_a_folder(site: Path, chromium: Chromium, tmp_path: Path) -> None:
    """Without a server and a network, in a copy whose path has a blank."""
    folder = tmp_path / "my site"
    shutil.copytree(site, folder)
    chromium.open(folder / "reference" / "settings.html")
    for query, page in (
        ("poll_interval", "settings.html"),
        ("exclude", "settings.html"),
        ("TRAINING_DIVERGED", "end-reasons"),
    ):
        found = chromium.evaluate(_SEARCH.replace("QUERY", query))
        assert page in " ".join(found), f"{query}: {found}"
    assert not [address for address in chromium.requests() if not address.startswith(("file:", "data:", "blob:"))]
    assert not chromium.log_messages()


_SEARCH = """
new Promise(async (done) => {
  const field = document.querySelector("[data-md-component=search-query]");
  const links = () => [...document.querySelectorAll(".md-search-result__link")].map((link) => link.href);
  const before = links().join();
  field.focus();
  field.value = "QUERY";
  field.dispatchEvent(new Event("input", { bubbles: true }));
  field.dispatchEvent(new KeyboardEvent("keyup", { bubbles: true }));
  for (let tries = 0; tries < 600 && (!links().length || links().join() === before); tries++)
    await new Promise((next) => setTimeout(next, 100));
  done(links());
})
"""
