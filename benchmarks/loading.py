"""Speed of decoding JPEGs to training crops of 224 x 224, by several libraries, on one core and on all.

Photographs are made: their spectra fall with the frequency as those of natural images, and their sizes in bytes are
those of ImageNet. Each library decodes the same images to the same random crops, in alternating rounds:

- `Pillow alone` decodes and resizes, as trials did before; the others resize as trials do now
- `trial` is what trials do, with the libraries that are installed; `trial, Pillow` without simplejpeg
- PyTurboJPEG, torchvision, nvImageCodec (which decodes the region of the crop only) and SPDL are measured where they
  are installed: PyTurboJPEG, torchvision, nvidia-nvimgcodec-cu12, spdl-io

Then an epoch of training and validation reads a tree, and the same images packed: files that are opened, bytes that are
read. Both include listing and first images; there are no loaders, so that one process reads everything.

    python benchmarks/loading.py [--rounds 9] [--images 24] [--processes 2]

Times are of the processor, medians of the rounds; `x` is the median of the ratios to `Pillow alone` in the same round.
On an accelerator times are of the wall. The last table compares processes with threads, by wall time: run it on an idle
machine.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from aiperf_orch.records.trial import DataRecord
from aiperf_orch.trial.count_opened_files import OpenedFiles
from aiperf_orch.trial.data import jpeg
from aiperf_orch.trial.data.decoding import random_crop
from aiperf_orch.trial.data.imagenet import ImageTree
from aiperf_orch.trial.data.packing import pack
from aiperf_orch.trial.runtime.process_group import ProcessGroup

SIDE = 224
CPU = torch.device("cpu")
SHAPES = ((500, 375), (1500, 1000))
Decode = Callable[[bytes, jpeg.Box], object]


def photograph(shape: jpeg.Shape, seed: int) -> bytes:
    """A JPEG of quality 90 and 4:2:0, whose amplitudes fall with the frequency f as f^-1.2, and channels correlate."""
    random = np.random.default_rng(seed)
    width, height = shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    fields = []
    for _ in range(4):
        noise = random.normal(size=frequency.shape) + 1j * random.normal(size=frequency.shape)
        field = np.fft.irfft2(frequency**-1.2 * noise, (height, width))
        fields.append(field / field.std())
    channels = [128 + 55 * (0.9 * fields[0] + 0.44 * field) for field in fields[1:]]
    file = io.BytesIO()
    image = Image.fromarray(np.stack(channels, -1).clip(0, 255).astype(np.uint8))
    image.save(file, "JPEG", quality=90, subsampling="4:2:0")
    return file.getvalue()


def pillow_alone() -> Decode:
    def decode(data: bytes, box: jpeg.Box) -> object:
        with Image.open(io.BytesIO(data)) as image:
            (width, height), (left, upper, right, lower) = image.size, box
            image.draft("RGB", (-(-width * SIDE // (right - left)), -(-height * SIDE // (lower - upper))))
            across, down = image.width / width, image.height / height
            edges = left * across, upper * down, right * across, lower * down
            crop = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=edges)
            return np.asarray(crop)

    return decode


def trial() -> Decode:
    if jpeg.simplejpeg is None:
        raise ImportError("simplejpeg is not installed")
    return lambda data, box: jpeg.resized_crop(data, lambda _: box, SIDE)


def trial_by_pillow() -> Decode:
    def decode(data: bytes, box: jpeg.Box) -> object:
        with Image.open(io.BytesIO(data)) as image:
            return jpeg._decoded_by_pillow(image, box, SIDE)

    return decode


def simplejpeg_without_resizing() -> Decode:
    import simplejpeg

    return lambda data, _: simplejpeg.decode_jpeg(data, "RGB")


def pyturbojpeg() -> Decode:
    from turbojpeg import TJPF_RGB, TurboJPEG

    decoder = TurboJPEG()
    return lambda data, box: jpeg._resized(decoder.decode(data, TJPF_RGB), box, SIDE)


def torchvision_cpu() -> Decode:
    return torchvision_on("cpu")


def torchvision_cuda() -> Decode:
    require_cuda()
    return torchvision_on("cuda")


def torchvision_on(device: str) -> Decode:
    from torchvision.io import ImageReadMode, decode_jpeg

    def decode(data: bytes, box: jpeg.Box) -> object:
        left, upper, right, lower = box
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        pixels = decode_jpeg(encoded, mode=ImageReadMode.RGB, device=device)[None, :, upper:lower, left:right]
        # resizing on a device is of floating-point numbers
        pixels = pixels if device == "cpu" else pixels.float()
        resized = torch.nn.functional.interpolate(pixels, (SIDE, SIDE), mode="bilinear", antialias=True)
        if device != "cpu":
            torch.cuda.synchronize()
        return resized

    return decode


def nvimagecodec_cpu() -> Decode:
    from nvidia import nvimgcodec

    decoder = nvimgcodec.Decoder(
        device_id=nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY,
        max_num_cpu_threads=1,
        backends=[nvimgcodec.Backend(nvimgcodec.CPU_ONLY)],
        options=":fancy_upsampling=1",
    )

    def decode(data: bytes, box: jpeg.Box) -> object:
        left, upper, right, lower = box
        region = nvimgcodec.Region(upper, left, lower, right)
        pixels = np.asarray(decoder.decode(nvimgcodec.CodeStream(data).get_sub_code_stream(0, region)))
        return jpeg._resized(pixels, (0, 0, right - left, lower - upper), SIDE)

    return decode


def spdl_cpu() -> Decode:
    import spdl.io

    def decode(data: bytes, box: jpeg.Box) -> object:
        pixels = np.asarray(spdl.io.to_numpy(spdl.io.load_image(data)))
        return jpeg._resized(pixels, box, SIDE)

    return decode


def require_cuda() -> None:
    if not torch.cuda.is_available():
        raise RuntimeError("there is no CUDA device")


DECODERS: dict[str, Callable[[], Decode]] = {
    "Pillow alone": pillow_alone,
    "trial, Pillow": trial_by_pillow,
    "trial": trial,
    "simplejpeg, whole image, not resized": simplejpeg_without_resizing,
    "PyTurboJPEG": pyturbojpeg,
    "torchvision": torchvision_cpu,
    "torchvision on CUDA": torchvision_cuda,
    "nvImageCodec on the CPU": nvimagecodec_cpu,
    "SPDL": spdl_cpu,
}


def usable(samples: list[tuple[bytes, jpeg.Box]]) -> tuple[dict[str, Decode], dict[str, str]]:
    """The decoders that decode a sample, and for the others the reason why they do not."""
    found, missing = {}, {}
    for name, make in DECODERS.items():
        try:
            decode = make()
            decode(*samples[0])
        except Exception as error:  # of any type: libraries that do not fit together
            missing[name] = f"{type(error).__name__}: {error}"[:80]
        else:
            found[name] = decode
    return found, missing


def seconds_an_image(decode: Decode, samples: list[tuple[bytes, jpeg.Box]], clock: Callable[[], float]) -> float:
    start = clock()
    for data, box in samples:
        decode(data, box)
    return (clock() - start) / len(samples)


def compare_decoders(shape: jpeg.Shape, samples: list[tuple[bytes, jpeg.Box]], rounds: int) -> None:
    decoders, missing = usable(samples)
    times: dict[str, list[float]] = {name: [] for name in decoders}
    for _ in range(rounds):
        for name, decode in decoders.items():
            clock = time.perf_counter if "CUDA" in name else time.process_time
            times[name].append(seconds_an_image(decode, samples, clock))
    kilobytes = statistics.mean(len(data) for data, _ in samples) / 1000
    print(f"\n{shape[0]} x {shape[1]}, {kilobytes:.0f} kB, to {SIDE} x {SIDE}")
    print(f"{'decoder':<40}{'ms':>8}{'images/s':>10}{'x':>7}")
    for name, taken in times.items():
        median = statistics.median(taken)
        ratio = statistics.median(old / new for old, new in zip(times["Pillow alone"], taken, strict=True))
        print(f"{name:<40}{1000 * median:>8.2f}{1 / median:>10.0f}{ratio:>7.2f}")
    for name, reason in missing.items():
        print(f"{name:<40}not measured: {reason}")


def decode_all(by_pillow: bool, samples: list[tuple[bytes, jpeg.Box]], repeats: int) -> int:
    torch.set_num_threads(1)
    decode = trial_by_pillow() if by_pillow else trial()
    for _ in range(repeats):
        for sample in samples:
            decode(*sample)
    return repeats * len(samples)


def compare_processes(samples: list[tuple[bytes, jpeg.Box]], workers: int, rounds: int) -> None:
    """Images per second of all workers, as processes and as threads of one process."""
    print(f"\n{workers} processes against {workers} threads, {SHAPES[0][0]} x {SHAPES[0][1]}, images/s by wall time")
    pools: dict[str, Executor] = {
        "processes": ProcessPoolExecutor(workers, get_context("forkserver")),
        "threads": ThreadPoolExecutor(workers),
    }
    for by_pillow in (True, False):
        if not by_pillow and jpeg.simplejpeg is None:
            continue
        rates: dict[str, list[float]] = {name: [] for name in pools}
        for number in range(rounds + 1):
            for name, pool in pools.items():
                start = time.perf_counter()
                work = [pool.submit(decode_all, by_pillow, samples, 10) for _ in range(workers)]
                images = sum(each.result() for each in work)
                if number:  # the first round starts the workers
                    rates[name].append(images / (time.perf_counter() - start))
        medians = ", ".join(f"{name} {statistics.median(rate):.0f}" for name, rate in rates.items())
        print(f"{'trial, Pillow' if by_pillow else 'trial':<40}{medians}")
    for pool in pools.values():
        pool.shutdown()


def write_tree(root: Path, classes: int, images: int) -> None:
    """A tree of `images` to train and a tenth of them to validate, in each class."""
    photographs = [photograph(SHAPES[0], seed) for seed in range(8)]
    for split, count in (("train", images), ("val", max(1, images // 10))):
        for name in range(classes):
            folder = root / split / f"class{name:03d}"
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number:04d}.JPEG").write_bytes(photographs[number % len(photographs)])


def bytes_read() -> int:
    """Bytes that this process has read by system calls."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("rchar")).split()[1])


