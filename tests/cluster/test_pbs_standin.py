"""The stand-in for OpenPBS runs jobs as PBS does, and the faults that tests put into it come as in life.

What it says is held to recorded sessions in test_pbs_captures.py. It does not imitate, and mostly refuses with exit
status 99 and "not imitated":

- job arrays, dependencies but `afterany` and `afterok`, `-a`, stage-in and stage-out, sandboxes, `-W block`, quotes in `-v`, reservations, hooks,
  qalter, qmove; the JSON and dsv forms, and the tables of `qstat -a`, `-n` and `-s`;
- users: everybody is the same one; what only an operator may is asked with PBS_STANDIN_OPERATOR=1;
- hosts: all nodes are this machine, so `hostname` in a job is not the node's name, and nodes share their file systems;
- an MPI: `mpiexec` starts its tasks and tells them their rank, and they cannot talk to each other;
- limits other than the walltime (memory, cput), CPU binding, cgroups, and the use of resources: but for the walltime it
  is shown as 0, from the second after the job's start on (a real mom reports after some seconds);
- delays: a scheduling cycle is immediate, a running job's substate 42 comes at once, the walltime is checked to the
  second (a real mom: every 10 to 120 s), the server's 0.2 s for those who ask twice a second, its limit of connections;
- a suspended job's walltime goes on; a job that traps SIGTERM ends as soon as all its processes have, and not only
  with kill_delay.
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


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_alive(pid):
    return birth(pid) is not None


def output(pbs, name):
    """A delivered output, once it is there."""
    wait_for((pbs.home / name).exists)
    return (pbs.home / name).read_text()


# a job that says where it is, and then waits
WAITING = "#!/bin/bash\necho $$ > started; exec sleep 300\n"


def started(pbs, name="started"):
    """The process id that a job has written."""
    wait_for(lambda: (pbs.home / name).exists() and (pbs.home / name).read_text().endswith("\n"))
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


def test_the_environment_of_qsub_reaches_the_job_only_when_asked(pbs, monkeypatch):
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
    wait_for((pbs.home / "begun").exists)
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


def test_the_walltime_brings_sigterm(pbs):
    pbs.configure(kill_delay=3600)
    script = "#!/bin/bash\ntrap 'echo TERM; exit 0' TERM\ntouch begun; while :; do sleep 0.1; done\n"
    for walltime in (1, 5, 60):  # a busy machine may come to the script, which then says so, only after the shortest
        job_id = pbs.submit(script, "-N", "w", "-j", "oe", "-l", f"walltime={walltime}")
        job = pbs.wait(job_id, seconds=180)
        if (pbs.home / "begun").exists():
            break
    assert (job["Exit_status"], job["substate"]) == (-29, 93)
    assert job["comment"].endswith(" and exceeded resource walltime")
    first, *_, last = output(pbs, f"w.o{job_id.partition('.')[0]}").splitlines()
    assert first.startswith("=>> PBS: job killed: walltime ")
    assert last == "TERM"


def test_what_ignores_sigterm_is_killed_after_kill_delay(pbs):
    pbs.configure(kill_delay=0.3)
    job_id = pbs.submit("#!/bin/bash\ntrap '' TERM\necho $$ > started\nwhile :; do sleep 0.1; done\n")
    pid = started(pbs)
    assert pbs.run("qdel", job_id).returncode == 0
    assert pbs.wait(job_id)["substate"] == 91
    assert not is_alive(pid)


def test_qdel_brings_sigterm_and_the_script_may_still_clean_up(pbs):
    pbs.configure(kill_delay=3600)
    script = "#!/bin/bash\ntrap 'echo cleaned; exit 7' TERM\ntouch begun; while :; do sleep 0.1; done\n"
    job_id = pbs.submit(script, "-N", "d", "-j", "oe")
    wait_for((pbs.home / "begun").exists)
    assert pbs.run("qdel", job_id).returncode == 0
    job = pbs.wait(job_id)
    assert (job["Exit_status"], job["substate"]) == (271, 91)
    assert job["comment"].endswith(f" and terminated by {pbs.user}@localhost")
    assert "cleaned\n" in output(pbs, "d.o1")
    assert pbs.run("qdel", job_id).returncode == 35


def test_qdel_force_does_not_ask(pbs):
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


def test_tasks_run_on_the_jobs_nodes_and_failures_are_told_as_real_ones_do(pbs):
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
    # a task's output goes to the job's, wherever its starter's goes
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
    told = "".join(f"pbsdsh: task 0x0000000{rank} exit status 4\n" for rank in (0, 1))
    assert (pbs.home / "elsewhere").read_text() == told


def test_qdel_ends_the_tasks_on_other_nodes(pbs):
    job_id = pbs.submit(
        "#!/bin/bash\npbs_tmrsh pbsn2 /bin/sh -c 'echo $$ > started; exec sleep 300'",
        *("-l", "select=2:ncpus=1", "-l", "place=scatter"),
    )
    pid = started(pbs)
    assert pbs.run("qdel", job_id).returncode == 0
    assert pbs.wait(job_id)["Exit_status"] == 271
    assert not is_alive(pid)


def test_a_node_that_loses_power_takes_the_job_along_and_it_runs_again_elsewhere(pbs):
    job_id = pbs.submit(WAITING, "-r", "y")
    pid = started(pbs)
    pbs.node_down("pbsn1")
    wait_for(lambda: not is_alive(pid))
    wait_for(lambda: pbs.run("qstat", job_id) and pbs.job(job_id)["run_count"] == 2)
    assert pbs.wait(job_id, "R")["exec_host"] == "pbsn2/0"
    pbs.node_up("pbsn1")
    assert pbs.wait(pbs.submit("true", "-l", "select=1:host=pbsn1"))["exec_host"] == "pbsn1/0"


def test_a_sister_node_takes_only_its_tasks_along(pbs):
    script = "#!/bin/bash\npbs_tmrsh pbsn2 /bin/sh -c 'echo $$ > started; exec sleep 300'; echo $? > told; sleep 300"
    job_id = pbs.submit(script, "-r", "n", "-l", "select=2:ncpus=1", "-l", "place=scatter")
    pid = started(pbs)
    pbs.node_down("pbsn2")
    assert not is_alive(pid)
    assert pbs.run("qstat", job_id).returncode == 0
    assert pbs.job(job_id)["job_state"] == "R"


@pytest.mark.parametrize("rerun", ["n", "y"])
def test_a_node_that_is_cut_off_runs_its_job_on_until_it_is_reached_again(pbs, rerun):
    pbs.configure(node_fail_requeue=1)
    job_id = pbs.submit(WAITING, "-r", rerun, "-l", "select=1:host=pbsn1")
    pid = started(pbs)
    pbs.wait(job_id, "R")
    pbs.cut_off("pbsn1")
    assert pbs.run("qdel", job_id).returncode == 222
    cut = time.time()
    wait_for(lambda: pbs.run("qstat", job_id).returncode == 35 or pbs.job(job_id)["job_state"] == "Q")
    job = pbs.job(job_id)
    assert (job["job_state"], job["Exit_status"]) == ({"n": "F", "y": "Q"}[rerun], -20)
    assert job["obittime"] >= int(cut)  # when the server gave it up
    assert is_alive(pid)
    pbs.run("qdel", job_id)
    pbs.reconnect("pbsn1")
    wait_for(lambda: not is_alive(pid))
    assert pbs.job(job_id)["Exit_status"] == -20


def test_a_node_that_is_cut_off_for_a_moment_brings_its_jobs_end_later(pbs):
    pbs.configure(node_fail_requeue=3600)
    script = "#!/bin/bash\ntouch begun; until [ -e go ]; do sleep 0.05; done; touch over; exit 4"
    living, ending = pbs.submit(WAITING), pbs.submit(script)
    pid = started(pbs)
    wait_for((pbs.home / "begun").exists)
    pbs.cut_off("pbsn1")
    (pbs.home / "go").touch()
    wait_for((pbs.home / "over").exists)
    assert pbs.run("qstat", ending).returncode == 0
    assert pbs.job(ending)["job_state"] == "R"
    pbs.reconnect("pbsn1")
    assert pbs.wait(ending)["Exit_status"] == 4
    assert pbs.job(living)["job_state"] == "R"
    assert is_alive(pid)


def test_a_server_that_is_back_before_its_moms_says_that_no_job_can_run(pbs):
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


def test_a_queue_that_is_disabled_refuses_until_it_is_enabled(pbs):
    pbs.disable_queue()
    refused = pbs.run("qsub", script="true")
    assert (refused.returncode, refused.stderr) == (173, "qsub: Queue is not enabled\n")
    pbs.enable_queue()
    assert pbs.submit("true") == "1.vm"


def test_an_operators_hold_names_the_operator_and_is_released_by_one(pbs):
    pbs.add_queue("stop", started=False)
    job_id = pbs.submit("true", "-q", "stop")
    assert pbs.run("qhold", "-h", "s", job_id, operator=True).returncode == 0
    job = pbs.job(job_id)
    assert (job["job_state"], job["Hold_Types"], job["comment"][:20]) == ("H", "s", "Job held by root on ")
    assert pbs.run("qrls", "-h", "s", job_id).returncode == 159
    assert pbs.run("qrls", "-h", "s", job_id, operator=True).returncode == 0
    assert pbs.job(job_id)["job_state"] == "Q"


@pytest.mark.parametrize("end", ["exit", "qdel", "lost node"])
def test_a_job_that_follows_another_runs_when_that_has_ended_in_any_way(pbs, end):
    first = pbs.submit("#!/bin/bash\ntouch started; until [ -e go ]; do sleep 0.05; done; exit 3", "-r", "n")
    wait_for((pbs.home / "started").exists)
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
        wait_for(lambda: pbs.run("qstat", first).returncode == 35)
    for job_id in (second, third):
        done = pbs.wait(job_id)
        assert (done["Exit_status"], "afterany" in done.get("depend", "")) == (0, False)
    assert pbs.job(second)["etime"] >= pbs.job(first)["obittime"]


@pytest.mark.parametrize("history", [True, False])
def test_a_job_that_follows_one_that_is_gone_runs_or_is_removed(pbs, history):
    pbs.configure(history=history)
    first = pbs.submit("true")
    (pbs.wait if history else pbs.wait_gone)(first)
    after_ended, after_unknown = [pbs.submit("true", "-W", f"depend=afterany:{each}") for each in (first, "999.vm")]
    if history:
        assert pbs.wait(after_ended)["Exit_status"] == 0
        job = pbs.wait(after_unknown)
        assert (job["substate"], "Exit_status" in job, "stime" in job, job["Hold_Types"]) == (92, False, False, "n")
    else:
        assert [pbs.job(each) for each in (after_ended, after_unknown)] == [{}, {}]


def test_what_follows_a_job_that_was_deleted_while_it_waited_stays_held(pbs):
    first = pbs.submit("true", "-h")
    second = pbs.submit("true", "-W", f"depend=afterany:{first}")
    third = pbs.submit("true", "-W", f"depend=afterany:{second}")
    fourth = pbs.submit("true", "-W", f"depend=afterany:{third}")
    assert pbs.run("qdel", first).returncode == 0
    assert pbs.job(second)["job_state"] == "H"
    assert pbs.run("qdel", third).returncode == 0
    assert pbs.wait(fourth)["substate"] == 92  # it follows one that followed another


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


def test_jobs_wait_for_room_and_start_when_another_ends(pbs):
    first = [pbs.submit(WAITING, "-l", "select=1:ncpus=8") for _ in range(2)]
    waiting = pbs.submit("true", "-l", "select=1:ncpus=8")
    assert pbs.job(waiting)["job_state"] == "Q"
    pbs.run("qdel", first[0])
    assert pbs.wait(waiting)["Exit_status"] == 0
    assert pbs.job(first[1])["job_state"] == "R"


def test_a_job_that_ends_while_the_server_is_down_says_so_when_it_is_back(pbs):
    job_id = pbs.submit("#!/bin/bash\ntouch begun; until [ -e go ]; do sleep 0.05; done; echo b; exit 6", "-N", "gone")
    wait_for((pbs.home / "begun").exists)
    pbs.stop_server()
    (pbs.home / "go").touch()
    asked = pbs.run("qstat", "-f")
    assert (asked.returncode, asked.stdout) == (255, "")
    assert asked.stderr == "Connection refused\nqstat: cannot connect to server vm (errno=15010)\n"
    assert not (pbs.home / "gone.o1").exists()
    pbs.start_server()
    assert pbs.wait(job_id)["Exit_status"] == 6
    assert output(pbs, "gone.o1") == "b\n"


def test_faults_come_as_often_as_asked(pbs):
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


def test_a_hung_server_serves_nobody_and_one_that_answers_late_has_served(pbs):
    for kind, jobs in (("hang", 0), ("hang_after", 1)):
        pbs.fault("qsub", kind)
        client = subprocess.Popen([pbs.bin / "qsub", "-h"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        wait_for(lambda jobs=jobs: len(pbs.calls("qsub")) == jobs + 1)
        if jobs:
            wait_for(lambda: pbs.job("1.vm"))
        client.send_signal(signal.SIGKILL)
        assert client.communicate()[0] == b""
        pbs.heal()
        assert len(pbs.run("qselect").stdout.splitlines()) == jobs


def test_limits_refuse(pbs):
    pbs.configure(max_queued=1)
    pbs.submit("true", "-h")
    refused = pbs.run("qsub", script="true")
    assert (refused.returncode, refused.stderr) == (38, "qsub: would exceed complex's per-user limit\n")


def test_several_ids_in_one_qdel_crash_the_server_when_one_is_unknown(pbs):
    job_id = pbs.submit("true", "-h")
    assert pbs.run("qdel", job_id, "999.vm").returncode == 0
    assert pbs.run("qstat").returncode == 255


@pytest.mark.parametrize("living", [False, True])
def test_a_lost_job_is_unknown_and_may_live_on(pbs, living):
    job_id = pbs.submit(WAITING)
    pid = started(pbs)
    pbs.lose(job_id, living=living)
    assert pbs.run("qstat", "-x", job_id).returncode == 153
    assert is_alive(pid) is living


def test_qsig_reaches_the_job(pbs):
    job_id = pbs.submit(
        "#!/bin/bash\ntrap 'echo got it; exit 0' USR1\ntouch begun; while :; do sleep 0.1; done", "-N", "s"
    )
    wait_for((pbs.home / "begun").exists)
    assert pbs.run("qsig", "-s", "SIGUSR1", job_id).returncode == 0
    # the login shell above the script dies of it
    assert pbs.wait(job_id)["Exit_status"] == 256 + signal.SIGUSR1


def test_many_callers_at_once_lose_nothing(pbs):
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


def test_closing_ends_every_process_also_those_that_fled(tmp_path):
    program = f"{shlex.quote(os.path.realpath('/bin/sh'))} -c 'echo $$ > fled; exec sleep 300'"
    with Pbs(tmp_path / "it's private") as pbs:
        pbs.submit(f"#!/bin/bash\nsetsid {program} &\necho $$ > started; sleep 300")
        pbs.fault("qstat", "hang")
        hung = subprocess.Popen([pbs.bin / "qstat"])
        pids = [started(pbs), started(pbs, "fled")]
        wait_for(lambda: pbs.calls("qstat"))
        pbs.submit("true", "-h")
        assert all(map(is_alive, pids))
    assert not any(map(is_alive, pids))
    assert hung.wait(60) == -signal.SIGKILL
    assert not pbs.processes()
    assert pbs.run("qrls", "2.vm").returncode == 162


def test_jobs_do_not_outlive_tests_that_were_killed(tmp_path):
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
    wait_for(lambda: not is_alive(pid))
