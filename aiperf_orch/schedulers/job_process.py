"""`python -m aiperf_orch.schedulers.job_process FOLDER`: the process of every batch script, which calls submitit.

submitit loads the pickle in the job's folder and calls it. Where that fails, submitit would end the log with a
traceback of its own, which repeats the output of the job's command. So that the log ends with the reason, this process
prints one line where the command has printed none, and exits with status 1 as submitit does. The traceback is in the
result that submitit writes into the folder.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from typing import Final

from submitit.core import submission, utils

_FRAME: Final = "Submitted job triggered an exception"


def main() -> int:
    """Run the job in the folder that the first argument names; return the exit status."""
    logging.getLogger("submitit").addFilter(_is_shown)
    try:
        submission.process_job(sys.argv[1])
    except Exception as error:
        if reason := _unsaid_reason(error):
            print(f"aiperf-orch: {reason}", file=sys.stderr)
        return 1
    return 0


def _is_shown(record: logging.LogRecord) -> bool:
    """Whether a message of submitit states more than the begin or the end of the job, as those on signals do."""
    is_frame = record.levelno <= logging.INFO or record.getMessage() == _FRAME
    return not (is_frame and record.funcName == submission.process_job.__name__)


def _unsaid_reason(error: Exception) -> str:
    """Why the job failed; empty where its command has printed that."""
    cause = error.__cause__ if isinstance(error, utils.FailedJobError) else error
    if not isinstance(cause, subprocess.CalledProcessError):
        return f"{type(cause).__name__}: {cause}"
    if cause.returncode < 0:
        return f"the process of the job was ended by {_signal_name(-cause.returncode)}"
    return "" if cause.stderr else f"the command of the job ended with exit status {cause.returncode}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


if __name__ == "__main__":
    sys.exit(main())
