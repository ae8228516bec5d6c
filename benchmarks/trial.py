"""Training speed of a trial, compared with a plain PyTorch loop on the same network and images, alternating in one run.

The plain loop computes in fp32 as in PyTorch's tutorials: one process, no compilation, the default memory layout. It
reads the trial's data set, so that only training differs, and never waits for a loss. Both also validate. On an
accelerator a tuned loop (bf16, channels last, compiled, fused SGD) is measured as well, and the trial is compiled in
each way of `trial.training.compilation`: fused kernels as in campaigns, CUDA graphs, max-autotune. Without one these
rows are left out, and a line says so.

    python benchmarks/trial.py [--cores 1] [--rounds 5]                # digits, and ResNet-50 at 64 px
    python benchmarks/trial.py --case digits --compile                 # torch.compile, in the warm-up round
    python benchmarks/trial.py --workers 2                             # also compares 2 workers with one
    python benchmarks/trial.py --case resnet50-224 [--jpeg FOLDER]     # on an accelerator; FOLDER is `data.path`

`images/s` are per wall time, medians of the rounds; `ratio` is the median of the ratios to the plain loop of the same
round. On a busy machine `per CPU s`, the ratio of images per CPU second, is more reliable.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path

import torch
from torch.nn import functional

from aiperf_orch.campaign.measured_trial import measured_trial
from aiperf_orch.network import seeds
from aiperf_orch.network.graph import Graph
from aiperf_orch.records.trial import TrialSpec
from aiperf_orch.settings.models import DataSettings, TrainingSettings
from aiperf_orch.trial.data.open_dataset import load_dataset
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.training.compilation import Compilation
from aiperf_orch.trial.training.devices import device_name, select_device
from aiperf_orch.trial.training.model import build
from aiperf_orch.trial.training.sharding import training_batches, validation_batches
from aiperf_orch.trial.training.torch_trainer import TorchTrainer

CASES = {  # network, data, batch
    "digits": (seeds.small_residual(), DataSettings(name="digits"), 64),
    "resnet50-64": (
        seeds.resnet50((64, 64, 3), 4),
        DataSettings(name="synthetic", image_size=64, classes=4),
        32,
    ),
    "resnet50-224": (seeds.resnet50(), DataSettings(name="synthetic"), 256),
}
EPOCHS = 8  # of a trial with several workers
CLOCKS = (time.perf_counter, time.process_time)
Epoch = Callable[[int], int]  # train and validate the epoch with this number; returns the number of training images


def plain_loop(spec: TrialSpec, device: torch.device, *, tuned: bool) -> Epoch:
    """Epoch function of a loop that uses PyTorch directly."""
    graph, training, batch = Graph.from_json(spec.network), spec.training, spec.hyperparameters.batch_size
    source = load_dataset(spec.data, graph, device, ProcessGroup())
    layout = torch.channels_last if tuned else torch.contiguous_format
    model = build(graph, 0.0, torch.Generator().manual_seed(0)).to(device, memory_format=layout)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=training.learning_rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        fused=tuned,
    )
    forward = torch.compile(model) if tuned else model

    def laid_out(images: torch.Tensor) -> torch.Tensor:
        # with one channel, channels last differs from the default layout in its strides only
        return images if tuned else images.flatten().view(images.shape)

    def computing() -> object:
        return torch.autocast(device.type, torch.bfloat16) if tuned else nullcontext()

    def epoch(number: int) -> int:
        batches = training_batches(source.train_images, batch, ProcessGroup(), number)
        total, trained = torch.zeros((), device=device), 0
        model.train()
        for images, labels, _ in source.training(batches, number):
            with computing():
                logits = forward(laid_out(images))
                loss = functional.cross_entropy(logits, labels, label_smoothing=training.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
            trained += len(labels)
        model.eval()
        wrong = torch.zeros((), dtype=torch.int64, device=device)
        with torch.no_grad():
            for images, labels, _ in source.validation(validation_batches(source.val_images, batch, ProcessGroup())):
                with computing():
                    wrong += (model(laid_out(images)).argmax(1) != labels).sum()
        float(total), int(wrong)
        return trained

    return epoch


class Trial:
    """A trial's trainer with its waits for data (shares of the epochs); `epoch` is the function that is compared."""

    def __init__(self, trainer: TorchTrainer) -> None:
        self.trainer, self.setup = trainer, trainer.prepare()
        self.waits: list[float] = []

    def epoch(self, number: int) -> int:
        """Train and validate an epoch."""
        result = self.trainer.run_epoch(number, lambda: None)
        self.waits.append(result.data_wait or 0.0)
        return result.train_images


