"""Measurement of a node's accelerator and data loading, in about a minute (`bench-node`).

Three parts, each bounded in time: the peak of a matrix product in every precision, the rate at which the data set is
loaded, and the rate at which the trials' trainer trains ResNet-50. `bench_report` evaluates the results.
"""

from __future__ import annotations

import itertools
import math
import os
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

from aiperf_orch.campaign.measured_trial import measured_trial
from aiperf_orch.network.seeds import resnet50
from aiperf_orch.records.events import EpochMeasurements
from aiperf_orch.records.trial import DataRecord, TrialSpec
from aiperf_orch.settings.models import SiteSettings, TrainingSettings
from aiperf_orch.trial.bench_report import Bench, DataRate, MatrixProduct, TrainingRate
from aiperf_orch.trial.data.dataset import Dataset
from aiperf_orch.trial.data.jpeg import DECODER
from aiperf_orch.trial.data.open_dataset import DATASETS
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.trial.training import sharding
from aiperf_orch.trial.training.torch_trainer import TorchTrainer
from aiperf_orch.util.signals import time_limit

_EPOCHS: Final = 2  # the first one is a warm-up
_PRODUCT_SECONDS: Final = 1.5  # per precision
_PRODUCT_REPEATS: Final = 10
_DATA_SECONDS: Final = 12.0
_OPENING_TIMEOUT: Final = 60.0  # seconds for opening the data set, with the listing of a large tree, and for loading
_TRAINING_TIMEOUT: Final = 45.0  # seconds
_MIN_EPOCH_SECONDS: Final = 5.0  # of the measured epoch
_MAX_CLASSES: Final = 1000
_MAX_LOADING_RATE: Final = 20_000  # images per second
_SYNTHETIC_JPEGS: Final = 192
_IMAGE_SIDE: Final = 224
_BATCH: Final = 128
_CPU_BATCH: Final = 16
_FEW_CORES_SIDE: Final = 32  # image side without an accelerator
_MANY_CORES_SIDE: Final = 64
_MANY_CORES: Final = 8
_MAX_MESSAGE: Final = 300  # characters
_TIMEOUT_ADVICE: Final = {
    "matrix product": "check that the node is idle",
    "data loading": "where data are copied first (data.stage), the copied part is kept: try again",
    "training": "check that the node is idle, and that as many cores are available as for a trial",
}


class _PartTimeoutError(Exception):
    """A part took longer than its share of the time."""


def measure(settings: SiteSettings | None, scale: float) -> Bench:
    """Measure all three parts. A part that fails is named in `missing`, and does not prevent the others.

    Args:
        settings: Settings of a site, for data set, batch size and recipe; None for the defaults.
        scale: Factor for the time limit of each part.
    """
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    device = accelerator or torch.device("cpu")
    missing: dict[str, str] = {}
    products: list[MatrixProduct] = []
    data: DataRate | None = None
    training: TrainingRate | None = None
    with _part("matrix product", "peak in each precision", missing):
        products = _products(device, _PRODUCT_SECONDS * scale)
    cores = len(os.sched_getaffinity(0))
    side, batch = _workload(settings, cores, on_accelerator=accelerator is not None)
    with _part("data loading", "rate of the loaders", missing), time_limit(_OPENING_TIMEOUT, _PartTimeoutError):
        data = _data_rate(settings, device, side, batch, _DATA_SECONDS * scale)
    with _part("training", f"ResNet-50 at {side} px", missing):
        recipe = settings.training if settings else TrainingSettings(precision="auto")
        training = _training_rate(recipe, side, batch, scale)
    return Bench(
        host=socket.gethostname(),
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else str(device),
        is_accelerator=accelerator is not None,
        cores=cores,
        torch=torch.__version__,
        products=products,
        data=data,
        training=training,
        missing=missing,
    )


def _workload(settings: SiteSettings | None, cores: int, *, on_accelerator: bool) -> tuple[int, int]:
    """Image side in pixels, and batch size."""
    if not on_accelerator:
        return (_MANY_CORES_SIDE if cores >= _MANY_CORES else _FEW_CORES_SIDE), _CPU_BATCH
    if settings is None:
        return _IMAGE_SIDE, _BATCH
    search = settings.search
    return settings.data.image_size, search.first_batch_size or search.batch_size[1]


@contextmanager
def _part(name: str, description: str, missing: dict[str, str]) -> Iterator[None]:
    """Announce a part, and add the reason to `missing` when it fails."""
    print(f"{name}: {description}", file=sys.stderr, flush=True)
    try:
        yield
    except _PartTimeoutError:
        missing[name] = f"took longer than its time limit: {_TIMEOUT_ADVICE[name]}"
    except TrialFailedError as failure:
        missing[name] = str(failure)
    except Exception as error:  # drivers and damaged files raise exceptions of any type
        missing[name] = f"{type(error).__name__}: {error}"[:_MAX_MESSAGE]


def _products(device: torch.device, seconds: float) -> list[MatrixProduct]:
    """Measure a matrix product in each precision of the device.

    Args:
        device: Device of the matrices.
        seconds: Time per precision.
    """
    side = 1024 if device.type == "cpu" else 8192
    precisions = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if device.type != "cpu":
        precisions |= {"fp16": torch.float16}
    if device.type == "cuda" and torch.cuda.get_device_capability() >= (8, 0):
        precisions |= {"tf32": torch.float32}
    found = []
    for precision, dtype in precisions.items():
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        rate = _best_rate(lambda left=left, right=right: left @ right, device, seconds)  # type: ignore[misc]
        found.append(MatrixProduct(precision=precision, tflops=2 * side**3 * rate / 1e12))
    torch.set_float32_matmul_precision("highest")
    return found


