"""Check of report.html: a page of the form that aiperf-orch writes, whose data and text follow from the records.

The page contains its data as a JSON block. They are compared with the records; then the page is rendered again from
them, and everything outside the charts is compared. Charts are drawn by matplotlib, each version of which draws others:
of these only the permitted elements and the form of their texts are checked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from markupsafe import Markup, escape

from aiperf_orch.campaign.format_versions import format_of_package, writer_in
from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.package.page_syntax import PageError, Token, read_page
from aiperf_orch.results.report_data import report_data, writer_versions
from aiperf_orch.results.report_page import Chart, report_page
from aiperf_orch.util import strict_json

_NAME: Final = MEMBERS.report.name
_TOLERANCE: Final = 1e-9  # relative; sums and logarithms of another machine may differ
_TICK: Final = re.compile(r"[-+\u2212]?[0-9]+([.,][0-9]+)*(e[-+\u2212]?[0-9]+)?( %)?")
_INSTEAD: Final = "--report FILE renders a page from the records"
_OF_ALL_VERSIONS: Final = (
    "result", "score", "series", "activity", "trials", "simulated", "attempts", "failed", "retried",
)  # fmt: skip
"""Parts of the data that pages of every version have, without texts that a version may word in another way."""


def check_report(index: PackageIndex, manifest: Mapping[str, Any]) -> None:
    """Check the report of a package.

    Args:
        index: of the package.
        manifest: of the package; empty when it cannot be read.
    """
    if _NAME not in index.package.hashes:
        index.faults.add("report.missing", _NAME, "the package has no report")
        return
    try:
        page = (index.package.folder / _NAME).read_bytes().decode()
        tokens = read_page(page)
    except UnicodeDecodeError as error:
        index.faults.add("report.form", _NAME, f"is not UTF-8 text (byte {error.start})")
    except PageError as error:
        index.faults.add("report.form", f"{_NAME}:{error.line}", str(error))
    else:
        _check_contents(index, manifest, tokens)


def _check_contents(index: PackageIndex, manifest: Mapping[str, Any], tokens: list[Token]) -> None:
    block = next((token for token in tokens if (token.kind, token.name) == ("text", "script")), None)
    if block is None and format_of_package(manifest.get("format")) == 1:
        index.faults.remark("report.unchecked", _NAME, f"a page of packages of format 1, without its data; {_INSTEAD}")
        return
    where = f"{_NAME}:{block.line if block else 1}"
    try:
        stated = strict_json.loads(block.source.encode() if block else b"")
    except ValueError as error:
        index.faults.add("report.data", where, f"the page has no data that can be read: {error}")
        return
    ours = writer_versions()
    versions = stated.get("versions") if isinstance(stated, dict) else None
    packer = writer_in(manifest.get("versions"))
    if not isinstance(versions, dict) or writer_in(versions) != packer:
        why = f"versions: {versions!r:.90} stated; the manifest has aiperf-orch {packer!r:.90}"
        index.faults.add("report.data", where, why)
        return
    expected = report_data(index.result)
    if versions != ours:
        _check_numbers(index, stated, expected, where)
        written = f"written by aiperf-orch {packer!s:.40}, and this is {ours['aiperf-orch']}"
        same = " with other templates" if packer == ours["aiperf-orch"] else ""
        why = f"{written}{same}: only its form and its data were compared; {_INSTEAD}"
        index.faults.remark("report.unchecked", _NAME, why)
        return
    difference = _difference(stated, expected)
    if difference is None:
        _check_text(index, stated, tokens)
    else:
        index.faults.add("report.data", where, difference)


def _check_numbers(index: PackageIndex, stated: Mapping[str, Any], expected: Mapping[str, Any], where: str) -> None:
    """Compare the data of another version as far as both versions have them."""
    lacking = next((key for key in _OF_ALL_VERSIONS if key not in stated), None)
    if lacking is not None:
        index.faults.add("report.data", where, f"{lacking}: is not among the data")
        return
    for key in _OF_ALL_VERSIONS:
        difference = _difference(stated[key], expected[key], key, same_version=False)
        if difference is not None:
            index.faults.add("report.data", where, difference)
            return


def _difference(
    stated: Any, expected: Any, name: str = "", *, scale: float = 0.0, same_version: bool = True
) -> str | None:
    """The first difference of data, as a message; None if there is none.

    Args:
        stated: by the page.
        expected: by the records.
        name: of the value, as `trials.0.error`.
        scale: the largest number of the list of which the value is one; its rounding is that of all of them.
        same_version: whether both are of one version; otherwise only the keys that both have are compared.
    """
    if isinstance(expected, dict) and isinstance(stated, dict):
        if same_version and stated.keys() != expected.keys():
            return f"{name or 'the data'}: have other keys: {sorted(stated.keys() ^ expected.keys())!r:.120}"
        pairs = [(str(key), stated[key], expected[key]) for key in expected if key in stated]
    elif isinstance(expected, list) and isinstance(stated, list):
        if len(stated) != len(expected):
            return f"{name}: has {len(stated)} entries; by the records there are {len(expected)}"
        scale = max((abs(value) for value in expected if isinstance(value, float)), default=0.0)
        pairs = [(str(number), *pair) for number, pair in enumerate(zip(stated, expected, strict=True))]
    elif type(stated) is not type(expected) or not _equal(stated, expected, scale):
        return f"{name}: {stated!r:.90} stated; by the records it is {expected!r:.90}"
    else:
        return None
    for key, value, correct in pairs:
        inner = f"{name}.{key}".removeprefix(".")
        found = _difference(value, correct, inner, scale=scale, same_version=same_version)
        if found is not None:
            return found
    return None


def _equal(stated: Any, expected: Any, scale: float) -> bool:
    if not isinstance(expected, float):
        return bool(stated == expected)
    return math.isclose(stated, expected, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE * scale)


def _check_text(index: PackageIndex, data: Mapping[str, Any], tokens: list[Token]) -> None:
    """Compare everything outside the charts with the page that these data give, and the form of the charts' texts."""
    labels = set()

    def frame(chart: Chart) -> Markup:
        labels.add(chart.x_label)
        width, height = (f"{72 * inches:g}" for inches in chart.size)
        return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}"></svg>').format(width, height, chart.label)

    ours = [_comparable(token) for token in read_page(report_page(data, frame))]
    theirs = [token for token in tokens if not token.in_chart]
    for number, token in enumerate(theirs):
        own = ours[number] if number < len(ours) else ""
        if _comparable(token) != own:
            why = f"{token.source.strip()[:90]!r} stated; of these data it is {own.strip()[:90]!r}"
            index.faults.add("report.text", f"{_NAME}:{token.line}", why)
            return
    known = {str(escape(label)) for label in labels}
    for token in tokens:
        if token.in_chart and token.kind == "text" and not (_TICK.fullmatch(token.source) or token.source in known):
            why = f"{token.source[:90]!r} in a chart is neither a number nor the name of an axis"
            index.faults.add("report.text", f"{_NAME}:{token.line}", why)
            return


def _comparable(token: Token) -> str:
    """A token in a form that is the same for each version of Python and matplotlib.

    Which characters Python takes for visible depends on its version: every other one than ASCII becomes its code.
    """
    if token.name == "svg" and token.kind == "start":
        box = re.sub(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', _rounded, token.source)
        return box.encode("ascii", "backslashreplace").decode()
    return token.source.encode("ascii", "backslashreplace").decode()


def _rounded(box: re.Match[str]) -> str:
    return f'viewBox="0 0 {float(box[1]):g} {float(box[2]):g}"'
