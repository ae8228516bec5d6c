"""Tests of packages: contents, redaction, accounting, signatures, and the commands."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.package.packing import write_package
from aiperf_orch.package.verify import verify
from aiperf_orch.settings.models import private_keys
from aiperf_orch.util.errors import UsageError

_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="signatures need ssh-keygen (openssh-client)")


def _contents(package: Path) -> dict[str, bytes]:
    with tarfile.open(package) as archive:
        members = [(info.name.partition("/")[2], archive.extractfile(info)) for info in archive]
        return {name: file.read() for name, file in members if file is not None}


def test_a_true_package_is_verified_but_not_rankable(true_package: Path) -> None:
    found = verify(true_package)
    assert (list(map(str, found.faults)), found.verified, found.rankable) == ([], True, False)
    assert found.missed_rules == ["duration", "trained", "data"]
    assert found.sha256 == hashlib.sha256(true_package.read_bytes()).hexdigest()
    assert found.result_row is not None
    assert found.result_row["error"] == 7 / 360


def test_a_package_contains_all_attempts_and_derived_files(true_package: Path) -> None:
    files = _contents(true_package)
    names = {"manifest.json", "campaign.yaml", "journal.jsonl"}
    names |= {f"{table}.csv" for table in ("leaderboard", "nodes", "result", "series")}
    names |= {"system.json", "report.html"} | {f"trials/0000{trial}.json" for trial in range(4)}
    attempts = ["00000-1", "00001-1", "00001-2", "00002-1", "00003-1"]
    names |= {f"events/{attempt}.0.jsonl" for attempt in attempts} | {f"jobs/{attempt}/job.sh" for attempt in attempts}
    assert set(files) == names
    manifest = json.loads(files["manifest.json"])
    assert manifest["files"] == {
        name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != "manifest.json"
    }
    assert manifest["best_weights"] == {"trial": 3, "sha256": hashlib.sha256(b"3").hexdigest()}
    assert manifest["accounting"] is None
    system = json.loads(files["system.json"])
    assert (system["system_name"], system["number_of_nodes"], system["framework"]) == (
        "a test system",
        2,
        "PyTorch 2.11.0",
    )


def test_the_same_campaign_gives_the_same_bytes(
    true_campaign: CampaignDirectory, true_package: Path, tmp_path: Path
) -> None:
    write_package(true_campaign, tmp_path / "again.tar.gz", with_pseudonyms=False)
    assert (tmp_path / "again.tar.gz").read_bytes() == true_package.read_bytes()


def test_a_package_contains_no_secret(true_campaign: CampaignDirectory, true_package: Path) -> None:
    salt = true_campaign.config.salt
    assert salt
    for name, data in _contents(true_package).items():
        for secret in ("hunter2", salt, "/home/alice/site.yaml"):
            assert secret.encode() not in data, name


def test_records_without_secrets_are_packed_unchanged(tmp_path: Path, true_campaign: CampaignDirectory) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(true_campaign.path, copy)
    settings = copy / "campaign.yaml"
    settings.write_text(settings.read_text().replace("export TOKEN=hunter2hunter2", "echo"))
    directory = CampaignDirectory.open(copy)
    journal = directory.journal
    lines = journal.read_text().splitlines()
    created = json.loads(lines[0]) | {"settings_sha256": directory.settings_sha256}
    last, chained = "0" * 64, []
    for line in [created, *map(json.loads, lines[1:])]:
        chained.append(json.dumps(line | {"prev": last}, separators=(",", ":")))
        last = hashlib.sha256(chained[-1].encode()).hexdigest()
    journal.write_text("\n".join(chained) + "\n")
    write_package(directory, tmp_path / "p.tar.gz", with_pseudonyms=False)
    files = _contents(tmp_path / "p.tar.gz")
    assert files["journal.jsonl"] == journal.read_bytes()
    assert json.loads(files["manifest.json"])["journal"] == "as it was written"
    for name in [name for name in files if name.startswith(("events/", "trials/"))]:
        assert files[name] == (copy / name).read_bytes()
    assert verify(tmp_path / "p.tar.gz").verified


def test_pseudonyms_replace_hosts_consistently(true_campaign: CampaignDirectory, tmp_path: Path) -> None:
    package = tmp_path / "p.tar.gz"
    write_package(true_campaign, package, with_pseudonyms=True)
    files = _contents(package)
    for name, data in files.items():
        for host in (b"example.org", b"login1", b"n1", b"n2", b"pbs1"):
            if name not in ("report.html", "campaign.yaml"):
                assert host not in data, (name, host)
    for host in (b"example.org", b"login1", b"pbs1"):
        assert host not in files["report.html"]
    begins = [
        json.loads(files[f"events/{attempt}.0.jsonl"].splitlines()[0]) for attempt in ("00000-1", "00002-1", "00001-1")
    ]
    assert begins[0]["hosts"] == begins[1]["hosts"] != begins[2]["hosts"]
    manifest = json.loads(files["manifest.json"])
    assert manifest["pseudonyms"] is True
    assert manifest["original_journal"].startswith("sha256:")
    found = verify(package)
    assert (list(map(str, found.faults)), found.verified) == ([], True)


def test_an_unpacked_package_cannot_be_packed_again(true_package: Path, tmp_path: Path) -> None:
    files = _contents(true_package)
    folder = tmp_path / "unpacked"
    folder.mkdir(mode=0o700)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    with pytest.raises(UsageError, match="was unpacked from a package"):
        write_package(CampaignDirectory.open(folder), tmp_path / "p.tar.gz", with_pseudonyms=False)


@pytest.mark.parametrize("note", ["NVLink > 600 GB/s", "latency < 2 us, <3 ms at worst", 'A & "B" <= C'])
def test_special_characters_in_notes_are_packed_and_escaped(make_true: Any, tmp_path: Path, note: str) -> None:
    made = make_true(system__hw_notes=note, system__name=note)
    write_package(made.directory, tmp_path / "p.tar.gz", with_pseudonyms=False)
    assert list(map(str, verify(tmp_path / "p.tar.gz").faults)) == []
    report = _contents(tmp_path / "p.tar.gz")["report.html"].decode()
    assert str(escape(note)) in report
    assert note not in report


def test_every_private_setting_is_packed_as_a_hash(make_true: Any, tmp_path: Path) -> None:
    """Hashes are valid values of private settings."""
    scheduler = {
        "kind": "slurm", "python": "/opt/env/bin/python", "setup": ["export SECRET=hunter2hunter2"],
        "container": "apptainer exec /images/a.sif", "directives": ["--wckey=secretkey"], "account": "chem-2026",
        "comment": "for the secret project", "mail_user": "alice@example.org", "mail_type": "FAIL",
        "reservation": "maintenance,test", "exclude": "n[3-4]", "launcher_options": ["--mpi=pmix_v4secret"],
    }  # fmt: skip
    changes = {f"scheduler__{key}": value for key, value in scheduler.items()}
    made = make_true(**changes)
    write_package(made.directory, tmp_path / "p.tar.gz", with_pseudonyms=True)
    assert list(map(str, verify(tmp_path / "p.tar.gz").faults)) == []
    shown = _contents(tmp_path / "p.tar.gz")["campaign.yaml"].decode()
    for value in ("chem-2026", "alice", "secret", "a.sif", "hunter2"):
        assert value not in shown
    given = {key for section, key in private_keys() if section == "scheduler"}
    assert given - scheduler.keys() == {"template", "project", "resources"}  # a path, and two of PBS


def test_a_script_as_large_as_that_of_a_large_array_is_packed(make_true: Any, tmp_path: Path) -> None:
    made = make_true()
    script = made.directory.path / "jobs" / "00000-1" / "job.sh"
    script.write_text("".join(f"    [{index}]=/scratch/{'x' * 90}/{index:05d}-1\n" for index in range(20_000)))
    write_package(made.directory, tmp_path / "p.tar.gz", with_pseudonyms=False)
    assert list(map(str, verify(tmp_path / "p.tar.gz").faults)) == []


@pytest.mark.parametrize("user", ["end", "start", "name", "COMPLETED", "0"])
def test_user_names_like_fields_do_not_damage_accounting(
    make_true: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    made = make_true()
    directory = made.directory
    monkeypatch.setattr("aiperf_orch.util.users.current_user", lambda: user)
    lines = [
        {"name": directory.attempt_name(*key), "job": f"{key}.pbs1.example.org", "state": "COMPLETED", "exit_code": "0",
         "start": "2026-01-02T02:59:00Z", "end": "2026-01-02T05:00:00Z", "nodes": ["n1.example.org"], "owner": user}
        for key in ((0, 1), (1, 1), (1, 2), (2, 1), (3, 1))
    ]  # fmt: skip
    directory.accounting.write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_package(directory, tmp_path / "p.tar.gz", with_pseudonyms=True)
    assert list(map(str, verify(tmp_path / "p.tar.gz").faults)) == []
    packed = _contents(tmp_path / "p.tar.gz")["accounting.jsonl"].decode()
    assert "example.org" not in packed
    assert all(json.loads(line)["owner"].startswith("user-") for line in packed.splitlines())


# accounting


@pytest.mark.parametrize(
    ("change", "id_"),
    [
        (lambda jobs: None, None),
        (lambda jobs: jobs.pop(), "accounting.missing"),
        (lambda jobs: jobs[0].update(name="other"), "accounting.unknown"),
        (lambda jobs: jobs[0].update(start="2026-01-02T03:00:30Z"), "accounting.time"),
        (lambda jobs: jobs[0].update(end="2026-01-02T03:00:05Z"), "accounting.time"),
        (lambda jobs: jobs[0].update(name=3), "accounting.format"),
    ],
)
def test_contradictions_with_accounting_are_faults(tampered: Any, tmp_path: Path, change: Any, id_: str | None) -> None:
    names = [
        item["name"]
        for line in tampered.lines("journal.jsonl")
        if line["type"] == "submitting"
        for item in line["attempts"]
    ]
    jobs = [
        {"name": name, "start": "2026-01-02T03:00:00Z", "end": "2026-01-02T04:00:00Z", "state": "done"}
        for name in names
    ]
    change(jobs)
    tampered.files["accounting.jsonl"] = b"".join(json.dumps(job).encode() + b"\n" for job in jobs)
    tampered.manifest["accounting"] = "accounting.jsonl"
    found = verify(tampered.write(tmp_path / "p.tar.gz"))
    assert {fault.id for fault in found.faults} - {"accounting.missing"} == (
        {id_} - {"accounting.missing"} if id_ else set()
    )
    assert found.verified == (id_ is None)


# signatures


@_ssh
def test_only_a_signature_by_an_allowed_signer_is_valid(true_package: Path, tmp_path: Path) -> None:
    from aiperf_orch.package.signature import sign

    package, signers = tmp_path / "p.tar.gz", tmp_path / "signers"
    package.write_bytes(true_package.read_bytes())
    for key in ("ours", "theirs"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / key], check=True)
    signers.write_text(f"site@example.org {(tmp_path / 'ours.pub').read_text()}")
    assert [fault.id for fault in verify(package, signers).faults] == ["signature.missing"]
    sign(package, tmp_path / "ours")
    found = verify(package, signers)
    assert (found.verified, found.signed_by) == (True, "site@example.org")
    package.write_bytes(package.read_bytes() + b"\0")
    assert "signature.invalid" in [fault.id for fault in verify(package, signers).faults]
    package.write_bytes(true_package.read_bytes())
    sign(package, tmp_path / "theirs")
    found = verify(package, signers)
    assert ([fault.id for fault in found.faults], found.signed_by) == (["signature.signer"], None)
    with pytest.raises(UsageError, match="no such key"):
        sign(package, tmp_path / "missing")
    with pytest.raises(UsageError, match="no such file of allowed signers"):
        verify(package, tmp_path / "missing")


def test_a_missing_ssh_keygen_is_reported_with_the_package_to_install(
    true_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "signers").write_text("")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="openssh-client"):
        verify(true_package, tmp_path / "signers")


# the commands


def test_a_campaign_is_packed_and_verified_from_the_command_line(
    aiperf: Callable[..., Any], write_site: Callable[..., Path], tmp_path: Path
) -> None:
    """The package of a real campaign with failed attempts is verified; a damaged package is not."""
    site = write_site(training__simulated={"epoch_seconds": 0, "failure_rate": 0.5}, campaign__max_trials=3)
    campaign, package = tmp_path / "c", tmp_path / "p.tar.gz"
    assert aiperf("run", site, "--campaign-dir", campaign).returncode == 0
    made = aiperf("package", campaign, "--output", package, "--pseudonyms")
    assert made.returncode == 0, made.stdout + made.stderr
    assert "verified" in made.stdout
    checked = aiperf("verify", package)
    assert (checked.returncode, checked.stdout.splitlines()[0]) == (0, f"verified         {package}")
    assert "SIMULATED" in checked.stdout
    document = json.loads(aiperf("verify", package, "--format", "json").stdout)
    assert (document["verified"], document["rankable"], document["faults"]) == (True, False, [])
    package.write_bytes(package.read_bytes()[:-9])
    spoilt = aiperf("verify", package)
    assert spoilt.returncode == 1
    assert "package.format" in spoilt.stdout
    assert json.loads(aiperf("verify", package, "--format", "json").stdout)["result"] is None


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("package", "C", "--output", "p.zip"), 2, "must name a file that ends with .tar.gz"),
        (("package", "C", "--output", "nowhere/p.tar.gz"), 2, "its directory does not exist"),
        (("package", "C", "--output", "C/p.tar.gz"), 2, "lies in the campaign's directory"),
        (("package", "nothing", "--output", "p.tar.gz"), 2, "is not a campaign directory"),
        (("verify", "nothing.tar.gz"), 2, "cannot be read"),
        (("verify", "C"), 2, "cannot be read"),
    ],
)
def test_wrong_arguments_are_refused(
    aiperf: Callable[..., Any], campaign: Callable[..., Any], tmp_path: Path, arguments: Any, status: int, message: str
) -> None:
    made = campaign("c")
    given = [argument.replace("C", str(made.path)) for argument in arguments]
    done = aiperf(*given, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert message in done.stderr


def test_a_running_campaign_is_not_packed(
    aiperf: Callable[..., Any], campaign: Callable[..., Any], tmp_path: Path
) -> None:
    made = campaign("c")
    made.submit()
    done = aiperf("package", made.path, "--output", tmp_path / "p.tar.gz")
    assert (done.returncode, "still runs" in done.stderr) == (4, True)


def test_verify_needs_no_torch(true_package: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from aiperf_orch.commands.verify import verify_package;"
        f"output = verify_package(Path({str(true_package)!r}), None, 'table');"
        "print(int(output.exit_status), 'torch' in sys.modules, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["0", "False", "False"]
