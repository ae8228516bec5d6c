"""The state directory of an instance: settings, jobs and the lock that every reader and writer of them holds.

Each job is a file that is only ever replaced whole, so that a command killed at any moment leaves a state that holds.
Files are written by marshal, because importing json alone would take a third of a command's time.
"""

import contextlib
import fcntl
import marshal
import os
import time

LIVE, FINISHED = "live", "finished"


def read(path):
    """What was written to `path`, or None."""
    try:
        with open(path, "rb") as file:
            return marshal.loads(file.read())
    except FileNotFoundError:
        return None


def write(path, value):
    """Replace `path` at once."""
    temporary = f"{path}.{os.getpid()}~"
    with open(temporary, "wb") as file:
        file.write(marshal.dumps(value))
    os.replace(temporary, path)


class Store:
    """The state under `root`. Everything but `root`, `path` and `log` is for the holder of the lock.

    A job is a dict: `id`, `seq`, `attributes` (as qstat shows them; times in seconds), and what only the stand-in
    knows: `script`, `environment`, `chunks`, `place`, `order` (what its supervisor shall do), `allocation`, ...
    """

    def __init__(self, root):
        self.root = root
        self.settings = {}

    def path(self, *names):
        return os.path.join(self.root, *names)

    @contextlib.contextmanager
    def locked(self):
        """Hold the lock, with the settings as they are now."""
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
        """The jobs in the queue, or those that finished, oldest first."""
        found = (read(self.path(kind, name)) for name in os.listdir(self.path(kind)) if not name.endswith("~"))
        return sorted(found, key=lambda job: job["seq"])

    def job(self, sequence, kind=LIVE):
        """The job with this number, or None."""
        return read(self.path(kind, str(sequence)))

    def save(self, job):
        """Write a job that is in the queue; it was changed now."""
        job["attributes"]["mtime"] = int(time.time())
        write(self.path(LIVE, str(job["seq"])), job)

    def retire(self, job):
        """Take a job out of the queue, into the history where one is kept."""
        if self.settings["history"]:
            job["attributes"]["history_timestamp"] = int(time.time())
            job["attributes"]["job_state"] = "F"
            self.save(job)
            os.replace(self.path(LIVE, str(job["seq"])), self.path(FINISHED, str(job["seq"])))
        else:
            self.forget(job)

    def forget(self, job):
        """Take a job out of the queue without a trace."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(LIVE, str(job["seq"])))

    def log(self, command, arguments):
        """Note a command for the tests that count them: its time, its name, its arguments."""
        line = "\0".join([repr(time.time()), command, *arguments]).replace("\n", "\\n") + "\n"
        descriptor = os.open(self.path("calls"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, os.fsencode(line))
        finally:
            os.close(descriptor)
