"""The stand-in for OpenPBS: jobs, nodes, dependencies and injected faults.

test_pbs_captures.py compares its output with recorded sessions. It does not support the following features, most of
which fail with exit status 99 and "not supported":

- job arrays, dependencies except `afterany` and `afterok`, `-a`, stage-in and stage-out, sandboxes, `-W block`, quotes
  in `-v`, reservations, hooks, qalter, qmove; the JSON and dsv formats, and the tables of `qstat -a`, `-n` and `-s`;
- users: there is only one; commands for operators require PBS_STANDIN_OPERATOR=1;
- hosts: all nodes are this machine, so that `hostname` in a job does not print the name of the node, and nodes share
  their file systems;
- MPI: `mpiexec` starts its tasks and sets their ranks, and they cannot communicate;
- limits other than the walltime (memory, cput), CPU binding, cgroups, and used resources, which except the walltime are
  0, from one second after the start of the job on (a real mom reports after some seconds);
- delays: a scheduling cycle is immediate, the substate of a running job is 42 immediately, the walltime is checked each
  second (a real mom: every 10 to 120 s), there is no delay of 0.2 s for frequent queries, and no limit of connections;
- the walltime of a suspended job goes on; a job that traps SIGTERM ends as soon as all its processes have ended, in a
  real PBS only after kill_delay.
"""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pbs.instance import Pbs
from pbs.processes import birth


