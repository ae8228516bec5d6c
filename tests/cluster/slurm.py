"""A private, real Slurm cluster on this machine, for tests: its own daemons, ports, munge key and accounts.

Every daemon runs as the caller, root or not. Each node is a process namespace with its own host name, where the system
allows one; cutting its power kills slurmd, job steps and tasks together. Processes and ports are in `processes.py`, the
configuration is in `slurm_config.py`, the fixtures are in `fixtures.py`.
"""

from __future__ import annotations

import os
import pwd
import secrets
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from cluster.processes import DEADLINE, ClusterError, Daemons, Ports, find_program, is_listening, wait_until
from cluster.slurm_config import CLUSTER, Layout, write_configuration

PROGRAMS = ("munged", "munge", "slurmctld", "slurmd", "sbatch", "setpriv", "unshare")
ACCOUNTING_PROGRAMS = ("slurmdbd", "sacctmgr", "mariadbd", "mariadb-install-db")

# prefixes of variables that would direct Slurm's commands to another cluster
FOREIGN_VARIABLES = ("SLURM", "SBATCH_", "SRUN_", "SALLOC_", "SQUEUE_", "SINFO_", "SCANCEL_", "SACCT_", "SCONTROL_")

# states of a node in which it accepts jobs, now or once it is free
_WORKING = ("idle", "mixed", "allocated", "completing", "planned", "reserved")

# The first process of a node: reaps orphans, and ends with slurmd. Arguments: host name, /etc/hosts, slurmd.
_NODE = """
if [ -n "$2" ]; then hostname "$1"; [ ! -e /etc/hosts ] || mount --bind "$2" /etc/hosts; fi
setpriv --pdeathsig KILL "$3" -D -N "$1" &
wait $!
"""
# Without namespaces: orphaned steps become children of the node's first process, so that they can be found.
_ADOPT_ORPHANS = "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); os.execvp(sys.argv[1], sys.argv[1:])"


def missing_program(*, accounting: bool) -> str | None:
    """The first system program that is not installed; None when a cluster can be started."""
    needed = PROGRAMS + (ACCOUNTING_PROGRAMS if accounting else ())
    return next((name for name in needed if find_program(name) is None), None)


def foreign_variables() -> list[str]:
    """Names of this process's variables that would change Slurm's commands."""
    return [name for name in os.environ if name.startswith(FOREIGN_VARIABLES)]


