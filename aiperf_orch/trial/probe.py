"""`python -m aiperf_orch.trial.probe FOLDER`: the small job of `check`, which looks at a node as a trial would see it.

Every task writes one report into the folder. It judges nothing: that is `aiperf_orch.doctor`'s. torch is loaded in a
process of its own, so that one that cannot be loaded, or crashes, is reported, too.
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
from aiperf_orch.trial.runtime.allocation import Allocation
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.util.text import one_line
from aiperf_orch.util.units import clock_ahead

_VISIBLE: Final = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
_PATIENCE: Final = (
    30.0  # seconds for the greeting, and for the answer: longer than NFS remembers that a file is not there
)
_LOAD_LIMIT: Final = 300.0  # seconds to load torch and the data set
_LONGEST: Final = 300  # characters of an error that are reported
# a file that is opened by Python, or a compiled module; the shared libraries that such a module needs are not seen
_COUNTING: Final = """
import sys
opened = 0
def count(event, arguments):
    global opened
    opened += event == "open" or (event == "import" and arguments[1] is not None)
sys.addaudithook(count)"""


def main(arguments: list[str] | None = None) -> int:
    """Look, and report; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m aiperf_orch.trial.probe", description=__doc__)
    parser.add_argument("folder", type=Path, help="holds the greeting; the reports go there")
    parser.add_argument("--data", action="store_true", help=f"load torch and the data set of {DATA}, too")
    parser.add_argument("--load", action="store_true", help=argparse.SUPPRESS)  # what the probe itself runs
    options = parser.parse_args(arguments)
    if options.load:
        print(_load(options.folder / DATA).to_line())
        return 0
    allocation = Allocation.from_environment()
    greeting = _read(options.folder / GREETING)
    answered = _answered(options.folder, greeting) if allocation.rank == 0 and greeting is not None else None
    report = NodeReport(
        rank=allocation.rank,
        host=socket.gethostname(),
        job=allocation.job,
        greeting=greeting,
        answered=answered,
        clock_skew=_clock_skew(options.folder, allocation.rank),
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        versions=installed_versions(),
        package=_import("aiperf_orch.trial.__main__"),
        visible_gpus=next((os.environ[name] for name in _VISIBLE if name in os.environ), None),
        driver_gpus=_driver_gpus(),
        loading=_loading(options.folder) if options.data else None,
    )
    replace_file(options.folder / report_name(allocation.rank), report.to_line().encode())
    return 0


def _read(path: Path) -> str | None:
    """A file's text as soon as it is there; None when it does not come."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.05)


def _answered(folder: Path, greeting: str) -> float | None:
    begun = time.monotonic()
    replace_file(folder / SEEN, greeting.encode())
    answer = _read(folder / ANSWER)
    return round(time.monotonic() - begun, 3) if answer == greeting else None


def _clock_skew(folder: Path, rank: int) -> float:
    path = folder / f"clock-{rank}"
    before = time.time()
    path.touch(exist_ok=False)
    return clock_ahead(before, path.stat().st_mtime, time.time())


def _driver_gpus() -> list[str] | None:
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else None


def _import(module: str) -> ProbeStep:
    """How long a new interpreter takes to start and to import a module, and how many files that opens."""
    begun = time.monotonic()
    fault, output = _python("-c", f"{_COUNTING}\nimport {module}\nprint(opened)")
    seconds = round(time.monotonic() - begun, 3)
    return ProbeStep(seconds=seconds, fault=fault, files=int(output) if output.strip().isdigit() else None)


def _loading(folder: Path) -> LoadingReport:
    begun = time.monotonic()
    fault, output = _python("-m", "aiperf_orch.trial.probe", str(folder), "--load")
    seconds = round(time.monotonic() - begun, 3)
    if not fault:
        try:
            return LoadingReport.model_validate_json(output)
        except ValidationError:
            fault = f"printed what it should not: {output:.60}"
    return LoadingReport(torch=ProbeStep(seconds=seconds, fault=fault))


def _python(*arguments: str) -> tuple[str, str]:
    """Why a process of this interpreter failed (empty when it did not), and its output."""
    command = [sys.executable, "-P", *arguments]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_LOAD_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not done within {_LOAD_LIMIT:.0f} s", ""
    if done.returncode == 0:
        return "", done.stdout
    how = f"ended by signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
    last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
    return f"{how}: {last[:_LONGEST]}", ""


def _load(data: Path) -> LoadingReport:
    """Import torch and validate_dataset at the data set of these settings in this process."""
    counted: dict[str, int] = {}
    exec(_COUNTING, counted)  # noqa: S102  the same text as in a process of its own
    begun = time.monotonic()
    try:
        import torch
    except Exception as error:  # a broken installation may raise anything
        return LoadingReport(torch=_failed(begun, error))
    loaded = ProbeStep(seconds=round(time.monotonic() - begun, 3), files=counted["opened"])
    begun = time.monotonic()
    try:
        from aiperf_orch.records.trial import DataRecord
        from aiperf_orch.trial.data.open_dataset import validate_dataset

        validate_dataset(DataRecord.model_validate_json(data.read_bytes()))
        step = ProbeStep(seconds=round(time.monotonic() - begun, 3))
    except Exception as error:
        step = _failed(begun, error)
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return LoadingReport(torch=loaded, data=step, gpus=gpus)


def _failed(begun: float, error: Exception) -> ProbeStep:
    said = one_line(str(error))
    fault = said if isinstance(error, TrialFailedError) else f"{type(error).__name__}: {said}"
    return ProbeStep(seconds=round(time.monotonic() - begun, 3), fault=fault[:_LONGEST])


if __name__ == "__main__":
    sys.exit(main())
