"""`check` and `init` as commands: on this machine, on a private Slurm cluster, and on the stand-in of PBS."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.settings.loading import load_site

Run = Callable[..., subprocess.CompletedProcess[str]]
_DEADLINE = 120


@pytest.fixture
def check(aiperf: Run) -> Callable[..., tuple[int, dict[str, dict[str, str]], str]]:
    """Run `check`; returns the exit status, the worst finding of each subject, and stderr."""

    def check(site: Path, *options: Any) -> tuple[int, dict[str, dict[str, str]], str]:
        done = aiperf("check", site, "--format", "json", *options, timeout=_DEADLINE)
        order = ["ok", "warning", "fault"]
        rows = sorted(json.loads(done.stdout), key=lambda row: order.index(row["level"]))
        return done.returncode, {row["subject"]: row for row in rows}, done.stderr

    return check


@pytest.fixture
def slurm_site(tmp_path: Path) -> Callable[..., Path]:
    """Write a site file of simulated trials on Slurm; keywords are scheduler settings."""

    def write(**scheduler: Any) -> Path:
        fields = {"kind": "slurm", "query_interval": "1s"} | scheduler
        path = tmp_path / "site.yaml"
        path.write_text(json.dumps({"scheduler": fields, "training": {"trainer": "simulated"}}))
        return path

    return write


@pytest.fixture
def pbs_site(tmp_path: Path) -> Callable[..., Path]:
    """Write a site file of simulated trials on PBS; keywords are scheduler settings."""

    def write(**scheduler: Any) -> Path:
        fields = {"kind": "pbs", "query_interval": "1s"} | scheduler
        path = tmp_path / "site.yaml"
        path.write_text(json.dumps({"scheduler": fields, "training": {"trainer": "simulated"}}))
        return path

    return write


def levels(found: dict[str, dict[str, str]]) -> dict[str, str]:
    """Levels of the subjects that are not ok, without warnings about time, which a busy machine causes."""
    slow = re.compile(r"is (imported|loaded) in |and its answer took ")
    return {
        subject: row["level"]
        for subject, row in found.items()
        if row["level"] != "ok" and not (row["level"] == "warning" and slow.search(row["message"]))
    }


# this machine


def test_the_probe_job_on_this_machine_imports_torch(aiperf: Run, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("campaign: {concurrency: 1}\n")
    done = aiperf("check", site, timeout=_DEADLINE)
    assert done.returncode == 0, done.stdout
    for subject in ("torch: torch is imported in ", "data: digits is loaded in ", "files: shared"):  # or too slowly
        assert re.search(f"^(ok     |warning)  {subject}", done.stdout, re.MULTILINE)
    assert "0 fault(s)" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["site.yaml"]  # nothing is left behind


def test_a_python_without_the_package_is_a_fault_with_the_jobs_output(
    check: Any, tmp_path: Path, write_site: Callable[..., Path]
) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "$@"\n')
    bare.chmod(0o700)
    status, found, _ = check(write_site(scheduler__python=str(bare), campaign__concurrency=1))
    assert status == 1
    assert levels(found) == {"job": "fault"}
    assert "No module named" in found["job"]["message"]


def test_a_location_that_others_can_change_prevents_the_probe_job(
    check: Any, tmp_path: Path, write_site: Callable[..., Path]
) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    status, found, _ = check(write_site(campaign__concurrency=1), "--campaign-dir", tmp_path / "open" / "campaign")
    assert status == 1
    assert levels(found) == {"location": "fault"}
    assert "job" not in found


def test_without_a_job(check: Any, write_site: Callable[..., Path]) -> None:
    status, found, _ = check(write_site(), "--no-job")
    assert status == 0
    assert "job" not in found


def test_an_invalid_wait_is_rejected(aiperf: Run, write_site: Callable[..., Path]) -> None:
    done = aiperf("check", write_site(), "--wait", "5")
    assert done.returncode == 2
    assert "--wait: '5' is not a duration" in done.stderr


def test_check_takes_duration_and_concurrency_as_run_does(check: Any, write_site: Callable[..., Path]) -> None:
    status, found, _ = check(write_site(), "--no-job", "--duration", "2h", "--concurrency", "1000")
    assert status == 0
    assert "1000" in found["scheduler"]["message"]
    _, found, _ = check(write_site(campaign__max_trials=None), "--no-job", "--duration", "20s", "--concurrency", "1")
    assert "for 2 trials (if each takes 10s)" in found["disk"]["message"]


def test_a_machine_without_slurm_is_status_3(
    aiperf: Run, slurm_site: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = aiperf("check", slurm_site())
    assert done.returncode == 3
    assert "fault    scheduler: sbatch, srun, squeue, scancel, scontrol: not found on PATH" in done.stdout
    assert "ok       disk: " in done.stdout  # checks that need no Slurm


def test_init_drafts_a_site_file_for_this_machine(aiperf: Run, tmp_path: Path) -> None:
    done = aiperf("init", "--scheduler", "local")
    (tmp_path / "site.yaml").write_text(done.stdout)
    settings = load_site(tmp_path / "site.yaml").settings
    assert settings.campaign.concurrency == len(os.sched_getaffinity(0))
    assert settings.system.name not in ("", "local machine")


def test_init_never_overwrites(aiperf: Run, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("mine")
    done = aiperf("init", "--scheduler", "local", "-o", "site.yaml")
    assert done.returncode == 2
    assert "site.yaml: exists already and is never overwritten" in done.stderr
    assert (tmp_path / "site.yaml").read_text() == "mine"


def test_init_on_a_full_disk_leaves_no_file_and_can_be_repeated(
    aiperf: Run, small_disk: Path, fill: Callable[[Path], None]
) -> None:
    fill(small_disk)
    done = aiperf("init", "--scheduler", "local", "-o", small_disk / "site.yaml")
    assert done.returncode == 1
    assert f"{small_disk}/site.yaml: cannot be written: the disk is full" in done.stderr
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
    (small_disk / "filler").unlink()
    done = aiperf("init", "--scheduler", "local", "-o", small_disk / "site.yaml")
    assert done.returncode == 0, done.stderr
    assert load_site(small_disk / "site.yaml").settings.scheduler.kind == "local"
    assert [path.name for path in small_disk.iterdir()] == ["site.yaml"]


# a real cluster


@pytest.mark.slurm
def test_a_cluster_without_faults(slurm: Any, check: Any, slurm_site: Callable[..., Path]) -> None:
    status, found, _ = check(slurm_site(partition="main", nodes=2, cpus_per_task=1, memory="1G"))
    assert (status, levels(found)) == (0, {})
    assert {"partition", "nodes", "sbatch", "accounting", "MinJobAge", "job", "files", "python"} <= found.keys()
    assert "off" in found["accounting"]["message"]
    assert not slurm.alive_jobs()


@pytest.mark.slurm
def test_gpus_are_counted_on_the_node(slurm: Any, check: Any, slurm_site: Callable[..., Path]) -> None:
    status, found, _ = check(slurm_site(gpus_per_node=1, gpu_type="fake", cpus_per_task=1))
    assert (status, levels(found)) == (0, {})
    assert found["gpus"]["message"] == "1 requested, 1 visible on each node"


@pytest.mark.slurm
@pytest.mark.parametrize(
    ("scheduler", "subject", "message", "advice"),
    [
        ({"partition": "nowhere"}, "partition", "nowhere: does not exist", "low"),
        ({"partition": "short"}, "partition", "short: its time limit is 1m", "scheduler.time_limit: 1m"),
        ({"gpus_per_node": 9}, "nodes", "gpus_per_node 9, 4 nodes have 4 fake", "request less"),
        ({"gpus_per_node": 1, "gpu_type": "big"}, "nodes", "gpus_per_node 1 of type big", "request less"),
        ({"nodes": 5}, "sbatch", "rejects the batch script of a trial", "aiperf-orch render"),
        ({"constraint": "none_such"}, "sbatch", "rejects the batch script of a trial", "aiperf-orch render"),
    ],
)
def test_what_slurm_would_reject_is_a_fault(
    slurm: Any, check: Any, slurm_site: Any, scheduler: dict[str, Any], subject: str, message: str, advice: str
) -> None:
    status, found, _ = check(slurm_site(**scheduler), "--no-job")
    assert status == 1
    assert found[subject]["level"] == "fault"
    assert message in found[subject]["message"]
    assert advice in found[subject]["advice"]


@pytest.mark.slurm
def test_a_job_that_does_not_start_in_time_is_cancelled(slurm: Any, check: Any, slurm_site: Any) -> None:
    slurm.submit("sleep 600", "--nodes=4", "--exclusive")
    status, found, messages = check(slurm_site(), "--wait", "8s")
    assert status == 0
    assert levels(found)["job"] == "warning"
    assert "did not start within 8s" in found["job"]["message"]
    assert " is pending: " in messages
    assert len(slurm.alive_jobs()) == 1


@pytest.mark.slurm
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_check_leaves_no_job(slurm: Any, slurm_site: Any, tmp_path: Path, number: int) -> None:
    slurm.submit("sleep 600", "--nodes=4", "--exclusive")
    command = [sys.executable, "-m", "aiperf_orch.cli", "check", str(slurm_site())]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while len(slurm.alive_jobs()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(number)
        message = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.wait(10)
    assert process.returncode == 130
    assert "Traceback" not in message
    assert len(slurm.alive_jobs()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["site.yaml"]


@pytest.mark.slurm
@pytest.mark.parametrize("accounted", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_directory_that_no_node_sees_is_named_as_the_likely_reason(
    request: pytest.FixtureRequest, check: Any, slurm_site: Any, tmp_path: Path, accounted: bool
) -> None:
    cluster = request.getfixturevalue("slurm_accounting" if accounted else "slurm")
    (tmp_path / "home").mkdir(mode=0o700)
    if not cluster.hide(tmp_path / "home"):
        pytest.skip("a node's folders cannot be covered here")
    try:
        status, found, _ = check(
            slurm_site(cpus_per_task=1, memory="100M"), "--campaign-dir", tmp_path / "home" / "campaign"
        )
    finally:
        cluster.show(tmp_path / "home")
    assert status == 1
    assert found["job"]["level"] == "fault"
    assert f"most likely its node does not see {tmp_path}/home/check-" in found["job"]["message"]
    assert "--campaign-dir" in found["job"]["advice"]
    assert "log" not in found["job"]["advice"]


@pytest.mark.slurm
def test_a_controller_that_is_down_is_status_3(slurm: Any, check: Any, slurm_site: Any) -> None:
    slurm.stop_controller()
    try:
        status, found, _ = check(slurm_site(command_timeout="5s"))
    finally:
        slurm.start_controller()
    assert status == 3
    assert found["scheduler"]["level"] == "fault"
    assert "job" not in found


@pytest.mark.slurm
def test_check_finds_no_fault_in_a_drafted_site_file(slurm: Any, aiperf: Run, check: Any, tmp_path: Path) -> None:
    done = aiperf("init", "-o", "site.yaml")
    assert (done.returncode, done.stdout) == (0, "")
    assert "drafted for slurm" in done.stderr
    scheduler: Any = load_site(tmp_path / "site.yaml").settings.scheduler
    assert (scheduler.partition, scheduler.gpu_type, scheduler.gpus_per_node) == ("main", "fake", 1)
    status, found, _ = check(tmp_path / "site.yaml", "--no-job")
    assert (status, levels(found)) == (0, {})


@pytest.mark.slurm
def test_accounts_and_limits(slurm_accounting: Any, aiperf: Run, check: Any, slurm_site: Any) -> None:
    status, found, _ = check(slurm_site(account="art"), "--no-job")
    assert status == 1
    assert found["account"]["message"] == "art: not one of your accounts"
    assert "set scheduler.account: one of " in found["account"]["advice"]
    assert "science" in found["account"]["advice"]
    status, found, _ = check(slurm_site(qos="few", cpus_per_task=1), "--no-job", "--concurrency", "5")
    assert levels(found) == {"limits": "warning", "allocations": "warning"}
    assert " of QOS few: " in found["limits"]["message"]
    assert " of QOS few): 5 concurrent trials need allocations" in found["allocations"]["message"]
    status, found, _ = check(slurm_site(account="science"))
    assert (status, levels(found)) == (0, {})
    assert "account science, root above it, and QOS normal allow" in found["limits"]["message"]
    drafted = aiperf("init").stdout
    assert "# account: science " in drafted
    assert re.search("yours: science(, root)?; without this key your default one", drafted)


@pytest.mark.slurm
def test_an_allocation_is_checked_and_the_probe_job_is_a_trials(
    slurm_accounting: Any, check: Any, slurm_site: Any
) -> None:
    own = {"nodes": 3, "time_limit": "1h", "cpus_per_node": 2}
    site = slurm_site(cpus_per_task=1, memory="500M", account="science", allocations=own)
    status, found, _ = check(site, "--concurrency", "6", "--duration", "30m")
    assert (status, levels(found)) == (0, {})
    assert found["nodes"]["message"].endswith("suitable nodes are in service: 2 concurrent allocations possible")
    assert found["allocations"]["message"] == (
        "1 allocation of 3 nodes, 1h, has 6 slots for 6 trials; "
        "a job for each trial would fit, too: remove scheduler.allocations for that"
    )
    assert found["sbatch"]["message"].startswith("accepts the batch script of an allocation: ")
    assert "started after" in found["job"]["message"]
    status, found, _ = check(site, "--set", "scheduler.allocations.nodes=5", "--no-job")
    assert (status, found["nodes"]["level"]) == (1, "fault")
    assert ", an allocation needs 5 nodes" in found["nodes"]["message"]


def test_agents_that_are_started_manually_are_described_without_a_job(check: Any, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(json.dumps({"scheduler": {"kind": "agents", "nodes": 2}, "campaign": {"concurrency": 8}}))
    status, found, _ = check(site)
    assert (status, levels(found)) == (0, {})
    assert found["scheduler"]["message"] == (
        "agents: nothing is submitted; start `aiperf-orch agent CAMPAIGN_DIR` on each node of your allocations of at "
        "least 2 nodes, with slots for 8 concurrent trials in all"
    )
    assert "job" not in found


@pytest.fixture
def limited(slurm_accounting: Any) -> Iterator[Callable[..., None]]:
    """Set limits with sacctmgr, and remove them after the test: `("account", "physics", "GrpJobs=2")`."""
    user = pwd.getpwuid(os.getuid()).pw_name
    slurm = slurm_accounting
    slurm.run("sacctmgr", "--immediate", "add", "account", "physics", "cluster=private")
    slurm.run("sacctmgr", "--immediate", "add", "account", "optics", "parent=physics", "cluster=private")
    slurm.run("sacctmgr", "--immediate", "add", "user", user, "account=optics", "cluster=private")
    few = ("sacctmgr", "--immediate", "modify", "user", user, "where", "account=optics", "set", "qos=normal,few")
    slurm.run(*few)

    def limit(entity: str, name: str, *limits: str) -> None:
        slurm.run("sacctmgr", "--immediate", "modify", entity, name, "set", *limits)

    yield limit
    slurm.tidy()  # an account with jobs is not deleted
    for account in ("optics", "physics"):
        slurm.run("sacctmgr", "--immediate", "delete", "account", account)
    limit(
        "qos",
        "few",
        "MaxTRESPerUser=cpu=-1",
        "MaxSubmitJobsPerUser=3",
        "MaxJobsPerUser=1",
        "MaxTRESPerAccount=gres/gpu=-1",
    )


@pytest.mark.slurm
@pytest.mark.parametrize(
    ("entity", "name", "limits", "site", "running", "named"),
    [
        ("account", "physics", ["GrpJobs=2"], {}, 2, "GrpJobs=2 of account physics"),
        ("account", "physics", ["GrpTRES=cpu=3"], {}, 3, "GrpTRES=cpu=3 of account physics"),
        ("account", "optics", ["GrpTRES=node=1"], {}, 4, "GrpTRES=node=1 of account optics"),
        ("account", "optics", ["MaxJobs=1"], {}, 1, "MaxJobs=1 of your association with account optics"),
        (
            "qos",
            "few",
            ["MaxTRESPerUser=cpu=2", "MaxSubmitJobsPerUser=20", "MaxJobsPerUser=-1"],
            {"qos": "few"},
            2,
            "MaxTRESPerUser=cpu=2 of QOS few",
        ),
    ],
)
def test_slurm_runs_as_many_jobs_as_check_predicts(
    slurm_accounting: Any,
    limited: Callable[..., None],
    check: Any,
    slurm_site: Any,
    entity: str,
    name: str,
    limits: list[str],
    site: dict[str, str],
    running: int,
    named: str,
) -> None:
    limited(entity, name, *limits)
    fields = {"account": "optics", "cpus_per_task": 1, "memory": "100M"} | site
    _, found, _ = check(slurm_site(**fields), "--no-job", "--concurrency", "6")
    of_jobs = {"allocations": "warning"} if "Jobs" in named else {}
    assert levels(found) == {"limits": "warning"} | of_jobs
    assert f"{named}: allows {running} concurrent trials" in found["limits"]["message"]
    options = ["--ntasks=1", "--mem=100M", "--account=optics", *(f"--{key}={value}" for key, value in site.items())]
    for _ in range(6):
        slurm_accounting.submit("sleep 600", *options)
    deadline = time.monotonic() + 60
    states: list[str] = []
    while states.count("RUNNING") < running:
        assert time.monotonic() < deadline, states
        time.sleep(0.5)
        states = slurm_accounting.run("squeue", "--noheader", "--format=%T").stdout.split()
    time.sleep(3)  # two passes of the scheduler, which would start more
    assert slurm_accounting.run("squeue", "--noheader", "--format=%T").stdout.split().count("RUNNING") == running


@pytest.mark.slurm
def test_a_limit_that_no_trial_fits_is_a_fault(limited: Callable[..., None], check: Any, slurm_site: Any) -> None:
    limited("account", "physics", "GrpTRES=cpu=1")
    status, found, _ = check(slurm_site(account="optics", cpus_per_task=2, memory="100M"), "--no-job")
    assert status == 1
    assert found["limits"]["level"] == "fault"
    assert "GrpTRES=cpu=1 of account physics: no trial would ever run" in found["limits"]["message"]


# PBS


@pytest.mark.pbs
def test_check_finds_no_fault_in_a_drafted_pbs_site_file(pbs: Any, aiperf: Run, check: Any, tmp_path: Path) -> None:
    pbs.add_queue("debug", max_walltime=1800)
    for program in ("sbatch", "scontrol"):  # Slurm's programs without Slurm
        (pbs.bin / program).write_text("#!/bin/sh\necho no configuration >&2\nexit 1\n")
        (pbs.bin / program).chmod(0o755)
    text = aiperf("init").stdout
    assert "queue: workq                    # 2 nodes with 8 cores, 23.5 GiB, 2 GPUs; jobs of any length" in text
    (tmp_path / "site.yaml").write_text(text.replace("  gpus: 1", "  # gpus: 1").replace("cpus: 4", "cpus: 1"))
    status, found, _ = check(tmp_path / "site.yaml", "--set", "training.trainer=simulated")
    assert (status, levels(found)) == (0, {})
    assert {"queue", "nodes", "limits", "history", "job", "files", "python"} <= found.keys()
    assert pbs.run("qstat").stdout == ""


@pytest.mark.pbs
def test_what_pbs_would_reject_is_a_fault(pbs: Any, check: Any, pbs_site: Callable[..., Path], tmp_path: Path) -> None:
    pbs.add_queue("debug", max_walltime=1800)
    pbs.add_queue("theirs", users=["somebody"])
    for queue, message in (
        ("debug", "its time limit is 30m"),
        ("theirs", "its access list does not contain you (acl_users)"),
    ):
        status, found, _ = check(pbs_site(queue=queue), "--no-job")
        assert (status, found["queue"]["level"]) == (1, "fault")
        assert message in found["queue"]["message"]
    status, found, _ = check(pbs_site(chunk="nosuch=1"))  # only qsub itself knows
    assert status == 1
    assert "qsub: Unknown resource: nosuch" in found["job"]["message"]
    pbs.stop_server()
    status, found, _ = check(pbs_site())
    assert (status, found["scheduler"]["level"]) == (3, "fault")
    assert "cannot connect to server" in found["scheduler"]["message"]