def compare_reading(classes: int, images: int) -> None:
    """Files that an epoch of a trial opens and bytes that it reads, of a tree and of the same tree packed."""
    opened = OpenedFiles()
    with tempfile.TemporaryDirectory() as folder:
        tree, packed = Path(folder) / "tree", Path(folder) / "packed"
        write_tree(tree, classes, images)
        pack(tree, packed, shard_bytes=16 << 20)
        size = sum(file.stat().st_size for file in tree.rglob("*.JPEG"))
        print(f"\none epoch of {classes * images:,} training images, tree of {size:,} bytes in {classes} classes")
        print(f"{'data.path':<40}{'files opened':>14}{'bytes read':>16}{'seconds':>9}")
        for name, path in (("tree", tree), ("packed", packed)):
            begun, before, read = time.perf_counter(), opened.count, bytes_read()
            data = DataRecord(name="imagenet", path=str(path), image_size=SIDE, classes=classes, loaders=0)
            with (
                contextlib.redirect_stderr(io.StringIO()),
                contextlib.closing(ImageTree(data, CPU, ProcessGroup())) as dataset,
            ):
                for batch in dataset.training([np.random.default_rng(0).permutation(dataset.train_images)], 0):
                    assert not batch.skipped
                list(dataset.validation([np.arange(dataset.val_images)]))
            seconds = time.perf_counter() - begun
            print(f"{name:<40}{opened.count - before:>14,}{bytes_read() - read:>16,}{seconds:>9.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--images", type=int, default=24, help="of each size")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for shape in SHAPES:
        boxes = (random_crop(shape, np.random.default_rng(seed)) for seed in range(options.images))
        samples = [(photograph(shape, seed), box) for seed, box in enumerate(boxes)]
        compare_decoders(shape, samples, options.rounds)
        if shape == SHAPES[0]:
            small = samples
    compare_reading(classes=10, images=100)
    compare_processes(small, options.processes, max(3, options.rounds // 3))
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
