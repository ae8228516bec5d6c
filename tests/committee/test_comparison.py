"""`compare`: factors of scores, rows side by side, text and page, and what is not verified."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.commands.compare import comparison_text
from aiperf_orch.committee.compared_campaign import ComparedCampaign, read_campaign
from aiperf_orch.committee.comparison import Comparison, compare
from aiperf_orch.committee.comparison_page import write_page
from aiperf_orch.committee.score_factors import ScoreFactors, main_factor
from aiperf_orch.package.packing import write_package
from aiperf_orch.package.questionnaire import parse_questionnaire
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.text import text_width
from committee import result_rows
from committee.rankable_campaigns import rankable_campaign
from package_fixtures import TamperedPackage

Run = Callable[..., subprocess.CompletedProcess[str]]
_NAME = "北京 超级计算机 <b>\u202e " + "x" * 60


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two packages; the second one is slower, has a questionnaire, another name and other settings."""
    folder = tmp_path_factory.mktemp("compared")
    first = rankable_campaign(folder / "first")
    second = rankable_campaign(
        folder / "second", loss=1, longer=100, system__name="B" * 90, campaign__concurrency=4, data__path="/other/path"
    )
    answers = parse_questionnaire("version: 1\nrun: {whole_system: yes}\n", "q.yaml")
    write_package(first.directory, folder / "first.tar.gz", with_pseudonyms=False)
    write_package(second.directory, folder / "second.tar.gz", with_pseudonyms=False, questionnaire=answers)
    return [folder / "first.tar.gz", folder / "second.tar.gz"]


@pytest.fixture(scope="module")
def read(packages: list[Path]) -> list[ComparedCampaign]:
    return [read_campaign(path) for path in packages]


def _cells(found: Comparison, title: str) -> dict[str, list[str]]:
    """Label -> cells of a section."""
    return {row.label: list(row.cells) for section in found.sections if section.title == title for row in section.rows}


def test_the_score_is_the_product_of_its_factors(read: list[ComparedCampaign], true_campaign: Any) -> None:
    for each in [*read, read_campaign(true_campaign.path)]:
        assert each.factors is not None
        assert math.isclose(each.factors.score, each.row["score"], rel_tol=1e-12)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("second", "name", "ratio"),
    [
        (ScoreFactors(30.0, 4.0, 2.0, 2), "operations an image", 3.0),
        (ScoreFactors(20.0, 1.0, 2.0, 2), "images a second of one trial", 0.25),
        (ScoreFactors(10.0, 5.0, 8.0, 9), "trials at work (mean)", 4.0),
    ],
)
def test_the_factor_that_differs_most(second: ScoreFactors, name: str, ratio: float) -> None:
    assert main_factor(ScoreFactors(10.0, 4.0, 2.0, 2), second) == (name, ratio)


def test_two_packages_side_by_side(read: list[ComparedCampaign]) -> None:
    found = compare(read)
    assert (found.letters, found.notes, found.simulated) == ("AB", [], False)
    assert found.conclusions == [
        "B has 0.9714 times the score of A; the factor that differs most is images a second of one trial: x 0.9714"
    ]
    campaigns = _cells(found, "Campaigns")
    assert campaigns["records"] == ["verified package"] * 2
    assert campaigns["questionnaire"] == ["-", "score 10 %"]
    factors = _cells(found, "Score by factor")
    assert factors["operations an image"] == ["2,519,976,837"] * 2
    assert factors["- of trials at once"] == ["2", "4 (x 2)"]
    assert factors["- share at work"] == ["50 %", "25 % (x 0.5)"]
    assert factors["= score"] == ["2.96 Tera-OPS", "2.875 Tera-OPS (x 0.9714)"]
    assert factors["= regulated score"][1] == "4.628 Tera-OPS (x 0.9714)"
    assert _cells(found, "Trials")["ended COMPLETED"] == ["1", "1"]
    assert _cells(found, "Software")["torch"] == ["2.11.0", "2.11.0"]


def test_settings_that_differ_are_listed_without_private_ones(read: list[ComparedCampaign]) -> None:
    settings = _cells(compare(read), "Settings that differ")
    assert settings == {"system.name": ["a system", "B" * 90], "campaign.concurrency": ["2", "4"]}
    assert not [key for each in read for key in each.settings if key.startswith(("data.path", "scheduler.setup"))]


def test_settings_have_their_keys_in_a_site_file(read: list[ComparedCampaign]) -> None:
    assert {"training.patience", "training.advanced.patience"} & read[0].settings.keys() == {
        "training.advanced.patience"
    }


def test_idle_node_hours_are_listed_by_cause(placed_campaign: Any, read: list[ComparedCampaign]) -> None:
    found = compare([read[0], read_campaign(placed_campaign.path)])
    nodes = _cells(found, "Nodes")
    assert nodes["node-hours given"][0] == "-"
    assert nodes["node-hours given"][1] != "-"
    assert nodes["idle: no trial placed"][1].endswith(" %)")
    assert nodes["agents"] != ["-", "-"]


