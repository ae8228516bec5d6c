"""The private Slurm cluster: jobs run and fail on it as on a real one, and it leaves no processes behind."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from cluster.processes import ClusterError, Ports, wait_until
from cluster.slurm import SlurmCluster, foreign_variables
from processes import running

pytestmark = pytest.mark.slurm


def processes_of(root, **variables):
    """Processes that refer to a cluster's folder and have these environment variables."""
    found = []
    for each in running():
        known = any(str(root) in text for text in [*each.words, *each.environment.values()])
        if known and each.process.pid != os.getpid() and variables.items() <= each.environment.items():
            found.append(each.process)
    return found


@pytest.fixture
def folder(short_path):
    """A folder for a cluster of the test's own."""
    return Path(tempfile.mkdtemp(dir=short_path))


def test_a_job_runs_on_two_nodes_with_its_gpus(slurm, tmp_path):
    output = tmp_path / "output"
    command = f"(srun --ntasks-per-node=1 printenv SLURMD_NODENAME | sort; echo $CUDA_VISIBLE_DEVICES) >'{output}'"
    job = slurm.submit(command, "--nodes=2", "--gres=gpu:fake:2")
    slurm.wait_for_state(job, "COMPLETED")
    assert output.read_text().split() == ["n1", "n2", "0,1"]


def test_commands_of_a_test_use_the_cluster(slurm):
    assert set(foreign_variables()) == {"SLURM_CONF"}
    job = slurm.submit("sleep 300")
    listed = subprocess.run(["squeue", "-h", "-o", "%i"], capture_output=True, text=True, timeout=60, check=True)
    assert listed.stdout.split() == [job] == slurm.alive_jobs()


def test_a_node_loses_power_while_a_job_runs(slurm, tmp_path):
    begun = tmp_path / "begun"
    job = slurm.submit(f"echo $SLURMD_NODENAME >'{begun}'; sleep 300", "--no-requeue")
    wait_until(lambda: begun.exists() and begun.read_text(), "the job starts")
    node = begun.read_text().strip()
    assert processes_of(slurm.root, SLURM_JOB_ID=job)

    slurm.kill_node(node)
    assert not processes_of(slurm.root, SLURM_JOB_ID=job)
    slurm.down(node)
    slurm.wait_for_state(job, "NODE_FAIL")

    slurm.start_node(node)
    slurm.wait_for_state(slurm.submit("true", f"--nodelist={node}"), "COMPLETED")


def test_jobs_survive_while_slurmctld_is_down(slurm, tmp_path):
    go = tmp_path / "go"
    ended = slurm.submit("exit 3")
    slurm.wait_for_state(ended, "FAILED")
    ends_meanwhile = slurm.submit(f"until [ -e '{go}' ]; do sleep 0.1; done; touch '{tmp_path}/ended'")
    runs_on = slurm.submit("sleep 300")
    slurm.wait_for_state(ends_meanwhile, "RUNNING")
    slurm.wait_for_state(runs_on, "RUNNING")
    waits = slurm.submit("sleep 300", "--hold")

    slurm.stop_controller()
    go.touch()
    wait_until((tmp_path / "ended").exists, "the job ends")
    slurm.start_controller()

    slurm.wait_for_state(ends_meanwhile, "COMPLETED")
    assert [slurm.state(job) for job in (ended, runs_on, waits)] == ["FAILED", "RUNNING", "PENDING"]
    assert set(slurm.alive_jobs()) == {runs_on, waits}


def test_an_array_longer_than_the_limit_is_refused(slurm):
    with pytest.raises(ClusterError, match="Invalid job array"):
        slurm.submit("true", "--array=0-51")
    slurm.wait_for_state(slurm.submit("true", "--array=0-1,50"), "COMPLETED")


def test_preempted_jobs_are_requeued_or_cancelled(slurm):
    requeued = slurm.submit("sleep 300", "--partition=low", "--nodelist=n1", "--exclusive")
    cancelled = slurm.submit("sleep 300", "--partition=lowcancel", "--nodelist=n2", "--exclusive")
    slurm.wait_for_state(requeued, "RUNNING")
    slurm.wait_for_state(cancelled, "RUNNING")
    first = slurm.submit("sleep 300", "--nodelist=n1,n2", "--exclusive")
    slurm.wait_for_state(first, "RUNNING")
    slurm.wait_for_state(requeued, "PENDING")
    slurm.wait_for_state(cancelled, "PREEMPTED")


def test_accounting_records_jobs_and_enforces_limits(slurm_accounting):
    slurm = slurm_accounting
    with pytest.raises(ClusterError, match="Invalid account"):
        slurm.submit("true", "--account=unknown")
    done = slurm.submit("exit 3")
    slurm.wait_for_state(done, "FAILED")
    sacct = ("sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={done}", "--format=State,ExitCode,Account")
    wait_until(lambda: slurm.run(*sacct).stdout.strip() == "FAILED|3:0|science", "sacct shows the end of the job")

    few = [slurm.submit("sleep 300", "--qos=few") for _ in range(3)]
    with pytest.raises(ClusterError, match="submit limit"):
        slurm.submit("sleep 300", "--qos=few")
    slurm.wait_for_state(few[0], "RUNNING")
    reason = ("squeue", "--noheader", f"--jobs={few[1]}", "--format=%r")
    wait_until(lambda: slurm.run(*reason).stdout.strip() == "QOSMaxJobsPerUserLimit", "the limit is the pending reason")


def test_a_stopped_cluster_leaves_no_processes(need_slurm, folder):
    need_slurm()
    with SlurmCluster(folder, nodes=1) as cluster:
        job = cluster.submit("setsid sleep 300 & setsid sleep 300")
        wait_until(lambda: len(processes_of(folder, SLURM_JOB_ID=job)) >= 3, "the job starts")
    assert processes_of(folder) == []


def test_a_failed_start_leaves_no_processes(need_slurm, folder):
    need_slurm()
    with pytest.raises(ClusterError, match="slurmctld ended"):
        SlurmCluster(folder, nodes=1, extra_conf="NoSuchSetting=1").start()
    assert processes_of(folder) == []


def test_a_killed_test_leaves_no_processes(need_slurm, folder):
    need_slurm()
    script = f"""
    import sys, time
    from pathlib import Path
    sys.path.insert(0, {str(Path(__file__).parents[1])!r})
    from cluster.slurm import SlurmCluster
    cluster = SlurmCluster(Path({str(folder)!r}), nodes=2)
    cluster.start()
    print("up", flush=True)
    time.sleep(300)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as test:
        try:
            assert test.stdout.readline() == "up\n"
            assert len(processes_of(folder)) > 4
        finally:
            test.send_signal(signal.SIGKILL)
    wait_until(lambda: processes_of(folder) == [], "all daemons end")


def test_a_port_is_claimed_only_once_until_its_release():
    mine, others = Ports(), Ports()
    try:
        ports = [mine.claim() for _ in range(20)] + [others.claim() for _ in range(20)]
        assert len(set(ports)) == 40
    finally:
        mine.release()
        others.release()


@pytest.mark.parametrize(("required", "outcome"), [("", pytest.skip), ("1", pytest.fail)])
def test_a_missing_program_skips_a_test_or_fails_it_if_required(need_slurm, monkeypatch, required, outcome):
    monkeypatch.setattr("cluster.slurm.find_program", lambda name: None if name == "slurmctld" else name)
    monkeypatch.setenv("AIPERF_ORCH_REQUIRE_SLURM", required)
    with pytest.raises(outcome.Exception, match="slurmctld is not installed"):
        need_slurm()
