"""`trial`: one trial in the present allocation, in a process that replaces this one.

Signals, output and exit status are those of the trial; nothing here imports it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from aiperf_orch.records.agents import BY_HAND
from aiperf_orch.util.errors import UsageError


def run_trial(spec: Path, weights: Path | None, data: Path | None) -> NoReturn:
    """Run one trial in the present allocation; does not return.

    Args:
        spec: File of the trial specification.
        weights: File for the best weights; None keeps none.
        data: Folder of the data set; None is the campaign's.
    """
    os.environ.update(allocation_variables(os.environ))
    given = {"--weights": weights, "--data": data}
    options = [text for option, path in given.items() if path for text in (option, str(path))]
    become(sys.executable, ["aiperf_orch.trial", str(spec), *options])


def allocation_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that a batch script would have set, for a Slurm step on several nodes that a user has started.

    Raises:
        UsageError: when scontrol does not list the nodes.
    """
    nodes = environment.get("SLURM_STEP_NODELIST")
    if not nodes or "AIPERF_ORCH_HOSTS" in environment:
        return {}
    try:
        done = subprocess.run(
            ["scontrol", "show", "hostnames", nodes],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(f"the nodes of this step ({nodes}) cannot be listed: {error}; set AIPERF_ORCH_HOSTS") from None
    return {
        "AIPERF_ORCH_HOSTS": ",".join(done.stdout.split()),
        "AIPERF_ORCH_JOB_ID": environment.get("SLURM_JOB_ID", BY_HAND),
    }


def become(python: str, arguments: Sequence[str]) -> NoReturn:
    """Replace this process by a module of this program, run by an interpreter; UsageError when it cannot be run."""
    sys.stdout.flush()
    try:
        # -P: files of the present folder are not importable
        os.execvp(python, [python, "-P", "-m", *arguments])  # noqa: S606  the path of a program
    except OSError as error:
        raise UsageError(f"{python}: cannot be run: {error.strerror}; see scheduler.python") from None
