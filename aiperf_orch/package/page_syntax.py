"""Strict reading of a report's HTML: the few forms that aiperf-orch writes, and nothing else.

A lenient parser and a browser may read the same bytes in two ways. Here everything is refused that aiperf-orch never
writes: comments, unknown elements and attributes, values without quotes, repeated attributes, unknown entities, tags
without their end, characters that are not visible. What remains has one reading. It runs and loads nothing, since no
permitted element or attribute can.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.results.html import policy

BLOCK: Final = '<script type="application/json" id="data">'
"""The start tag of the data block; no other element `script` is permitted."""

_DOCTYPE: Final = "<!DOCTYPE html>\n"
_TOKEN: Final = re.compile(
    r"<(?P<start>[a-z][a-z0-9]*)(?P<attributes>(?: [A-Za-z-]+=\"[^\"<>]*\")*)>|</(?P<end>[a-z][a-z0-9]*)>|[^<]+"
)
_ATTRIBUTE: Final = re.compile(r" ([A-Za-z-]+)=\"([^\"]*)\"")
_ENTITY: Final = re.compile(r"&(?:amp|lt|gt|nbsp|#34|#39);")
_RAW: Final = frozenset({"style", "script"})  # their text has no entities
_CODES: Final = frozenset(
    {"Cc", "Cf", "Cs", "Zl", "Zp"}
)  # control and direction characters, surrogates, line separators
_STYLE: Final = re.compile(r"url|@(?!media|page)|expression|behavior|binding|image|content|src|[\\<]", re.IGNORECASE)
"""What a style sheet needs to load a file, to run code, or to write a text; ours has none of it."""
_DEEPEST: Final = 40
_MOST_TOKENS: Final = 100_000

_NUMBER: Final = r"-?[0-9]*\.?[0-9]+"
_TEXT: Final = r".*"
_PICTURE: Final = "picture"
"""Class of an element `svg` that aiperf-orch draws itself, and not matplotlib."""
_WORDS: Final = r"[a-z-]+( [a-z-]+)*"
_PAINT: Final = r"none|currentColor"
_DRAWN: Final[Mapping[str, str]] = {
    "class": r"names|(stroke|fill)-accent( (stroke|fill)-accent)*",
    "d": r"[MLHVCSQTAZmlhvcsqtaz0-9eE .,+-]*",
    "points": r"[0-9eE .,+-]*",
    "fill": _PAINT,
    "stroke": _PAINT,
    "font-size": r"([0-9]|1[0-2])(\.[0-9]+)?(px)?",
    "stroke-dasharray": r"[0-9., ]*",
    "stroke-linecap": r"[a-z]+",
    "stroke-linejoin": r"[a-z]+",
    "text-anchor": r"[a-z]+",
    "transform": r"(rotate|translate)\([0-9eE .,+-]*\)( (rotate|translate)\([0-9eE .,+-]*\))*",
    **dict.fromkeys(("x", "y", "width", "height"), _NUMBER),
    **dict.fromkeys(("fill-opacity", "opacity", "stroke-opacity", "stroke-width"), _NUMBER),
}
_LINKED: Final = "|".join(
    re.escape(path.name) for path in (MEMBERS.leaderboard, MEMBERS.nodes, MEMBERS.result, MEMBERS.series)
)
"""Files beside the page to which it may link: these names alone, without scheme, folder, query or fragment."""
_CLASS: Final[Mapping[str, str]] = {"class": _WORDS}
_PLAIN: Final = """
    b bdi body caption code dd details div dl dt em figcaption figure footer h1 h2 h3 head header li main p
    small span strong style summary table tbody td thead title tr ul
    """.split()  # noqa: SIM905
_ATTRIBUTES: Final[Mapping[str, Mapping[str, str]]] = {
    **dict.fromkeys(_PLAIN, _CLASS),
    "html": {"lang": r"en"},
    "a": {"href": _LINKED},
    "th": {**_CLASS, "scope": r"(col|row)"},
    "section": {**_CLASS, "aria-label": _TEXT},
    "meta": {"charset": "utf-8", "http-equiv": "Content-Security-Policy", "name": _WORDS, "content": _TEXT},
    "script": {"type": "application/json", "id": "data"},
    "svg": {"class": _PICTURE, "viewBox": rf"0 0 {_NUMBER} {_NUMBER}", "role": "img", "aria-label": _TEXT},
}
"""Permitted elements outside charts; for each attribute, the pattern of its values."""
_CHART: Final = frozenset({"g", "path", "text"})
_IN_PICTURES: Final = _CHART | {"title"}
_META: Final = (
    '<meta charset="utf-8">',
    None,  # the policy
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    '<meta name="color-scheme" content="light dark">',
    '<meta name="referrer" content="no-referrer">',
)


class PageError(Exception):
    """The page is not one that aiperf-orch writes.

    Attributes:
        line: number of the line.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Token:
    """A tag, or the text between two tags.

    Attributes:
        kind: of the token.
        name: of the element; that around a text.
        source: as the page has it.
        line: number of the line on which it begins.
        in_chart: whether it is inside an element `svg` that matplotlib drew.
        in_picture: whether it is inside an element `svg` that aiperf-orch drew.
    """

    kind: Literal["start", "end", "text"]
    name: str
    source: str
    line: int
    in_chart: bool
    in_picture: bool


