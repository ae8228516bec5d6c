"""Manipulations of report.html, each with its one kind of fault: what a page could run, load, or state in spite of the
records.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_Page = Callable[[str], str]
_Row = tuple[_Page, str, str]
_STYLE = "<style>"
_DATA = '<script type="application/json" id="data">'


def replaced(was: str, now: str) -> _Page:
    def change(page: str) -> str:
        assert was in page
        return page.replace(was, now, 1)

    return change


def _inserted(text: str, before: str = "<main>") -> _Page:
    return replaced(before, text + before)


def _data(change: Callable[[Any], Any]) -> _Page:
    """Change the data, but not the text."""

    def changed(page: str) -> str:
        before, _, rest = page.partition(_DATA)
        block, _, after = rest.partition("</script>")
        value = json.loads(block)
        change(value)
        return f"{before}{_DATA}{json.dumps(value)}</script>{after}"

    return changed


def _attribute(text: str) -> _Page:
    return replaced("<main>", f"<main {text}>")


def _in_chart(text: str) -> _Page:
    return lambda page: re.sub(r"(<svg [^>]*>)", rf"\1{text}", page, count=1)


def _in_picture(text: str) -> _Page:
    return lambda page: re.sub(r"(<svg class=[^>]*>)", rf"\1{text}", page, count=1)


_FORM: dict[str, tuple[_Page, str]] = {
    "a script": (_inserted("<script>alert(1)</script>"), "a script that is not the data block"),
    "a module": (_inserted('<script type="module" src="x"></script>'), "the element script with type"),
    "a second block": (_inserted(f"{_DATA}0</script>"), "has not one element script"),
    "a block that is a script": (replaced(_DATA, '<script id="data">'), "a script that is not the data block"),
    "a handler": (_attribute('onclick="alert(1)"'), "main with onclick"),
    "a handler in capitals": (_attribute('ONCLICK="alert(1)"'), "main with ONCLICK"),
    "a handler without quotes": (_attribute("onclick=alert(1)"), "is no tag that aiperf-orch writes"),
    "a handler in a chart": (_in_chart('<g onload="alert(1)"></g>'), "g with onload"),
    "a handler in a picture": (_in_picture('<g onload="alert(1)"></g>'), "g with onload"),
    "a link in a picture": (_in_picture('<a href="x"></a>'), "the element a in picture"),
    "a tag in a title": (_in_picture("<title><b></b></title>"), "the element b in title"),
    "a second title of the page": (_inserted("<title>x</title>"), "has not one element title"),
    "a handler of a chart": (replaced('role="img"', 'role="img" onload="alert(1)"'), "svg with onload"),
    "a slash for a space": (replaced("<main>", '<main/onclick="alert(1)">'), "is no tag"),
    "an attribute twice": (_attribute('class="a" class="b"'), "has the attribute class twice"),
    "a link": (_inserted('<a href="https://example.org">here</a>'), "the element a with"),
    "a link that is code": (_inserted('<a href="java&#115;cript:alert(1)">here</a>'), "the element a with"),
    "a base": (_inserted('<base href="https://example.org">', "<title>"), "the element base in head"),
    "a refresh": (_inserted('<meta http-equiv="refresh" content="0">', "<title>"), 'meta with http-equiv="refresh"'),
    "another character set": (replaced('charset="utf-8"', 'charset="utf-7"'), 'meta with charset="utf-7"'),
    "no policy": (lambda page: re.sub(r"<meta http-equiv[^>]*>\n", "", page), "its metadata are not those"),
    "a wider policy": (replaced("default-src &#39;none&#39;", "default-src *"), "its metadata are not those"),
    "a picture": (_inserted('<img src="data:image/png;base64,AA==">'), "the element img in"),
    "a frame": (_inserted('<iframe srcdoc="x"></iframe>'), "the element iframe in"),
    "an object": (_inserted('<object data="x"></object>'), "the element object in"),
    "a form": (_inserted('<form action="https://example.org"></form>'), "the element form in"),
    "a button": (_inserted('<button formaction="https://example.org">x</button>'), "the element button in"),
    "a template": (_inserted("<template></template>"), "the element template in"),
    "an element in capitals": (_inserted("<SCRIPT>alert(1)</SCRIPT>"), "is no tag"),
    "a comment": (_inserted("<!-- -->"), "is no tag"),
    "an odd comment": (_inserted("<!--><b>x</b>-->"), "is no tag"),
    "a section of characters": (_inserted("<![CDATA[x]]>"), "is no tag"),
    "an instruction": (_inserted("<?php x ?>"), "is no tag"),
    "a foreign object": (_in_chart("<foreignobject></foreignobject>"), "the element foreignobject in svg"),
    "a picture in a chart": (_in_chart('<image href="x"></image>'), "the element image in svg"),
    "a copy in a chart": (_in_chart('<use href="#x"></use>'), "the element use in svg"),
    "a style in a chart": (_in_chart("<style>text{}</style>"), "the element style in svg"),
    "an animation": (_in_chart('<set attributeName="x"></set>'), "the element set in svg"),
    "a filter of a path": (_in_chart('<path d="M 0 0" fill="url(#x)"></path>'), 'path with fill="url(#x)"'),
    "a large text": (_in_chart('<text font-size="90px">9</text>'), 'text with font-size="90px"'),
    "a scaled text": (_in_chart('<text transform="scale(9)">9</text>'), 'text with transform="scale(9)"'),
    "a style": (_attribute('style="display: none"'), "main with style"),
    "another class": (_attribute('class="a&#10;b"'), "main with class"),
    "an imported style": (replaced(_STYLE, _STYLE + "@import 'x';"), "the style sheet has '@'"),
    "a style that loads": (replaced(_STYLE, _STYLE + "b{background:URL(x)}"), "the style sheet has 'URL'"),
    "a style that is code": (replaced(_STYLE, _STYLE + "b{width:expression(1)}"), "the style sheet has 'expression'"),
    "a style that writes": (replaced(_STYLE, _STYLE + "b::after{content:'9'}"), "the style sheet has 'content'"),
    "a hidden style": (replaced(_STYLE, _STYLE + "b{width:\\75rl(x)}"), "the style sheet has"),
    "another style": (replaced(_STYLE, _STYLE + "b{color:red}"), "its metadata are not those"),
    "a second style": (_inserted("<style>b{}</style>"), "has not one element style"),
    "a zero": (_inserted("<b>\x00</b>"), "which is not visible"),
    "a turned text": (_inserted("<b>\u202e9</b>"), "'\\u202e', which is not visible"),
    "an entity": (_inserted("<b>&#x3c;</b>"), "an entity that aiperf-orch does not write"),
    "an entity without its end": (_inserted("<b>&lt script</b>"), "an entity that aiperf-orch does not write"),
    "no end": (replaced("</main>", ""), "ends the element main"),
    "two ends": (replaced("</main>", "</main></main>"), "ends the element body"),
    "no end at all": (lambda page: page[: page.index("</main>")], "has no end"),
    "a text after the page": (lambda page: page + "9", "is outside of the body"),
    "an element after the page": (lambda page: page + "<b>9</b>", "is outside of html"),
    "no type": (lambda page: page.removeprefix("<!DOCTYPE html>\n"), "does not begin with"),
    "another type": (lambda page: "<!DOCTYPE html SYSTEM 'x'>\n" + page, "does not begin with"),
    "a mark of the byte order": (lambda page: "\ufeff" + page, "does not begin with"),
    "deep elements": (_inserted("<b>" * 50 + "</b>" * 50), "nested more than 40 deep"),
}

_CONTENTS: dict[str, _Row] = {
    "a higher score among the data": (
        _data(lambda data: data["score"].update(score=9.9e15)), "report.data", "score.score: 9900000000000000.0 stated",
    ),
    "a better error among the data": (
        _data(lambda data: data["trials"][0].update(error=0.001)), "report.data", "trials.0.error: 0.001 stated",
    ),
    "a row less among the data": (
        _data(lambda data: data["trials"].pop()), "report.data", "trials: has 3 entries; by the records there are 4",
    ),
    "a key less among the data": (_data(lambda data: data.pop("failures")), "report.data", "other keys: ['failures']"),
    "a key more among the data": (_data(lambda data: data.update(x=1)), "report.data", "other keys: ['x']"),
    "another point of a curve": (
        _data(lambda data: data["series"]["score"].__setitem__(3, 0.0)), "report.data", "series.score.3: 0.0 stated",
    ),
    "a number that is a truth": (
        _data(lambda data: data.update(simulated=1)), "report.data", "simulated: 1 stated; by the records it is True",
    ),
    "another rule": (_data(lambda data: data["rules"][0].__setitem__(2, None)), "report.data", "rules.0.2: None"),
    "another version among the data": (
        _data(lambda data: data["versions"].update({"aiperf-orch": "0.3.0"})), "report.data", "the manifest has",
    ),
    "no data": (
        lambda page: re.sub(r'<script type="application/json" id="data">.*?</script>\n', "", page),
        "report.data", "no data that can be read",
    ),
    "data that are a list": (replaced(_DATA + "{", _DATA + "[]{"), "report.data", "no data that can be read"),
    "a key of the data twice": (replaced(_DATA + "{", _DATA + '{"simulated":true,'), "report.data", "occurs twice"),
    "a higher score in the text": (
        lambda page: re.sub(r"(<dt>Score</dt><dd>)[^<]*", r"\g<1>99", page), "report.text", "'99' stated",
    ),
    "a better trial in the text": (replaced(">1.94 %</td>", ">0.01 %</td>"), "report.text", "'0.01 %' stated"),
    "a trial that is rankable": (
        replaced('<span class="word">Not rankable', '<span class="word">Rankable'), "report.text", "'Rankable' stated",
    ),
    "a rule that is met": (replaced("✗ missed", "✓ met"), "report.text", "met' stated"),
    "no mark of the simulation": (
        lambda page: re.sub(r'<p class="simulated">.*?</p>', "", page, flags=re.DOTALL), "report.text", "stated",
    ),
    "a text more": (_inserted("<p>99 Exa-OPS</p>"), "report.text", "stated"),
    "a number that is hidden": (
        replaced('<td class="number">1</td>', '<td class="failed">1</td>'), "report.text", "failed",
    ),
    "a chart of another size": (
        lambda page: re.sub(r'viewBox="0 0 [0-9.]+ ', 'viewBox="0 0 1 ', page, count=1), "report.text", "0 0 1",
    ),
    "another name of a chart": (replaced("Score over time", "Score by time"), "report.text", "Score by time"),
    "another bar of the winning network": (
        lambda page: re.sub(r"v-[0-9.]+h([0-9.]+)v[0-9.]+z", r"v-99h\1v99z", page), "report.text", "v-99h",
    ),
    "another dot in the family tree": (
        lambda page: re.sub(r'd="M[0-9.]+ [0-9.]+h0"', 'd="M1 1h0"', page, count=1), "report.text", 'd="M1 1h0"',
    ),
    "another title of a dot": (
        lambda page: re.sub(r"<title>trial 1: [0-9.]+ %", "<title>trial 1: 0.01 %", page), "report.text", "0.01 %",
    ),
    "a text in a picture": (_in_picture("<text>99 Exa-OPS</text>"), "report.text", "<text>"),
    "a picture that is not compared": (replaced('svg class="picture"', "svg"), "report.form", "title in path"),
    "a text in a chart": (
        _in_chart("<text>a score of 99 Exa-OPS</text>"), "report.text", "neither a number nor the name of an axis",
    ),
}  # fmt: skip

MANIPULATIONS_OF_THE_REPORT: dict[str, _Row] = _CONTENTS | {
    name: (change, "report.form", message) for name, (change, message) in _FORM.items()
}
