"""A questionnaire in a package: packed and redacted, verified, ranked, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.package.packing import write_package
from aiperf_orch.package.questionnaire import form, parse_questionnaire
from aiperf_orch.package.verify import verify
from committee.rankable_campaigns import rankable_campaign
from package_fixtures import TamperedPackage

Run = Callable[..., subprocess.CompletedProcess[str]]
NAME = "questionnaire.yaml"
_TEXT = "version: 1\ndata:\n  source: image-net.org  # 2012\nrun:\n  whole_system: yes\n"
_PACKED = b"version: 1\ndata:\n  source: image-net.org\nrun:\n  whole_system: true\n"


def _pack(campaign: Any, path: Path, text: str = _TEXT, **options: Any) -> TamperedPackage:
    answers = parse_questionnaire(text, "q.yaml")
    write_package(campaign, path, questionnaire=answers, **{"with_pseudonyms": False} | options)
    return TamperedPackage(path)


@pytest.fixture
def answered(true_campaign: Any, tmp_path: Path) -> TamperedPackage:
    """The files of a package with a questionnaire, for changes."""
    return _pack(true_campaign, tmp_path / "answered.tar.gz")


def test_a_package_has_the_answers_without_comments(answered: TamperedPackage, tmp_path: Path) -> None:
    assert answered.files[NAME] == _PACKED
    found = verify(tmp_path / "answered.tar.gz")
    assert (list(map(str, found.faults)), found.questionnaire) == ([], 6 / 40)


def test_without_a_questionnaire_a_package_is_the_same_but_for_it(
    answered: TamperedPackage, true_package: Path
) -> None:
    plain = TamperedPackage(true_package)
    assert verify(true_package).questionnaire is None
    del answered.files[NAME], answered.manifest["files"][NAME]
    assert (plain.files, plain.manifest) == (answered.files, answered.manifest)


@pytest.mark.parametrize(
    ("data", "where", "message"),
    [
        (b"version: 1\nrun:\n  tunning: x\n", f"{NAME}:3", "run.tunning: unknown key; did you mean tuning?"),
        (b"version: 1\nrun:\n  whole_system: 3\n", f"{NAME}:3", "run.whole_system: must be yes or no, not 3"),
        (b"version: 2\n", f"{NAME}:1", "version: must be 1, the version of these questions, not 2"),
        (b"version: 1\n# <script>\n", f"{NAME}:2", "contains what a page could interpret as a tag"),
        (b'version: 1\nrun:\n  tuning: "\\x3cb>"\n', f"{NAME}:3", "has '<b', which would begin a tag"),
        (b"version: 1\n# \x1b[2J\n", f"{NAME}:2", "has characters that are not printable"),
        (b'version: 1\nrun:\n  tuning: "a\\x1b[2J"\n', f"{NAME}:3", "has characters that are not printable"),
        (b"version: 1\nrun:\n  tuning: \xff\n", NAME, "not UTF-8 text (byte 26)"),
        (b"version: &a [*a]\n", NAME, "nested too deeply"),
        (b"version: 1\nrun: !!python/object/apply:os._exit [7]\n", f"{NAME}:2", "a section with keys is expected"),
        (b"[" * 9000, NAME, "nested too deeply"),
        (b"x", NAME, "a questionnaire is a mapping of sections"),
        (b"a: &a [" + b"0," * 99 + b"]\nb: [" + b"*a," * 200 + b"]\n", f"{NAME}:1", "more than 10000 values"),
    ],
)
def test_a_questionnaire_in_another_form_is_a_fault(
    answered: TamperedPackage, tmp_path: Path, data: bytes, where: str, message: str
) -> None:
    answered.files[NAME] = data
    found = verify(answered.write(tmp_path / "tampered.tar.gz"))
    assert [fault.id for fault in found.faults] == ["questionnaire.form"], list(map(str, found.faults))
    assert found.faults[0].where == where
    assert message in found.faults[0].message
    assert found.questionnaire is None


def test_a_questionnaire_beyond_its_limit_is_a_fault(answered: TamperedPackage, tmp_path: Path) -> None:
    answered.files[NAME] += b"#" * (1 << 18)
    found = verify(answered.write(tmp_path / "tampered.tar.gz"))
    assert [fault.id for fault in found.faults] == ["package.size"]


def test_questions_of_a_newer_version_are_no_damage(answered: TamperedPackage, tmp_path: Path) -> None:
    answered.files[NAME] = b"version: 2\n"
    answered.manifest["versions"] = {"aiperf-orch": "99.0"}
    found = verify(answered.write(tmp_path / "newer.tar.gz"))
    assert found.is_newer
    assert "use aiperf-orch 99.0 or newer" in found.faults[0].message


def test_private_settings_and_secrets_in_answers_become_hashes(
    make_true: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITE_TOKEN", "hunter2hunter2")
    made = make_true(scheduler__python="/shared/private/python")
    text = "version: 1\nsoftware:\n  installation: in /shared/private/python by hunter2hunter2\n  driver: '550'\n"
    warnings: list[str] = []
    package = _pack(made.directory, tmp_path / "p.tar.gz", text, warn=warnings.append)
    assert b"private" not in package.files[NAME]
    assert b"hunter2" not in package.files[NAME]
    assert package.files[NAME].count(b"sha256:") == 2
    (warning,) = warnings
    assert warning.startswith("questionnaire, line 3: software.installation: contains a private setting, a secret, ")
    assert verify(tmp_path / "p.tar.gz").verified


def test_names_in_answers_have_the_pseudonyms_of_the_records(true_campaign: Any, tmp_path: Path) -> None:
    text = "version: 1\nsystem:\n  storage: exported by n1.example.org\npublication:\n  contact: none\n"
    warnings: list[str] = []
    package = _pack(true_campaign, tmp_path / "p.tar.gz", text, with_pseudonyms=True, warn=warnings.append)
    assert b"storage: exported by host-" in package.files[NAME]
    assert b"example.org" not in package.files[NAME]
    assert [warning.partition(": contains")[0] for warning in warnings] == ["questionnaire, line 3: system.storage"]
    assert verify(tmp_path / "p.tar.gz").verified


def test_from_the_form_to_the_ranking(aiperf: Run, tmp_path: Path) -> None:
    made = rankable_campaign(tmp_path / "campaign")
    assert aiperf("init", "--questionnaire").stdout == form()
    done = aiperf("init", "--questionnaire", "--output", "q.yaml")
    assert (done.returncode, done.stdout) == (0, "")
    assert "q.yaml: fill it in, then: " in done.stderr
    assert f" package CAMPAIGN_DIR --questionnaire {tmp_path}/q.yaml --output FILE.tar.gz" in done.stderr
    again = aiperf("init", "--questionnaire", "--output", "q.yaml")
    assert (again.returncode, "exists already" in again.stderr) == (2, True)

    filled = (tmp_path / "q.yaml").read_text().replace("  tuning:", "  tuning: batch_size, by three campaigns of 1h")
    (tmp_path / "q.yaml").write_text(filled)
    packed = aiperf("package", made.path, "--questionnaire", "q.yaml", "--output", "p.tar.gz")
    assert packed.returncode == 0, packed.stderr
    assert "questionnaire    score 12.5 %\n  no answer to system.nodes\n" in packed.stdout
    assert "no answer to system.host_networking of the site file" in packed.stdout
    assert "cooling" not in packed.stdout
    assert "questionnaire    score 12.5 %\n" in aiperf("verify", "p.tar.gz").stdout
    assert json.loads(aiperf("verify", "p.tar.gz", "--format", "json").stdout)["questionnaire"] == 5 / 40

    assert aiperf("package", made.path, "--output", "plain.tar.gz").returncode == 0
    assert "questionnaire    none\n" in aiperf("verify", "plain.tar.gz").stdout
    assert json.loads(aiperf("rank", "plain.tar.gz", "--format", "json").stdout)[0]["questionnaire"] is None
    assert json.loads(aiperf("rank", "p.tar.gz", "--format", "json").stdout)[0]["questionnaire"] == 5 / 40
    (row,) = csv.DictReader(io.StringIO(aiperf("rank", "p.tar.gz", "--format", "csv").stdout))
    assert row["questionnaire"] == "0.125"
    assert "\n       questionnaire 12.5 %\n" in aiperf("rank", "p.tar.gz").stdout


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "q.yaml: cannot be read: No such file or directory; `aiperf-orch init --questionnaire --output FILE`"),
        (b"version: 1\nrun:\n  tunning: x\n", "q.yaml:3: run.tunning: unknown key; did you mean tuning?"),
        (b"\xff", "q.yaml: not UTF-8 text (byte 0)"),
        (b"#" * (1 << 17), "q.yaml: larger than a questionnaire can be (65536 bytes)"),
    ],
)
def test_package_refuses_a_wrong_questionnaire(
    aiperf: Run, make_true: Callable[..., Any], tmp_path: Path, data: bytes | None, message: str
) -> None:
    if data is not None:
        (tmp_path / "q.yaml").write_bytes(data)
    done = aiperf("package", make_true().path, "--questionnaire", "q.yaml", "--output", "p.tar.gz")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {message}")
    assert not (tmp_path / "p.tar.gz").exists()


def test_the_questionnaire_is_of_no_scheduler(aiperf: Run) -> None:
    done = aiperf("init", "--questionnaire", "--scheduler", "pbs")
    assert (done.returncode, done.stdout) == (2, "")
    assert "leave out --scheduler" in done.stderr
