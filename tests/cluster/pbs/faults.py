"""Faults that a test injects into commands, stored in the file `faults` of the state directory.

A fault is a dict with `command` (a name, or `*` for all), `kind`, `times` (remaining number of uses; None: unlimited),
and the parameters of its kind:

- `down`: the port of the server is closed.
- `hang`: the server answers only after `seconds`; the request of a client that was killed before is not served.
- `hang_after`: the server serves the request, and answers only after `seconds`.
- `slow`: the answer takes `seconds` longer.
- `truncated`: only the first part of the output arrives (the fraction `keep`), and the exit status is 0 nevertheless.
- `refused`: the server refuses with `text` and `status`.
"""

import fcntl
import time

from pbs import processes
from pbs.errors import CommandError, server_down
from pbs.store import read, write


def take(store, command):
    """Take the first fault of a command, and count the use; None if there is none."""
    path = store.path("faults")
    if not read(path):
        return None
    with open(store.path("faults.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        faults = read(path)
        for fault in faults:
            if fault["command"] in (command, "*"):
                if fault["times"] is not None:
                    fault["times"] -= 1
                write(path, [each for each in faults if each["times"] != 0])
                return fault
    return None


def put(store, fault):
    """Add a fault; None removes all faults."""
    with open(store.path("faults.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write(store.path("faults"), [*(read(store.path("faults")) or []), fault] if fault else [])


def before(store, command, fault):
    """Apply a fault before the request is served."""
    if fault["kind"] == "down":
        with store.locked():
            raise server_down(command, store.settings["server"])
    if fault["kind"] == "refused":
        raise CommandError(f"{command}: {fault['text']}\n", fault["status"])
    if fault["kind"] in ("hang", "slow"):
        _sleep(store, fault["seconds"])


def after(store, fault, text):
    """Apply a fault to the answer; return the output."""
    if fault["kind"] == "hang_after":
        _sleep(store, fault["seconds"])
    if fault["kind"] == "truncated":
        return text[: int(len(text) * fault["keep"])]
    return text


def _sleep(store, seconds):
    """Sleep, unless the process of the tests has ended."""
    end = time.monotonic() + seconds
    with store.locked():
        owner = store.settings["owner"]
    while (left := end - time.monotonic()) > 0 and processes.is_same(*owner):
        time.sleep(min(left, 1))