def _best_rate(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Calls per second, in the best of ten intervals of equal length."""
    start = time.monotonic()
    work()
    _synchronize(device)
    duration = max(time.monotonic() - start, 1e-6)  # the first call is slow: the first interval is too short
    interval = seconds / _PRODUCT_REPEATS
    calls, best = max(1, int(interval / duration)), 0.0
    for _ in range(_PRODUCT_REPEATS):
        start = time.monotonic()
        for _ in range(calls):
            work()
        _synchronize(device)
        elapsed = time.monotonic() - start
        best = max(best, calls / elapsed)
        calls = max(1, int(interval * calls / elapsed))
    return best


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize()


def _data_rate(settings: SiteSettings | None, device: torch.device, side: int, batch: int, seconds: float) -> DataRate:
    with tempfile.TemporaryDirectory(prefix="aiperf-orch-") as folder:
        name: str = "generated JPEGs"
        if settings:
            name = settings.data.name
            # the same images are loaded several times, and unreadable ones with them
            data = DataRecord.model_validate(settings.data).model_copy(
                update={"image_size": side, "max_broken": sys.maxsize}
            )
        else:
            _write_jpegs(Path(folder))
            data = DataRecord(name="imagenet", path=folder, image_size=side, classes=2)
        with closing(DATASETS[data.name](data, device, ProcessGroup())) as dataset:
            rate = _images_per_second(dataset, batch, seconds, device)
            decoder = DECODER if data.name == "imagenet" else ""
            return DataRate(name=name, image_size=dataset.input_shape[0], images_per_second=rate, decoder=decoder)


def _images_per_second(dataset: Dataset, batch: int, seconds: float, device: torch.device) -> float:
    """Loading rate after the first third of the time, in which the loaders start."""
    images, start = 0, time.monotonic()
    marks = [(start, 0)]
    for seed in itertools.count():
        group = ProcessGroup()
        batches = sharding.training_batches(dataset.train_images, min(batch, dataset.train_images), group, seed)
        # the loaders' start in each epoch must not count: repeat a small data set within the epoch
        repeats = int(1 + seconds * _MAX_LOADING_RATE / dataset.train_images)
        for loaded in dataset.training(batches * repeats, seed):
            images += len(loaded.labels) - loaded.skipped
            marks.append((time.monotonic(), images))
            if marks[-1][0] - start > seconds:
                _synchronize(device)
                end = time.monotonic()
                steady = [mark for mark in marks[:-1] if mark[0] - start >= seconds / 3] or marks[:1]
                return (images - steady[0][1]) / (end - steady[0][0])
    raise AssertionError("itertools.count() does not end")


def _write_jpegs(folder: Path) -> None:
    """Write an image folder of JPEGs of ImageNet's usual size, in pixels and in bytes (about 110 kB)."""
    random = np.random.default_rng(0)
    for number in range(_SYNTHETIC_JPEGS):
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC))
        noisy = smooth + random.normal(0, 14, smooth.shape)
        class_folder = folder / ("val" if number < _SYNTHETIC_JPEGS // 8 else "train") / f"class{number % 2}"
        class_folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        image.save(class_folder / f"{number:04d}.jpg", quality=88)


def _training_rate(recipe: TrainingSettings, side: int, batch: int, scale: float) -> TrainingRate:
    """Rate of the second epoch, with enough synthetic images (classes) for an epoch of sufficient length."""
    # without compilation, which would take minutes
    training = recipe.model_copy(update={"trainer": "torch", "compile": False, "inherit_weights": False})
    classes, sufficient = 2, _MIN_EPOCH_SECONDS * scale
    while True:
        network = resnet50((side, side, 3), classes)
        data = DataRecord(name="synthetic", image_size=side, classes=classes)
        spec = measured_trial(network, data, training, batch=batch, epochs=_EPOCHS)
        measured, seconds, precision = _time_last_epoch(spec, _TRAINING_TIMEOUT * scale)
        if seconds >= sufficient / 2 or classes == _MAX_CLASSES:
            break
        classes = min(math.ceil(classes * sufficient / seconds), _MAX_CLASSES)
    operations = spec.operations.of_images(trained=measured.train_images, validated=measured.val_images)
    return TrainingRate(
        image_size=side,
        precision=precision,
        batch=measured.batch,
        images_per_second=(measured.train_images + measured.val_images) / seconds,
        ops=operations / seconds,
    )


def _time_last_epoch(spec: TrialSpec, timeout: float) -> tuple[EpochMeasurements, float, str]:
    """Train all epochs of a trial; return measurements and seconds of the last one, and the precision."""
    deadline = time.monotonic() + timeout

    def check() -> None:
        if time.monotonic() > deadline:
            raise _PartTimeoutError

    with closing(TorchTrainer(spec, None, None)) as trainer:
        precision = trainer.prepare().precision
        for epoch in range(1, spec.epochs):
            trainer.run_epoch(epoch, check)
        start = time.monotonic()
        measured = trainer.run_epoch(spec.epochs, check)
        return measured, time.monotonic() - start, precision