def compare(name: str, spec: TrialSpec, rounds: int) -> None:
    """Alternate between the loops, and print a line for each."""
    device = select_device(ProcessGroup())
    compilations = list(Compilation) if device.type != "cpu" else [Compilation.FUSED]
    trials = {
        "trial" if how is Compilation.FUSED else f"trial, {how}": Trial(TorchTrainer(spec, None, None, None, how))
        for how in compilations
    }
    equipment = trials["trial"].setup
    ways: dict[str, Epoch] = {"plain loop, fp32": plain_loop(spec, device, tuned=False)}
    ways |= {way: trial.epoch for way, trial in trials.items()}
    if device.type != "cpu":
        ways["plain loop, tuned"] = plain_loop(spec, device, tuned=True)
    taken: dict[str, list[tuple[float, ...]]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, epoch in ways.items():
            # the trial sets the precision of the process: the plain loop has PyTorch's defaults
            torch.backends.cudnn.allow_tf32 = way not in trials or equipment.precision == "tf32"
            before = [clock() for clock in CLOCKS]
            images = epoch(number + 1)
            seconds = [clock() - begun for clock, begun in zip(CLOCKS, before, strict=True)]
            if number:  # the first round warms up, and compiles
                taken[way].append(tuple(images / each for each in seconds))
    for trial in trials.values():
        trial.trainer.close()
    compiled = all(trial.setup.compiled for trial in trials.values())
    wait = statistics.median(trials["trial"].waits)
    print(
        f"\n{name}: batch {equipment.batch}, {device_name(device)}, {torch.get_num_threads()} threads, {rounds} rounds"
    )
    print(f"trial in {equipment.precision}, compiled: {compiled}, data-wait {wait:.1%}")
    print(f"{'':<24}{'images/s':>10}{'OPS':>12}{'ratio':>8}{'per CPU s':>11}")
    plain = taken["plain loop, fp32"]
    for way, rates in taken.items():
        wall, cpu = (
            statistics.median(mine[k] / its[k] for mine, its in zip(rates, plain, strict=True)) for k in (0, 1)
        )
        speed = statistics.median(rate[0] for rate in rates)
        per_cpu = f"{cpu:>11.2f}" if device.type == "cpu" else f"{'':>11}"
        print(f"{way:<24}{speed:>10.1f}{speed * spec.operations.train:>12.3g}{wall:>8.2f}{per_cpu}", flush=True)
    if device.type == "cpu":
        left_out = ", ".join(how for how in Compilation if how not in compilations)
        print(f"not measured, because there is no accelerator: the tuned plain loop; the trial with {left_out}")
    else:
        peak = product_peak(device)
        speed = statistics.median(rate[0] for rate in taken["trial"])
        print(f"bf16 matrix products: {peak:.3g} OPS at most; the trial has {speed * spec.operations.train / peak:.1%}")


def product_peak(device: torch.device) -> float:
    """Operations per second of products of large matrices in bf16: 2 n^3 each, the best of five measurements."""
    side, repeats = 8192, 20
    first, second = (torch.randn(side, side, dtype=torch.bfloat16, device=device) for _ in range(2))
    best = 0.0
    for _ in range(5):
        torch.accelerator.synchronize()
        start = time.perf_counter()
        for _ in range(repeats):
            first @ second
        torch.accelerator.synchronize()
        best = max(best, repeats * 2 * side**3 / (time.perf_counter() - start))
    return best


def workers_rate(spec: TrialSpec, workers: int) -> float:
    """Images per second of a complete trial with a number of workers, from the events of all epochs but the first."""
    cores = sorted(os.sched_getaffinity(0))[:workers]  # on a CPU: one core per worker
    on_cpu = select_device(ProcessGroup()).type == "cpu"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "00000.json"
        path.write_text(spec.to_line())
        done = subprocess.run(
            [sys.executable, "-m", "aiperf_orch.trial", str(path)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env=os.environ | {"AIPERF_ORCH_WORKERS": str(workers)},
            preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if on_cpu else None,
        )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["workers"] == workers, events[0]
    rates = [
        event["train_images"]
        / (datetime.fromisoformat(event["end"]) - datetime.fromisoformat(event["start"])).total_seconds()
        for event in events
        if event["type"] == "epoch"
    ]
    return statistics.median(rates[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=CASES, help="default: digits and resnet50-64")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, help="number of cores to use (default: all)")
    parser.add_argument("--jpeg", type=Path, help="with resnet50-224: an ImageFolder tree instead of synthetic images")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--compile", action="store_true", help="compile the trial (always done on an accelerator)")
    parser.add_argument("--workers", type=int, help="also compare this number of workers with one")
    options = parser.parse_args()
    all_cores = os.sched_getaffinity(0)
    for name in options.case or ["digits", "resnet50-64"]:
        graph, data, batch = CASES[name]
        if options.jpeg and name == "resnet50-224":
            data = DataSettings(name="imagenet", path=str(options.jpeg))
        on_accelerator = torch.accelerator.is_available()
        training = TrainingSettings(precision="auto", learning_rate=0.01, compile=options.compile or on_accelerator)
        spec = measured_trial(graph, data, training, batch=options.batch or batch, epochs=EPOCHS)
        os.sched_setaffinity(0, sorted(all_cores)[: options.cores])
        compare(name, spec, options.rounds)
        os.sched_setaffinity(0, all_cores)
        if options.workers:
            one, many = (workers_rate(spec, workers) for workers in (1, options.workers))
            print(f"{options.workers} workers: {many:.1f} images/s, one: {one:.1f}; {many / one:.2f} x", flush=True)


if __name__ == "__main__":
    main()