def test_text_of_two_campaigns_has_at_most_80_columns(read: list[ComparedCampaign]) -> None:
    strange = replace(read[1], row={**read[1].row, "system": _NAME}, path=Path("x" * 200))
    text = comparison_text(compare([read[0], strange]))
    lines = text.splitlines()
    assert max(map(text_width, lines)) == 80
    assert all(line.isprintable() for line in lines)
    assert "\nCampaigns\n" in f"\n{text}"
    assert comparison_text(compare([*read, *read])).splitlines()[1].split() == ["A", "B", "C", "D"]


def test_a_package_of_an_earlier_release_is_compared(read: list[ComparedCampaign]) -> None:
    earlier = read_campaign(Path(__file__).parents[1] / "releases" / "0.1.0" / "local.tar.gz")
    found = _cells(compare([read[0], earlier]), "Campaigns")
    assert found["records"] == ["verified package"] * 2
    assert found["remarks of verify"] == ["-", "report.unchecked, script.unchecked"]


def test_a_package_with_faults_is_compared_with_a_warning(packages: list[Path], tmp_path: Path) -> None:
    package = TamperedPackage(packages[0])
    package.files["result.csv"] = package.files["result.csv"].replace(b"a system", b"a big system")
    faulty = package.write(tmp_path / "faulty.tar.gz")
    found = compare([read_campaign(packages[1]), read_campaign(faulty)])
    (note,) = found.notes
    assert note.startswith(
        f"{faulty}: NOT VERIFIED: 1 fault(s), the first: result.csv:2: system: 'a big system' stated"
    )
    assert _cells(found, "Campaigns")["records"] == ["verified package", "package with faults"]


def test_scores_that_are_not_comparable_are_noted(packages: list[Path], true_package: Path) -> None:
    found = compare([read_campaign(packages[0]), read_campaign(true_package)])
    assert not found.simulated
    assert compare([read_campaign(true_package)] * 2).simulated
    assert (
        f"{true_package}: data is digits, but imagenet in {packages[0]}: the scores are not comparable" in found.notes
    )
    assert [note for note in found.notes if "simulated is yes, but no in" in note]


def test_a_campaign_without_an_epoch_has_no_factors(
    make_true: Callable[..., Any], read: list[ComparedCampaign]
) -> None:
    empty = read_campaign(make_true(empty=True).path)
    for pair in ([read[0], empty], [empty, read[0]], [empty, empty]):
        found = compare(pair)
        assert found.conclusions == ["B and A have no ratio: one of them has no score"]
        assert comparison_text(found)
    assert [note for note in found.notes if "its campaign is running" in note]


def test_fewer_than_two_campaigns_are_refused(read: list[ComparedCampaign]) -> None:
    for number in (1, 27):
        with pytest.raises(UsageError, match=f"give 2 to 26 packages or campaign directories, not {number}"):
            compare(read[:1] * number)


def test_the_page_escapes_names_and_loads_nothing(read: list[ComparedCampaign], tmp_path: Path) -> None:
    strange = replace(read[1], row={**read[1].row, "system": _NAME})
    write_page(compare([read[0], strange]), tmp_path / "c.html")
    page = (tmp_path / "c.html").read_text()
    assert "&lt;b&gt;\\u202e" in page
    assert "<b>" not in page
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page


def test_a_browser_opens_the_page_without_errors(chromium: Any, read: list[ComparedCampaign], tmp_path: Path) -> None:
    write_page(compare([*read, *read]), tmp_path / "c.html")
    page = tmp_path / "c.html"
    chromium.open(page)
    for width in (390, 1280):
        chromium.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        assert chromium.evaluate("document.documentElement.scrollWidth") <= width
    assert chromium.evaluate("document.querySelectorAll('section').length") == 7
    assert chromium.log_messages() == []
    assert chromium.requests() == [page.as_uri()]


def test_the_command_compares_packages_and_directories(aiperf: Run, packages: list[Path], tmp_path: Path) -> None:
    directory = rankable_campaign(tmp_path / "third", loss=5).path
    done = aiperf("compare", *packages)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Campaigns\n")
    done = aiperf("compare", packages[0], directory)
    assert done.returncode == 0
    assert done.stderr == f"warning: {directory}: a campaign directory: its records were not verified\n"
    done = aiperf("compare", *packages, "--output", "c.html")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "c.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one"], "compare: give 2 to 26 packages or campaign directories, not 1"),
        (["one", "x.csv"], "x.csv: is no package that can be compared: "),
        (["one", "nothing"], "nothing: cannot be read: No such file or directory"),
        (["one", "folder"], "folder: is not a campaign directory: it has no campaign.yaml"),
        (["one", "one", "--output", "c.txt"], "--output: c.txt: the suffix must be .html"),
    ],
)
def test_what_cannot_be_compared(
    aiperf: Run, packages: list[Path], tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "one").write_bytes(packages[0].read_bytes())
    (tmp_path / "folder").mkdir()
    result_rows.write(tmp_path / "x.csv")
    done = aiperf("compare", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert not (tmp_path / "c.txt").exists()
