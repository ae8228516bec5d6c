"""Scenarios of `rank` with real packages and signatures: rivals, repetitions, hostile files."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.package.signature import sign
from aiperf_orch.package.verify import verify
from aiperf_orch.util.text import text_width
from committee import result_rows
from committee.rankable_campaigns import rankable_package
from package_fixtures import TamperedPackage

_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="signatures need ssh-keygen (openssh-client)")
_LONG_NAME = "北京 a system of a name that is much too long for one line, 超级计算机 " + "x" * 90


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Packages by name; tests copy what they need."""
    folder = tmp_path_factory.mktemp("made")
    changes: dict[str, dict[str, Any]] = {
        "victim": {"system__submitter": "a site"},
        "slower": {"loss": 1, "longer": 100, "system__name": "a slower system"},
        "impostor": {"system__submitter": "an impostor", "system__name": "another system"},
        "first": {"loss": 2, "longer": 20, "system__name": _LONG_NAME},
        "second": {"loss": 3, "longer": 40, "system__name": _LONG_NAME, "campaign__seed": 1},
        "third": {"loss": 4, "longer": 60, "system__name": _LONG_NAME, "campaign__seed": 2},
    }
    return {name: rankable_package(folder / name, **each) for name, each in changes.items()}


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, Path]:
    """Keys of two signers and of a stranger; `signers` is the committee's file."""
    keys = {name: tmp_path / f"key-{name}" for name in ("site", "other", "stranger")}
    for key in keys.values():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    lines = [f"{name}@example.org {keys[name].with_suffix('.pub').read_text()}" for name in ("site", "other")]
    (tmp_path / "signers").write_text("".join(lines))
    return keys


@pytest.fixture
def give(made: Mapping[str, Path], tmp_path: Path) -> Callable[..., str]:
    """Puts a package into the committee's folder, signed or not; returns its name there."""

    def give(name: str, key: Path | None = None, file: str | None = None) -> str:
        path = tmp_path / (file or f"{name}.tar.gz")
        shutil.copyfile(made[name], path)
        if key:
            sign(path, key)
        return path.name

    return give


def _statuses(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["file"]: str(row["place"]) if row["place"] else row["status"] for row in rows}


@_ssh
def test_a_list_of_signed_unsigned_repeated_withdrawn_and_broken_files(
    aiperf: Any, give: Callable[..., str], keys: dict[str, Path], tmp_path: Path
) -> None:
    sent = [
        give("victim", keys["site"]),
        give("impostor", keys["other"]),
        give("slower", keys["other"]),
        *(give(name, keys["site"]) for name in ("first", "second", "third")),
        give("victim", keys["stranger"], "resealed.tar.gz"),
        give("slower", None, "plain.tar.gz"),
    ]
    result_rows.write(tmp_path / "invented.csv", operations=10**30)
    (tmp_path / "broken.tar.gz").write_bytes((tmp_path / "victim.tar.gz").read_bytes()[:-100])
    (tmp_path / "page.html").write_text("<html><title>Log in</title>")
    changed = tmp_path / "changed.tar.gz"
    shutil.copyfile(tmp_path / "third.tar.gz", changed)
    shutil.copyfile(tmp_path / "second.tar.gz.sig", tmp_path / "changed.tar.gz.sig")
    hash_of_slower = verify(tmp_path / "slower.tar.gz").result_row
    assert hash_of_slower
    (tmp_path / "withdrawn").write_text(f"?\n{hash_of_slower['settings_sha256']} a node was shared\n")
    sent += ["invented.csv", "broken.tar.gz", "page.html", "changed.tar.gz"]
    (tmp_path / "announced").write_text(f"{'5' * 64}, a site, 2026-11-30\n")
    command = ("rank", *sent, "--signers", "signers", "--withdrawn", "withdrawn", "--commitments", "announced")

    rows = json.loads(aiperf(*command, "--format", "json").stdout)
    assert _statuses(rows[:-1]) == {
        "victim.tar.gz": "1",
        "first.tar.gz": "2",
        "second.tar.gz": "3",
        "third.tar.gz": "4",
        "impostor.tar.gz": "duplicate",
        "resealed.tar.gz": "duplicate",
        "slower.tar.gz": "withdrawn",
        "plain.tar.gz": "withdrawn",
        "invented.csv": "unverified",
        "broken.tar.gz": "unreadable",
        "page.html": "unreadable",
        "changed.tar.gz": "faulty",
    }
    assert (rows[-1]["status"], rows[-1]["submitter"]) == ("not sent", "a site")
    signed = {row["file"]: row["signed_by"] for row in rows[:-1]}
    assert (signed["victim.tar.gz"], signed["impostor.tar.gz"]) == ("site@example.org", "other@example.org")
    assert signed["resealed.tar.gz"] is None
    repeated = [row for row in rows if row["repetitions"]]
    assert [(row["file"], row["repetitions"]) for row in repeated] == [
        (f"{name}.tar.gz", 3) for name in ("first", "second", "third")
    ]
    assert all(row["mean_score_low"] < row["mean_score"] < row["mean_score_high"] for row in repeated)

    done = aiperf(*command)
    assert done.returncode == 0
    assert not [line for line in done.stdout.splitlines() if text_width(line) > 80]
    for words in (
        "aiperf-1.1, imagenet, closed\nplace  score            error    system\n",
        "\n    1  2.96 Tera-OPS    19.99%   a system\n",
        "       by a site\n       signed by site@example.org; campaign ",
        "1.48 Tera-OPS a node; 370 Giga-OPS an accelerator; 3.7 % of the peak",
        "Without a place: result.csv files, whose numbers cannot be verified\n",
        "duplicate      impostor.tar.gz\n",
        "* has the epochs of victim.tar.gz, which was given first",
        "withdrawn      slower.tar.gz\n",
        "Repeated campaigns: mean score, and its 95 % interval\nnumber  mean",
        "\n     3  2.9",
        f"Campaigns that were announced and not sent: 1 of 1\n2026-11-30  {'5' * 16}…  a site\n",
    ):
        assert words in done.stdout, words
    assert "warning: withdrawn:1: '?' is neither" in done.stderr
    assert "warning: changed.tar.gz: changed.tar.gz.sig: is not valid for this package" in done.stderr


