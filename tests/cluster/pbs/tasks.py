"""Commands pbs_tmrsh, pbsdsh and mpiexec, which start tasks on the nodes of the job in which they run.

A task is a process in its own session, in $HOME, with PATH=/bin:/usr/bin (or that of -V) and without input. As in a
real PBS, its output goes to the output of the job, not to that of the command.
"""

import contextlib
import os
import signal

from pbs import outputs
from pbs.errors import CommandError, not_supported
from pbs.mom import exit_status, fork, job_environment
from pbs.placement import node_lines


def pbs_tmrsh(store, arguments):
    """Run a program on a host of the job, and return its exit status."""
    if len(arguments) < 2:
        raise CommandError("usage: pbs_tmrsh host program [args...]\n", 1)
    host, *program = arguments
    job = _own_job(store, "pbs_tmrsh")
    if host not in node_lines(job["allocation"]):
        raise CommandError(f'pbs_tmrsh: host "{host}" is not a node in job <{job["id"]}>\n', 255)
    _, raw = os.waitpid(_spawn(store, job, host, 0, program), 0)
    return "", exit_status(raw) & 255


def pbsdsh(store, arguments):
    """Run a program for each line of the node file, for -c of them, or for line -n; the exit status is always 0."""
    copies = number = None
    words = list(arguments)
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word == "--":
            break
        if word == "-c":
            copies = int(words.pop(0))
        elif word == "-n":
            number = int(words.pop(0))
        elif word not in ("-s", "-v"):
            raise CommandError(f"pbsdsh: invalid option -- '{word[1:]}'\n", 1)
    job = _own_job(store, "pbsdsh")
    nodes = node_lines(job["allocation"])
    nodes = [nodes[number]] if number is not None else nodes[:copies]
    pids = {_spawn(store, job, node, rank, words): rank for rank, node in enumerate(nodes)}

    def pass_on(signum, _frame):
        for pid, rank in pids.items():
            os.write(2, f"pbsdsh: killing task 0x{rank:08X} signal {signum}\n".encode())
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    signal.signal(signal.SIGTERM, pass_on)
    failed = {}
    while len(failed) < len(pids):
        pid, raw = os.wait()
        failed[pids[pid]] = exit_status(raw)
    lines = [f"pbsdsh: task 0x{rank:08X} exit status {failed[rank]}\n" for rank in sorted(failed) if failed[rank]]
    if lines:
        raise CommandError("".join(lines), 0)
    return "", 0


def mpiexec(store, arguments):
    """Run `-n` tasks on the lines of the node file, as an MPI that uses the task manager of PBS does (Hydra).

    Each task knows its rank and writes to the output of mpiexec; the first one that fails ends all with its exit
    status. Communication between ranks is not supported.
    """
    if arguments[:1] != ["-n"] or len(arguments) < 3 or arguments[2].startswith("-"):
        raise not_supported(f"mpiexec {' '.join(arguments)}")
    number, program = int(arguments[1]), arguments[2:]
    job = _own_job(store, "mpiexec")
    nodes = node_lines(job["allocation"])
    ranks = {
        _spawn(store, job, nodes[rank % len(nodes)], rank, program, {"PMI_RANK": str(rank), "PMI_SIZE": str(number)})
        for rank in range(number)
    }
    status = 0
    while ranks:
        pid, raw = os.wait()
        ranks.discard(pid)
        if raw and not status:
            status = exit_status(raw) & 255
            for other in ranks:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(other, signal.SIGKILL)
    return "", status


def _own_job(store, command):
    job_id = os.environ.get("PBS_JOBID")
    if job_id is None:
        raise CommandError(f"{command}: not executing under PBS\n", 1)
    with store.locked():
        job = store.job(int(job_id.partition(".")[0]))
    if job is None:
        raise CommandError(f"{command}: tm_init failed, rc = TM_ESYSTEM (17000)\n", 1)
    return job


def _spawn(store, job, node, rank, program, more=None):
    settings = store.settings
    host = list(dict.fromkeys(name for name, _, _ in job["allocation"])).index(node)
    environment = {
        "PATH": "/bin:/usr/bin",
        **job_environment(store, settings, job, node),
        "PBS_TASKNUM": f"{0x20000000 * host + 2 + rank:08X}",
    }
    for name in ("LOGNAME", "SHELL", "USER"):
        environment.pop(name)
    environment |= more or {}

    def become():
        open(store.path("tasks", str(job["seq"]), f"{os.getpid()}@{node}"), "w", encoding="utf-8").close()
        files = outputs.open_files(job)
        os.chdir(settings["home"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if more is None:
            os.dup2(files[0], 1)
            os.dup2(files[1], 2)
        os.closerange(3, 64)
        try:
            os.execvpe(program[0], program, environment)
        except OSError as error:
            os.write(2, f"{program[0]}: {error.strerror}\n".encode())
            os._exit(254)

    return fork(become)
