"""Tests of the check of report.html: what is found in a page, and which pages pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.package import check_report
from aiperf_orch.package.page_syntax import PageError, read_page
from aiperf_orch.package.verify import Verification, verify
from package.manipulations_of_the_report import MANIPULATIONS_OF_THE_REPORT
from plan_example import PLAN


def _change(package: Any, change: Callable[[str], str]) -> None:
    before = package.files["report.html"].decode()
    after = change(before)
    assert after != before
    package.files["report.html"] = after.encode()


def _remarks(found: Verification) -> list[str]:
    """Remarks on the report."""
    return [remark.id for remark in found.remarks if remark.id.startswith("report.")]


@pytest.mark.parametrize("name", MANIPULATIONS_OF_THE_REPORT)
def test_a_manipulation_of_the_report_has_one_fault(name: str, tampered: Any, tmp_path: Path) -> None:
    change, id_, message = MANIPULATIONS_OF_THE_REPORT[name]
    _change(tampered, change)
    [fault] = verify(tampered.write(tmp_path / "tampered.tar.gz")).faults
    assert (fault.id, fault.where.partition(":")[0]) == (id_, "report.html"), fault
    assert message in fault.message


def test_another_encoding_is_found(tampered: Any, tmp_path: Path) -> None:
    tampered.files["report.html"] = tampered.files["report.html"].decode().encode("utf-16")
    [fault] = verify(tampered.write(tmp_path / "tampered.tar.gz")).faults
    assert (fault.id, fault.message) == ("report.form", "is not UTF-8 text (byte 0)")


def test_a_package_without_a_report_is_found(tampered: Any, tmp_path: Path) -> None:
    del tampered.files["report.html"]
    [fault] = verify(tampered.write(tmp_path / "tampered.tar.gz")).faults
    assert fault.id == "report.missing"


def test_many_tags_are_refused_at_once() -> None:
    with pytest.raises(PageError, match="more than 100,000 tags"):
        read_page('<!DOCTYPE html>\n<html lang="en"><head></head><body>' + "<b></b>" * 1_000_000)


_LINKS = [
    'href="javascript:alert(1)"', 'href="//host/result.csv"', 'href="../result.csv"', 'href="./result.csv"',
    'href="/result.csv"', 'href="data:text/html,x"', 'href="https://host/result.csv"', 'href="RESULT.CSV"',
    'HREF="result.csv"', 'href="result.csv#x"', 'href="result.csv?x"', 'href="result&amp;.csv"',
    'href="result&#46;csv"', 'href=" result.csv"', 'href="result.csv "', 'href="result.csv\n"', 'href="other.csv"',
    'href=""', 'href="resultxcsv"', "href='result.csv'", "href=result.csv", 'href="result.csv" target="_blank"',
    'href="result.csv" ping="https://host/"', 'href="result.csv" download="x"', 'href="result.csv" href="nodes.csv"',
    'href="result.csv" onclick="x"',
]  # fmt: skip


@pytest.mark.parametrize("attributes", _LINKS)
def test_a_link_to_anything_but_a_table_beside_the_page_is_refused(attributes: str, tampered: Any) -> None:
    page = tampered.files["report.html"].decode()
    read_page(page)
    read_page(page.replace("<main>", '<main><a href="result.csv">x</a>', 1))
    with pytest.raises(PageError):
        read_page(page.replace("<main>", f"<main><a {attributes}>x</a>", 1))


@pytest.mark.parametrize("tag", ['details open=""', 'details ontoggle="x"', 'summary id="x"'])
def test_an_attribute_of_a_folded_part_is_refused(tag: str, tampered: Any) -> None:
    page, name = tampered.files["report.html"].decode(), tag.partition(" ")[0]
    read_page(page.replace("<main>", f"<main><{name}>x</{name}>", 1))
    with pytest.raises(PageError):
        read_page(page.replace("<main>", f"<main><{tag}>x</{name}>", 1))


@pytest.mark.parametrize("versions", [["9"], "9", {"aiperf-orch": ["9"]}, None])
def test_a_manifest_of_other_versions_is_found(versions: Any, tampered: Any, tmp_path: Path) -> None:
    tampered.manifest["versions"] = versions
    faults = verify(tampered.write(tmp_path / "tampered.tar.gz")).faults
    assert [fault.id for fault in faults] == ["manifest.format", "report.data"]


def _without_data(page: str) -> str:
    return re.sub(r'<script type="application/json" id="data">.*?</script>\n', "", page)


def test_a_page_of_format_1_has_no_data(tampered: Any, tmp_path: Path) -> None:
    tampered.manifest["format"] = "aiperf-orch-package-1"
    _change(tampered, _without_data)
    found = verify(tampered.write(tmp_path / "earlier.tar.gz"))
    assert (found.faults, _remarks(found)) == ([], ["report.unchecked"])


@pytest.mark.parametrize(
    ("of_version", "change", "faults"),
    [
        ("0.1.9", lambda page: page.replace("Over time", "In time"), []),
        (
            "0.1.9",
            lambda page: page.replace('"error":0.19', '"error":0.18').replace('"error":0.01', '"error":0.02'),
            ["report.data"],
        ),
        ("0.1.9", lambda page: page.replace("<main>", "<main><script>x</script>"), ["report.form"]),
    ],
)
def test_of_a_page_of_another_version_form_and_data_are_compared(
    of_version: str, change: Callable[[str], str], faults: list[str], tampered: Any, tmp_path: Path
) -> None:
    tampered.manifest["versions"] = {"aiperf-orch": of_version}
    written = f'"aiperf-orch":"{of_version}"'
    _change(tampered, lambda page: change(re.sub(r'"aiperf-orch":"[^"]*"', written, page, count=1)))
    found = verify(tampered.write(tmp_path / "other.tar.gz"))
    assert [fault.id for fault in found.faults] == faults
    assert _remarks(found) == ([] if faults == ["report.form"] else ["report.unchecked"])


def test_of_a_page_of_other_templates_the_text_is_not_compared(
    tampered: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _change(tampered, lambda page: page.replace("Over time", "In time"))
    path = tampered.write(tmp_path / "other.tar.gz")
    assert [fault.id for fault in verify(path).faults] == ["report.text"]
    ours = check_report.writer_versions()
    monkeypatch.setattr(check_report, "writer_versions", lambda: ours | {"templates": "0" * 64})
    found = verify(path)
    assert found.faults == []
    assert "with other templates: only its form and its data were compared" in str(found.remarks[0])


def test_characters_that_another_python_shows_as_codes_are_no_fault(
    make_true: Callable[..., Any], tmp_path: Path
) -> None:
    """What is printable depends on the version of Unicode: a character of a newer one is written as its code."""
    from aiperf_orch.package.packing import write_package
    from package_fixtures import TamperedPackage

    made = make_true(system__submitter="testers of größe ☂")
    write_package(made.directory, tmp_path / "made.tar.gz", with_pseudonyms=False)
    package = TamperedPackage(tmp_path / "made.tar.gz")
    _change(package, lambda page: page.replace("☂", "\\u2602"))
    assert verify(package.write(tmp_path / "other.tar.gz")).faults == []


# the page that `verify` renders


def test_verify_renders_a_page_of_its_own(aiperf: Any, true_package: Path, tmp_path: Path, tampered: Any) -> None:
    done = aiperf("verify", true_package, "--report", tmp_path / "ours.html")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"report           {tmp_path / 'ours.html'}, rendered from the records\n" in done.stdout
    packed = tampered.files["report.html"]
    assert (tmp_path / "ours.html").read_bytes() == packed
    _change(tampered, lambda page: page.replace("1.94 %", "0.01 %"))
    done = aiperf("verify", tampered.write(tmp_path / "tampered.tar.gz"), "--report", tmp_path / "again.html")
    assert done.returncode == 1
    assert (tmp_path / "again.html").read_bytes() == packed


def test_the_rendered_page_never_replaces_the_package(aiperf: Any, tampered: Any, tmp_path: Path) -> None:
    path = tampered.write(tmp_path / "package.tar.gz")
    before = path.read_bytes()
    done = aiperf("verify", path, "--report", path)
    assert (done.returncode, path.read_bytes()) == (2, before)
    assert "is the package: name another file" in done.stderr


def test_no_page_is_rendered_of_records_that_cannot_be_read(aiperf: Any, tampered: Any, tmp_path: Path) -> None:
    tampered.files["journal.jsonl"] = b"{}\n"
    done = aiperf("verify", tampered.write(tmp_path / "package.tar.gz"), "--report", tmp_path / "ours.html")
    assert done.returncode == 1
    assert "report           not written: no records can be read" in done.stdout
    assert not (tmp_path / "ours.html").exists()


def test_a_plan_in_the_journal_that_the_report_does_not_compare_is_found(tampered: Any, tmp_path: Path) -> None:
    tampered.journal(lambda entries: entries[0].update(plan=PLAN.model_dump(mode="json")))
    found = verify(tampered.write(tmp_path / "changed.tar.gz"))
    assert [fault.id for fault in found.faults] == ["report.data"]
    assert "plan: None stated" in str(found.faults[0])
