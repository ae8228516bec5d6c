"""Tests of the diagnosis of files that mail programs, browsers and spreadsheets changed."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.committee.entries import Status
from aiperf_orch.committee.ranking import rank
from aiperf_orch.committee.submission import read_submission
from aiperf_orch.package.signature import sign
from aiperf_orch.package.unreadable_files import likely_cause
from aiperf_orch.package.verify import verify
from aiperf_orch.results.result import compute_result
from aiperf_orch.results.tables import write_tables
from aiperf_orch.util.errors import AiperfError, UsageError
from aiperf_orch.util.temporary_folders import remove_abandoned, scratch_folder

_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="signatures need ssh-keygen (openssh-client)")


def _zipped(name: str, data: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, data)
    return stream.getvalue()


_CHANGES: list[Any] = [
    pytest.param(lambda data: gzip.decompress(data), "is a tar archive that is not compressed", id="tar"),
    pytest.param(lambda data: _zipped("p.tar.gz", data), "is a ZIP archive.*`unzip` it, and give p.tar.gz", id="zip"),
    pytest.param(lambda data: _zipped("xl/workbook.xml", b""), r"is a spreadsheet file \(.xlsx\)", id="xlsx"),
    pytest.param(lambda data: gzip.compress(data), "is compressed twice", id="twice"),
    pytest.param(lambda data: data[: len(data) // 2], "cut off.*damaged or incomplete.*download it again", id="cut"),
    pytest.param(lambda data: b"", "is empty: the download", id="empty"),
    pytest.param(
        lambda data: b"\n<!DOCTYPE html><html><head><title>Sign in\x1b</title>",
        r"is a web page \(Sign in\\x1b\)",
        id="html",
    ),
    pytest.param(lambda data: gzip.compress(b"<html><title>Log in</title>"), "is a web page", id="html gz"),
    pytest.param(lambda data: b'<?xml version="1.0"?><Error>', "is an XML document", id="xml"),
    pytest.param(lambda data: b'{"error":"expired"}', "is JSON, probably an error of a server", id="json"),
    pytest.param(
        lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull", id="git-lfs"
    ),
    pytest.param(lambda data: b"/annex/objects/SHA256E-s1--0.tar.gz\n", "git annex get", id="git-annex"),
    pytest.param(lambda data: base64.encodebytes(data), "base64 -d", id="base64"),
    pytest.param(lambda data: b"Return-Path: <a@b>\nFrom: a\n\nhello", "is a mail: save its attachment", id="eml"),
    pytest.param(lambda data: data.replace(b"\n", b"\r\n"), "changed its line ends, and cannot be repaired", id="crlf"),
    pytest.param(lambda data: data.replace(b"\r", b""), "removed its carriage returns", id="no cr"),
    pytest.param(lambda data: data.decode(errors="replace").encode(), "read as text and saved again", id="utf-8"),
    pytest.param(lambda data: b"BZh9" + data, "is a bzip2 archive", id="bzip2"),
]


@pytest.mark.parametrize(("change", "message"), _CHANGES)
def test_packages_changed_in_transfer_are_diagnosed(
    true_package: Path, tmp_path: Path, change: Callable[[bytes], bytes], message: str
) -> None:
    path = tmp_path / "p.tar.gz"
    path.write_bytes(change(true_package.read_bytes()))
    found = verify(path)
    assert not found.verified
    assert found.result_row is None
    text = " ".join(map(str, found.faults))
    assert re.search(message, text), text
    assert text.isprintable()
    [entry] = rank([read_submission(path)], {})
    assert entry.status is Status.UNREADABLE
    assert re.search(message.removeprefix("cut off.*"), entry.note), entry.note


@pytest.mark.parametrize("name", ["package.tar(1).gz", "p (1).tar.gz", "p.tgz", "p", "p.tar.gz.download"])
def test_the_file_name_of_a_package_does_not_matter(true_package: Path, tmp_path: Path, name: str) -> None:
    shutil.copy(true_package, tmp_path / name)
    assert verify(tmp_path / name).verified


def test_directories_are_diagnosed(
    aiperf: Any, true_package: Path, true_campaign: CampaignDirectory, tmp_path: Path
) -> None:
    with tarfile.open(true_package) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    for command, status in (("verify", 2), ("rank", 0)):  # one file does not stop a ranking
        done = aiperf(command, "unpacked")
        assert done.returncode == status
        assert "unpacked: cannot be read: it is an unpacked package (some browsers unpack downloads)" in done.stderr
        packing = f"it is a campaign directory: `aiperf-orch package {true_campaign.path} --output FILE.tar.gz` makes"
        assert packing in aiperf(command, true_campaign.path).stderr
        for folder in (".", tmp_path):
            message = f"{folder}: cannot be read: it is a directory: give the file that `aiperf-orch package "
            assert message in aiperf(command, folder, cwd=tmp_path.parent if folder == "." else tmp_path).stderr


def test_a_campaign_that_has_not_run_is_diagnosed_as_one(tmp_path: Path) -> None:
    (tmp_path / "campaign.yaml").touch()
    assert str(likely_cause(tmp_path)).startswith("is a campaign directory: ")


# tables


@pytest.fixture
def result_csv(make_true: Any) -> Path:
    directory = make_true().directory
    write_tables(compute_result(directory))
    return Path(directory.result)


def _through(change: Callable[[str], str], *, separator: str = ",", quoting: Any = csv.QUOTE_MINIMAL) -> Any:
    """The change of a spreadsheet: it changes cells and writes its own dialect of CSV."""

    def saved(data: bytes) -> bytes:
        rows = [[change(cell) for cell in row] for row in csv.reader(io.StringIO(data.decode()))]
        stream = io.StringIO()
        csv.writer(stream, delimiter=separator, quoting=quoting, lineterminator="\r\n").writerows(rows)
        return stream.getvalue().encode()

    return saved


def _rounded(cell: str) -> str:
    try:
        return f"{float(cell):.2E}" if float(cell) > 1e11 else cell
    except ValueError:
        return cell


def _with_comma(cell: str) -> str:
    return cell.replace(".", ",") if cell.replace(".", "").isdigit() else cell


_SAVED: list[Any] = [
    pytest.param(_through(str, separator=";"), "semicolons between the cells", id="semicolons"),
    pytest.param(_through(_with_comma, separator=";"), "commas in numbers", id="commas"),
    pytest.param(_through(str, separator="\t"), "tabs between the cells", id="tabs"),
    pytest.param(_through(_rounded), "rounded numbers", id="rounded"),
    pytest.param(lambda data: b"\xff\xfe" + data.decode().encode("utf-16-le"), "text in UTF-16", id="utf-16"),
    pytest.param(
        lambda data: data.replace(b"testers", "tëster".encode("cp1252")), "another encoding than UTF-8", id="cp1252"
    ),
    pytest.param(lambda data: data.replace(b"\n", b"\r\n") + b"\r\n,,,\r\n", "line ends of another system", id="rows"),
    pytest.param(_through(lambda cell: cell[:4], quoting=csv.QUOTE_ALL), "quotes around every cell", id="quotes"),
]


@pytest.mark.parametrize(("change", "sign"), _SAVED)
def test_a_result_csv_saved_by_a_spreadsheet_is_diagnosed(
    result_csv: Path, tmp_path: Path, change: Callable[[bytes], bytes], sign: str
) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(change(result_csv.read_bytes()))
    submission = read_submission(path)
    assert (submission.row, submission.verified) == (None, False)
    assert submission.fault
    assert "it was probably opened and saved by a spreadsheet" in submission.fault
    assert sign in submission.fault
    assert "use the file as aiperf-orch wrote it" in submission.fault


@pytest.mark.parametrize(("change", "sign"), _SAVED)
def test_a_packed_table_saved_by_a_spreadsheet_is_diagnosed(
    tampered: Any, tmp_path: Path, change: Callable[[bytes], bytes], sign: str
) -> None:
    tampered.files["result.csv"] = change(tampered.files["result.csv"])
    found = verify(tampered.write(tmp_path / "p.tar.gz"))
    assert not found.verified
    assert any(fault.where == "result.csv" and sign in fault.message for fault in found.faults)


def test_a_result_csv_given_as_a_package_is_diagnosed(result_csv: Path) -> None:
    [fault] = verify(result_csv).faults
    assert "is a result.csv, which contains no records: only the package" in fault.message


# signatures


@_ssh
@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda key: key.chmod(0o644), r"Permissions 0644 for .* are too open; It is required .*: `chmod 600 "),
        (
            lambda key: subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", key], check=True),
            r"incorrect passphrase supplied to decrypt private key: load the key with `ssh-add .*--sign .*ours\.pub",
        ),
        (
            lambda key: (key.write_text("garbage"), key.with_name("ours.pub").unlink()),
            "check with `ssh-keygen -l -f .*` that it is a private key of OpenSSH",
        ),
    ],
    ids=["permissions", "passphrase", "no key"],
)
def test_errors_of_ssh_keygen_are_reported_with_advice(
    true_package: Path, tmp_path: Path, prepare: Any, message: str
) -> None:
    shutil.copy(true_package, tmp_path / "p.tar.gz")
    key = tmp_path / "ours"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    prepare(key)
    with pytest.raises(UsageError, match=message) as raised:
        sign(tmp_path / "p.tar.gz", key)
    assert "@@@" not in str(raised.value)


@_ssh
def test_expired_keys_and_renamed_packages_are_diagnosed(true_package: Path, tmp_path: Path) -> None:
    package, signers = tmp_path / "p.tar.gz", tmp_path / "signers"
    shutil.copy(true_package, package)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "ours"], check=True)
    sign(package, tmp_path / "ours")
    signers.write_text(f'me valid-before="20200101" {(tmp_path / "ours.pub").read_text()}')
    [fault] = verify(package, signers).faults
    assert "is by none of the signers in signers: signers:1: key has expired" in fault.message.replace(
        f"{tmp_path}/", ""
    )
    package.rename(tmp_path / "renamed.tar.gz")
    [fault] = verify(tmp_path / "renamed.tar.gz", signers).faults
    assert fault.message.endswith("p.tar.gz.sig exists: if it is the signature of this package, rename it")
    shutil.copy(true_package, package)
    [fault] = verify(tmp_path / "renamed.tar.gz", signers).faults
    assert fault.message.endswith("has none beside it under this name")  # that one is of p.tar.gz


# abandoned folders


def test_folders_of_a_killed_package_are_removed_by_the_next_command(
    make_true: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make_true().directory
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    script = f"""
import os, signal, sys
from pathlib import Path
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.package import packing
packing.write_derived = lambda result: os.kill(os.getpid(), signal.SIGKILL)
directory = CampaignDirectory.open(Path({str(directory.path)!r}))
packing.write_package(directory, Path({str(tmp_path / "p.tar.gz")!r}), with_pseudonyms=True)
"""
    environment = os.environ | {"TMPDIR": str(scratch)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(scratch.iterdir())) == 1
    verifying = [sys.executable, "-m", "aiperf_orch.cli", "verify", __file__]
    subprocess.run(verifying, env=environment, timeout=120, check=False, capture_output=True)
    assert list(scratch.iterdir()) == []


def test_folders_in_use_and_foreign_folders_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    others = ["aiperf-orch-notes", "else"]
    for name in others:
        (tmp_path / name).mkdir()
    (tmp_path / "aiperf-orch-link").symlink_to(tmp_path / "else")
    with scratch_folder() as first:
        (first / "file").write_text("mine")
        with scratch_folder() as second:
            remove_abandoned()
            assert (first / "file").read_text() == "mine"
            assert second.is_dir()
            assert first.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "aiperf-orch-link"])
    os.utime(tmp_path / "aiperf-orch-notes", (0, 0))  # of a version without locks
    remove_abandoned()
    assert not (tmp_path / "aiperf-orch-notes").exists()


def test_an_unusable_temporary_directory_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(AiperfError, match="set TMPDIR"), scratch_folder():
        pass
