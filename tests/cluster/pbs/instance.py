"""Instance of the OpenPBS stand-in for a test: created in a directory, and ended with all processes that it started."""

import getpass
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pbs import faults, processes, server
from pbs.mom import cookie, task_sessions
from pbs.store import FINISHED, LIVE, Store, write

_COMMANDS = [
    "qsub",
    "qstat",
    "qselect",
    "qdel",
    "qhold",
    "qrls",
    "qrerun",
    "qsig",
    "pbsnodes",
    "pbs_tmrsh",
    "pbsdsh",
    "mpiexec",
]
_MAIN = Path(__file__).parent / "main.py"


class Pbs:
    """An instance under `root`: its programs are in `bin`, the home directory of its jobs is `home`.

    With `bin` first on PATH, use it like PBS. It has two nodes, `pbsn1` and `pbsn2`, with 8 CPUs and 2 GPUs each, and
    one queue, `workq`; it keeps a job history. Settings for `configure`:

    - `history`: whether finished jobs can be queried (`job_history_enable`).
    - `kill_delay`: seconds between SIGTERM and SIGKILL; 10, as in a real PBS.
    - `node_fail_requeue`: seconds after which the server ends the jobs of a node that is down; 1 (real: 310).
    - `output_delay`: seconds between the end of a job and the delivery of its output.
    - `lose_output`: whether the output of jobs is never delivered.
    - `refuse_starts`: names of jobs that no node starts; they are held after 20 refused starts.
    - `max_queued`: maximum number of jobs of the user in the queue; None: no limit.

    Use it as a context manager, or call `close`. If its process dies, its jobs are ended within a second.
    """

    def __init__(self, root: Path, nodes: int = 2, **settings: Any) -> None:
        self.root, self.bin, self.home, self.user = root, root / "bin", root / "home", _user()
        for name in ("bin", "home", "spool", "aux", "mom_priv", "tasks", "tmp", LIVE, FINISHED):
            (root / name).mkdir(parents=True)
        for command in _COMMANDS:
            program = shlex.join([sys.executable, "-I", "-S", str(_MAIN), str(root), command])
            path = self.bin / command
            path.write_text(f'#!/bin/sh\nexec {program} "$@"\n')
            path.chmod(0o755)
        # a real installation does this in /etc/profile.d
        (self.home / ".profile").write_text(f"PATH=$PATH:{shlex.quote(str(self.bin))}\n")
        self._store = Store(str(root))
        write(
            str(root / "settings"),
            {
                "server": "vm",
                "host": "localhost",
                "user": self.user,
                "home": str(self.home),
                "cookie": os.urandom(16).hex().upper(),
                "owner": (os.getpid(), processes.birth(os.getpid())),
                "next_sequence": 1,
                "history": True,
                "kill_delay": 10,
                "node_fail_requeue": 1,
                "output_delay": 0,
                "lose_output": False,
                "refuse_starts": [],
                "max_queued": None,
                "scheduling": True,
                "down": False,
                "closed": False,
                "queues": {"workq": _QUEUE},
                "nodes": {f"pbsn{number}": _node() for number in range(1, nodes + 1)},
            },
        )
        self.configure(**settings)

    def __enter__(self) -> "Pbs":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def environment(self) -> dict[str, str]:
        """The environment of this process with the programs of the instance first on PATH."""
        return {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}"}

    def run(
        self,
        *words: Any,
        script: str | None = None,
        operator: bool = False,
        cwd: Path | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the programs, with `script` as its input, optionally as the operator."""
        return subprocess.run(
            [str(self.bin / words[0]), *map(str, words[1:])],
            input="" if script is None else script,
            cwd=cwd or self.home,
            env=self.environment | ({"PBS_STANDIN_OPERATOR": "1"} if operator else {}),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def submit(self, script: str, *options: Any, cwd: Path | None = None) -> str:
        """Run a qsub that must succeed; return the job id."""
        done = self.run("qsub", *options, script=script, cwd=cwd)
        assert done.returncode == 0, done
        return done.stdout.strip()

    def job(self, job_id: str) -> dict[str, Any]:
        """Attributes of a job as in `qstat -x -f`, without running a command; empty if the server does not know it."""
        sequence = int(job_id.partition(".")[0])
        with self._store.locked():
            job = self._store.job(sequence) or self._store.job(sequence, FINISHED)
        return job["attributes"] if job else {}

    def wait(self, job_id: str, state: str = "F", seconds: float = 60) -> dict[str, Any]:
        """Wait until a job is in one of the states (if running, with its processes); return its attributes."""
        deadline = time.monotonic() + seconds
        while True:
            job = self.job(job_id)
            if job and job["job_state"] in state and (job["job_state"], job["substate"]) != ("R", 41):
                return job
            assert time.monotonic() < deadline, f"job {job_id} did not reach state {state} in {seconds} s: {job}"
            time.sleep(0.02)

    def wait_gone(self, job_id: str, seconds: float = 60) -> None:
        """Wait until the server does not know the job any more."""
        deadline = time.monotonic() + seconds
        while self.job(job_id):
            assert time.monotonic() < deadline, f"job {job_id} is still known after {seconds} s"
            time.sleep(0.02)

    def wait_ended(self, job_id: str) -> None:
        """Wait until a job has ended: it is in the history, or is unknown without one."""
        with self._store.locked():
            has_history = self._store.settings["history"]
        if has_history:
            self.wait(job_id)
        else:
            self.wait_gone(job_id)

    def calls(self, command: str = "") -> list[tuple[float, str, list[str]]]:
        """Time, name and arguments of each call so far, of one command or of all."""
        path = self.root / "calls"
        lines = path.read_text(errors="surrogateescape").splitlines() if path.exists() else []
        parts = [line.split("\0") for line in lines]
        return [(float(when), name, words) for when, name, *words in parts if command in ("", name)]

    def configure(self, **settings: Any) -> None:
        """Change settings (see the class)."""
        with self._store.locked():
            unknown = settings.keys() - self._store.settings.keys()
            assert not unknown, f"no such settings: {unknown}"
            self._store.change_settings(**settings)

    def add_queue(self, name: str, **limits: Any) -> None:
        """Add a queue; `enabled`, `started`, `max_walltime` (seconds), `max_ncpus`, `max_queued`, `users`."""
        with self._store.locked():
            self._store.change_settings(queues=self._store.settings["queues"] | {name: _QUEUE | limits})

    def fault(self, command: str, kind: str, times: int | None = None, **details: Any) -> None:
        """Inject a fault into a command (`*`: all commands) for a number of uses; see `faults`."""
        defaults = {"seconds": 3600, "keep": 0.5, "text": "would exceed complex's per-user limit", "status": 38}
        faults.put(self._store, {"command": command, "kind": kind, "times": times, **defaults, **details})

    def heal(self) -> None:
        """Remove all faults."""
        faults.put(self._store, None)

    def stop_server(self) -> None:
        """Stop the server; jobs go on, and their ends are reported when the server runs again."""
        self.configure(down=True)

    def start_server(self) -> None:
        """Start the server again."""
        self.configure(down=False)

    def node_down(self, node: str) -> None:
        """Power off a node: all its processes die, and the server cannot reach it."""
        self._set_node(node, "down", "node down: communication closed")
        with self._store.locked():
            for job in self._store.jobs():
                if job["allocation"] and job["allocation"][0][0] == node:
                    self._kill_job(job)
                else:
                    self._kill_job(job, node)

    def cut_off(self, node: str) -> None:
        """Disconnect a node: its jobs go on, and the server ends them after `node_fail_requeue`.

        As recorded for a killed mom (09_nodes_server_down: mom_dead_not_rerunable), `obittime` is the time at which the
        server ended the job, whose processes go on until `reconnect`.
        """
        self._set_node(node, "down", "node down: communication closed", cut_off=True)

    def reconnect(self, node: str) -> None:
        """Connect a node again: jobs that the server still has go on, and the others are killed."""
        self._set_node(node, "free", "", cut_off=False)

    def restart_server(self) -> None:
        """Restart the server, which does not know the resources of the nodes until `moms_report`.

        Until then its scheduler reports that pending jobs can never run, as users of 23.06.06 describe; the text of
        that comment is recorded (04_states2: queued_can_never_run). Running jobs go on.
        """
        for node in self._nodes():
            self._set_node(node, "state-unknown,down", "", reported=False)

    def moms_report(self, *nodes: str) -> None:
        """Report the resources of some nodes, or of all, to the server."""
        for node in nodes or self._nodes():
            self._set_node(node, "free", "", reported=True)

    def _nodes(self) -> list[str]:
        with self._store.locked():
            return list(self._store.settings["nodes"])

    def disable_queue(self, name: str = "workq") -> None:
        """Disable a queue as `qdisable` does: qsub is refused with status 173, as recorded (06_errors: queue off)."""
        self._change_queue(name, enabled=False)

    def enable_queue(self, name: str = "workq") -> None:
        """Enable a queue as `qenable` does."""
        self._change_queue(name, enabled=True)

    def _change_queue(self, name: str, **limits: Any) -> None:
        with self._store.locked():
            queues = self._store.settings["queues"]
            self._store.change_settings(queues=queues | {name: queues[name] | limits})

    def node_offline(self, node: str) -> None:
        """Take a node out of service: its jobs go on, and no jobs start on it."""
        self._set_node(node, "offline", "")

    def node_up(self, node: str) -> None:
        """Return a node to service."""
        self._set_node(node, "free", "")

    def _set_node(self, node: str, state: str, comment: str, **facts: bool) -> None:
        with self._store.locked():
            nodes = self._store.settings["nodes"]
            nodes[node] |= {"state": state, "comment": comment, "since": time.time(), **facts}
            self._store.change_settings(nodes=nodes)

    def lose(self, job_id: str, *, living: bool = False) -> None:
        """Remove a job from the server; its processes die too, or stay `living`."""
        with self._store.locked():
            job = self._store.job(int(job_id.partition(".")[0]))
            assert job is not None, f"{job_id} is not in the queue"
            if living:
                processes.send(job["supervisor"][0], signal.SIGKILL)
            else:
                self._kill_job(job)
            self._store.forget(job)

    def preempt(self, job_id: str) -> None:
        """Preempt a running job by deleting it, as with preempt_order D."""
        with self._store.locked():
            job = self._store.job(int(job_id.partition(".")[0]))
            assert job is not None, f"{job_id} is not in the queue"
            server.delete(self._store, job, f"Scheduler@{self._store.settings['host']}", force=False)

    def exceed_walltime(self, job_id: str) -> None:
        """End a running job as if it had reached its walltime."""
        with self._store.locked():
            job = self._store.job(int(job_id.partition(".")[0]))
            assert job is not None, f"{job_id} is not in the queue"
            server.send_command(self._store, job, "walltime")

    def crash_mom(self, job_id: str) -> None:
        """Crash and restart the mom of a job, which ends the job and reports it as lost."""
        with self._store.locked():
            job = self._store.job(int(job_id.partition(".")[0]))
            assert job is not None, f"{job_id} is not in the queue"
            self._kill_job(job)

    def _kill_job(self, job: dict[str, Any], node: str | None = None) -> None:
        """Kill the supervisor and the processes of a job, or only its tasks on one node."""
        if node is not None:
            self._kill(lambda: processes.in_sessions(task_sessions(self._store, job["seq"], node)))
            return
        if job["supervisor"]:
            processes.send(job["supervisor"][0], signal.SIGKILL)
        entry = f"PBS_JOBCOOKIE={cookie(self._store.settings, job)}"
        self._kill(lambda: processes.with_environment(entry))

    @staticmethod
    def _kill(find: Callable[[], list[int]]) -> None:
        """Kill the processes that `find` returns until there are none."""
        deadline = time.monotonic() + 60
        while found := [pid for pid in find() if processes.birth(pid) is not None]:
            assert time.monotonic() < deadline, f"processes still alive after 60 s of SIGKILL: {found}"
            for pid in found:
                processes.send(pid, signal.SIGKILL)
            time.sleep(0.01)

    def processes(self) -> list[int]:
        """All processes of this instance: jobs, their supervisors, and commands."""
        with self._store.locked():
            mark = self._store.settings["cookie"]
            sessions = {job["session"] for job in self._store.jobs() if job["session"]}
        return [
            *processes.in_sessions(sessions),
            *processes.with_environment(f"PBS_JOBCOOKIE={mark}"),
            *processes.with_argument(str(self.root)),
        ]

    def close(self) -> None:
        """End the instance: no job starts any more, and all its processes are killed by their ids."""
        self.configure(closed=True)
        self._kill(self.processes)
        log = self.root / "mom.log"
        assert not log.exists() or not log.read_text(), log.read_text()


_QUEUE = {"enabled": True, "started": True, "max_walltime": None, "max_ncpus": None, "max_queued": None, "users": None}


def _node() -> dict[str, Any]:
    there = {"state": "free", "comment": "", "since": time.time(), "cut_off": False, "reported": True}
    return {"ncpus": 8, "ngpus": 2, "mem": 24684084, **there}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "pbsuser"
