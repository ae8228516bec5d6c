"""Comparison of the stand-in with recorded sessions of OpenPBS 23.06.06, except times and ids.

`captures/` contains commands with their answers; `tests/schedulers/pbs/` contains the output of `qstat -f` for jobs in
many states. Of attributes that vary (session, used resources, dates), only the presence is compared, or nothing.
"""

import re
import subprocess
from pathlib import Path

import pytest
from pbs import formats

COMMANDS = Path(__file__).parent / "captures"
JOBS = Path(__file__).parents[1] / "schedulers" / "pbs"

# attributes that PBS shows only after a report of the node, or that vary from run to run
VOLATILE = re.compile(r"session_id|jobdir|resources_used\..*|history_timestamp")
DATES = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \w{3} [ \d]\d( at)? \d\d:\d\d(:\d\d \d{4})?")


def captured_commands(path):
    """Yield each command of a file with its input, stdout, stderr and exit status."""
    pattern = r"^\$ (.*?)\n(.*?)--- exit (\d+)\n\n"
    for command, body, status in re.findall(pattern, path.read_text(), re.DOTALL | re.MULTILINE):
        parts = dict(re.findall(r"^--- (\w+)\n(.*?)(?=^--- |\Z)", body, re.DOTALL | re.MULTILINE))
        texts = [parts.get(name, "") for name in ("stdin", "stdout", "stderr")]
        yield re.sub(r"\s{6}# .*", "", command).strip(), *texts, int(status)


def plain(text, pbs):
    """Replace paths, names, ids and dates by fixed ones."""
    text = text.replace(str(pbs.bin), "/opt/pbs/bin").replace(str(pbs.home), "/home/pbsuser")
    text = text.replace(pbs.user, "pbsuser")
    text = re.sub(r"(?<!\d)\d+\.vm\b", "N.vm", text)
    return DATES.sub("DATE", text)


@pytest.fixture
def shell(pbs):
    """Runs a command line as in the recorded sessions: in ~/w, with the environment of the user."""
    (pbs.home / "w").mkdir()
    environment = {
        "HOME": str(pbs.home),
        "LANG": "C.UTF-8",
        "LOGNAME": pbs.user,
        "PATH": f"{pbs.bin}:/usr/local/bin:/usr/bin:/bin",
        "SHELL": "/bin/bash",
    }

    def run(line, stdin=""):
        line = line.replace("/home/pbsuser", str(pbs.home))
        where = pbs.home / "w"
        return subprocess.run(
            ["bash", "-c", line], input=stdin, env=environment, cwd=where, capture_output=True, text=True, timeout=60
        )

    return run


@pytest.fixture
def submit(shell):
    """Submits a job with these options, as in a shell, and returns its id."""

    def submit(options, script):
        done = shell(f"qsub {options}", f"#!/bin/bash\n{script}\n")
        assert done.returncode == 0, done
        return done.stdout.strip()

    return submit


@pytest.fixture
def shows_as(pbs, shell):
    """Checks that `qstat -x -f` shows a job like the recorded one."""

    def check(job_id, capture):
        text = shell(f"qstat -x -f {job_id}").stdout
        assert attributes(text, pbs) == attributes((JOBS / f"{capture}.txt").read_text(), pbs), capture

    return check


def attributes(text, pbs):
    found = {}
    for line in text.replace("\n\t", "").splitlines()[1:]:
        if line:
            name, _, value = line.strip().partition(" = ")
            if not VOLATILE.fullmatch(name):
                found[name] = re.sub(r"\.([oe])\d+$", r".\1N", plain(value, pbs))
                if name == "exec_host":  # the free slots of a node vary
                    found[name] = re.sub(r"/\d+", "/N", value)
    return found


def answers(path, shell, pbs):
    """Yield the answer to each command of a file, and the recorded answer."""
    for command, stdin, *captured in captured_commands(path):
        done = shell(command, stdin)
        answer = [plain(done.stdout, pbs), plain(done.stderr, pbs), done.returncode]
        expected = [plain(captured[0], pbs), plain(captured[1], pbs), captured[2]]
        yield (command, stdin, answer), (command, stdin, expected)


def test_commands_and_refusals(pbs, shell):
    pbs.add_queue("small", max_walltime=600, max_ncpus=2, max_queued=2)
    pbs.add_queue("off", enabled=False)
    pbs.add_queue("stop", started=False)
    pbs.configure(next_sequence=34)
    for job_id in [pbs.submit("true"), pbs.submit("true")]:
        pbs.wait(job_id)
    pbs.configure(next_sequence=171, scheduling=False)
    pbs.submit("true", "-h")
    pbs.configure(next_sequence=200)
    got, expected = zip(*answers(COMMANDS / "commands.txt", shell, pbs), strict=True)
    assert len(got) > 90
    assert got == expected


