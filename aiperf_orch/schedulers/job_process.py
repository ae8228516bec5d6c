"""`python -m aiperf_orch.schedulers.job_process FOLDER`: what every batch script runs, submitit without its last lines.

submitit loads the pickle in the job's folder and calls it. Where the command of the job fails, submitit would end the
log with a traceback of its own that repeats the command's output; so that the log ends with the reason, this process
prints what the command did not print itself, and exits with status 1 as submitit does.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys

from submitit.core import submission, utils


def main() -> int:
    """Run the job in the folder that the first argument names; return the exit status."""
    logging.getLogger("submitit").addFilter(_is_no_frame)
    try:
        submission.process_job(sys.argv[1])
    except utils.FailedJobError as error:
        _print_reason(error)
        return 1
    return 0


def _is_no_frame(record: logging.LogRecord) -> bool:
    """Whether a message of submitit is more than that the job begins or has ended; those on signals are."""
    return record.funcName != submission.process_job.__name__


def _print_reason(error: utils.FailedJobError) -> None:
    """Print why the command failed, where it could not print that itself."""
    cause = error.__cause__
    if not isinstance(cause, subprocess.CalledProcessError):
        print(f"aiperf-orch: {error}: {cause}", file=sys.stderr)
    elif cause.returncode < 0:
        name = signal.Signals(-cause.returncode).name
        print(f"aiperf-orch: the process of the job was ended by {name}", file=sys.stderr)
    elif not cause.stderr:
        print(f"aiperf-orch: the command of the job ended with exit status {cause.returncode}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
