"""Supervisor of one running job, as pbs_mom on the first node of the job.

It starts the login shell of the job in a new session, ends it at its walltime or on a command of the server, delivers
its output, and writes its end to the state directory. Further tasks of the job (`tasks`) have their own sessions, which
are listed by files.
"""

import contextlib
import os
import shlex
import shutil
import signal
import time

from pbs import dependencies, outputs, processes, server
from pbs.formats import duration, parse_duration
from pbs.placement import node_lines
from pbs.store import Store

_TICK = 0.05  # seconds between two checks of a session that is being ended
_REPORT = 1.0  # seconds between two reports of the used resources; a real mom: 10 to 120


def mom(root, sequence):
    """Run the job with this number, to which the scheduler has just allocated nodes."""
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):
            os.close(descriptor)
    store = Store(root)
    with store.locked():
        job = store.job(sequence)
        if job is None or job["supervisor"] is None or job["supervisor"][0] != os.getpid():
            return
        settings = store.settings
    run = _Run(store, settings, job)
    run.start()
    status = run.wait()
    run.finish(status)


class _Run:
    def __init__(self, store, settings, job):
        self.store, self.settings, self.job = store, settings, job
        self.sequence, self.attributes = job["seq"], job["attributes"]
        self.started = time.monotonic()
        self.reason = None  # walltime, delete, force, rerun: why the job is being ended
        self.last_command = None  # last command of the server that was executed
        self.reported = 0.0  # seconds from the start to the last report
        self.was_cut_off = False
        self.kill_at = None
        limit = self.attributes.get("Resource_List.walltime")
        self.limit = parse_duration(limit) if limit else None

    def start(self):
        store, job = self.store, self.job
        os.makedirs(store.path("tmp", f"pbs.{job['id']}"), mode=0o700, exist_ok=True)
        os.makedirs(store.path("tasks", str(self.sequence)), exist_ok=True)
        for node in {name for name, _, _ in job["allocation"]}:
            with open(node_file(store, job, node), "w", encoding="utf-8") as file:
                file.write("".join(f"{name}\n" for name in node_lines(job["allocation"])))
        script = store.path("mom_priv", f"{job['id']}.SC")
        descriptor = os.open(script, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700)
        with open(descriptor, "wb") as file:
            file.write(job["script"])
        self.shell = fork(lambda: self._become_the_shell(script))
        with store.locked():
            job = store.job(self.sequence)
            if job is None:
                return
            job["session"] = self.shell
            # used resources are not known before the next report of the node
            job["attributes"] |= {"substate": 42, "session_id": self.shell, "jobdir": self.settings["home"]}
            store.save(job)

    def _become_the_shell(self, script):
        files = outputs.open_files(self.job)
        environment = job_environment(self.store, self.settings, self.job, self.job["allocation"][0][0])
        environment.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
        os.chdir(self.settings["home"])
        if self.job["command"]:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        else:
            source, sink = os.pipe()
            os.write(sink, os.fsencode(shlex.quote(script)) + b"\n")
            os.dup2(source, 0)
        os.dup2(files[0], 1)
        os.dup2(files[1], 2)
        os.closerange(3, 64)
        if self.job["command"]:
            try:
                os.execve(self.job["command"][0], self.job["command"], environment)
            except OSError as error:
                text = f"pbs_mom, exec of {self.job['command'][0]} failed with error: {error.strerror}\n"
                os.write(2, os.fsencode(text))
                os._exit(254)
        shell = self.job["shell"]
        os.execve(shell, ["-" + os.path.basename(shell)], environment)

    def wait(self):
        """Wait until all processes of the job have ended; return its exit status as PBS reports it."""
        status = None
        while True:
            if status is None:
                pid, raw = os.waitpid(self.shell, os.WNOHANG)
                if pid:
                    status = exit_status(raw)
            self._talk()
            if status is not None:
                living = processes.in_sessions(self._sessions())
                if not living:
                    return status
                if self.reason is None:  # the shell ended without a command: end the remaining processes
                    self._signal(signal.SIGKILL)
            now = time.monotonic()
            if self.reason is None and status is None and self.limit is not None and now - self.started >= self.limit:
                self._exceed_walltime()
            if self.kill_at is not None and now >= self.kill_at:
                self._signal(signal.SIGKILL)
            pause = 1.0 if self.reason is None and status is None else _TICK
            if self.reason is None and self.limit is not None:
                pause = min(pause, max(self.started + self.limit - now, 0.001))
            signal.sigtimedwait(server.MOM_SIGNALS, pause)

    def _exceed_walltime(self):
        elapsed = int(time.monotonic() - self.started)
        with contextlib.suppress(OSError):
            os.write(
                outputs.open_files(self.job)[1],
                f"=>> PBS: job killed: walltime {elapsed} exceeded limit {self.limit}\n".encode(),
            )
        self._end("walltime")

    def _talk(self):
        """Report to the server and execute its command; on a disconnected node the job goes on without either."""
        with self.store.locked():
            job, cut_off = self._own_job(), self._is_cut_off()
            if job is not None and not cut_off and self.started + self.reported + _REPORT <= time.monotonic():
                self.reported = time.monotonic() - self.started
                job["attributes"] |= self._used()
                self.store.save(job)
        if not processes.is_same(*self.settings["owner"]):  # the tests were killed, and cannot clean up
            self._signal(signal.SIGKILL)
            os._exit(0)
        if cut_off:
            self.was_cut_off = True
            return
        if job is None:
            if self.was_cut_off:  # meanwhile the server ended the job
                self._kill_all()
            os._exit(0)  # a test removed the job
        if job["mom_command"] and job["mom_command"] != self.last_command:
            self.last_command = job["mom_command"]
            self._end(job["mom_command"])

    def _own_job(self):
        """The job, None if the server does not have this run any more; requires the lock."""
        job = self.store.job(self.sequence)
        return job if job and job["supervisor"] and job["supervisor"][0] == os.getpid() else None

    def _is_cut_off(self):
        """Whether the first node of the job is disconnected; requires the lock."""
        return self.store.settings["nodes"][self.job["allocation"][0][0]]["cut_off"]

    def _kill_all(self):
        """Kill the processes on this node; the job may already run on another one."""
        here = {self.shell, *task_sessions(self.store, self.sequence, self.job["allocation"][0][0])}
        while living := processes.in_sessions(here):
            for pid in living:
                processes.send(pid, signal.SIGKILL)
            time.sleep(_TICK)

    def _end(self, reason):
        """Begin to end the job: SIGTERM, and SIGKILL after kill_delay; or SIGKILL immediately."""
        if self.reason is None or reason != "delete":
            self.reason = reason
        gently = reason in ("walltime", "delete")
        self._signal(signal.SIGTERM if gently else signal.SIGKILL)
        if self.kill_at is None or not gently:
            self.kill_at = time.monotonic() + (self.settings["kill_delay"] if gently else 0)

    def _sessions(self):
        return {self.shell, *task_sessions(self.store, self.sequence)}

    def _signal(self, number):
        for pid in processes.in_sessions(self._sessions()):
            processes.send(pid, number)

    def _used(self):
        return {
            "resources_used.cpupercent": 0,
            "resources_used.cput": duration(0),
            "resources_used.mem": "0kb",
            "resources_used.ncpus": self.attributes["Resource_List.ncpus"],
            "resources_used.vmem": "0kb",
            "resources_used.walltime": duration(time.monotonic() - self.started),
        }

    def finish(self, status):
        """Write the end of the job, deliver its output, and start further jobs."""
        store = self.store
        if self.reason == "walltime":
            status = -29
        while processes.is_same(*self.settings["owner"]):  # the end is reported when the server can be reached
            with store.locked():
                job = self._own_job()
                cut_off = self._is_cut_off()
                if (job is None and not cut_off) or store.settings["closed"]:
                    return
                if not store.settings["down"] and not cut_off:
                    if self.reason == "rerun":
                        server.requeue(store, job)
                        server.schedule(store)
                        return
                    late = store.settings["output_delay"]
                    lost = store.settings["lose_output"]
                    job["attributes"] |= {
                        "job_state": "E",
                        "substate": 51,
                        "Exit_status": status,
                        "obittime": int(time.time()),
                        **self._used(),
                    }
                    store.save(job)
                    break
            time.sleep(_TICK)
        else:
            return
        delivered = not late and not lost and outputs.deliver(job)
        with store.locked():
            job = store.job(self.sequence)
            if job is None:
                return
            if not job["kept_at_home"]:
                job["attributes"]["Stageout_status"] = int(delivered)
            if self.reason == "walltime":
                job["attributes"]["comment"] += " and exceeded resource walltime"
            elif self.reason is None:
                job["attributes"]["comment"] += " and finished" if status == 0 else " and failed"
            deleted = self.reason in ("delete", "force")
            job["attributes"]["substate"] = 91 if deleted else 92 if status == 0 else 93
            job["allocation"] = []
            store.retire(job)
            dependencies.release(store, job)
            if not store.settings["closed"]:
                server.schedule(store)
        if late and not lost:
            time.sleep(late)
            outputs.deliver(job)
        shutil.rmtree(store.path("tmp", f"pbs.{job['id']}"), ignore_errors=True)