def test_commands_while_the_server_is_down(pbs, shell):
    pbs.stop_server()
    got, expected = zip(*answers(COMMANDS / "server_down.txt", shell, pbs), strict=True)
    assert len(got) == 10
    assert got == expected


def test_line_breaks_of_qstat():
    checked = 0
    for path in JOBS.glob("*.txt"):
        if path.stem in ("awkward_numbers", "awkward_quotes"):
            continue  # a single value is broken later than the rule says; a value contains a line end
        lines = path.read_text(encoding="latin-1").replace("\n\t", "\0").split("\n")
        for line in lines:
            if match := re.match(r"    ([\w.]+) = (.*)", line):
                name, value = match.group(1), match.group(2).replace("\0", "")
                assert formats.attribute_text(name, value) == line.replace("\0", "\n\t"), path.name
                checked += 1
    assert checked > 1000


def test_jobs_that_ended(pbs, submit, shows_as):
    ends = {
        "finished_ok": ("-N ok -l select=1:ncpus=1:mem=50mb -l walltime=30", "true"),
        "finished_exit3": ("-N ex3 -l walltime=30", "exit 3"),
        "finished_exit255": ("-N ex255 -l walltime=30", "exit 255"),
        "finished_self_sigkill": ("-N k9 -l walltime=30", "kill -9 $$"),
        "exec_missing_program": ("-N ddn -l walltime=30 -j oe -- /no/such/program", ""),
        "exec_exit7": ("-N ddx -l walltime=30 -j oe -- /bin/bash -c 'exit 7'", ""),
        "walltime_killed": ("-N wall -l walltime=00:00:03 -j oe", "echo start; sleep 120"),
        "output_dir_missing": (
            "-N nodir -l walltime=30 -o /no/such/dir/out -e /no/such/dir/err",
            "echo out; echo err >&2",
        ),
    }
    jobs = {capture: submit(*job) for capture, job in ends.items()}
    for capture, job_id in jobs.items():
        pbs.wait(job_id)
        shows_as(job_id, capture)
    (pbs.home / ".profile").write_text("exit 9\n")
    job_id = submit("-N lg3 -j oe -l walltime=30", "echo ran")
    pbs.wait(job_id)
    shows_as(job_id, "profile_exits_9")


def test_pending_and_held_jobs(pbs, shell, submit, shows_as):
    full = [submit("-N fill -l select=1:ncpus=8 -l walltime=300", "sleep 300") for _ in range(2)]
    waiting = {
        "queued_can_never_run": "-N never -l select=1:ncpus=100 -l walltime=30",
        "queued_can_never_run_mem": "-N nevermem -l select=1:ncpus=1:mem=900gb -l walltime=30",
        "queued_can_never_run_ngpus": "-N nevergpu -l select=1:ncpus=1:ngpus=9 -l walltime=30",
        "held_user_qsub_h": "-N heldh -h -l walltime=30",
    }
    jobs = {capture: submit(options, "sleep 300") for capture, options in waiting.items()}
    for capture, job_id in jobs.items():
        shows_as(job_id, capture)
    held = jobs["held_user_qsub_h"]
    for command, capture in (("qrls", "held_released"), ("qhold", "held_qhold"), ("qdel", "qdel_held")):
        assert shell(f"{command} {held}").returncode == 0
        shows_as(held, capture)
    for job_id in full:
        pbs.wait(job_id, "R")
    assert shell(f"qdel {full[0]}").returncode == 0
    pbs.wait(full[0])
    shows_as(full[0], "qdel_running")


def test_jobs_with_predecessors(pbs, submit, shows_as):
    parent = submit("-N failing -l walltime=30", "until [ -e go ]; do sleep 0.05; done; exit 3")
    followers = {
        "depend_afterok_of_failed": submit(f"-N afterok -W depend=afterok:{parent} -l walltime=30", "true"),
        "depend_afterany_of_failed": submit(f"-N afterany -W depend=afterany:{parent} -l walltime=30", "true"),
    }
    held = submit(f"-N dep -W depend=afterok:{parent} -l walltime=30", "sleep 300")
    shows_as(held, "held_depend_afterok")
    (pbs.home / "go").touch()
    for capture, job_id in followers.items():
        pbs.wait(job_id)
        shows_as(job_id, capture)


