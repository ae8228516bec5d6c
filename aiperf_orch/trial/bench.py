"""`python -m aiperf_orch.trial.bench`: what a node's accelerator and loaders reach, in about a minute (`bench-node`).

Three parts, each bounded in time: the peak of a matrix product in every precision, the rate at which the data set is
loaded, and the rate at which ResNet-50 is trained by the very trainer of the trials. What they mean is `bench_report`'s.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image

from aiperf_orch.network import counts
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.seeds import resnet50
from aiperf_orch.records.base import OperationsPerImage
from aiperf_orch.records.trial import DataRecord, Hyperparameters, TrialSpec
from aiperf_orch.settings.models import SearchSettings, SiteSettings, TrainingSettings
from aiperf_orch.trial.bench_report import Bench, DataRate, MatrixProduct, TrainingRate, advice, limit, table
from aiperf_orch.trial.data.dataset import Dataset
from aiperf_orch.trial.data.open_dataset import DATASETS
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.trial.training import sharding
from aiperf_orch.trial.training.torch_trainer import TorchTrainer
from aiperf_orch.util.signals import handle_signals

_EPOCHS: Final = 2  # the first warms up
_PRODUCT_SECONDS: Final = 1.5  # of each precision
_DATA_SECONDS: Final = 12.0
_OPENING_SECONDS: Final = 60.0  # with the listing of a large tree, after which loading is given up
_TRAINING_SECONDS: Final = 45.0  # after which it is given up
_LONG_ENOUGH: Final = 5.0  # seconds of an epoch that is measured
_MOST_CLASSES: Final = 1000
_FAST: Final = 20_000  # images a second that loaders may reach
_SYNTHETIC_JPEGS: Final = 192
_BATCH: Final = 128
_CPU_BATCH: Final = 16
_CPU_SIDES: Final = (32, 64)  # of the images where there is no accelerator: of few cores, and of many
_MANY_CORES: Final = 8
_SLOW: Final = {  # what an administrator may do
    "matrix product": "is the node idle?",
    "data loading": "where data are copied first (data.stage), what is copied stays, so try again",
    "training": "is the node idle, and are its cores as many as a trial gets?",
}


class _TimeIsUp(Exception):
    """A part has used its time up."""


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m aiperf_orch.trial.bench", description=__doc__)
    parser.add_argument("--settings", help="a site's settings as JSON; by default JPEGs that are made here are loaded")
    parser.add_argument("--format", choices=["table", "json"], default="table")
    parser.add_argument("--scale", type=float, default=1.0, help="of the time that each part may take")
    options = parser.parse_args(arguments)
    settings = SiteSettings.model_validate_json(options.settings) if options.settings else None
    bench = measure(settings, options.scale)
    if options.format == "json":
        print(json.dumps(bench.model_dump() | {"limit": limit(bench), "advice": advice(bench)}, indent=2))
    else:
        print(table(bench), end="")
    return 0 if bench.training else 1


def measure(settings: SiteSettings | None, scale: float) -> Bench:
    """All three parts. What fails is named in `missing`, and leaves the others."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    missing: dict[str, str] = {}

    @contextmanager
    def part(name: str, what: str) -> Iterator[None]:
        print(f"{name}: {what}", file=sys.stderr, flush=True)
        try:
            yield
        except _TimeIsUp:
            missing[name] = f"took longer than its share of a minute: {_SLOW[name]}"
        except TrialFailedError as failure:
            missing[name] = str(failure)
        except Exception as error:  # whatever a driver or a damaged file raises must leave the other parts
            missing[name] = f"{type(error).__name__}: {error}"[:300]

    products: list[MatrixProduct] = []
    data: DataRate | None = None
    training: TrainingRate | None = None
    with part("matrix product", "its peak in each precision"):
        products = _products(device or torch.device("cpu"), _PRODUCT_SECONDS * scale)
    cores = len(os.sched_getaffinity(0))
    side = _CPU_SIDES[cores >= _MANY_CORES] if device is None else settings.data.image_size if settings else 224
    batch = _CPU_BATCH if device is None else _first_batch(settings.search) if settings else _BATCH
    with part("data loading", "as fast as loaders can"), _alarm(_OPENING_SECONDS):
        data = _data_rate(settings, device or torch.device("cpu"), side, batch, _DATA_SECONDS * scale)
    with part("training", f"ResNet-50 at {side} px"):
        recipe = settings.training if settings else TrainingSettings(precision="auto")
        training = _training_rate(recipe, side, batch, scale)
    return Bench(
        host=socket.gethostname(),
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else str(device or "cpu"),
        is_accelerator=device is not None,
        cores=cores,
        torch=torch.__version__,
        products=products,
        data=data,
        training=training,
        missing=missing,
    )


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Give up what takes longer, wherever it is."""

    def ring(_number: int, _frame: object) -> None:
        raise _TimeIsUp

    with handle_signals([signal.SIGALRM], ring):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _products(device: torch.device, seconds: float) -> list[MatrixProduct]:
    """The best rate of ten stretches of time in each precision that the device has."""
    side = 1024 if device.type == "cpu" else 8192
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if device.type != "cpu":
        kinds |= {"fp16": torch.float16}
    if device.type == "cuda" and torch.cuda.get_device_capability() >= (8, 0):
        kinds |= {"tf32": torch.float32}
    found = []
    for precision, dtype in kinds.items():
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        rate = _best_rate(lambda left=left, right=right: left @ right, device, seconds)  # type: ignore[misc]
        found.append(MatrixProduct(precision=precision, tflops=2 * side**3 * rate / 1e12))
    torch.set_float32_matmul_precision("highest")
    return found


def _best_rate(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    """How often a second it was done, in the best of ten stretches."""
    begun = time.monotonic()
    work()
    _finish(device)
    one = max(time.monotonic() - begun, 1e-6)  # the first is slow: the stretches are shorter than asked for
    number, best = max(1, int(seconds / 10 / one)), 0.0
    for _ in range(10):
        begun = time.monotonic()
        for _ in range(number):
            work()
        _finish(device)
        took = time.monotonic() - begun
        best = max(best, number / took)
        number = max(1, int(seconds / 10 * number / took))
    return best


def _finish(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize()


def _data_rate(settings: SiteSettings | None, device: torch.device, side: int, batch: int, seconds: float) -> DataRate:
    with tempfile.TemporaryDirectory(prefix="aiperf-orch-") as folder:
        name = "JPEGs made here"
        if settings:
            # images come again and again here, and broken ones with them
            data = DataRecord.model_validate(settings.data).model_copy(
                update={"image_size": side, "max_broken": sys.maxsize}
            )
            name = data.name
        else:
            _write_jpegs(Path(folder))
            data = DataRecord(name="imagenet", path=folder, image_size=side, classes=2)
        source = DATASETS[data.name](data, device, ProcessGroup())
        try:
            rate = _images_a_second(source, batch, seconds, device)
        finally:
            source.close()
        return DataRate(name=name, image_size=source.input_shape[0], images_per_second=rate)


def _images_a_second(source: Dataset, batch: int, seconds: float, device: torch.device) -> float:
    """The rate of all but the first third of the time, in which loaders begin."""
    images, begun = 0, time.monotonic()
    marks = [(begun, 0)]
    for seed in itertools.count():
        batches = sharding.training_batches(source.train_images, min(batch, source.train_images), ProcessGroup(), seed)
        often = int(1 + seconds * _FAST / source.train_images)  # loaders that begin anew with each epoch are not meant
        for taken in source.training(batches * often, seed):
            images += len(taken.labels) - taken.skipped
            marks.append((time.monotonic(), images))
            if marks[-1][0] - begun > seconds:
                _finish(device)
                end = time.monotonic()
                steady = [mark for mark in marks[:-1] if mark[0] - begun >= seconds / 3] or marks[:1]
                return (images - steady[0][1]) / (end - steady[0][0])
    raise AssertionError("counts for ever")


def _write_jpegs(folder: Path) -> None:
    """An image folder of JPEGs of ImageNet's usual size, in pixels and in bytes (about 110 kB)."""
    random = np.random.default_rng(0)
    for number in range(_SYNTHETIC_JPEGS):
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC))
        noisy = smooth + random.normal(0, 14, smooth.shape)
        place = folder / ("val" if number < _SYNTHETIC_JPEGS // 8 else "train") / f"class{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        image.save(place / f"{number:04d}.jpg", quality=88)


def _training_rate(recipe: TrainingSettings, side: int, batch: int, scale: float) -> TrainingRate:
    """The second epoch's rate, of an epoch that is long enough to tell."""
    # without the minutes that torch.compile would take
    training = recipe.model_copy(update={"trainer": "torch", "compile": False, "inherit_weights": False})
    classes, enough = 2, _LONG_ENOUGH * scale
    while True:
        deadline = time.monotonic() + _TRAINING_SECONDS * scale

        def check(deadline: float = deadline) -> None:
            if time.monotonic() > deadline:
                raise _TimeIsUp

        network = resnet50((side, side, 3), classes)
        data = DataRecord(name="synthetic", image_size=side, classes=classes)
        spec = specification(network, data, training, batch=batch, epochs=_EPOCHS)
        with closing(TorchTrainer(spec, None, None)) as trainer:
            precision = trainer.prepare().precision
            trainer.run_epoch(1, check)
            begun = time.monotonic()
            result = trainer.run_epoch(_EPOCHS, check)
            seconds = time.monotonic() - begun
        if seconds >= enough / 2 or classes == _MOST_CLASSES:
            break
        classes = min(math.ceil(classes * enough / seconds), _MOST_CLASSES)
    operations = spec.operations.of_images(trained=result.train_images, validated=result.val_images)
    return TrainingRate(
        image_size=side,
        precision=precision,
        batch=result.batch,
        images_per_second=(result.train_images + result.val_images) / seconds,
        ops=operations / seconds,
    )


def specification(
    network: Graph, data: DataRecord, training: TrainingSettings, *, batch: int, epochs: int
) -> TrialSpec:
    """A trial of a network by itself, which belongs to no campaign: to measure with. It stops early for nothing."""
    return TrialSpec(
        campaign="bench",
        trial=0,
        round=0,
        seed=0,
        parent=None,
        edits=[],
        network_hash=network.hash,
        operations=OperationsPerImage.of(counts.count(network)),
        hyperparameters=Hyperparameters(kernel_size=3, dropout=0.0, batch_size=batch),
        epochs=epochs,
        patience=epochs,
        data=data,
        training=training,
        network=network.to_json(),
    )


def _first_batch(search: SearchSettings) -> int:
    return search.first_batch_size or search.batch_size[1]


if __name__ == "__main__":
    sys.exit(main())
