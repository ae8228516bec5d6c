"""Program of all commands: `main.py STATE COMMAND [ARGUMENT...]`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from pbs.errors import CommandError
from pbs.store import Store


def main(root, command, *arguments):
    """Run a command with the faults that the tests injected; return its exit status."""
    if command == "mom":
        from pbs.mom import mom

        mom(root, int(arguments[0]))
        return 0
    store = Store(root)
    store.log(command, arguments)
    from pbs import faults

    fault = faults.take(store, command)
    try:
        if fault:
            faults.before(store, command, fault)
        text, status = _run(store, command, arguments)
        if fault:
            text = faults.after(store, fault, text)
        sys.stdout.write(text)
        sys.stdout.flush()
    except CommandError as error:
        if error.output:
            sys.stdout.write(error.output)
            sys.stdout.flush()
        sys.stderr.write(error.text)
        return error.status
    except BrokenPipeError:
        os._exit(141)
    return status


def _run(store, command, arguments):
    """Run a command; return its output and exit status."""
    if arguments and arguments[0] == "--version":
        return "pbs_version = 23.06.06\n", 0
    if command == "qsub":
        from pbs.qsub import qsub as run
    elif command in ("qstat", "qselect"):
        from pbs import qstat

        run = getattr(qstat, command)
    elif command == "pbsnodes":
        from pbs.pbsnodes import pbsnodes as run
    elif command in ("pbs_tmrsh", "pbsdsh", "mpiexec"):
        from pbs import tasks

        run = getattr(tasks, command)
    else:
        from pbs import job_commands

        run = getattr(job_commands, command)
    return run(store, list(arguments))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
