"""Tests of packages with pseudonyms: no file contains a name in any form."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.package.packing import write_package
from aiperf_orch.package.verify import verify
from aiperf_orch.records.journal import Drained, SettingChange, SettingsChanged
from package_fixtures import add_trials

Change = Callable[[str, str], str]
_SLURM = {
    "kind": "slurm", "cluster": "jupiter", "partition": "batch", "account": "proj42", "exclude": "spoilt[1-2]",
    "mail_user": "alice@hpc.example.edu", "mail_type": "FAIL", "setup": ["export TOKEN=hunter2hunter2"],
}  # fmt: skip


def _rename(directory: CampaignDirectory, change: Change, *, script: str = "", accounting: bool = True) -> None:
    """Change hosts, jobs and messages in the records of a campaign; files and journal stay consistent."""

    def changed(key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: changed(name, item) for name, item in value.items()}
        if isinstance(value, list):
            return [changed(key, item) for item in value]
        return change(key, value) if isinstance(value, str) else value

    for file in (directory.path / "events").iterdir():
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps(changed("", line), separators=(",", ":")) + "\n" for line in lines))
    last, lines, jobs = "0" * 64, [], []
    for entry in map(json.loads, directory.journal.read_text().splitlines()):
        entry = changed("", entry) | {"prev": last}
        for item in entry["attempts"] if entry["type"] == "ended" else ():
            data = directory.events(item["trial"], item["attempt"], 0).read_bytes()
            item["files"] = [{"run": 0, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}]
        for item in entry["attempts"] if entry["type"] == "began" else ():
            name = directory.attempt_name(item["trial"], item["attempt"])
            jobs.append({"name": name, "job": item["job"], "state": "COMPLETED", "nodes": item["hosts"]})
        line = json.dumps(entry, separators=(",", ":"))
        last = hashlib.sha256(line.encode()).hexdigest()
        lines.append(line)
    directory.journal.write_text("\n".join(lines) + "\n")
    if accounting:
        directory.accounting.write_text("".join(json.dumps(job) + "\n" for job in jobs))
    for file in directory.scripts():
        file.write_text(f"#!/bin/bash\ncd {directory.path}\n{script}\nexec python\n")


def _unpacked(package: Path) -> dict[str, str]:
    """Name and text of every file in a package."""
    with tarfile.open(package) as archive:
        members = [(info.name, archive.extractfile(info)) for info in archive]
        return {name: file.read().decode() for name, file in members if file is not None}


def _names_found(package: Path, names: list[str]) -> set[tuple[str, str]]:
    """(file, name) for each name that a file or its path contains as a separate word."""
    found = set()
    for file, text in _unpacked(package).items():
        for name in names:
            if re.search(rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])", f"{file}\n{text}", re.IGNORECASE):
                found.add((file, name))
    return found


@pytest.fixture
def alice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets the current user to alice."""
    monkeypatch.setenv("HOME", "/home/alice")
    for variable in ("LOGNAME", "USER"):
        monkeypatch.setenv(variable, "alice")


_MESSAGES = [
    "left the queue, /home/alice/campaign/jobs/00001-1/log ends: srun: error: N1-ib0.HPC.example.edu: task 0: Killed",
    "NODE n[1-4] of cluster Jupiter failed; account proj42 (proj42); terminated by bob@pbs01.example.edu",
    "n7: storage9.hpc.example.edu:/gpfs/users/alice is stale, ask Alice or help@example.edu; see n1.log, LOGIN1",
]
_NAMES = [
    "n1",
    "n2",
    "n3",
    "n7",
    "login1",
    "pbs01",
    "hpc",
    "example",
    "alice",
    "bob",
    "proj42",
    "jupiter",
    "storage9",
    "spoilt1",
    "spoilt",
]


