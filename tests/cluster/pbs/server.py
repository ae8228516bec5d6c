"""Decisions of the server and the scheduler. All functions require the lock of the store.

There is no server process: `settle` runs at the start of each command and at the end of each job.
"""

import contextlib
import os
import signal
import sys
import time

from pbs import dependencies, outputs, placement, processes
from pbs.errors import ALREADY_FINISHED, UNKNOWN_JOB, CommandError, server_down
from pbs.formats import date_in_comment
from pbs.store import FINISHED

_MAIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "main.py")
MOM_SIGNALS = (signal.SIGCHLD, signal.SIGUSR1)


@contextlib.contextmanager
def opened(store, command, *, settled=True):
    """Hold the lock of a running server; with `settled`, pending work of the server is done first.

    Raises:
        CommandError: with the message of `command` if the server is down.
    """
    with store.locked():
        if store.settings["down"] or store.settings["closed"]:
            raise server_down(command, store.settings["server"])
        if settled:
            settle(store)
        yield


def settle(store):
    """End jobs that lost their node or their supervisor, then start jobs."""
    settings = store.settings
    if settings["closed"] or settings["down"]:
        return
    now, ended = time.time(), False
    jobs = store.jobs()
    for job in jobs:
        if job["attributes"]["job_state"] not in "RES":
            continue
        node = settings["nodes"][job["allocation"][0][0]]
        if node["state"] == "down":
            if now - node["since"] >= settings["node_fail_requeue"]:
                end_on_lost_node(store, job, -20)
                ended = True
        elif not processes.is_same(*job["supervisor"]):
            end_on_lost_node(store, job, -4)
            ended = True
    schedule(store, None if ended else jobs)  # successors of ended jobs may start now


def schedule(store, jobs=None):
    """Start each queued job that fits, by priority and age, and set the comment of the others.

    Args:
        store: the state.
        jobs: all jobs in the queue, if the caller has just read them.
    """
    settings = store.settings
    if not settings["scheduling"]:
        return
    jobs = store.jobs() if jobs is None else jobs
    queued = [job for job in jobs if job["attributes"]["job_state"] == "Q"]
    if not queued:
        return
    left = placement.free_resources(settings["nodes"], jobs)
    for job in sorted(queued, key=lambda job: (-job["attributes"]["Priority"], job["seq"])):
        if job["attributes"]["Job_Name"] in settings["refuse_starts"]:
            _refuse_start(store, job)
            continue
        allocation = None
        if settings["queues"][job["attributes"]["queue"]]["started"]:
            allocation = placement.allocate(job, settings["nodes"], left)
            comment = placement.pending_comment(job, settings["nodes"])
        else:
            comment = "Not Running: Queue not started."
        if allocation:
            _start(store, job, allocation)
            left = placement.free_resources(settings["nodes"], jobs)
        elif job["attributes"].get("comment") != comment:
            job["attributes"]["comment"] = comment
            store.save(job)


def _start(store, job, allocation):
    now = int(time.time())
    vnodes = placement.exec_vnode(allocation)
    job["attributes"] |= {
        "job_state": "R",
        "substate": 41,
        "stime": now,
        "exec_host": placement.exec_host(allocation),
        "exec_vnode": vnodes,
        "comment": f"Job run at {date_in_comment(now)} on {vnodes}",
        "run_count": job["attributes"].get("run_count", 0) + 1,
    }
    job["attributes"].pop("Exit_status", None)
    job |= {"allocation": allocation, "mom_command": None, "session": None}
    pid = _spawn_supervisor(store, job)
    job["supervisor"] = (pid, processes.birth(pid))
    store.save(job)


def _spawn_supervisor(store, job):
    files = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(2)]
    log = (os.POSIX_SPAWN_OPEN, 2, store.path("mom.log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", _MAIN, store.root, "mom", str(job["seq"])],
        {"LANG": "C.UTF-8"},
        file_actions=[*files, log],
        setsid=True,
        setsigmask=MOM_SIGNALS,  # a signal before it handles signals must not kill it
        setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGPIPE],
    )


