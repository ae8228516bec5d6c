"""`python -m aiperf_orch.trial.probe FOLDER`: the probe job of `check`, which examines a node as a trial would find it.

Every task writes one report into the folder; `aiperf_orch.doctor` evaluates them. torch is loaded in a process of its
own, so that a torch that cannot be loaded, or crashes, is reported as well.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from aiperf_orch.campaign.durable_files import replace_file
from aiperf_orch.records.probe import (
    ANSWER,
    DATA,
    GREETING,
    SEEN,
    LoadingReport,
    NodeReport,
    ProbeStep,
    installed_versions,
    report_name,
)
from aiperf_orch.trial import count_opened_files
from aiperf_orch.trial.runtime.allocation import Allocation
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.trial.torch_check import torch_fault
from aiperf_orch.util.text import one_line
from aiperf_orch.util.units import clock_ahead

_VISIBLE_GPU_VARIABLES: Final = (
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
)
_FILE_TIMEOUT: Final = 30.0  # seconds for a file to appear: longer than NFS caches that it does not exist
_LOAD_TIMEOUT: Final = 300.0  # seconds to load torch and the data set
_NVIDIA_SMI_TIMEOUT: Final = 60.0  # seconds
_MAX_FAULT: Final = 300  # characters of an error message


def main(arguments: list[str] | None = None) -> int:
    """Examine the node and write the report; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m aiperf_orch.trial.probe", description=__doc__)
    parser.add_argument("folder", type=Path, help="directory of the greeting and of the reports")
    parser.add_argument("--data", action="store_true", help=f"also load torch and the data set of {DATA}")
    parser.add_argument("--load", action="store_true", help=argparse.SUPPRESS)  # what the probe itself runs
    options = parser.parse_args(arguments)
    if options.load:
        print(_load(options.folder / DATA).to_line())
        return 0
    allocation = Allocation.from_environment()
    report = examine_node(options.folder, allocation, str(allocation.rank), load=options.data)
    replace_file(options.folder / report_name(allocation.rank), report.to_line().encode())
    return 0


def examine_node(folder: Path, allocation: Allocation, name: str, *, load: bool) -> NodeReport:
    """Examine this node as a trial would find it.

    Args:
        folder: Directory of the greeting.
        allocation: Allocation of this task.
        name: Name of this task that no other one in the folder has.
        load: Whether torch and the data set are loaded.
    """
    greeting = _read_when_present(folder / GREETING)
    answered = _time_answer(folder, greeting) if allocation.rank == 0 and greeting is not None else None
    return NodeReport(
        rank=allocation.rank,
        host=socket.gethostname(),
        job=allocation.job,
        greeting=greeting,
        answered=answered,
        clock_skew=_clock_skew(folder / f"clock-{name}"),
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        versions=installed_versions(),
        package=_time_import("aiperf_orch.trial.__main__"),
        visible_gpus=next((os.environ[name] for name in _VISIBLE_GPU_VARIABLES if name in os.environ), None),
        driver_gpus=_driver_gpus(),
        loading=_time_loading(folder) if load else None,
    )


def _read_when_present(path: Path) -> str | None:
    """Wait for a file and return its text; None when it does not appear in time."""
    deadline = time.monotonic() + _FILE_TIMEOUT
    while True:
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.05)


def _time_answer(folder: Path, greeting: str) -> float | None:
    """Seconds until the login node answers to what this task writes; None without a correct answer."""
    start = time.monotonic()
    replace_file(folder / SEEN, greeting.encode())
    answer = _read_when_present(folder / ANSWER)
    return round(time.monotonic() - start, 3) if answer == greeting else None


def _clock_skew(path: Path) -> float:
    before = time.time()
    path.touch(exist_ok=False)
    return clock_ahead(before, path.stat().st_mtime, time.time())


def _driver_gpus() -> list[str] | None:
    """Names of the GPUs that nvidia-smi lists; None where it is missing or fails."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_NVIDIA_SMI_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else None


def _time_import(module: str) -> ProbeStep:
    """Start a new interpreter that imports a module; return its seconds and the number of opened files."""
    start = time.monotonic()
    fault, output = run_python(count_opened_files.__file__, module)
    seconds = _seconds_since(start)
    return ProbeStep(seconds=seconds, fault=fault, files=int(output) if output.strip().isdigit() else None)


def _time_loading(folder: Path) -> LoadingReport:
    """Load torch and the data set in a new interpreter."""
    start = time.monotonic()
    fault, output = run_python("-m", "aiperf_orch.trial.probe", str(folder), "--load")
    seconds = _seconds_since(start)
    if not fault:
        try:
            return LoadingReport.model_validate_json(output)
        except ValidationError:
            fault = f"unexpected output: {output:.60}"
    return LoadingReport(torch=ProbeStep(seconds=seconds, fault=fault))


def run_python(*arguments: str) -> tuple[str, str]:
    """Run a process of this interpreter; return why it failed (empty if it did not), and its output."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_LOAD_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not done within {_LOAD_TIMEOUT:.0f} s", ""
    if done.returncode == 0:
        return "", done.stdout
    status = f"ended by signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
    last_line = (done.stderr.strip().splitlines() or ["no error message"])[-1]
    return f"{status}: {last_line[:_MAX_FAULT]}", ""


def _load(data: Path) -> LoadingReport:
    """Import torch and validate the data set of the settings in `data`, in this process."""
    opened = count_opened_files.OpenedFiles()
    start = time.monotonic()
    if fault := torch_fault():
        return LoadingReport(torch=ProbeStep(seconds=_seconds_since(start), fault=fault[:_MAX_FAULT]))
    import torch

    loaded = ProbeStep(seconds=_seconds_since(start), files=opened.count)
    start = time.monotonic()
    try:
        from aiperf_orch.records.trial import DataRecord
        from aiperf_orch.trial.data.open_dataset import validate_dataset

        validate_dataset(DataRecord.model_validate_json(data.read_bytes()))
        step = ProbeStep(seconds=_seconds_since(start))
    except Exception as error:
        step = _failed_step(start, error)
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return LoadingReport(torch=loaded, data=step, gpus=gpus)


def _failed_step(start: float, error: Exception) -> ProbeStep:
    message = one_line(str(error))
    fault = message if isinstance(error, TrialFailedError) else f"{type(error).__name__}: {message}"
    return ProbeStep(seconds=_seconds_since(start), fault=fault[:_MAX_FAULT])


def _seconds_since(start: float) -> float:
    return round(time.monotonic() - start, 3)


if __name__ == "__main__":
    sys.exit(main())
