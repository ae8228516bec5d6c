"""`python -m aiperf_orch.trial.node_check FOLDER`: examine a node for `check --every-node`, and train a few steps.

Each task writes one report into the folder, which all nodes share; `aiperf_orch.doctor` evaluates them. torch is loaded
in a process of its own, as in the probe job.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import ValidationError

from aiperf_orch.campaign.durable_files import replace_file
from aiperf_orch.campaign.measured_trial import measured_trial
from aiperf_orch.campaign.network_limits import seed_network
from aiperf_orch.records.probe import DATA_INDEX, SETTINGS, DiskReport, NodeCheck, TrainingReport, node_check_name
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.schedulers import ClusterSettings
from aiperf_orch.trial.data.data_paths import LocatedDataSettings
from aiperf_orch.trial.node_meeting import NodeMeeting
from aiperf_orch.trial.probe import examine_node, run_python
from aiperf_orch.trial.runtime.allocation import Allocation

_STEPS: Final = 20  # after the first one
_TRAINING_SECONDS: Final = 60.0  # after the first step
_WRITTEN: Final = 1 << 20  # bytes that are written to the local disk
_PRODUCT_SIDE: Final = 256
_PRODUCT_SECONDS: Final = 1.0
_MEETING_SECONDS: Final = 15.0


class _EnoughStepsError(Exception):
    """The steps of the check have been trained."""


def main(arguments: list[str] | None = None) -> int:
    """Examine the node, write the report, and wait a moment for other nodes; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m aiperf_orch.trial.node_check", description=__doc__)
    parser.add_argument("folder", type=Path, help=f"directory of {SETTINGS} and of the reports")
    parser.add_argument("--host", help="name of this node; default: by the allocation")
    parser.add_argument("--train", type=float, help=argparse.SUPPRESS)  # what the check itself runs
    options = parser.parse_args(arguments)
    settings = SiteSettings.model_validate_json((options.folder / SETTINGS).read_bytes())
    if options.train is not None:
        print(_train(settings, options.folder / DATA_INDEX, options.train).to_line())
        return 0
    allocation = Allocation.from_environment()
    host = options.host or allocation.host
    trains = settings.training.trainer == "torch"
    with contextlib.ExitStack() as leaving:
        meeting = None
        if isinstance(settings.scheduler, ClusterSettings):
            interface, ports = settings.scheduler.interface, settings.scheduler.ports
            meeting = leaving.enter_context(NodeMeeting(options.folder, host, interface, ports))
        report = examine_node(options.folder, allocation, host, load=trains)
        disk = _check_disk(settings)
        products = _product_rate()
        loads = report.loading is not None and not report.loading.torch.fault
        training = _time_training(options.folder) if trains and loads else None
        peers = meeting.connect(_MEETING_SECONDS) if meeting else []
        check = NodeCheck(
            host=host, report=report, disk=disk, products_per_second=products, training=training, peers=peers
        )
        replace_file(options.folder / node_check_name(host), check.to_line().encode())
    return 0


def _check_disk(settings: SiteSettings) -> DiskReport:
    """Write to the folder to which data are copied, or else to that of temporary files."""
    folder = Path(settings.data.stage or os.environ.get("TMPDIR") or "/tmp")  # noqa: S108  the node's own
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        with tempfile.NamedTemporaryFile(dir=folder, prefix="aiperf-orch-") as file:
            file.write(bytes(_WRITTEN))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return DiskReport(path=str(folder), free=0, fault=error.strerror or str(error))
    return DiskReport(path=str(folder), free=free)


def _product_rate() -> float:
    """Matrix products a second, each of them called by itself, in the best of five intervals."""
    left = np.random.default_rng(0).random((_PRODUCT_SIDE, _PRODUCT_SIDE), dtype=np.float32)
    best = 0.0
    for _ in range(5):
        start, calls = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < _PRODUCT_SECONDS / 5:
            left @ left
            calls += 1
        best = max(best, calls / elapsed)
    return round(best, 1)


def _time_training(folder: Path) -> TrainingReport:
    """Train in a new interpreter."""
    start = str(time.time())
    fault, output = run_python("-m", "aiperf_orch.trial.node_check", str(folder), "--train", start)
    if not fault:
        with contextlib.suppress(ValidationError):
            return TrainingReport.model_validate_json(output.strip().rpartition("\n")[2])
        fault = f"unexpected output: {output:.60}"
    return TrainingReport(fault=fault)


def _train(settings: SiteSettings, index: Path, started: float) -> TrainingReport:
    """Train a few steps of the seed network on the data set, in an interpreter that was started at this time."""
    from aiperf_orch.trial.training.torch_trainer import TorchTrainer  # loads torch

    # the data are not copied to the node's disk, which may take longer than the check
    data = LocatedDataSettings(**settings.data.model_dump() | {"stage": None}, index=index, writes_index=True)
    batch = settings.search.first_batch_size or settings.search.batch_size[1]
    spec = measured_trial(seed_network(settings), data, settings.training, batch=batch, epochs=1)
    times: list[float] = []

    def check() -> None:
        times.append(time.time())
        if len(times) > _STEPS + 1 or times[-1] - times[0] > _TRAINING_SECONDS:
            raise _EnoughStepsError

    with closing(TorchTrainer(spec, None, None)) as trainer:
        trainer.prepare()
        with contextlib.suppress(_EnoughStepsError):
            trainer.run_epoch(1, check)
    ends = times[1:] if len(times) > 1 else times  # the first call precedes the first step
    elapsed = ends[-1] - ends[0]
    return TrainingReport(
        first_step=round(ends[0] - started, 3),
        steps_per_second=round((len(ends) - 1) / elapsed, 3) if elapsed > 0 else None,
    )


if __name__ == "__main__":
    sys.exit(main())