def fork(become):
    """Start `become`, which has to call exec, in a new process and session."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        for number in (signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)  # Python has set them
        become()
    finally:
        os._exit(127)


def exit_status(raw):
    """Convert a wait status to the exit status of PBS: the exit code, or 256 + the signal."""
    code = os.waitstatus_to_exitcode(raw)
    return code if code >= 0 else 256 - code


def task_sessions(store, sequence, node=None):
    """Sessions of the tasks of the job on one node, or on all nodes."""
    found = set()
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(store.path("tasks", str(sequence))):
            pid, _, where = name.partition("@")
            if node in (None, where):
                found.add(int(pid))
    return found


def node_file(store, job, node):
    return store.path("aux", f"{job['id']}@{node}")


def cookie(settings, job):
    """Value of PBS_JOBCOOKIE, which identifies the processes of a job of an instance."""
    return f"{settings['cookie']}{job['seq']:08X}"


def job_environment(store, settings, job, node):
    """Environment of a task of the job on a node, except PATH."""
    first = job["allocation"][0][2]
    threads = str(first.get("ompthreads", first["ncpus"]))
    hosts = list(dict.fromkeys(name for name, _, _ in job["allocation"]))
    return {
        **job["environment"],
        "ENVIRONMENT": "BATCH",
        "HOME": settings["home"],
        "LOGNAME": settings["user"],
        "USER": settings["user"],
        "SHELL": job["shell"],
        "NCPUS": threads,
        "OMP_NUM_THREADS": threads,
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "PBS_JOBCOOKIE": cookie(settings, job),
        "PBS_JOBDIR": settings["home"],
        "PBS_JOBID": job["id"],
        "PBS_JOBNAME": job["attributes"]["Job_Name"],
        "PBS_MOMPORT": "15003",
        "PBS_NODEFILE": node_file(store, job, node),
        "PBS_NODENUM": str(hosts.index(node)),
        "PBS_QUEUE": job["attributes"]["queue"],
        "PBS_TASKNUM": "1",
        "TMPDIR": store.path("tmp", f"pbs.{job['id']}"),
        **({"PBS_ACCOUNT": job["attributes"]["Account_Name"]} if "Account_Name" in job["attributes"] else {}),
    }
