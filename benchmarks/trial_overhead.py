"""Overhead of a local trial: the same specification through the scheduler, and in this process.

The trial includes all steps: batch script, submitit, a new Python process, imports, claim, events, weights,
checkpoints. The alternative trains the same epochs on the same cores in this process, with all modules and data
loaded.

    python benchmarks/trial_overhead.py [--epochs 8] [--runs 3]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from aiperf_orch.campaign.directory import CampaignDirectory, read_spec
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.controller.search_adapter import SearchAdapter
from aiperf_orch.schedulers.base import JobRequest, JobState, trial_command
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.trial.training.torch_trainer import TorchTrainer


def through_the_scheduler(directory, attempt):
    """Seconds of the parts of a job, from its submission to the end of its last process."""
    scheduler = make_scheduler(directory.settings.scheduler)
    name = directory.attempt_name(0, attempt)
    folder = directory.job_folder(0, attempt)
    folder.mkdir()
    directory.checkpoint(0).unlink(missing_ok=True)
    submitted = time.time()
    command = trial_command(None, directory.spec(0), attempt)
    scheduler.submit([JobRequest(name, folder, folder, directory.path, command)])
    while (status := scheduler.query([name]).get(name)) is not None and status.state is not JobState.ENDED:
        time.sleep(0.05)
    gone = time.time()
    events = directory.events(0, attempt, 0)
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    begun, ended = (datetime.fromisoformat(line["time"]).timestamp() for line in (lines[0], lines[-1]))
    training = sum(
        (datetime.fromisoformat(line["end"]) - datetime.fromisoformat(line["start"])).total_seconds()
        for line in lines
        if line["type"] == "epoch"
    )
    return {
        "whole job": gone - submitted,
        "start, imports, data, model": begun - submitted,
        "epochs": training,
        "events, weights, checkpoints": ended - begun - training,
        "exit": gone - ended,
    }


def in_process(spec):
    """Seconds of the same epochs in this process, on the cores of a trial."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # only here: otherwise this process would share the core of the job
    trainer = TorchTrainer(spec, None, None)
    trainer.prepare()
    start = time.perf_counter()
    for epoch in range(1, spec.epochs + 1):
        trainer.run_epoch(epoch, lambda: None)
    taken = time.perf_counter() - start
    os.sched_setaffinity(0, cores)
    return taken


def imports():
    """Seconds of a new Python process that only imports the modules of a torch trial."""
    start = time.perf_counter()
    program = (
        "import submitit, torch._dynamo; import aiperf_orch.trial.training.torch_trainer, aiperf_orch.trial.__main__"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    settings = SiteSettings.model_validate(
        {
            "training": {"warmup_epochs": [options.epochs], "patience": 99, "max_patience": 99},
            "search": {"batch_size": [32, 32]},
        }
    )
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        directory = CampaignDirectory.create(Path(scratch) / "campaign", settings, {})
        spec, _ = SearchAdapter(directory, []).propose(0, CampaignState())
        directory.write_spec(spec)
        spec, _ = read_spec(directory.spec(0))
        for run in range(options.runs + 1):
            parts = through_the_scheduler(directory, run + 1)
            row = {"in process": in_process(spec), "imports alone": imports()} | parts
            if run:  # the first run warms the file cache
                rows.append(row)
            for attempt in (directory.events(0, run + 1, 0), directory.checkpoint(0)):
                attempt.unlink(missing_ok=True)
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    print(f"{options.epochs} epochs of the digits seed network on one core, median of {options.runs} runs")
    for name, taken in medians.items():
        print(f"{name:<32}{taken:>8.2f} s{taken / medians['in process']:>8.2f} x in process")


if __name__ == "__main__":
    main()