def test_without_signers_a_resealed_copy_displaces_nothing(
    aiperf: Any, made: Mapping[str, Path], tmp_path: Path
) -> None:
    resealed = TamperedPackage(made["victim"])
    resealed.events("00000-1.0.jsonl", lambda lines: lines[3].update(loss=0.25))
    resealed.write(tmp_path / "resealed.tar.gz")
    done = aiperf("rank", made["victim"], "resealed.tar.gz", made["impostor"], "--format", "json")
    rows = json.loads(done.stdout)
    assert [(Path(row["file"]).name, row["place"], row["status"]) for row in rows] == [
        ("victim.tar.gz", 1, "ranked"),
        ("resealed.tar.gz", 1, "ranked"),
        ("impostor.tar.gz", None, "duplicate"),
    ]
    assert f"conflict: {made['victim']} is of the same campaign" in rows[1]["note"]
    assert "conflict: resealed.tar.gz is of the same campaign" in rows[0]["note"]
    done = aiperf("rank", "resealed.tar.gz")
    assert done.stdout.endswith("Campaigns that were announced and not sent: unknown (--commitments FILE)\n")


def test_a_committee_needs_no_torch(aiperf: Any, made: Mapping[str, Path], tmp_path: Path) -> None:
    for name in ("torch", "torchvision"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a committee has no torch')\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    for command in (("rank", made["victim"]), ("verify", made["victim"])):
        assert aiperf(*command, env=environment).returncode == 0


@pytest.mark.parametrize(
    "head", [b"\x1f\x8b\x08\x00", b"PK\x03\x04", b"system,submitter\n", b""], ids=["gzip", "zip", "csv", "zeros"]
)
def test_a_file_of_2_gb_does_not_stop_the_list(
    aiperf: Any, made: Mapping[str, Path], tmp_path: Path, head: bytes
) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.write(head)
        file.truncate(2 << 30)
    rows = json.loads(aiperf("rank", "large", made["victim"], "--format", "json").stdout)
    assert [row["status"] for row in rows] == ["ranked", "unreadable"]


def test_a_file_that_takes_too_long_is_not_checked(aiperf: Any, made: Mapping[str, Path]) -> None:
    done = aiperf("rank", made["victim"], "--timeout", "1ms")
    assert done.returncode == 0
    assert "not checked" in done.stdout
    assert "its check took longer than" in done.stderr
    assert aiperf("rank", made["victim"], "--timeout", "soon").returncode == 2


def test_hostile_names_reach_neither_the_terminal_nor_the_columns(
    aiperf: Any, made: Mapping[str, Path], tmp_path: Path
) -> None:
    names = [
        "\x1b]0;owned\x07\x1b[2J.tar.gz",
        "\u202e1 9.9 Exa-OPS\n    1  9.9 Exa-OPS  1%  me.tar.gz",
        "-x.tar.gz",
        os.fsdecode(b"\xff.tar.gz"),
        "a" * 200 + ".tar.gz",
        "שלום 1.tar.gz",
    ]
    for name in names:
        shutil.copyfile(made["slower"], tmp_path / name)
    done = aiperf("rank", made["victim"], "--", *names)
    assert done.returncode == 0
    assert all(line.isprintable() and text_width(line) <= 80 for line in done.stdout.splitlines())
    assert not [line for line in done.stdout.splitlines() if line.startswith("    1  9")]
    for form in ("csv", "json"):
        done = aiperf("rank", made["victim"], "--format", form, "--", *names)
        assert done.returncode == 0
        assert all(line.isprintable() for line in done.stdout.splitlines())


def test_no_cell_begins_a_formula(aiperf: Any, tmp_path: Path) -> None:
    for number, name in enumerate(["=1+1.csv", "@x.csv", "-x.csv", "+x.csv"]):
        result_rows.write(tmp_path / name, settings_sha256=result_rows.HASHES[number])
    done = aiperf("rank", "--format", "csv", "--", *sorted(path.name for path in tmp_path.glob("*.csv")))
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 4
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())


def test_pipes_and_folders_do_not_stop_the_list(aiperf: Any, made: Mapping[str, Path], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with tarfile.open(made["victim"]) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    rows = json.loads(aiperf("rank", "pipe", "folder", "unpacked", made["victim"], "--format", "json").stdout)
    assert [row["status"] for row in rows] == ["ranked", *["unreadable"] * 3]


def test_a_missing_file_is_reported(aiperf: Any) -> None:
    done = aiperf("rank", "nothing.tar.gz")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: nothing.tar.gz: cannot be read: No such file or directory\n"


def test_missing_signers_are_reported_once(aiperf: Any, made: Mapping[str, Path]) -> None:
    done = aiperf("rank", made["victim"], "--signers", "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere: no such file of allowed signers" in done.stderr
