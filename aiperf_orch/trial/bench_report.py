"""Results of `bench-node`: what was measured on a node, the bottleneck, and recommendations. Loads no torch."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from aiperf_orch.records.base import Record
from aiperf_orch.util.units import format_number, format_ops

_AMPLE_LOADING: Final = 1.1  # times the training rate that loading must reach, so that training does not wait for it
_MUCH_FASTER: Final = 1.3  # times the peak that makes another precision worth trying
_LOW_SHARE: Final = 0.3  # of the peak; convolutional networks seldom reach half of it


class MatrixProduct(Record):
    """Peak of a product of two square matrices in 10^12 operations per second; a multiply-add counts as two."""

    precision: str
    tflops: float


class DataRate(Record):
    """Images per second that the loaders of one worker deliver, without simultaneous training.

    `decoder` is the library that decodes JPEGs; empty for a data set without JPEGs.
    """

    name: str
    image_size: int
    images_per_second: float
    decoder: str = ""


class TrainingRate(Record):
    """ResNet-50 on images in device memory: images trained and validated per second, and operations as in the score."""

    image_size: int
    precision: str
    batch: int
    images_per_second: float
    ops: float


class Bench(Record):
    """Measurements of one accelerator of a node, or of the cores of its processors.

    Attributes:
        products: Matrix products, one per precision.
        data: Rate of data loading; None where it was not measured.
        training: Rate of training; None where it was not measured.
        missing: Reason for each part that was not measured, by its name.
    """

    host: str
    device: str
    is_accelerator: bool
    cores: int
    torch: str
    products: list[MatrixProduct] = Field(default_factory=list)
    data: DataRate | None = None
    training: TrainingRate | None = None
    missing: dict[str, str] = Field(default_factory=dict)


def peak(bench: Bench, precision: str) -> float | None:
    """Measured peak of a precision in operations per second; None where it was not measured."""
    return next((each.tflops * 1e12 for each in bench.products if each.precision == precision), None)


def limit(bench: Bench) -> str | None:
    """Bottleneck of a trial, `data` or `training`; None where their rates cannot be compared."""
    data, training = bench.data, bench.training
    if data is None or training is None or data.image_size != training.image_size:
        return None
    return "data" if data.images_per_second < _AMPLE_LOADING * training.images_per_second else "training"


def advice(bench: Bench) -> list[str]:
    """Recommendations for the administrator, most promising first; empty where the measurements suggest none."""
    found = []
    if limit(bench) == "data":
        found.append(
            "data loading limits the training: give a trial more cores and data.loaders, and stage the data on the "
            "node's own disk (data.stage)"
        )
        if bench.data and bench.data.decoder == "Pillow":
            found.append(
                "JPEGs are decoded by Pillow: install simplejpeg on the nodes (the extra [images]), which is faster"
            )
    training = bench.training
    if training is None:
        return found
    own = peak(bench, training.precision)
    best = max(bench.products, key=lambda each: each.tflops, default=None)
    if best and own and best.tflops * 1e12 > _MUCH_FASTER * own:
        found.append(
            f"training.precision is {training.precision}, and {best.precision} is {best.tflops * 1e12 / own:.1f} times "
            "as fast here: set it, or auto"
        )
    if own and training.ops < _LOW_SHARE * own:
        found.append(
            f"training reaches {training.ops / own:.0%} of the peak in {training.precision}: try larger batches "
            "(search.batch_size) and training.compile"
        )
    return found


def table(bench: Bench) -> str:
    """All measurements and recommendations as text."""
    lines = [f"{bench.host}: {bench.device}, {bench.cores} cores, torch {bench.torch}"]
    lines += [f"matrix product   {each.precision}: {format_number(each.tflops)} TFLOPS" for each in bench.products]
    if bench.data:
        data = bench.data
        decoder = f", decoded by {data.decoder}" if data.decoder else ""
        rate = f"{format_number(data.images_per_second)} images/s"
        lines.append(f"data loading     {data.name} at {data.image_size} px: {rate}{decoder}")
    if bench.training:
        training, own = bench.training, peak(bench, bench.training.precision)
        share = f", {training.ops / own:.0%} of the peak" if own else ""
        lines.append(
            f"training         ResNet-50 at {training.image_size} px, {training.precision}, batch {training.batch}: "
            f"{format_number(training.images_per_second)} images/s, {format_ops(training.ops)}{share}"
        )
    lines += [f"not measured     {part}: {reason}" for part, reason in bench.missing.items()]
    if not bench.is_accelerator and bench.training:
        lines.append(
            f"note             without an accelerator images are small: {bench.training.image_size} px, not 224"
        )
    lines.append(f"limit            {_LIMITS[limit(bench)]}")
    lines += [f"  -> {each}" for each in advice(bench)]
    return "\n".join(lines) + "\n"


_LIMITS: Final = {
    "data": "data loading",
    "training": "training: data loading is fast enough",
    None: "unknown: loading and training were not both measured at the same image size",
}