@pytest.mark.parametrize("message", _MESSAGES)
def test_no_name_is_left_in_any_file(make_true: Callable[..., Any], tmp_path: Path, alice: None, message: str) -> None:
    scheduler = {f"scheduler__{key}": value for key, value in _SLURM.items()}
    directory = make_true(**scheduler, training__trainer="torch").directory

    def change(key: str, value: str) -> str:
        if key == "hosts":
            return value.replace(".example.org", ".hpc.example.edu").replace("n2", "N2")
        if key == "job":
            return value.replace("pbs1.example.org", "pbs01.example.edu")
        if key == "device":
            return f"CPU of {value} on n1"
        return {"host": "login1.hpc.example.edu"}.get(key, message if key == "message" and value else value)

    script = """#SBATCH --clusters=jupiter --account=proj42 --exclude=spoilt[1-2],n3 --mail-user=alice@hpc.example.edu
export AIPERF_ORCH_HOSTS=n1,N2.hpc.example.edu MASTER_ADDR=n1-ib0.hpc.example.edu
ls /home/alice ~bob/n2/x || true"""
    _rename(directory, change, script=script.replace("~bob", "/home/bob"))
    package = tmp_path / "p.tar.gz"
    write_package(directory, package, with_pseudonyms=True)
    assert _names_found(package, _NAMES) == set()
    found = verify(package)
    assert (list(map(str, found.faults)), found.verified) == ([], True)
    files = {name.partition("/")[2]: text for name, text in _unpacked(package).items()}
    begins = [json.loads(files[f"events/0000{trial}-1.0.jsonl"].splitlines()[0]) for trial in (0, 1)]
    jobs = [json.loads(line) for line in files["accounting.jsonl"].splitlines()]
    assert [jobs[0]["nodes"], jobs[1]["nodes"]] == [begin["hosts"] for begin in begins]
    assert jobs[0]["job"] == begins[0]["job"]
    assert jobs[0]["job"].startswith("101.host-")
    assert "SBATCH --clusters=cluster-1" in files["jobs/00000-1/job.sh"]
    assert "cluster: cluster-1" in files["campaign.yaml"]
    again = tmp_path / "again.tar.gz"
    write_package(directory, again, with_pseudonyms=True)
    assert again.read_bytes() == package.read_bytes()


def test_hosts_named_like_words_or_numbers_keep_texts_intact(make_true: Any, tmp_path: Path, alice: None) -> None:
    directory = make_true().directory
    message = "a trial of 1 node failed: 2 of 3 files are on node 1 in 0.5 s"

    def change(key: str, value: str) -> str:
        if key == "hosts":
            return {"n1.example.org": "a", "n2.example.org": "1"}[value]
        if key == "job":
            return value.replace("pbs1.example.org", "name")
        return {"host": "node"}.get(key, message if key == "message" and value else value)

    _rename(directory, change)
    package = tmp_path / "p.tar.gz"
    write_package(directory, package, with_pseudonyms=True)
    found = verify(package)
    assert (list(map(str, found.faults)), found.verified) == ([], True)
    files = {name.partition("/")[2]: text for name, text in _unpacked(package).items()}
    assert message in files["journal.jsonl"]
    assert message in files["report.html"]
    for line in files["accounting.jsonl"].splitlines():
        job = json.loads(line)
        assert re.fullmatch(r"host-\d+", job["nodes"][0])
        assert re.fullmatch(r"\d+\.host-\d+", job["job"])
    assert '"host":"host-' in files["journal.jsonl"]
    assert directory.settings_sha256 in files["result.csv"]  # identifies the campaign


def test_without_pseudonyms_short_private_names_are_hashed(make_true: Any, tmp_path: Path) -> None:
    directory = make_true(**{f"scheduler__{key}": value for key, value in _SLURM.items()}).directory
    _rename(directory, lambda _, value: value, script="#SBATCH --account=proj42\n", accounting=False)
    write_package(directory, tmp_path / "p.tar.gz", with_pseudonyms=False)
    assert _names_found(tmp_path / "p.tar.gz", ["proj42"]) == set()


