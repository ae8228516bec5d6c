"""A private OpenPBS stand-in for a test: made in a directory, and ended with every process that it started."""

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

    Put `bin` first on PATH and use it as PBS is used. It has two nodes, `pbsn1` and `pbsn2`, of 8 CPUs and 2 GPUs, and
    one queue, `workq`; it keeps a history. Settings that `configure` changes:

    - `history`: whether finished jobs can be asked for (`job_history_enable`).
    - `kill_delay`: seconds between SIGTERM and SIGKILL; 10, as in a real one.
    - `node_fail_requeue`: seconds until the server gives up the jobs of a node that is down. Real: 310; here 1.
    - `output_delay`: seconds by which output files come later than the job's end.
    - `lose_output`: the output of jobs never comes.
    - `refuse_starts`: names of jobs that no node will start; they are held after 20 tries.
    - `max_queued`: how many jobs the user may have in the queue; None: any.

    Use it as a context manager, or call `close`. When the process that made it dies, its jobs are ended within a second.
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
        """This process's environment with the instance's programs first on PATH."""
        return {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}"}

    def run(
        self,
        *words: Any,
        script: str | None = None,
        operator: bool = False,
        cwd: Path | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the programs, with `script` as its input; as the operator if asked."""
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
        """qsub that must succeed; returns the id."""
        done = self.run("qsub", *options, script=script, cwd=cwd)
        assert done.returncode == 0, done
        return done.stdout.strip()

    def job(self, job_id: str) -> dict[str, Any]:
        """What qstat -x -f shows of a job, without asking; empty when the server does not know it."""
        sequence = int(job_id.partition(".")[0])
        with self._store.locked():
            job = self._store.job(sequence) or self._store.job(sequence, FINISHED)
        return job["attributes"] if job else {}

    def wait(self, job_id: str, state: str = "F", seconds: float = 60) -> dict[str, Any]:
        """Wait until the job is in one of these states (and, if running, has its processes); returns its attributes."""
        deadline = time.monotonic() + seconds
        while True:
            job = self.job(job_id)
            if job and job["job_state"] in state and (job["job_state"], job["substate"]) != ("R", 41):
                return job
            assert time.monotonic() < deadline, f"{job_id} is {job}, not {state}"
            time.sleep(0.02)

    def wait_gone(self, job_id: str, seconds: float = 60) -> None:
        """Wait until the server knows the job no more."""
        deadline = time.monotonic() + seconds
        while self.job(job_id):
            assert time.monotonic() < deadline, f"{job_id} is still known"
            time.sleep(0.02)

    def calls(self, command: str = "") -> list[tuple[float, str, list[str]]]:
        """Every use of a command so far, or of any: when, which, with what."""
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
        """Put a fault into a command (`*`: into all), for so many uses: see `faults`."""
        defaults = {"seconds": 3600, "keep": 0.5, "text": "would exceed complex's per-user limit", "status": 38}
        faults.put(self._store, {"command": command, "kind": kind, "times": times, **defaults, **details})

    def heal(self) -> None:
        """Take all faults out of the commands."""
        faults.put(self._store, None)

    def stop_server(self) -> None:
        """Nobody answers; jobs go on, and those that end say so when the server is back."""
        self.configure(down=True)

    def start_server(self) -> None:
        """The server answers again."""
        self.configure(down=False)

    def node_down(self, node: str) -> None:
        """A node loses its power: everything that runs there dies, and the server sees no answer."""
        self._set_node(node, "down", "node down: communication closed")
        with self._store.locked():
            for job in self._store.jobs():
                if job["allocation"] and job["allocation"][0][0] == node:
                    self._kill_job(job)
                else:
                    self._kill_job(job, node)

    def cut_off(self, node: str) -> None:
        """A node's network fails: the server sees no answer, and what runs there goes on."""
        self._set_node(node, "down", "node down: communication closed")

    def node_offline(self, node: str) -> None:
        """An administrator takes a node out: what runs there goes on, nothing new starts."""
        self._set_node(node, "offline", "")

    def node_up(self, node: str) -> None:
        """The node is there again."""
        self._set_node(node, "free", "")

    def _set_node(self, node: str, state: str, comment: str) -> None:
        with self._store.locked():
            nodes = self._store.settings["nodes"]
            nodes[node] |= {"state": state, "comment": comment, "since": time.time()}
            self._store.change_settings(nodes=nodes)

    def lose(self, job_id: str, *, living: bool = False) -> None:
        """The server forgets a job; its processes die too, or live on unseen."""
        with self._store.locked():
            job = self._store.job(int(job_id.partition(".")[0]))
            assert job is not None, f"{job_id} is not in the queue"
            if living:
                processes.send(job["supervisor"][0], signal.SIGKILL)
            else:
                self._kill_job(job)
            self._store.forget(job)

    def preempt(self, job_id: str) -> None:
        """The scheduler deletes a running job for another one's sake, as where preempt_order is D."""
        with self._store.locked():
            job = self._store.job(int(job_id.partition(".")[0]))
            assert job is not None, f"{job_id} is not in the queue"
            server.delete(self._store, job, f"Scheduler@{self._store.settings['host']}", force=False)

    def exceed_walltime(self, job_id: str) -> None:
        """A running job's walltime is over, whatever it asked for."""
        with self._store.locked():
            job = self._store.job(int(job_id.partition(".")[0]))
            assert job is not None, f"{job_id} is not in the queue"
            server.give_order(self._store, job, "walltime")

    def crash_mom(self, job_id: str) -> None:
        """The node's daemon crashes and is started again: it ends the job and reports it lost."""
        with self._store.locked():
            job = self._store.job(int(job_id.partition(".")[0]))
            assert job is not None, f"{job_id} is not in the queue"
            self._kill_job(job)

    def _kill_job(self, job: dict[str, Any], node: str | None = None) -> None:
        """Kill a job's supervisor and processes, or only its tasks on one node."""
        if node is not None:
            self._kill(lambda: processes.in_sessions(task_sessions(self._store, job["seq"], node)))
            return
        if job["supervisor"]:
            processes.send(job["supervisor"][0], signal.SIGKILL)
        entry = f"PBS_JOBCOOKIE={cookie(self._store.settings, job)}"
        self._kill(lambda: processes.with_environment(entry))

    @staticmethod
    def _kill(find: Callable[[], list[int]]) -> None:
        """Kill what is found until there is nothing more."""
        deadline = time.monotonic() + 60
        while found := [pid for pid in find() if processes.birth(pid) is not None]:
            assert time.monotonic() < deadline, f"these processes will not die: {found}"
            for pid in found:
                processes.send(pid, signal.SIGKILL)
            time.sleep(0.01)

    def processes(self) -> list[int]:
        """Everything that this instance has running: jobs, their supervisors, and commands."""
        with self._store.locked():
            mark = self._store.settings["cookie"]
            sessions = {job["session"] for job in self._store.jobs() if job["session"]}
        return [
            *processes.in_sessions(sessions),
            *processes.with_environment(f"PBS_JOBCOOKIE={mark}"),
            *processes.with_argument(str(self.root)),
        ]

    def close(self) -> None:
        """End the instance: no job starts any more, and every process of it is killed, by its id."""
        self.configure(closed=True)
        self._kill(self.processes)
        log = self.root / "mom.log"
        assert not log.exists() or not log.read_text(), log.read_text()


_QUEUE = {"enabled": True, "started": True, "max_walltime": None, "max_ncpus": None, "max_queued": None, "users": None}


def _node() -> dict[str, Any]:
    return {"ncpus": 8, "ngpus": 2, "mem": 24684084, "state": "free", "comment": "", "since": time.time()}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "pbsuser"
