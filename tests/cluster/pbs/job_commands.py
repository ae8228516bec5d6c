"""Commands that change jobs: qdel, qhold, qrls, qrerun, qsig."""

import os
import signal
import time

from pbs import processes, server
from pbs.errors import BAD_STATE, UNAUTHORIZED, UNKNOWN_JOB, CommandError, not_supported
from pbs.formats import date
from pbs.store import FINISHED

_QDEL_USAGE = "usage:\n\tqdel [-W force|suppress_email=X] [-x] job_identifier...\n\tqdel --version\n"


def qdel(store, arguments):
    """Delete jobs; of several errors only the first is reported."""
    force, history, ids = False, False, []
    while arguments:
        word = arguments.pop(0)
        if word in ("-W", "-Wforce"):
            value = "force" if word == "-Wforce" else (arguments.pop(0) if arguments else "")
            force = force or value == "force"
        elif word == "-x":
            history = True
        elif word.startswith("-"):
            raise CommandError(_QDEL_USAGE, 2)
        else:
            ids.append(word)
    if not ids:
        raise CommandError(_QDEL_USAGE, 2)
    errors = []
    with server.opened(store, "qdel"):
        for job_id in ids:
            try:
                if history and _forget_finished(store, job_id):
                    continue
                job = server.find(store, "qdel", job_id)
                server.delete(store, job, f"{store.settings['user']}@{store.settings['host']}", force)
            except CommandError as error:
                errors.append(error)
        if len(ids) > 1 and len(errors) < len(ids) and any(each.status == UNKNOWN_JOB for each in errors):
            store.change_settings(down=True)  # a known and an unknown id in one qdel crash the server
            return "", 0
        server.settle(store)
    if errors:
        raise errors[0]
    return "", 0


def _forget_finished(store, job_id):
    """Delete a job from the history, as `qdel -x` does; return whether there was one."""
    sequence = server.parse_id(store, "qdel", job_id)
    finished = store.job(sequence, FINISHED) is not None
    if finished:
        os.unlink(store.path(FINISHED, str(sequence)))
    return finished


def qhold(store, arguments):
    """Hold pending jobs; for a running job only the attribute is set, as in PBS without checkpointing."""
    return _change(store, "qhold", arguments, "h", _hold)


def _hold(store, job, kind):
    _allow_only("u", kind, "qhold", job)
    attributes = job["attributes"]
    attributes["Hold_Types"] = kind or "u"
    if attributes["job_state"] == "Q":
        now = time.time()
        attributes |= {
            "job_state": "H",
            "substate": 20,
            "comment": f"Job held by {'root' if _is_operator() else store.settings['user']} on {date(now)}",
        }
        attributes.pop("etime", None)
    store.save(job)


def qrls(store, arguments):
    """Release user holds."""
    return _change(store, "qrls", arguments, "h", _release)


def _release(store, job, kind):
    _allow_only("u", kind, "qrls", job)
    attributes = job["attributes"]
    if attributes["Hold_Types"] == (kind or "u"):
        attributes["Hold_Types"] = "n"
        if attributes["job_state"] == "H":
            attributes |= {"job_state": "Q", "substate": 10, "etime": int(time.time())}
        store.save(job)


def qrerun(store, arguments):
    """End running jobs immediately and requeue them; for operators only."""
    return _change(store, "qrerun", arguments, "W", _rerun)


def _rerun(store, job, _kind):
    if not _is_operator():
        raise _unauthorized("qrerun", job)
    if job["attributes"]["Rerunable"] != "True":
        raise CommandError(f"qrerun: job is not rerunnable {job['id']}\n", 190)
    if job["attributes"]["job_state"] != "R":
        raise CommandError(f"qrerun: Request invalid for state of job {job['id']}\n", BAD_STATE)
    server.send_command(store, job, "rerun")


def qsig(store, arguments):
    """Send a signal to every process of running jobs; `suspend` and `resume` are for operators."""
    return _change(store, "qsig", arguments, "s", _signal)


def _signal(store, job, name):
    name = name or "SIGTERM"
    attributes = job["attributes"]
    if name in ("suspend", "resume"):
        if not _is_operator():
            raise _unauthorized("qsig", job)
        number, state, substate = (signal.SIGSTOP, "S", 43) if name == "suspend" else (signal.SIGCONT, "R", 42)
        attributes |= {"job_state": state, "substate": substate}
        store.save(job)
    else:
        number = getattr(signal, name if name.startswith("SIG") else f"SIG{name}")
    if attributes["job_state"] not in "RS" or job["session"] is None:
        raise CommandError(f"qsig: Request invalid for state of job {job['id']}\n", BAD_STATE)
    from pbs.mom import task_sessions

    for pid in processes.in_sessions({job["session"], *task_sessions(store, job["seq"])}):
        processes.send(pid, number)


def _change(store, command, arguments, letter, change):
    """Apply `change(store, job, value of -letter)` to the jobs; the last error is the exit status."""
    value, ids = "", []
    while arguments:
        word = arguments.pop(0)
        if word == f"-{letter}":
            value = arguments.pop(0) if arguments else ""
        elif word.startswith("-"):
            raise not_supported(f"{command} {word}")
        else:
            ids.append(word)
    errors = []
    with server.opened(store, command):
        for job_id in ids:
            try:
                change(store, server.find(store, command, job_id), value)
            except CommandError as error:
                errors.append(error)
        server.settle(store)
    if errors:
        raise CommandError("".join(each.text for each in errors), errors[-1].status)
    return "", 0


def _is_operator():
    """Whether a test acts as the operator, by an environment variable; a real server checks the user."""
    return os.environ.get("PBS_STANDIN_OPERATOR") == "1"


def _unauthorized(command, job):
    return CommandError(f"{command}: Unauthorized Request  {job['id']}\n", UNAUTHORIZED)


def _allow_only(own, kind, command, job):
    if kind not in ("", own) and not _is_operator():
        raise _unauthorized(command, job)
