"""`trial` and `bench-node`: what else runs in a job, started by hand.

This process becomes it, so that signals, output and exit status are its own; nothing here imports the trial.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from aiperf_orch.settings.loading import LoadedSettings
from aiperf_orch.util.errors import UsageError


def trial(spec: Path, weights: Path | None, data: Path | None) -> NoReturn:
    """Run one trial in the present allocation; does not return.

    Args:
        spec: the trial's specification.
        weights: where to keep the best weights.
        data: the data set's folder, in place of the campaign's.
    """
    os.environ.update(allocation(os.environ))
    given = {"--weights": weights, "--data": data}
    options = [text for option, path in given.items() if path for text in (option, str(path))]
    _become(sys.executable, ["aiperf_orch.trial", str(spec), *options])


def bench(loaded: LoadedSettings | None, form: str) -> NoReturn:
    """Measure this node; does not return.

    Args:
        loaded: a site's settings, which name data set, recipe and interpreter.
        form: `table` or `json`.
    """
    arguments, python = ["aiperf_orch.trial.bench", "--format", form], None
    if loaded is not None:
        python = loaded.settings.scheduler.python
        arguments += ["--settings", loaded.settings.model_dump_json(include={"data", "search", "training"})]
    _become(python or sys.executable, arguments)


def allocation(environment: Mapping[str, str]) -> dict[str, str]:
    """What our batch scripts would have set, where a step of Slurm on several nodes runs a trial by hand.

    Raises:
        UsageError: when Slurm does not tell the nodes.
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
        raise UsageError(f"the nodes of this step ({nodes}) are not known: {error}; set AIPERF_ORCH_HOSTS") from None
    return {
        "AIPERF_ORCH_HOSTS": ",".join(done.stdout.split()),
        "AIPERF_ORCH_JOB_ID": environment.get("SLURM_JOB_ID", "by hand"),
    }


def _become(python: str, arguments: Sequence[str]) -> NoReturn:
    sys.stdout.flush()
    try:
        # -P: a file in the present folder is no module
        os.execvp(python, [python, "-P", "-m", *arguments])  # noqa: S606  it is a program's path
    except OSError as error:
        raise UsageError(f"{python}: cannot be run: {error.strerror}; see scheduler.python") from None