def _refuse_start(store, job):
    """Hold a job that its node has refused to start 20 times."""
    job["attributes"] |= {
        "job_state": "H",
        "substate": 20,
        "Hold_Types": "s",
        "comment": "job held, too many failed attempts to run",
        "run_count": 21,
        "resources_used.walltime": "00:00:00",
    }
    job["attributes"].pop("etime", None)
    store.save(job)


def send_command(store, job, command):
    """Command the supervisor of a running job to end it: `delete` (SIGTERM first), `force`, `rerun` or `walltime`."""
    job["mom_command"] = command
    store.save(job)
    processes.send(job["supervisor"][0], signal.SIGUSR1)


def requeue(store, job):
    """Requeue a job that ran, to run again from its beginning."""
    attributes = job["attributes"]
    for name in ("exec_host", "exec_vnode", "stime", "jobdir"):
        attributes.pop(name, None)
    for name in [name for name in attributes if name.startswith("resources_used.")]:
        del attributes[name]
    attributes |= {"job_state": "Q", "substate": 10, "obittime": int(time.time())}
    job |= {"allocation": [], "mom_command": None, "session": None, "supervisor": None}
    store.save(job)


def end_on_lost_node(store, job, status):
    """End or requeue a job whose node is lost (-20) or was restarted without it (-4)."""
    attributes = job["attributes"]
    attributes["Exit_status"] = status
    if attributes["Rerunable"] == "True" and not job["mom_command"]:
        requeue(store, job)
        if status == -4:  # the restarted node reported that the job is not running
            attributes.pop("Exit_status")
            store.save(job)
        return
    attributes |= {"substate": 93, "obittime": int(time.time())}
    if status == -4:
        attributes["comment"] += " and failed"
        attributes["Stageout_status"] = int(outputs.deliver(job))
    job["allocation"] = []
    store.retire(job)
    dependencies.release(store, job)


def delete(store, job, user_and_host, force):
    """Delete a job in the queue, as `qdel` does.

    Raises:
        CommandError: if the node of the job cannot be reached.
    """
    attributes = job["attributes"]
    if attributes["job_state"] == "E":
        return
    if attributes["job_state"] in "RS":
        down = "down" in store.settings["nodes"][job["allocation"][0][0]]["state"]
        if down and not force:
            raise CommandError(f"qdel: Server could not connect to MOM {job['id']}\n", 222)
        if not down:
            suffix = f" and terminated by {user_and_host}"
            if not attributes["comment"].endswith(suffix):
                attributes["comment"] += suffix
            send_command(store, job, "force" if force else "delete")
            return
        attributes["obittime"] = int(time.time())
        job["allocation"] = []
    ran, followed = attributes["job_state"] in "RS", attributes["substate"] == dependencies.HELD
    attributes["substate"] = 91
    if "comment" in attributes:
        attributes["comment"] += " and terminated"
    store.retire(job)
    if ran:
        dependencies.release(store, job)
    elif followed:
        dependencies.remove_followers(store, job)


def find(store, command, job_id):
    """Find the job in the queue that a command is to change.

    Raises:
        CommandError: with the message of `command` if the id is malformed, or the job unknown or finished.
    """
    sequence = parse_id(store, command, job_id)
    job = store.job(sequence)
    if job is None:
        shown = f"{sequence}.{store.settings['server']}"
        if store.job(sequence, FINISHED) is not None and command == "qdel":
            raise CommandError(f"qdel: Job has finished {shown}\n", ALREADY_FINISHED)
        raise CommandError(f"{command}: Unknown Job Id {shown}\n", UNKNOWN_JOB)
    return job


def parse_id(store, command, job_id):
    """Parse the number in `33` or `33.vm`.

    Raises:
        CommandError: if it is not a job id, or that of an array, which are not supported.
    """
    number, dot, server = job_id.partition(".")
    number, bracket, _ = number.partition("[")
    if not (number.isascii() and number.isdigit()) or (dot and server != store.settings["server"]):
        raise CommandError(f"{command}: illegally formed job identifier: {job_id}\n", 1)
    if bracket:
        raise CommandError(f"{command}: Unknown Job Id {job_id}\n", UNKNOWN_JOB)
    return int(number)