def test_a_job_whose_predecessor_was_deleted(pbs, shell, submit, shows_as):
    parent = submit("-N queued -h", "true")
    held = submit(f"-N dep -W depend=afterok:{parent} -l walltime=30", "sleep 300")
    assert shell(f"qdel {parent}").returncode == 0
    shows_as(held, "depend_parent_deleted")


def test_running_jobs(pbs, submit, shows_as):
    running = {
        "keep_od_running": ("-N kod -k od -l walltime=30 -j oe", "echo first; sleep 300"),
        "two_node_running": (
            "-N sisn -r n -l walltime=100 -j oe -l select=2:ncpus=1 -l place=scatter",
            "echo start; sleep 60",
        ),
        "suspended": ("-N sigs -l walltime=60 -j oe", "sleep 40"),
    }
    for capture, job in running.items():
        job_id = submit(*job)
        pbs.wait(job_id, "R")
        if capture == "suspended":
            assert pbs.run("qsig", "-s", "suspend", job_id).returncode == 159
            assert pbs.run("qsig", "-s", "suspend", job_id, operator=True).returncode == 0
        shows_as(job_id, capture)


def test_jobs_on_lost_nodes(pbs, shell, submit, shows_as):
    script, options = "sleep 60", "-l select=1:ncpus=1:host=pbsn1 -l walltime=100 -j oe"
    jobs = [submit(f"-N {name} -r {rerun} {options}", script) for name, rerun in (("dieN", "n"), ("dieY", "y"))]
    for job_id in jobs:
        pbs.wait(job_id, "R")
    pbs.configure(node_fail_requeue=3600)
    pbs.node_down("pbsn1")
    waits = submit("-N onlyn1 -l select=1:ncpus=1:host=pbsn1 -l walltime=100", script)
    shows_as(waits, "queued_node_down")
    assert pbs.run("pbsnodes", "-l").stdout == "pbsn1                down node down: communication closed\n"
    refused = shell(f"qdel {jobs[0]}")
    assert (refused.returncode, refused.stderr) == (222, f"qdel: Server could not connect to MOM {jobs[0]}\n")
    assert pbs.job(jobs[0])["job_state"] == "R"
    pbs.configure(node_fail_requeue=0)
    shows_as(jobs[0], "mom_dead_not_rerunable")
    shows_as(jobs[1], "mom_dead_rerunable_requeued")


def test_jobs_on_restarted_nodes(pbs, shell, submit, shows_as):
    options = "-l select=1:ncpus=1:host=pbsn1 -l walltime=100 -j oe"
    lost, again = submit(f"-N mkN -r n {options}", "sleep 60"), submit(f"-N mtY -r y {options}", "sleep 60")
    for job_id in (lost, again):
        pbs.wait(job_id, "R")
        pbs.crash_mom(job_id)
    assert shell("qstat").returncode == 0
    shows_as(lost, "mom_kill_restarted_r_n")
    pbs.wait(again, "R")
    shows_as(again, "mom_term_restarted")
    assert pbs.run("qrerun", again).returncode == 159
    assert pbs.run("qrerun", again, operator=True).returncode == 0
    assert pbs.wait(again, "R")


def test_a_job_that_no_node_starts(pbs, shell, submit, shows_as):
    pbs.configure(refuse_starts=["rejectme"])
    job_id = submit("-N rejectme -l walltime=10 -r n", "true")
    shows_as(job_id, "start_refused_r_n")
    assert shell(f"qrls {job_id}").returncode == 0
    refused = shell(f"qrls -h s {job_id}")
    assert (refused.returncode, refused.stderr) == (159, f"qrls: Unauthorized Request  {job_id}\n")
    assert pbs.job(job_id)["job_state"] == "H"


def test_without_job_history_an_ended_job_is_unknown(pbs, shell, submit):
    pbs.configure(history=False)
    job_id = submit("-N hp -j oe -l walltime=30", "exit 3")
    pbs.wait_gone(job_id)
    gone, asked = shell(f"qstat -f {job_id}"), shell(f"qstat -x -f {job_id}")
    assert (gone.returncode, gone.stdout, gone.stderr) == (153, "", f"qstat: Unknown Job Id {job_id}\n")
    text = f"qstat: PBS is not configured to maintain job history {job_id}\n"
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, "", text)
    assert (shell("qstat -f").stdout, shell("qstat").stdout) == ("", "")


def test_nodes_queues_and_the_server(pbs, shell):
    pbs.configure(node_fail_requeue=310, history=False)
    got, expected = zip(*answers(COMMANDS / "showing.txt", shell, pbs), strict=True)
    assert len(got) == 6
    assert got == expected
