"""How many images change their class when a trained network is evaluated in another way, on a CPU.

    python benchmarks/evaluation.py PACKAGE [--data DIR] [--images N] [--batches B...] [--compiled]

PACKAGE has weights (`package --weights`). The first N validation images are evaluated; each way is compared with the
first one, fp32: the images that are misclassified, and those that another class is found for. Instruction sets are
those of oneDNN and PyTorch on x86; a set that the CPU does not have is ignored by the libraries.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from aiperf_orch.campaign.directory import read_spec
from aiperf_orch.network.graph import Graph
from aiperf_orch.package.evaluation import evaluation_input
from aiperf_orch.records.evaluation import EvaluationRequest
from aiperf_orch.trial.data.open_dataset import load_dataset
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.training.model import Model
from aiperf_orch.trial.training.precision import Precision

_INSTRUCTIONS = {
    "": {},
    "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    "SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 64, 1])
    parser.add_argument("--compiled", action="store_true", help="by torch.compile too, which takes a minute")
    parser.add_argument("--instructions", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with evaluation_input(options.package, options.data) as (recorded, request):
        if options.instructions is None:
            print(
                f"recorded: {recorded.wrong_images} of {recorded.epoch.val_images} in {request.precision}", flush=True
            )
            _compare()
        else:
            _evaluate(request, options)


def _compare() -> None:
    """Run this program with each set of instructions, in one folder for what it finds."""
    with tempfile.TemporaryDirectory() as folder:
        for name, environment in _INSTRUCTIONS.items():
            command = [sys.executable, *sys.argv, "--instructions", name]
            subprocess.run(command, check=True, env=os.environ | environment | {"AIPERF_FOUND": folder})


def _evaluate(request: EvaluationRequest, options: argparse.Namespace) -> None:
    """Evaluate in each way, and print the differences to the first way without instructions."""
    spec, _ = read_spec(Path(request.spec))
    network = Graph.from_json(spec.network)
    settings = spec.data.model_copy(update={"path": request.data, "loaders": None})
    with closing(load_dataset(settings, network, torch.device("cpu"), ProcessGroup())) as dataset:
        every = np.arange(min(dataset.val_images, options.images))
        batches = list(dataset.validation([every[start : start + 500] for start in range(0, len(every), 500)]))
    images, labels = torch.cat([each.images for each in batches]), torch.cat([each.labels for each in batches])
    model = Model(network)
    model.load_state_dict(safetensors.torch.load_file(request.weights))
    model.eval()
    if not options.instructions:
        print(f"{len(labels):,} images, {network.depth} layers, {network.parameters:,} parameters,", end=" ")
        print(f"PyTorch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}", flush=True)
    first = Path(os.environ["AIPERF_FOUND"]) / "first.npy"
    for name, classes in _ways(model, images, options):
        if not first.exists():
            np.save(first, classes.numpy())
        changed = int((classes.numpy() != np.load(first)).sum())
        print(f"{name:32} {int((classes != labels).sum()):6} wrong {changed:6} changed", flush=True)


def _ways(model: Model, images: Tensor, options: argparse.Namespace) -> Iterator[tuple[str, Tensor]]:
    """Name and found classes of each way of evaluation."""
    for name in ("fp32", "bf16"):
        precision = Precision(name, "cpu")
        precision.set_up()
        if options.instructions:
            yield f"{name}, {options.instructions}", _classes(model, precision, images, 256)
            continue
        for batch in options.batches:
            yield f"{name}, batches of {batch}", _classes(model, precision, images, batch)
        yield f"{name}, channels first", _classes(model, precision, images, 256, torch.contiguous_format)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield f"{name}, one thread", _classes(model, precision, images, 256)
        torch.set_num_threads(threads)
        if options.compiled:
            yield f"{name}, compiled", _classes(torch.compile(model, dynamic=True), precision, images, 256)


@torch.inference_mode()
def _classes(
    model: torch.nn.Module,
    precision: Precision,
    images: Tensor,
    batch: int,
    form: torch.memory_format = torch.channels_last,
) -> Tensor:
    model.to(memory_format=form)
    found = []
    for part in images.split(batch):
        with precision.autocast():
            found.append(model(part.contiguous(memory_format=form)).argmax(1))
    return torch.cat(found)


if __name__ == "__main__":
    main()