def wait_for(condition, event, seconds=60):
    """Wait until a condition holds; `event` names what the test waits for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{event}: did not happen within {seconds} s"
        time.sleep(0.02)


def wait_for_file(pbs, name):
    """Wait until a job has made this file in its home directory."""
    wait_for((pbs.home / name).exists, f"a job makes the file {name}")


def wait_for_death(pid):
    """Wait until a process has ended."""
    wait_for(lambda: not is_alive(pid), f"process {pid} ends")


def is_alive(pid):
    return birth(pid) is not None


def output(pbs, name):
    """Wait for a delivered output, and read it."""
    wait_for((pbs.home / name).exists, f"the output {name} is delivered")
    return (pbs.home / name).read_text()


# a job that writes its process id, and then waits
WAITING = "#!/bin/bash\necho $$ > started; exec sleep 300\n"


def started(pbs, name="started"):
    """Wait for the process id that a job writes, and return it."""
    path = pbs.home / name
    wait_for(lambda: path.exists() and path.read_text().endswith("\n"), f"a job writes its process id to {name}")
    return int((pbs.home / name).read_text())


def test_a_job_has_the_environment_of_pbs(pbs, tmp_path):
    where = tmp_path / "submitted from here"
    where.mkdir()
    script = "\n".join(
        ["#!/bin/bash", "pwd; umask; cat $PBS_NODEFILE; ls -d $TMPDIR; type -p qstat; cat", "printenv | sort > env"]
    )
    job_id = pbs.submit(script, "-N", "seen", "-l", "select=2:ncpus=3:mpiprocs=2", "-l", "place=scatter", cwd=where)
    assert pbs.wait(job_id)["Exit_status"] == 0
    lines = (where / "seen.o1").read_text().splitlines()
    tmpdir = str(pbs.root / "tmp" / f"pbs.{job_id}")
    assert lines == [str(pbs.home), "0077", "pbsn1", "pbsn1", "pbsn2", "pbsn2", tmpdir, str(pbs.bin / "qstat")]
    variables = dict(line.split("=", 1) for line in (pbs.home / "env").read_text().splitlines())
    assert {
        "ENVIRONMENT": "BATCH",
        "HOME": str(pbs.home),
        "NCPUS": "3",
        "OMP_NUM_THREADS": "3",
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "PBS_JOBDIR": str(pbs.home),
        "PBS_JOBID": job_id,
        "PBS_JOBNAME": "seen",
        "PBS_NODENUM": "0",
        "PBS_O_WORKDIR": str(where),
        "PBS_QUEUE": "workq",
        "PBS_TASKNUM": "1",
    }.items() <= variables.items()
    assert "CUDA_VISIBLE_DEVICES" not in variables
    assert (where / "seen.o1").stat().st_mode & 0o777 == 0o600


def test_the_environment_of_qsub_is_passed_only_on_request(pbs, monkeypatch):
    monkeypatch.setenv("OF_THE_LOGIN_NODE", "yes, it is")
    script = "#!/bin/bash\necho $OF_THE_LOGIN_NODE,$GIVEN"
    for options in ([], ["-V"], ["-v", "GIVEN=x"]):
        pbs.wait(pbs.submit(script, "-N", "j", *options))
    assert [output(pbs, f"j.o{number}") for number in (1, 2, 3)] == [",\n", "yes, it is,\n", ",x\n"]


def test_the_script_is_copied_and_its_directives_are_read(pbs):
    script = pbs.home / "job.sh"
    script.write_text("#!/bin/bash\n#PBS -N named -j oe\n#PBS -W umask=022 -o out\n#PBS -h\necho one; echo two >&2\n")
    job_id = pbs.run("qsub", "job.sh").stdout.strip()
    script.write_text("#!/bin/bash\necho another\n")
    assert pbs.job(job_id)["Job_Name"] == "named"
    assert pbs.run("qrls", job_id).returncode == 0
    assert pbs.wait(job_id)["Exit_status"] == 0
    assert (pbs.home / "out").read_text() == "one\ntwo\n"
    assert (pbs.home / "out").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(("keep", "seen"), [("n", None), ("od", "first\n"), ("oed", "first\n")])
def test_output_appears_at_the_end_unless_it_is_written_directly(pbs, keep, seen):
    script = "#!/bin/bash\necho first; touch begun; until [ -e go ]; do sleep 0.05; done; echo last\n"
    job_id = pbs.submit(script, "-N", "k", "-j", "oe", "-k", keep)
    wait_for_file(pbs, "begun")
    path = pbs.home / "k.o1"
    assert (path.read_text() if path.exists() else None) == seen
    (pbs.home / "go").touch()
    pbs.wait(job_id)
    assert path.read_text() == "first\nlast\n"


def test_late_and_lost_output(pbs):
    pbs.configure(output_delay=1)
    job = pbs.wait(pbs.submit("#!/bin/bash\necho late", "-N", "j"))
    assert output(pbs, "j.o1") == "late\n"
    assert pbs.home.stat().st_mtime >= job["obittime"] + 1
    pbs.configure(output_delay=0, lose_output=True)
    job = pbs.wait(pbs.submit("#!/bin/bash\necho lost", "-N", "j"))
    assert (job["Exit_status"], job["Stageout_status"]) == (0, 0)
    assert not (pbs.home / "j.o2").exists()


def test_a_job_gets_sigterm_at_its_walltime(pbs):
    pbs.configure(kill_delay=3600)
    script = "#!/bin/bash\ntrap 'echo TERM; exit 0' TERM\ntouch begun; while :; do sleep 0.1; done\n"
    for walltime in (1, 5, 60):  # on a busy machine the script may not have begun after the shortest
        job_id = pbs.submit(script, "-N", "w", "-j", "oe", "-l", f"walltime={walltime}")
        job = pbs.wait(job_id, seconds=180)
        if (pbs.home / "begun").exists():
            break
    assert (job["Exit_status"], job["substate"]) == (-29, 93)
    assert job["comment"].endswith(" and exceeded resource walltime")
    first, *_, last = output(pbs, f"w.o{job_id.partition('.')[0]}").splitlines()
    assert first.startswith("=>> PBS: job killed: walltime ")
    assert last == "TERM"


def test_a_job_that_ignores_sigterm_is_killed_after_kill_delay(pbs):
    pbs.configure(kill_delay=0.3)
    job_id = pbs.submit("#!/bin/bash\ntrap '' TERM\necho $$ > started\nwhile :; do sleep 0.1; done\n")
    pid = started(pbs)
    assert pbs.run("qdel", job_id).returncode == 0
    assert pbs.wait(job_id)["substate"] == 91
    assert not is_alive(pid)


def test_a_deleted_job_gets_sigterm_and_can_clean_up(pbs):
    pbs.configure(kill_delay=3600)
    script = "#!/bin/bash\ntrap 'echo cleaned; exit 7' TERM\ntouch begun; while :; do sleep 0.1; done\n"
    job_id = pbs.submit(script, "-N", "d", "-j", "oe")
    wait_for_file(pbs, "begun")
    assert pbs.run("qdel", job_id).returncode == 0
    job = pbs.wait(job_id)
    assert (job["Exit_status"], job["substate"]) == (271, 91)
    assert job["comment"].endswith(f" and terminated by {pbs.user}@localhost")
    assert "cleaned\n" in output(pbs, "d.o1")
    assert pbs.run("qdel", job_id).returncode == 35


def test_qdel_force_kills_immediately(pbs):
    pbs.configure(kill_delay=3600)
    job_id = pbs.submit("#!/bin/bash\ntrap '' TERM\necho $$ > started\nwhile :; do sleep 0.1; done\n")
    pid = started(pbs)
    assert pbs.run("qdel", job_id).returncode == 0
    assert pbs.run("qdel", "-W", "force", job_id).returncode == 0
    assert pbs.wait(job_id)["substate"] == 91
    assert not is_alive(pid)


def test_a_job_that_ends_leaves_no_process(pbs):
    job_id = pbs.submit("#!/bin/bash\nsleep 300 &\necho $! > started; exit 0")
    assert pbs.wait(job_id)["Exit_status"] == 0
    assert not is_alive(started(pbs))


def test_tasks_run_on_the_nodes_of_the_job_and_report_failures(pbs):
    script = "\n".join(
        [
            "#!/bin/bash",
            "pbsdsh -- /bin/sh -c 'echo $PBS_NODENUM; exit 4' > elsewhere 2>&1; echo dsh $?",
            "pbs_tmrsh pbsn2 /bin/sh -c 'pwd; echo $PATH $PBS_NODENUM; exit 5'; echo tmrsh $?",
            "pbs_tmrsh pbsn3 true; echo unknown $?",
            "pbs_tmrsh pbsn1 /no/such; echo missing $?",
        ]
    )
    pbs.wait(pbs.submit(script, "-N", "t", "-j", "oe", "-l", "select=2:ncpus=1", "-l", "place=scatter"))
    lines = output(pbs, "t.o1").splitlines()
    # the output of a task goes to that of the job, even if that of the command is redirected
    assert sorted(lines[:2]) == ["0", "1"]
    assert lines[2:] == [
        "dsh 0",
        str(pbs.home),
        "/bin:/usr/bin 1",
        "tmrsh 5",
        'pbs_tmrsh: host "pbsn3" is not a node in job <1.vm>',
        "unknown 255",
        "/no/such: No such file or directory",
        "missing 254",
    ]
    reported = "".join(f"pbsdsh: task 0x0000000{rank} exit status 4\n" for rank in (0, 1))
    assert (pbs.home / "elsewhere").read_text() == reported


def test_qdel_ends_the_tasks_on_other_nodes(pbs):
    job_id = pbs.submit(
        "#!/bin/bash\npbs_tmrsh pbsn2 /bin/sh -c 'echo $$ > started; exec sleep 300'",
        *("-l", "select=2:ncpus=1", "-l", "place=scatter"),
    )
    pid = started(pbs)
    assert pbs.run("qdel", job_id).returncode == 0
    assert pbs.wait(job_id)["Exit_status"] == 271
    assert not is_alive(pid)


def test_a_job_on_a_node_without_power_is_requeued_elsewhere(pbs):
    job_id = pbs.submit(WAITING, "-r", "y")
    pid = started(pbs)
    pbs.node_down("pbsn1")
    wait_for_death(pid)
    wait_for(lambda: pbs.run("qstat", job_id) and pbs.job(job_id)["run_count"] == 2, "the job starts again")
    assert pbs.wait(job_id, "R")["exec_host"] == "pbsn2/0"
    pbs.node_up("pbsn1")
    assert pbs.wait(pbs.submit("true", "-l", "select=1:host=pbsn1"))["exec_host"] == "pbsn1/0"


def test_the_loss_of_a_further_node_ends_only_its_tasks(pbs):
    script = "#!/bin/bash\npbs_tmrsh pbsn2 /bin/sh -c 'echo $$ > started; exec sleep 300'; echo $? > status; sleep 300"
    job_id = pbs.submit(script, "-r", "n", "-l", "select=2:ncpus=1", "-l", "place=scatter")
    pid = started(pbs)
    pbs.node_down("pbsn2")
    assert not is_alive(pid)
    assert pbs.run("qstat", job_id).returncode == 0
    assert pbs.job(job_id)["job_state"] == "R"


@pytest.mark.parametrize("rerun", ["n", "y"])
def test_a_job_on_a_disconnected_node_goes_on_until_reconnected(pbs, rerun):
    pbs.configure(node_fail_requeue=1)
    job_id = pbs.submit(WAITING, "-r", rerun, "-l", "select=1:host=pbsn1")
    pid = started(pbs)
    pbs.wait(job_id, "R")
    pbs.cut_off("pbsn1")
    assert pbs.run("qdel", job_id).returncode == 222
    cut = time.time()
    wait_for(
        lambda: pbs.run("qstat", job_id).returncode == 35 or pbs.job(job_id)["job_state"] == "Q",
        "the server ends or requeues the job",
    )
    job = pbs.job(job_id)
    assert (job["job_state"], job["Exit_status"]) == ({"n": "F", "y": "Q"}[rerun], -20)
    assert job["obittime"] >= int(cut)  # the time at which the server ended the job
    assert is_alive(pid)
    pbs.run("qdel", job_id)
    pbs.reconnect("pbsn1")
    wait_for_death(pid)
    assert pbs.job(job_id)["Exit_status"] == -20


def test_a_reconnected_node_reports_the_end_of_a_job_later(pbs):
    pbs.configure(node_fail_requeue=3600)
    script = "#!/bin/bash\ntouch begun; until [ -e go ]; do sleep 0.05; done; touch over; exit 4"
    living, ending = pbs.submit(WAITING), pbs.submit(script)
    pid = started(pbs)
    wait_for_file(pbs, "begun")
    pbs.cut_off("pbsn1")
    (pbs.home / "go").touch()
    wait_for_file(pbs, "over")
    assert pbs.run("qstat", ending).returncode == 0
    assert pbs.job(ending)["job_state"] == "R"
    pbs.reconnect("pbsn1")
    assert pbs.wait(ending)["Exit_status"] == 4
    assert pbs.job(living)["job_state"] == "R"
    assert is_alive(pid)


def test_a_restarted_server_without_nodes_starts_no_jobs(pbs):
    running = pbs.submit(WAITING)
    started(pbs)
    pbs.wait(running, "R")
    pbs.restart_server()
    waiting = pbs.submit("true")
    comment = "Can Never Run: Insufficient amount of resource: ncpus (R: 1 A: 0 T: 0)"
    assert (pbs.job(waiting)["job_state"], pbs.job(waiting)["comment"]) == ("Q", comment)
    assert "pbsn1                state-unknown,down" in pbs.run("pbsnodes", "-l").stdout
    assert pbs.job(running)["job_state"] == "R"
    pbs.moms_report()
    assert pbs.run("qstat").returncode == 0
    assert pbs.wait(waiting)["Exit_status"] == 0


def test_a_disabled_queue_refuses_jobs(pbs):
    pbs.disable_queue()
    refused = pbs.run("qsub", script="true")
    assert (refused.returncode, refused.stderr) == (173, "qsub: Queue is not enabled\n")
    pbs.enable_queue()
    assert pbs.submit("true") == "1.vm"


def test_an_operators_hold_is_released_only_by_an_operator(pbs):
    pbs.add_queue("stop", started=False)
    job_id = pbs.submit("true", "-q", "stop")
    assert pbs.run("qhold", "-h", "s", job_id, operator=True).returncode == 0
    job = pbs.job(job_id)
    assert (job["job_state"], job["Hold_Types"], job["comment"][:20]) == ("H", "s", "Job held by root on ")
    assert pbs.run("qrls", "-h", "s", job_id).returncode == 159
    assert pbs.run("qrls", "-h", "s", job_id, operator=True).returncode == 0
    assert pbs.job(job_id)["job_state"] == "Q"


@pytest.mark.parametrize("end", ["exit", "qdel", "lost node"])
def test_a_job_runs_when_its_predecessor_has_ended_in_any_way(pbs, end):
    first = pbs.submit("#!/bin/bash\ntouch started; until [ -e go ]; do sleep 0.05; done; exit 3", "-r", "n")
    wait_for_file(pbs, "started")
    second = pbs.submit("true", "-W", f"depend=afterany:{first}")
    third = pbs.submit("true", "-W", f"depend=afterany:{first}:{second}")
    job = pbs.job(second)
    assert (job["job_state"], job["substate"], job["Hold_Types"]) == ("H", 22, "s")
    assert job["depend"] == f"afterany:{first}@vm,beforeany:{third}@vm"
    assert pbs.job(first)["depend"] == f"beforeany:{second}@vm:{third}@vm"
    if end == "exit":
        (pbs.home / "go").touch()
    elif end == "qdel":
        pbs.run("qdel", first)
    else:
        pbs.node_down("pbsn1")
        wait_for(lambda: pbs.run("qstat", first).returncode == 35, "the server ends the job on the lost node")
    for job_id in (second, third):
        done = pbs.wait(job_id)
        assert (done["Exit_status"], "afterany" in done.get("depend", "")) == (0, False)
    assert pbs.job(second)["etime"] >= pbs.job(first)["obittime"]


@pytest.mark.parametrize("history", [True, False])
def test_a_job_whose_predecessor_is_gone_runs_or_is_removed(pbs, history):
    pbs.configure(history=history)
    first = pbs.submit("true")
    pbs.wait_ended(first)
    after_ended, after_unknown = [pbs.submit("true", "-W", f"depend=afterany:{each}") for each in (first, "999.vm")]
    if history:
        assert pbs.wait(after_ended)["Exit_status"] == 0
        job = pbs.wait(after_unknown)
        assert (job["substate"], "Exit_status" in job, "stime" in job, job["Hold_Types"]) == (92, False, False, "n")
    else:
        assert [pbs.job(each) for each in (after_ended, after_unknown)] == [{}, {}]


def test_a_job_whose_pending_predecessor_was_deleted_stays_held(pbs):
    first = pbs.submit("true", "-h")
    second = pbs.submit("true", "-W", f"depend=afterany:{first}")
    third = pbs.submit("true", "-W", f"depend=afterany:{second}")
    fourth = pbs.submit("true", "-W", f"depend=afterany:{third}")
    assert pbs.run("qdel", first).returncode == 0
    assert pbs.job(second)["job_state"] == "H"
    assert pbs.run("qdel", third).returncode == 0
    assert pbs.wait(fourth)["substate"] == 92  # its predecessor had a predecessor, too


def test_offline_nodes_and_stopped_queues_get_no_new_jobs(pbs):
    pbs.add_queue("stop", started=False)
    running = pbs.submit(WAITING, "-l", "select=1:host=pbsn1")
    pbs.wait(running, "R")
    pbs.node_offline("pbsn1")
    assert pbs.submit("true", "-l", "select=1:host=pbsn1") == "2.vm"
    assert pbs.job("2.vm")["comment"] == "Not Running: Insufficient amount of resource: host "
    assert pbs.run("pbsnodes", "-l").stdout == "pbsn1                offline \n"
    assert pbs.job(pbs.submit("true", "-q", "stop"))["job_state"] == "Q"
    assert pbs.job(running)["job_state"] == "R"


def test_jobs_wait_for_free_resources(pbs):
    first = [pbs.submit(WAITING, "-l", "select=1:ncpus=8") for _ in range(2)]
    waiting = pbs.submit("true", "-l", "select=1:ncpus=8")
    assert pbs.job(waiting)["job_state"] == "Q"
    pbs.run("qdel", first[0])
    assert pbs.wait(waiting)["Exit_status"] == 0
    assert pbs.job(first[1])["job_state"] == "R"


def test_an_end_while_the_server_is_down_is_reported_later(pbs):
    job_id = pbs.submit("#!/bin/bash\ntouch begun; until [ -e go ]; do sleep 0.05; done; echo b; exit 6", "-N", "gone")
    wait_for_file(pbs, "begun")
    pbs.stop_server()
    (pbs.home / "go").touch()
    asked = pbs.run("qstat", "-f")
    assert (asked.returncode, asked.stdout) == (255, "")
    assert asked.stderr == "Connection refused\nqstat: cannot connect to server vm (errno=15010)\n"
    assert not (pbs.home / "gone.o1").exists()
    pbs.start_server()
    assert pbs.wait(job_id)["Exit_status"] == 6
    assert output(pbs, "gone.o1") == "b\n"


def test_injected_faults_occur_as_often_as_requested(pbs):
    pbs.fault("qstat", "down", times=1)
    pbs.fault("qsub", "refused", times=1, text="would exceed queue generic's per-user limit", status=38)
    assert [pbs.run("qstat").returncode for _ in range(2)] == [255, 0]
    refused = pbs.run("qsub", script="true")
    assert (refused.returncode, refused.stderr) == (38, "qsub: would exceed queue generic's per-user limit\n")
    pbs.submit("true", "-h")
    pbs.fault("qstat", "truncated", keep=0.5)
    whole = len(pbs.run("qstat", "-f").stdout)
    pbs.heal()
    assert whole == len(pbs.run("qstat", "-f").stdout) // 2
    assert [command for _, command, _ in pbs.calls()] == ["qstat", "qstat", "qsub", "qsub", "qstat", "qstat"]
    assert pbs.calls("qsub")[1][2] == ["-h"]


def test_a_hung_server_serves_no_request_and_a_late_one_does(pbs):
    for kind, jobs in (("hang", 0), ("hang_after", 1)):
        pbs.fault("qsub", kind)
        client = subprocess.Popen([pbs.bin / "qsub", "-h"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        wait_for(lambda jobs=jobs: len(pbs.calls("qsub")) == jobs + 1, "qsub is called")
        if jobs:
            wait_for(lambda: pbs.job("1.vm"), "the server has the job")
        client.send_signal(signal.SIGKILL)
        assert client.communicate()[0] == b""
        pbs.heal()
        assert len(pbs.run("qselect").stdout.splitlines()) == jobs


def test_limit_on_queued_jobs(pbs):
    pbs.configure(max_queued=1)
    pbs.submit("true", "-h")
    refused = pbs.run("qsub", script="true")
    assert (refused.returncode, refused.stderr) == (38, "qsub: would exceed complex's per-user limit\n")


def test_a_qdel_of_known_and_unknown_jobs_crashes_the_server(pbs):
    job_id = pbs.submit("true", "-h")
    assert pbs.run("qdel", job_id, "999.vm").returncode == 0
    assert pbs.run("qstat").returncode == 255


@pytest.mark.parametrize("living", [False, True])
def test_a_lost_job_is_unknown_and_may_stay_alive(pbs, living):
    job_id = pbs.submit(WAITING)
    pid = started(pbs)
    pbs.lose(job_id, living=living)
    assert pbs.run("qstat", "-x", job_id).returncode == 153
    assert is_alive(pid) is living


def test_qsig_signals_the_job(pbs):
    job_id = pbs.submit(
        "#!/bin/bash\ntrap 'echo got it; exit 0' USR1\ntouch begun; while :; do sleep 0.1; done", "-N", "s"
    )
    wait_for_file(pbs, "begun")
    assert pbs.run("qsig", "-s", "SIGUSR1", job_id).returncode == 0
    # the signal kills the login shell that runs the script
    assert pbs.wait(job_id)["Exit_status"] == 256 + signal.SIGUSR1


def test_concurrent_submissions_lose_no_job(pbs):
    ids, each = [], 8

    def submit():
        ids.extend(pbs.submit("#!/bin/bash\necho ran", "-N", "m") for _ in range(each))

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 4 * each
    for job_id in ids:
        assert pbs.wait(job_id)["Exit_status"] == 0
        assert output(pbs, f"m.o{job_id.partition('.')[0]}") == "ran\n"
    assert len(pbs.run("qstat", "-x").stdout.splitlines()) == 4 * each + 2


def test_closing_ends_all_processes_in_any_session(tmp_path):
    program = f"{shlex.quote(os.path.realpath('/bin/sh'))} -c 'echo $$ > detached; exec sleep 300'"
    with Pbs(tmp_path / "it's private") as pbs:
        pbs.submit(f"#!/bin/bash\nsetsid {program} &\necho $$ > started; sleep 300")
        pbs.fault("qstat", "hang")
        hung = subprocess.Popen([pbs.bin / "qstat"])
        pids = [started(pbs), started(pbs, "detached")]
        wait_for(lambda: pbs.calls("qstat"), "qstat is called")
        pbs.submit("true", "-h")
        assert all(map(is_alive, pids))
    assert not any(map(is_alive, pids))
    assert hung.wait(60) == -signal.SIGKILL
    assert not pbs.processes()
    assert pbs.run("qrls", "2.vm").returncode == 162


def test_jobs_do_not_outlive_killed_tests(tmp_path):
    program = "\n".join(
        [
            "import os, signal, sys",
            f"sys.path.insert(0, {str(Path(__file__).parent)!r})",
            "from pathlib import Path",
            "from pbs.instance import Pbs",
            f"pbs = Pbs(Path({str(tmp_path / 'pbs')!r}))",
            "pbs.wait(pbs.submit('echo $$ > started; sleep 300'), 'R')",
            "while not (pbs.home / 'started').exists() or not (pbs.home / 'started').read_text(): pass",
            "os.kill(os.getpid(), signal.SIGKILL)",
        ]
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == -signal.SIGKILL
    pid = int((tmp_path / "pbs" / "home" / "started").read_text())
    wait_for_death(pid)