def test_names_in_the_system_section_are_kept_with_a_warning(make_true: Any, tmp_path: Path, alice: None) -> None:
    directory = make_true(system__contact="alice@example.org").directory
    warnings: list[str] = []
    write_package(directory, tmp_path / "p.tar.gz", with_pseudonyms=True, warn=warnings.append)
    [warning] = warnings
    assert warning.startswith(
        "system.contact: contains the name of a host, a domain or a user, and is packed unchanged: alice@"
    )
    assert verify(tmp_path / "p.tar.gz").verified


def test_drained_nodes_and_who_drained_them_have_pseudonyms(make_true: Any, tmp_path: Path, alice: None) -> None:
    made = make_true()
    place = ["n77.example.org", "n1.example.org"]
    made.write(Drained, request="0" * 16, user="bob", host="login7.example.org", nodes=place, now=True)
    package = tmp_path / "p.tar.gz"
    write_package(made.directory, package, with_pseudonyms=True)
    assert _names_found(package, ["bob", "login7", "n1", "n77"]) == set()
    journal = next(text for name, text in _unpacked(package).items() if name.endswith("journal.jsonl"))
    drained = json.loads(journal.splitlines()[-1])
    began = json.loads(next(line for line in journal.splitlines() if '"began"' in line))
    [row] = csv.DictReader(next(text.splitlines() for name, text in _unpacked(package).items() if "result" in name))
    assert row["drained_nodes"] == "2"
    report = next(text for name, text in _unpacked(package).items() if name.endswith("report.html"))
    assert f"<bdi>{', '.join(drained['nodes'])}</bdi>" in report
    assert drained["nodes"][1] == began["attempts"][0]["hosts"][0]
    assert re.fullmatch(r"user-\d+", drained["user"])


_CHANGES: list[tuple[str, Any, Any]] = [
    ("scheduler.account", "proj42", "PROJ42"),
    ("scheduler.partition", "batch", "Jupiter"),
    ("scheduler.partition", "Jupiter", "jupiter"),
    ("scheduler.constraint", None, "n1"),
    ("scheduler.constraint", "n1", "n1.example.org"),
    ("scheduler.exclude", "spoilt[1-2]", "n7,spoilt[1-2]"),
    ("scheduler.reservation", None, "alice_maintenance"),
    ("scheduler.qos", None, "high"),
    ("scheduler.setup", ["export TOKEN=hunter2hunter2"], ["export TOKEN=hunter3hunter3", "cd /gpfs/proj43"]),
    ("scheduler.python", None, "/home/carol/python"),
]


@pytest.mark.parametrize("pseudonyms", [True, False])
def test_changed_settings_are_redacted_and_verify(
    make_true: Any, tmp_path: Path, alice: None, pseudonyms: bool
) -> None:
    made = make_true(**{f"scheduler__{key}": value for key, value in _SLURM.items()}, empty=True)
    for number, change in enumerate(_CHANGES):
        changes = [SettingChange(**dict(zip(("key", "before", "after"), change, strict=True)))]
        made.write(SettingsChanged, request=f"{number:016x}", user="bob", host="login7.example.org", changes=changes)
    made.write(Drained, request="f" * 16, user="bob", host="login7.example.org", nodes=["n77"])
    add_trials(made)
    package = tmp_path / "p.tar.gz"
    write_package(made.directory, package, with_pseudonyms=pseudonyms)
    assert list(map(str, verify(package).faults)) == []
    private = ["proj42", "proj43", "alice_maintenance", "hunter2hunter2", "hunter3hunter3", "carol", "spoilt1"]
    assert _names_found(package, private) == set()
    if pseudonyms:
        assert _names_found(package, ["n1", "login7", "bob", "jupiter", "example"]) == set()
        journal = next(text for name, text in _unpacked(package).items() if name.endswith("journal.jsonl"))
        by = [(line["user"], line["host"]) for line in map(json.loads, journal.splitlines()) if "user" in line]
        assert set(by) == {by[0]}
