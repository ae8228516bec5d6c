"""State directory of an instance: settings, jobs, and the lock that all readers and writers hold.

Each job is a file that is always replaced as a whole, so that a command that is killed leaves a consistent state. Files
are written by marshal, since importing json would take a third of the time of a command.
"""

import contextlib
import fcntl
import marshal
import os
import time

LIVE, FINISHED = "live", "finished"


def read(path):
    """Read the value in a file; None if there is no file."""
    try:
        with open(path, "rb") as file:
            return marshal.loads(file.read())
    except FileNotFoundError:
        return None


def write(path, value):
    """Replace a file atomically."""
    temporary = f"{path}.{os.getpid()}~"
    with open(temporary, "wb") as file:
        file.write(marshal.dumps(value))
    os.replace(temporary, path)


class Store:
    """The state under `root`. All methods except `path` and `log` require the lock.

    A job is a dict: `id`, `seq`, `attributes` (as qstat shows them; times in seconds), and internal keys of the
    stand-in: `script`, `environment`, `chunks`, `place`, `mom_command` (command for its supervisor), `allocation`, ...
    """

    def __init__(self, root):
        self.root = root
        self.settings = {}

    def path(self, *names):
        return os.path.join(self.root, *names)

    @contextlib.contextmanager
    def locked(self):
        """Hold the lock, with the current settings."""
        with open(self.path("lock"), "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.settings = read(self.path("settings"))
            yield self

    def change_settings(self, **changes):
        self.settings |= changes
        write(self.path("settings"), self.settings)

    def next_sequence(self):
        sequence = self.settings["next_sequence"]
        self.change_settings(next_sequence=sequence + 1)
        return sequence

    def jobs(self, kind=LIVE):
        """Jobs in the queue or in the history, oldest first."""
        found = (read(self.path(kind, name)) for name in os.listdir(self.path(kind)) if not name.endswith("~"))
        return sorted(found, key=lambda job: job["seq"])

    def job(self, sequence, kind=LIVE):
        """Job with this number; None if there is none."""
        return read(self.path(kind, str(sequence)))

    def save(self, job):
        """Write a job in the queue, and set its time of modification."""
        job["attributes"]["mtime"] = int(time.time())
        write(self.path(LIVE, str(job["seq"])), job)

    def retire(self, job):
        """Move a job from the queue to the history; without a history, remove it."""
        if self.settings["history"]:
            job["attributes"]["history_timestamp"] = int(time.time())
            job["attributes"]["job_state"] = "F"
            self.save(job)
            os.replace(self.path(LIVE, str(job["seq"])), self.path(FINISHED, str(job["seq"])))
        else:
            self.forget(job)

    def forget(self, job):
        """Remove a job from the queue and from everything else."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(LIVE, str(job["seq"])))

    def log(self, command, arguments):
        """Record the time, name and arguments of a command, for tests that count commands."""
        line = "\0".join([repr(time.time()), command, *arguments]).replace("\n", "\\n") + "\n"
        descriptor = os.open(self.path("calls"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, os.fsencode(line))
        finally:
            os.close(descriptor)
