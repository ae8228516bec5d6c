"""What `bench-node` measured on a node, what limits it, and what to do about that. Without torch: it only judges."""

from __future__ import annotations

from typing import Final

from aiperf_orch.records.base import Record
from aiperf_orch.util.units import format_number, format_ops

_AMPLE: Final = 1.1  # so many times the training rate is what loading must reach to stay out of its way
_MUCH_FASTER: Final = 1.3  # so many times the peak makes another precision worth a try
_LOW_SHARE: Final = 0.3  # of the peak; convolutional networks seldom reach half of it


class MatrixProduct(Record):
    """The peak of a product of two square matrices: 10^12 operations a second, a multiplication and an addition two."""

    precision: str
    tflops: float


class DataRate(Record):
    """Images a second that one worker's loaders deliver, without training beside them."""

    name: str
    image_size: int
    images_per_second: float


class TrainingRate(Record):
    """ResNet-50 on images that lie on the device: images trained and validated a second, and operations as they are scored."""

    image_size: int
    precision: str
    batch: int
    images_per_second: float
    ops: float


class Bench(Record):
    """One accelerator of a node, or its processor's cores. What was not measured is None, and `missing` says why."""

    host: str
    device: str
    is_accelerator: bool
    cores: int
    torch: str
    products: list[MatrixProduct] = []
    data: DataRate | None = None
    training: TrainingRate | None = None
    missing: dict[str, str] = {}


def peak(bench: Bench, precision: str) -> float | None:
    """The measured peak of a precision in operations a second."""
    return next((each.tflops * 1e12 for each in bench.products if each.precision == precision), None)


def limit(bench: Bench) -> str | None:
    """Which of the two limits a trial: `data` or `training`; None where their rates cannot be compared."""
    data, training = bench.data, bench.training
    if data is None or training is None or data.image_size != training.image_size:
        return None
    return "data" if data.images_per_second < _AMPLE * training.images_per_second else "training"


def advice(bench: Bench) -> list[str]:
    """What an administrator may try, most promising first; nothing where all is as good as these numbers can tell."""
    found = []
    if limit(bench) == "data":
        found.append(
            "loading limits: give a trial more cores and data.loaders, and stage the data on the node's own disk (data.stage)"
        )
    training = bench.training
    if training is None:
        return found
    ours = peak(bench, training.precision)
    best = max(bench.products, key=lambda each: each.tflops, default=None)
    if best and ours and best.tflops * 1e12 > _MUCH_FASTER * ours:
        found.append(
            f"training.precision is {training.precision}, and {best.precision} is {best.tflops * 1e12 / ours:.1f} times as "
            "fast here: set it, or auto"
        )
    if ours and training.ops < _LOW_SHARE * ours:
        found.append(
            f"training reaches {training.ops / ours:.0%} of the peak in {training.precision}: try larger batches "
            "(search.batch_size) and training.compile"
        )
    return found


def table(bench: Bench) -> str:
    """All of it for a person."""
    lines = [f"{bench.host}: {bench.device}, {bench.cores} cores, torch {bench.torch}"]
    lines += [f"matrix product   {each.precision}: {format_number(each.tflops)} TFLOPS" for each in bench.products]
    if bench.data:
        data = bench.data
        lines.append(
            f"data loading     {data.name} at {data.image_size} px: {format_number(data.images_per_second)} images/s"
        )
    if bench.training:
        training, ours = bench.training, peak(bench, bench.training.precision)
        share = f", {training.ops / ours:.0%} of the peak" if ours else ""
        lines.append(
            f"training         ResNet-50 at {training.image_size} px, {training.precision}, batch {training.batch}: "
            f"{format_number(training.images_per_second)} images/s, {format_ops(training.ops)}{share}"
        )
    lines += [f"not measured     {part}: {why}" for part, why in bench.missing.items()]
    if not bench.is_accelerator and bench.training:
        lines.append(
            f"note             without an accelerator images are small: {bench.training.image_size} px, not 224"
        )
    lines.append(f"limit            {_LIMITS[limit(bench)]}")
    lines += [f"  -> {each}" for each in advice(bench)]
    return "\n".join(lines) + "\n"


_LIMITS: Final = {
    "data": "the loading of data",
    "training": "the training itself: data come fast enough",
    None: "not known: loading and training were not both measured at the same image size",
}
