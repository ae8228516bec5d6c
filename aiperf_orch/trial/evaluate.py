"""`python -m aiperf_orch.trial.evaluate REQUEST`: measure the error of a trained network again (`evaluate`).

REQUEST is a file with an `EvaluationRequest`; the answer, an `Evaluation`, is printed as a line of JSON. With exit
status 2 the output is the reason why it cannot be measured.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from aiperf_orch.records.evaluation import EvaluationRequest
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.trial.torch_check import require_torch
from aiperf_orch.util.encoding import enter_utf8_mode, make_streams_lenient
from aiperf_orch.util.errors import AiperfError, UsageError


def main(arguments: list[str] | None = None) -> int:
    """Evaluate, and print the answer; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m aiperf_orch.trial.evaluate", description=__doc__)
    parser.add_argument("request", type=Path, help="file of what to evaluate")
    request = EvaluationRequest.model_validate_json(parser.parse_args(arguments).request.read_bytes())
    make_streams_lenient()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the command reports the interruption
    try:
        require_torch()
        from aiperf_orch.trial.training.evaluation import evaluate

        print(evaluate(request).to_line())
    except (AiperfError, TrialFailedError) as error:
        print(error)
        return UsageError.exit_status
    return 0


if __name__ == "__main__":
    enter_utf8_mode()
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # no library waits for its threads or processes