def read_page(page: str) -> list[Token]:
    """Split a page into its tags and texts.

    Raises:
        PageError: with the line of the first token that aiperf-orch does not write.
    """
    if not page.startswith(_DOCTYPE):
        raise PageError(1, "does not begin with <!DOCTYPE html>")
    tokens, stack, position, line = [], ["page"], len(_DOCTYPE), 2
    while position < len(page):
        found = _TOKEN.match(page, position)
        if found is None:
            raise PageError(line, f"{page[position : position + 40]!r} is no tag that aiperf-orch writes")
        token = _token(found, stack, line)
        tokens.append(token)
        if len(tokens) > _MOST_TOKENS:
            raise PageError(line, f"has more than {_MOST_TOKENS:,} tags and texts")
        position, line = found.end(), line + token.source.count("\n")
    if stack != ["page"]:
        raise PageError(line, f"the element {stack[-1]} has no end")
    _check_head(tokens)
    return tokens


def _token(found: re.Match[str], stack: list[str], line: int) -> Token:
    """The token, after its check; the stack of open elements is changed."""
    source, inside = found[0], stack[-1]
    in_chart, in_picture = "svg" in stack, _PICTURE in stack
    if found["end"]:
        name = "svg" if inside == _PICTURE else inside
        if found["end"] != name:
            raise PageError(line, f"{source} ends the element {name}")
        stack.pop()
        return Token("end", name, source, line, in_chart and name != "svg", in_picture and name != "svg")
    if not found["start"]:
        _check_text(source, inside, line)
        return Token("text", inside, source, line, in_chart, in_picture)
    name = found["start"]
    known = _CHART if in_chart else _IN_PICTURES if in_picture else _ATTRIBUTES
    if inside in _RAW or inside == "title" or name not in known:
        raise PageError(line, f"the element {name} in {inside}: a report has none")
    if inside == "page" and name != "html":
        raise PageError(line, f"the element {name} is outside of html")
    is_drawn = in_chart or (in_picture and name != "title")
    _check_attributes(found["attributes"], _DRAWN if is_drawn else _ATTRIBUTES[name], name, line)
    if name == "script" and source != BLOCK:
        raise PageError(line, f"a script that is not the data block: {source[:80]!r}")
    if name != "meta":
        stack.append(_PICTURE if source.startswith(f'<svg class="{_PICTURE}"') else name)
    if len(stack) > _DEEPEST:
        raise PageError(line, f"its elements are nested more than {_DEEPEST} deep")
    return Token("start", name, source, line, in_chart, in_picture)


def _check_attributes(written: str, permitted: Mapping[str, str], name: str, line: int) -> None:
    seen = set()
    for attribute, value in _ATTRIBUTE.findall(written):
        if attribute in seen:
            raise PageError(line, f"the element {name} has the attribute {attribute} twice")
        seen.add(attribute)
        if attribute not in permitted or not re.fullmatch(permitted[attribute], value):
            raise PageError(line, f'the element {name} with {attribute}="{value[:60]}": a report has none')
        _check_letters(value, line)


def _check_text(text: str, inside: str, line: int) -> None:
    if inside in ("page", "html") and text.strip("\n"):
        raise PageError(line, f"the text {text[:40]!r} is outside of the body")
    if inside not in _RAW:
        _check_letters(text, line)


def _check_letters(text: str, line: int) -> None:
    rest = _ENTITY.sub("", text)
    if "&" in rest:
        raise PageError(line, f"an entity that aiperf-orch does not write: {rest[rest.index('&') :][:20]!r}")
    if not rest.isprintable():
        hidden = next((letter for letter in rest if letter != "\n" and unicodedata.category(letter) in _CODES), None)
        if hidden is not None:
            raise PageError(line, f"contains the character {hidden!a}, which is not visible")


def _check_head(tokens: list[Token]) -> None:
    """Check metadata and style sheet: the policy allows this style sheet only, which can load and run nothing."""
    starts = [token.name for token in tokens if token.kind == "start" and not token.in_picture]
    once = {name: starts.count(name) for name in ("html", "head", "title", "style", "body")}
    wrong = next((name for name, number in once.items() if number != 1), None)
    if wrong is not None or starts.count("script") > 1:
        raise PageError(1, f"has not one element {wrong or 'script'}")
    style = next((token for token in tokens if token.kind == "text" and token.name == "style"), None)
    rules = style.source if style else ""
    unwanted = _STYLE.search(rules)
    if style and unwanted:
        raise PageError(style.line, f"the style sheet has {unwanted[0]!r}, which could load a file or write a text")
    escaped = policy(rules).replace("'", "&#39;")
    csp = f'<meta http-equiv="Content-Security-Policy" content="{escaped}">'
    metas = [token for token in tokens if token.name == "meta" and token.kind == "start"]
    if [token.source for token in metas] != [csp if meta is None else meta for meta in _META]:
        raise PageError(metas[0].line if metas else 1, "its metadata are not those of a report of this style sheet")
