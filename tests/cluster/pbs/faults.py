"""Faults that a test puts into commands, kept in the file `faults` of the state directory.

A fault is a dict: `command` (a name, or `*`), `kind`, `times` (how often still; None: always), and what its kind needs:

- `down`: nobody listens at the server's port.
- `hang`: the server does not answer for `seconds`, then it does; the request of a client that was killed is never served.
- `hang_after`: the server does what it was asked, and its answer does not come for `seconds`.
- `slow`: the answer takes `seconds` longer.
- `truncated`: of the output only the first `keep` (a fraction) arrives, and the exit status is 0 all the same.
- `refused`: the server refuses with `text` and `status`.
"""

import fcntl
import time

from pbs import processes
from pbs.errors import Refusal, server_down
from pbs.store import read, write


def take(store, command):
    """The first fault for this command, counted as used; None when there is none."""
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
    """Add a fault; with None, take all away."""
    with open(store.path("faults.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write(store.path("faults"), [*(read(store.path("faults")) or []), fault] if fault else [])


def before(store, command, fault):
    """What a fault does before the server is asked."""
    if fault["kind"] == "down":
        with store.locked():
            raise server_down(command, store.settings["server"])
    if fault["kind"] == "refused":
        raise Refusal(f"{command}: {fault['text']}\n", fault["status"])
    if fault["kind"] in ("hang", "slow"):
        _sleep(store, fault["seconds"])


def after(store, fault, text):
    """What a fault does to the answer."""
    if fault["kind"] == "hang_after":
        _sleep(store, fault["seconds"])
    if fault["kind"] == "truncated":
        return text[: int(len(text) * fault["keep"])]
    return text


def _sleep(store, seconds):
    """Sleep as long as the tests live."""
    end = time.monotonic() + seconds
    with store.locked():
        owner = store.settings["owner"]
    while (left := end - time.monotonic()) > 0 and processes.is_same(*owner):
        time.sleep(min(left, 1))
