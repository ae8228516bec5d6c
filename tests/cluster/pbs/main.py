"""The program behind every command: `main.py STATE COMMAND [ARGUMENT...]`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from pbs.errors import Refusal
from pbs.store import Store


def main(root, command, *arguments):
    """Run a command, with the faults that the tests asked for; returns its exit status."""
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
    except Refusal as refusal:
        if refusal.output:
            sys.stdout.write(refusal.output)
            sys.stdout.flush()
        sys.stderr.write(refusal.text)
        return refusal.status
    except BrokenPipeError:
        os._exit(141)
    return status


def _run(store, command, arguments):
    """What the command prints, and its exit status."""
    if arguments and arguments[0] == "--version":
        return "pbs_version = 23.06.06\n", 0
    if command == "qsub":
        from pbs.submitting import qsub as run
    elif command in ("qstat", "qselect"):
        from pbs import showing

        run = getattr(showing, command)
    elif command == "pbsnodes":
        from pbs.showing_nodes import pbsnodes as run
    elif command in ("pbs_tmrsh", "pbsdsh", "mpiexec"):
        from pbs import tasks

        run = getattr(tasks, command)
    else:
        from pbs import changing

        run = getattr(changing, command)
    return run(store, list(arguments))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
