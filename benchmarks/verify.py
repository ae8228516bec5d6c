"""Benchmark of packing and verifying a large campaign: time, memory and size, against reading the same package.

The campaign is synthetic, with the records that training leaves: networks of the size of ResNet-50, each a child of an
earlier one; rounds of 15, 30, 45, 60 and 60 epochs, as in the recipe of the paper. The reference decompresses the
package with tarfile, hashes every file and parses every line of JSON, without any check.

    python benchmarks/verify.py [--trials 10000] [--directory DIR]
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np

import aiperf_orch
from aiperf_orch.network import morphisms
from aiperf_orch.network.seeds import resnet50
from aiperf_orch.records.journal import Began, Ended, Finished, JobRecord, Opened, Submitted, Submitting
from aiperf_orch.records.trial import Hyperparameters
from aiperf_orch.schedulers.base import JobRequest
from aiperf_orch.schedulers.batch_scripts import local_script
from aiperf_orch.schedulers.script_rendering import scripts_sha256
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import NetworkError
from aiperf_orch.util.units import now

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from campaign_builder import CampaignBuilder

AIPERF = [sys.executable, "-m", "aiperf_orch.cli"]
EPOCH_SECONDS = 200


def child(graph, number, rng, limits):
    """A network after a number of random edits, and the edits."""
    edits = []
    while len(edits) < number:
        edit = morphisms.random_edit(graph, 3, rng)
        try:
            edited = morphisms.apply(graph, edit)
        except NetworkError:
            continue
        if limits.admit(edited):
            graph, edits = edited, [*edits, edit.to_json()]
    return graph, edits


def new_child(graph, number, rng, limits, known):
    """A child that no trial has had, and its edits."""
    while True:
        network, edits = child(graph, number, rng, limits)
        if network.hash not in known:
            known.add(network.hash)
            return network, edits


def make(path, number, seed=1):
    """Write a campaign with a number of trials."""
    settings = SiteSettings.model_validate(
        {
            "scheduler": {"job_per_trial": True},
            "campaign": {"concurrency": max(number // 5, 1)},
            "network": {"seed": "resnet50"},
        }
    )
    builder = CampaignBuilder(path, settings, start=now() - timedelta(hours=13))
    rng, chance = np.random.default_rng(seed), random.Random(seed)
    seed_network = resnet50(settings.data.input_shape, settings.data.outputs)
    limits = morphisms.MorphismLimits()
    parents, children, entries, known = [(None, seed_network)], [], [], set()
    for trial in range(number):
        if trial % settings.campaign.concurrency == 0 and children:
            parents, children = children[-64:], []  # as many as keep their weights
        parent, network = parents[rng.integers(len(parents))]
        number_of_edits = 0 if trial == 0 else 3 if parent is None else 1  # trial 0 is the seed network itself
        network, edits = new_child(network, number_of_edits, rng, limits, known)
        children = [*children[-63:], (trial, network)]
        point = Hyperparameters(kernel_size=3, dropout=0.1 * chance.random(), batch_size=64)
        round_ = trial // settings.campaign.concurrency
        builder.propose(trial, parent=parent, edits=edits, network=network, round=round_, hyperparameters=point)
        entries += one_trial(builder, trial, round_, chance)
    entries.sort(key=lambda entry: entry[0])
    builder.write(Opened, at=-1, host="login1", pid=1, version=aiperf_orch.__version__, templates=scripts_sha256())
    for at, _, kind, fields in entries:
        builder.write(kind, at=at, **fields)
    builder.write(Finished, at=12 * 3600 + 5, reason="its 12h are over", by_deadline=True)
    return builder.directory


def one_trial(builder, trial, round_, chance):
    """Write a trial's files; returns its journal entries, each with its time."""
    settings = builder.directory.settings
    concurrency, training = settings.campaign.concurrency, settings.training
    planned = training.epochs_of_round(round_)
    before = sum(training.epochs_of_round(number) for number in range(round_))
    submitted = before * EPOCH_SECONDS + 20 * (trial % concurrency) / concurrency
    host, job = f"node{trial % concurrency:05d}", str(100_000 + trial)
    begin = clock = round(submitted + 4, 3)
    skew = round(chance.random() / 100, 3)
    lines = [builder.begin(clock, trial, hosts=[host], job=job, batch=64, precision="bf16", cores=16, clock_skew=skew)]
    worst = chance.randint(100, 200)
    for number in range(1, planned + 1):
        end = round(clock + (0.9 + 0.09 * chance.random()) * EPOCH_SECONDS, 3)
        error = (worst - number) / builder.images[1]  # it improves until the last epoch
        epoch = builder.epoch(number, end, error, trial, start=clock, batch=64)
        lines.append(replace(epoch, loss=6 * chance.random(), data_wait=chance.random() / 100))
        clock = round(end + chance.randint(5, 60) / 1000, 3)
    best = min(lines[1:], key=lambda epoch: (epoch.error, epoch.epoch))
    weights = hashlib.sha256(job.encode()).hexdigest()
    end_line = builder.end(clock, trial, best_error=best.error, best_epoch=best.epoch, weights_sha256=weights)
    builder.events(*lines, end_line, trial=trial)
    folder = builder.directory.job_folder(trial, 1)
    request = JobRequest(builder.directory.attempt_name(trial, 1), folder, folder, builder.path, ("true",))
    script = local_script(settings.scheduler, "local.sh.j2", request, ["0"], [])
    builder.write_job(trial, 1, script=script, log="")
    attempt = builder.attempt_record(trial)
    record = JobRecord(trial=trial, attempt=1, job=job)
    began = builder.began_record(begin, trial).model_copy(update={"job": job})
    end = builder.end_record(trial, first_begin=lines[0].time)
    builder.epochs(trial).clear()  # they are in the files, and no longer needed
    return [
        (submitted, trial, Submitting, {"attempts": [attempt]}),
        (submitted + 1, trial, Submitted, {"jobs": [record]}),
        (begin + 2, trial, Began, {"attempts": [began]}),
        (clock + 1, trial, Ended, {"attempts": [end]}),
    ]


