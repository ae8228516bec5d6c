"""Error of the estimate of a network's training memory, compared with the peak of a process that trains it on the CPU.

Each network trains three steps in its own process. `allocated` is the peak of PyTorch's tensors in the last step,
parameters and momentum included, as its profiler records it: the amount that the allocator of an accelerator has to
provide. `resident` is the growth of the process, which includes the memory of the C library and of the convolutions:

    python benchmarks/memory.py [--networks N]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys

import numpy as np

from aiperf_orch.network import memory, morphisms, seeds
from aiperf_orch.network.graph import Graph

BATCHES = (8, 16)
SIDE = 96  # pixels: small enough to train ResNet-50 on a small machine


def peaks_of(graph: Graph, batch: int) -> tuple[int, int]:
    """Peak of allocated bytes, and growth in bytes, of a new process that trains a network."""
    program = [sys.executable, __file__, "--train", str(batch)]
    done = subprocess.run(program, input=json.dumps(graph.to_json()), capture_output=True, text=True, check=True)
    allocated, resident = map(int, done.stdout.split())
    return allocated, resident


def train(batch: int) -> None:
    """Train the network that is read from stdin; prints the peak of allocated bytes, and the growth of the process."""
    import torch
    from torch.nn import functional
    from torch.profiler import ProfilerActivity, profile

    from aiperf_orch.trial.training.model import build

    torch.set_num_threads(1)
    graph = Graph.from_json(json.load(sys.stdin))
    height, width, channels = graph.input_shape
    functional.conv2d(torch.randn(1, 3, 8, 8), torch.randn(4, 3, 3, 3))  # loads libraries
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = build(graph, 0.0, torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)

    def step() -> None:
        images, labels = torch.randn(batch, channels, height, width), torch.zeros(batch, dtype=torch.int64)
        loss = functional.cross_entropy(model(images), labels)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()

    step()
    step()
    resident = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    optimizer.zero_grad(set_to_none=True)
    held = 2 * sum(value.nbytes for value in model.parameters()) + sum(value.nbytes for value in model.buffers())
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    now = most = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    print(held + most, resident)


def descendants(number: int) -> list[tuple[str, Graph]]:
    """ResNet-50 and random descendants of it with up to 12 edits."""
    made = [("resnet50", seeds.resnet50((SIDE, SIDE, 3), 100))]
    generator = np.random.default_rng(0)
    for index in range(1, number):
        graph = made[0][1]
        edits = int(generator.integers(1, 12, endpoint=True))
        for _ in range(edits):
            edit = morphisms.random_edit(graph, 3, generator)
            assert edit is not None
            graph = morphisms.apply(graph, edit)
        made.append((f"{index}: {edits} edits", graph))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=8)
    parser.add_argument("--train", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train:
        train(arguments.train)
        return
    print(f"MiB, images of {SIDE} x {SIDE}, fp32, batch {BATCHES[-1]}; per image: difference of two batches")
    print(f"{'':<23}{'per image':^31}{'total':^31}{'estimate /':>14}")
    print(
        f"{'network':<16}{'layers':>7}"
        + 2 * f"{'estimate':>11}{'allocated':>10}{'resident':>10}"
        + f"{'allocated':>14}"
    )
    ratios = []
    for name, graph in descendants(arguments.networks):
        expected = memory.estimate(graph, "fp32")
        few, many = (np.array(peaks_of(graph, batch)) for batch in BATCHES)
        numbers = [expected.per_image, *((many - few) / (BATCHES[1] - BATCHES[0])), expected.at(BATCHES[1]), *many]
        ratios.append(numbers[3] / numbers[4])
        columns = "".join(f"{each / 2**20:>{width}.1f}" for each, width in zip(numbers, 2 * (11, 10, 10), strict=True))
        print(f"{name:<16}{graph.depth:>7}{columns}{ratios[-1]:>14.2f}", flush=True)
    print(f"estimate / allocated: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