class SlurmCluster:
    """A cluster with nodes n1, n2, ..., below `root`: an empty folder with a short path (sockets allow 107 bytes).

    Partitions: `main` (the default), `low` and `lowcancel` (preempted by the others: requeued, cancelled), `short` (at
    most one minute). Each node has `gpus` GPUs of the type `fake`. With accounting the caller's default account is
    `science` and its default QOS `normal`; the QOS `few` accepts 3 jobs of a user, and runs 1.
    A stopped cluster cannot be started again.
    """

    def __init__(
        self,
        root: Path,
        *,
        nodes: int = 4,
        cpus: int = 4,
        memory: int = 16000,
        gpus: int = 4,
        accounting: bool = False,
        max_array_size: int = 51,
        extra_conf: str = "",
    ) -> None:
        self.root = root
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self._ports = Ports()
        names = ["slurmctld", *self.nodes, *(["slurmdbd"] if accounting else [])]
        self._layout = Layout(
            root=root,
            user=pwd.getpwuid(os.getuid()).pw_name,
            nodes=self.nodes,
            cpus=cpus,
            memory=memory,
            gpus=gpus,
            accounting=accounting,
            max_array_size=max_array_size,
            extra_conf=extra_conf,
            ports={name: self._ports.claim() for name in names},
        )
        # slurmdbd's configuration cannot name the database's socket; its client library reads this variable
        database = {"MYSQL_UNIX_PORT": str(self._layout.database_socket)}
        self._daemons = Daemons(root / "log", self.environment | database)

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment, with Slurm's commands directed to this cluster."""
        foreign = foreign_variables()
        own = {name: value for name, value in os.environ.items() if name not in foreign}
        return own | {"SLURM_CONF": str(self._layout.conf)}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything, and wait until every node is idle. On an error nothing is left running."""
        try:
            self.root.chmod(0o755)  # munged requires a socket that all users can reach
            write_configuration(self._layout)
            self._start_munged()
            if self._layout.accounting:
                self._start_accounting()
            self.start_controller()
            for name in self.nodes:
                self._start_slurmd(name)
            self._wait(lambda: self._accept_jobs(self.nodes), "every node is idle")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill everything immediately. The files remain."""
        self._daemons.close()
        self._ports.release()

    def run(self, *command: str, check: bool = True, timeout: float = DEADLINE) -> subprocess.CompletedProcess[str]:
        """Run a command against this cluster; raises ClusterError when it fails and `check` is set."""
        try:
            done = subprocess.run(
                command, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise ClusterError(f"{' '.join(command)} did not end within {timeout:g} s\n{self.logs()}") from None
        if check and done.returncode != 0:
            raise ClusterError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
        return done

    def submit(self, command: str, *options: str) -> str:
        """Submit a shell command with options of sbatch; returns the job's id."""
        paths = (f"--chdir={self.root}", f"--output={self.root}/log/job-%j.out")
        return self.run("sbatch", "--parsable", *paths, *options, f"--wrap={command}").stdout.strip()

    def state(self, job: str) -> str:
        """State of a job by squeue, also after its end; one line for each task of an array, or for its pending ones."""
        return self.run("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T").stdout.strip()

    def wait_for_state(self, job: str, *states: str) -> None:
        """Wait until a job, or each task of an array, is in one of these states."""

        def reached() -> bool:
            found = set(self.state(job).split())
            return bool(found) and found <= set(states)

        self._wait(reached, f"job {job} is {' or '.join(states)}")

    def alive_jobs(self) -> list[str]:
        """The ids of the jobs that have not ended."""
        return self.run("squeue", "--noheader", "--format=%i").stdout.split()

    def kill_node(self, name: str) -> None:
        """Cut a node's power. Slurm notices it within minutes, or immediately by `down`."""
        self._daemons.kill(name)

    def down(self, name: str) -> None:
        """Set a node down: Slurm ends or requeues its jobs immediately. It stays down until `start_node`."""
        self.run("scontrol", "update", f"nodename={name}", "state=down", "reason=test")

    def start_node(self, name: str) -> None:
        """Start a killed node, or resume one that is down or drained, and wait until it accepts jobs."""
        if not self._daemons.is_running(name):
            self._start_slurmd(name)
        self._wait(lambda: self._accept_jobs([name]), f"node {name} accepts jobs")

    def hide(self, folder: Path) -> bool:
        """Hide a folder from every node until `show`, as if it were on a local disk; returns whether it could."""
        return all(self._in_node(name, "mount", "-t", "tmpfs", "tmpfs", str(folder)) for name in self.nodes)

    def show(self, folder: Path) -> None:
        """Make a hidden folder visible again."""
        for name in self.nodes:
            self._in_node(name, "umount", "--lazy", str(folder))

    def _in_node(self, name: str, *command: str) -> bool:
        """Run a command in a node's mount namespace; returns whether it succeeded."""
        enter = ["nsenter", f"--target={self._daemons.pid(name)}", "--mount", "--", *command]
        return subprocess.run(enter, capture_output=True, timeout=DEADLINE, check=False).returncode == 0

    def stop_controller(self) -> None:
        """Terminate slurmctld; nodes and jobs continue, and Slurm's commands fail."""
        self._daemons.terminate("slurmctld")

    def start_controller(self) -> None:
        """Start slurmctld with its saved state, and wait until it answers."""
        self._start_daemon("slurmctld", "-D")
        port = self._layout.ports["slurmctld"]
        self._wait(lambda: self._is_up("slurmctld") and is_listening(port), "slurmctld listens")
        self._wait(lambda: self.run("scontrol", "ping", check=False).returncode == 0, "slurmctld answers")

    def restart_controller(self) -> None:
        self.stop_controller()
        self.start_controller()

    def tidy(self) -> None:
        """Restore the state after the start, except for ended jobs: all daemons run, and no job is alive."""
        if not self._daemons.is_running("slurmctld"):
            self.start_controller()
        for name in self.nodes:
            if not self._daemons.is_running(name):
                self._start_slurmd(name)
        signalled: set[str] = set()

        def is_tidy() -> bool:
            alive = set(self.run("squeue", "--noheader", "--format=%i %T").stdout.splitlines())
            if alive - signalled:  # also requeued jobs, and late submissions of commands that survived their test
                user = f"--user={self._layout.user}"
                self.run("scancel", user, "--state=RUNNING", "--full", "--signal=KILL", check=False)  # no grace
                self.run("scancel", user, check=False)
                signalled.update(alive)
            return not alive and self._accept_jobs(self.nodes)

        self._wait(is_tidy, "no job is alive and every node is idle")

    def logs(self, lines: int = 15) -> str:
        """The end of every daemon's log."""
        texts = []
        for path in sorted((self.root / "log").glob("*")):
            tail = path.read_text(errors="replace").splitlines()[-lines:]
            if tail and not path.name.startswith("job-"):
                texts.append("\n".join([f"--- {path.name}", *tail]))
        return "\n".join(texts)

    def _wait(self, condition: Callable[[], object], event: str) -> None:
        try:
            wait_until(condition, event)
        except ClusterError as error:
            raise ClusterError(f"{error}\n{self.logs()}") from None

    def _start_daemon(self, program: str, *arguments: str) -> None:
        self._daemons.start(program, [find_program(program) or program, *arguments])

    def _is_up(self, name: str) -> bool:
        """Return True; raises ClusterError when a daemon has ended, since waiting for it is pointless."""
        if not self._daemons.is_running(name):
            raise ClusterError(f"{name} ended")
        return True

    def _start_munged(self) -> None:
        root, socket = self.root, self._layout.munge_socket
        key = root / "etc/munge.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(1024))
        self._start_daemon(
            "munged",
            "--foreground",
            "--force",  # also in folders that others can write
            f"--key-file={key}",
            f"--socket={socket}",
            f"--pid-file={root}/run/munged.pid",
            f"--log-file={root}/log/munged.log",
            f"--seed-file={root}/state/munged.seed",
        )
        munge = ("munge", "--no-input", f"--socket={socket}")
        self._wait(lambda: self._is_up("munged") and self.run(*munge, check=False).returncode == 0, "munged answers")

    def _start_accounting(self) -> None:
        root, user = self.root, self._layout.user
        defaults = f"--defaults-file={root}/etc/my.cnf"
        self._start_daemon(
            "mariadb-install-db",
            defaults,
            f"--user={user}",
            "--auth-root-authentication-method=socket",
            f"--auth-root-socket-user={user}",
            "--skip-test-db",
            "--force",  # also where the host name cannot be resolved
        )
        if self._daemons.finish("mariadb-install-db") != 0:
            raise ClusterError(f"the database was not made\n{self.logs()}")
        self._start_daemon("mariadbd", defaults)
        self._wait(lambda: self._is_up("mariadbd") and self._layout.database_socket.exists(), "the database listens")
        self._start_daemon("slurmdbd", "-D")
        port = self._layout.ports["slurmdbd"]
        self._wait(lambda: self._is_up("slurmdbd") and is_listening(port), "slurmdbd listens")
        # before slurmctld starts: it refuses a cluster that is not in the database, and users that it has not read
        for words in (
            f"cluster {CLUSTER}",
            f"account science cluster={CLUSTER}",
            f"user {user} account=science cluster={CLUSTER} defaultaccount=science",
            "qos few MaxSubmitJobsPerUser=3 MaxJobsPerUser=1",
        ):
            self.run("sacctmgr", "--immediate", "add", *words.split())
        self.run("sacctmgr", "--immediate", "modify", "user", user, "set", "qos=normal,few", "defaultqos=normal")

    def _start_slurmd(self, name: str) -> None:
        node = ["/bin/sh", "-c", _NODE, "sh", name]
        slurmd = find_program("slurmd") or "slurmd"
        namespace = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts"]
        if os.getuid() != 0:
            namespace += ["--user", "--map-current-user", "--keep-caps"]
        if subprocess.run([*namespace, "true"], capture_output=True, timeout=DEADLINE, check=False).returncode == 0:
            command = [*namespace, "--", *node, f"{self.root}/etc/hosts", slurmd]
        else:
            command = [sys.executable, "-c", _ADOPT_ORPHANS, *node, "", slurmd]
        self._daemons.start(name, command)

    def _accept_jobs(self, names: Sequence[str]) -> bool:
        """Whether these nodes accept jobs; those that are down or drained are resumed first."""
        lines = self.run("sinfo", "--noheader", "--Node", "--partition=main", "--format=%N %T").stdout.splitlines()
        states = dict(line.split() for line in lines)
        ready = True
        for name in names:
            if states[name].startswith(("down", "drain")):
                self.run("scontrol", "update", f"nodename={name}", "state=resume", check=False)
            ready &= self._is_up(name) and states[name].rstrip("-") in _WORKING
        return ready