def merely_read(package):
    """Seconds of reading a package without checks."""
    begun = time.perf_counter()
    with tarfile.open(package) as archive:
        for info in archive:
            data = archive.extractfile(info).read()
            hashlib.sha256(data).hexdigest()
            if info.name.endswith(".jsonl"):
                for line in data.splitlines():
                    json.loads(line)
            elif info.name.endswith(".json"):
                json.loads(data)
    return time.perf_counter() - begun


def run(*command):
    """Wall and CPU seconds of a command, its largest memory in MB, and what it printed."""
    code = (
        "import resource, subprocess, sys, time; begun = time.perf_counter();"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True);"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, done.returncode);"
        "print(done.stdout)"
    )
    output = subprocess.run([sys.executable, "-c", code, *command], check=True, stdout=subprocess.PIPE, text=True)
    first, _, rest = output.stdout.partition("\n")
    wall, cpu, memory, status = map(float, first.split())
    return wall, cpu, memory, status, rest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--directory", type=Path, help="where the campaign is made, and found again the next time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.directory or Path(scratch)
        campaign, package = folder / "campaign", folder / "package.tar.gz"
        if not campaign.exists():
            begun = time.perf_counter()
            make(campaign, options.trials)
            print(f"made {options.trials:,} trials in {time.perf_counter() - begun:.0f} s", file=sys.stderr)
        print(f"{'':<28}{'wall s':>8}{'CPU s':>8}{'MB':>7}")
        for name, command in (
            ("package (and verify it)", ["package", campaign, "--output", package]),
            ("verify", ["verify", package]),
        ):
            wall, cpu, memory, status, output = run(*AIPERF, *map(str, command))
            print(f"{name:<28}{wall:>8.1f}{cpu:>8.1f}{memory:>7.0f}", "" if status == 0 else output[:2000])
        print(f"{'reading only':<28}{merely_read(package):>8.1f}")
        print(f"{'the package':<28}{package.stat().st_size / 1e6:>8.1f} MB")


if __name__ == "__main__":
    main()
