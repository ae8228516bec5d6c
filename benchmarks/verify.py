"""Packing and verification of a campaign with many trials: seconds, memory and size, compared with reading the package.

The campaign is synthetic, with valid records: networks of ResNet-50's size, each a child of an earlier one; rounds of
15, 30, 45, 60 and 60 epochs, as in the paper's recipe. The alternative decompresses the package with tarfile, hashes
each file and parses each line of JSON, without checks.

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
from datetime import timedelta
from pathlib import Path

import numpy as np

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.network import counts, morphisms
from aiperf_orch.network.seeds import resnet50
from aiperf_orch.records.base import EndReason, OperationsPerImage
from aiperf_orch.records.events import Begin, End, Epoch, event_adapter
from aiperf_orch.records.journal import (
    AttemptEnd,
    AttemptRecord,
    Began,
    BeganRecord,
    Created,
    Ended,
    EventsFile,
    Finished,
    JobRecord,
    Opened,
    ProposalRecord,
    Submitted,
    Submitting,
)
from aiperf_orch.records.trial import Hyperparameters, TrialSpec
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.units import now

AIPERF = [sys.executable, "-m", "aiperf_orch.cli"]
EPOCH_SECONDS = 200
IMAGES = (1437, 360)


class Journal:
    """Chained journal lines that are written at the end; a real journal is fsynced line by line."""

    def __init__(self):
        self.lines, self.last = [], "0" * 64

    def append(self, kind, time, **fields):
        """Append an entry."""
        line = kind(seq=len(self.lines), time=time, generation=1, prev=self.last, **fields).to_line()
        self.last = hashlib.sha256(line.encode()).hexdigest()
        self.lines.append(line)


def child(graph, number, rng, limits):
    """A descendant with a number of random edits, and the edits."""
    edits = []
    while len(edits) < number:
        edit = morphisms.random_edit(graph, 3, rng)
        try:
            edited = morphisms.apply(graph, edit)
        except morphisms.NetworkError:
            continue
        if limits.admit(edited):
            graph, edits = edited, [*edits, edit.to_json()]
    return graph, edits


def make(path, number, seed=1):
    """Write a campaign with a number of trials."""
    settings = SiteSettings.model_validate(
        {
            "campaign": {"concurrency": max(number // 5, 1)},
            "network": {"seed": "resnet50"},
            "training": {"trainer": "simulated"},
        }
    )
    directory = CampaignDirectory.create(path, settings, {})
    rng, chance = np.random.default_rng(seed), random.Random(seed)
    start = now() - timedelta(hours=13)
    journal, moments = Journal(), []
    start_network = resnet50(settings.data.input_shape, settings.data.outputs)
    limits, errors = morphisms.MorphismLimits(), {}
    parents, children = [(None, start_network)], []
    for trial in range(number):
        if trial % settings.campaign.concurrency == 0 and children:
            parents, children = children[-64:], []  # the trials whose weights are kept
        parent, graph = parents[rng.integers(len(parents))]
        number_of_edits = 0 if trial == 0 else 3 if parent is None else 1  # trial 0 is the seed network itself
        graph, edits = child(graph, number_of_edits, rng, limits)
        children = [*children[-63:], (trial, graph)]
        moments += one_trial(directory, trial, parent, edits, graph, start, chance, errors)
    moments.sort(key=lambda moment: moment[0])
    journal.append(Created, start - timedelta(seconds=2), settings_sha256=directory.settings_sha256, version="0.1.0")
    journal.append(Opened, start - timedelta(seconds=1), host="login1", pid=1)
    for moment, _, kind, fields in moments:
        journal.append(kind, moment, **fields)
    end = start + timedelta(hours=12, seconds=5)
    journal.append(Finished, end, reason="its 12h are over", by_deadline=True)
    directory.journal.write_text("\n".join(journal.lines) + "\n")
    return directory


def one_trial(directory, trial, parent, edits, graph, start, chance, errors):
    """Write the files of a trial; returns its journal entries with their times."""
    settings, concurrency = directory.settings, directory.settings.campaign.concurrency
    round_ = trial // concurrency
    planned = settings.training.epochs_of_round(round_)
    before = sum(settings.training.epochs_of_round(number) for number in range(round_))
    proposal = ProposalRecord(
        round=round_,
        parent=parent,
        edits=edits,
        network_hash=graph.hash,
        operations=OperationsPerImage.of(counts.count(graph)),
        hyperparameters=Hyperparameters(kernel_size=3, dropout=0.1 * chance.random(), batch_size=64),
    )
    spec = TrialSpec(
        campaign=directory.config.tag,
        trial=trial,
        seed=chance.getrandbits(31),
        parent_error=errors.get(parent),
        epochs=planned,
        patience=settings.training.patience_of_round(round_),
        data=settings.data,
        training=settings.training,
        network=graph.to_json(),
        **dict(proposal),
    )
    sha256 = directory.write_spec(spec)
    ids = {"trial": trial, "attempt": 1}
    position = trial % concurrency / concurrency
    submitted = start + timedelta(seconds=before * EPOCH_SECONDS + 20 * position)
    clock = submitted + timedelta(seconds=4)
    host, job = f"node{trial % concurrency:05d}", str(100_000 + trial)
    lines = [
        Begin(
            **ids, run=0, time=clock, hosts=[host], job=job, batch=64, spec_sha256=sha256, trainer="simulated",
            device="simulated", precision="bf16", cores=16, inherited=parent is not None,
            clock_skew=round(chance.random() / 100, 3), versions={},
        )
    ]  # fmt: skip
    began, wrong = clock, []
    for number in range(1, planned + 1):
        end = clock + timedelta(seconds=(0.9 + 0.09 * chance.random()) * EPOCH_SECONDS)
        wrong.append(chance.randint(20, 200))
        lines.append(
            Epoch(
                **ids, run=0, epoch=number, start=clock, end=end, train_images=IMAGES[0], val_images=IMAGES[1],
                loss=3 * chance.random(), error=wrong[-1] / IMAGES[1], batch=64,
                ops=proposal.operations.of_images(trained=IMAGES[0], validated=IMAGES[1]),
            )
        )  # fmt: skip
        clock = end + timedelta(milliseconds=chance.randint(5, 60))
    errors[trial], best = min(wrong) / IMAGES[1], wrong.index(min(wrong)) + 1
    lines.append(
        End(
            **ids, run=0, time=clock, reason=EndReason.COMPLETED, best_error=errors[trial], best_epoch=best,
            weights_sha256=hashlib.sha256(sha256.encode()).hexdigest(),
        )
    )  # fmt: skip
    data = b"".join(line.to_line().encode() + b"\n" for line in lines)
    directory.events(trial, 1, 0).write_bytes(data)
    lines = [event_adapter.validate_json(line) for line in data.splitlines()]  # times to the millisecond
    folder = directory.job_folder(trial, 1)
    folder.mkdir()
    (folder / "job.sh").write_text(f"#!/usr/bin/env bash\n# {directory.attempt_name(trial, 1)}\n" + "exec true\n" * 40)
    end = AttemptEnd(
        **ids,
        reason=EndReason.COMPLETED,
        message="",
        final=True,
        epochs=planned,
        train_images=planned * IMAGES[0],
        val_images=planned * IMAGES[1],
        ops=sum(line.ops for line in lines[1:-1]),
        best_error=errors[trial],
        best_epoch=best,
        first_begin=lines[0].time,
        last_end=lines[-2].end,
        files=[EventsFile(run=0, size=len(data), sha256=hashlib.sha256(data).hexdigest())],
    )
    attempt = AttemptRecord(**ids, name=directory.attempt_name(trial, 1), spec_sha256=sha256, proposal=proposal)
    seen = BeganRecord(**ids, run=0, time=lines[0].time, hosts=[host], job=job)
    return [
        (submitted, trial, Submitting, {"attempts": [attempt]}),
        (submitted + timedelta(seconds=1), trial, Submitted, {"jobs": [JobRecord(**ids, job=job)]}),
        (began + timedelta(seconds=2), trial, Began, {"attempts": [seen]}),
        (clock + timedelta(seconds=1), trial, Ended, {"attempts": [end]}),
    ]


def read_only(package):
    """Seconds to read a package without checks."""
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
    """Wall and CPU seconds of a command, its peak memory in MB, its status, and its output."""
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
    parser.add_argument("--directory", type=Path, help="directory for the campaign, which is reused by the next run")
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
        print(f"{'reading it':<28}{read_only(package):>8.1f}")
        print(f"{'the package':<28}{package.stat().st_size / 1e6:>8.1f} MB")


if __name__ == "__main__":
    main()
