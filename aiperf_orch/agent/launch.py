"""Launcher of an attempt that is not forked from the template process.

It prepares its own process, then becomes the command. It is run by its path, with the standard library alone, so that
it starts fast. The agent passes one JSON object, and the attempt's folder and log as open files, so that nothing here
waits for a file system.
"""

import ctypes
import json
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
FOLDER_FD = 3
LOG_FD = 4


def main() -> None:
    """Become the command that the first argument describes; exit status 127 when it cannot be run."""
    request = json.loads(sys.argv[1])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != request["parent"]:
        os._exit(1)  # the agent died before the kernel knew that this process must die with it
    os.setsid()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # the interpreter ignores them
    for number in request["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    os.sched_setaffinity(0, request["cores"])
    os.fchdir(FOLDER_FD)
    os.close(FOLDER_FD)
    null = os.open(os.devnull, os.O_RDONLY)
    for descriptor, stream in ((null, 0), (LOG_FD, 1), (LOG_FD, 2)):
        os.dup2(descriptor, stream)
    os.close(null)
    os.close(LOG_FD)
    command = request["command"]
    try:
        os.execvp(command[0], command)  # noqa: S606  the controller's command
    except OSError as error:
        print(f"error: {command[0]}: cannot be run: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)


if __name__ == "__main__":
    main()
