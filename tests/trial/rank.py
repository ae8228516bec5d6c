"""One of two ranks that train together, for test_many_workers: `rank.py SPEC RANK PORT LISTEN_FD FOLDER`.

Rank 1 has memory for 66 images only, and is told to leave in its third epoch. Prints what came of it as JSON.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aiperf_orch.campaign.directory import read_spec
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.runtime.trainer import EpochMeasurements, PeerStoppedError
from aiperf_orch.trial.training import learner
from aiperf_orch.trial.training.torch_trainer import TorchTrainer

_MEMORY = 66
_LEAVES_AT = 5


class Told(Exception):
    """What the check of rank 1 raises."""


def main(spec_path: Path, rank: int, port: int, listen_fd: int, folder: Path) -> None:
    world = ProcessGroup.join(rank, 2, rank, 2, ("127.0.0.1", port), listen_fd=listen_fd if rank == 0 else None)
    spec, _ = read_spec(spec_path)
    if rank == 1:
        _limit_memory()

    trainer = TorchTrainer(spec, None, None, world)
    equipment = trainer.prepare()
    first = _epoch(trainer, 1)
    trainer.save_checkpoint(folder / "checkpoint", 1)
    digest = trainer.save_weights(folder / "weights")
    state = _digest(trainer)
    second = _epoch(trainer, 2)

    resumed = TorchTrainer(spec, None, None, world)
    resumed.prepare()
    # only the first worker's file system need have it
    done = resumed.load_checkpoint(folder / "checkpoint" if rank == 0 else folder / "missing")
    state_read = _digest(resumed)
    second_again = _epoch(resumed, 2)
    try:
        resumed.load_checkpoint(folder / "missing")
    except (OSError, ValueError) as error:
        refused = type(error).__name__

    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if rank == 1 and calls == _LEAVES_AT:
            raise Told

    try:
        resumed.run_epoch(3, check)
    except (Told, PeerStoppedError) as left:
        left_by = type(left).__name__
    print(
        json.dumps(
            {
                "equipment": [equipment.workers, equipment.batch],
                "first": [first.train_images, first.val_images, first.loss, first.wrong, first.batch],
                "digest": digest,
                "states": [state, state_read],
                "done": done,
                "goes_on_alike": second == second_again,
                "refused": refused,
                "left": [left_by, calls],
            }
        )
    )
    world.leave()


def _epoch(trainer: TorchTrainer, number: int) -> EpochMeasurements:
    return replace(trainer.run_epoch(number, lambda: None), data_wait=None)


def _digest(trainer: TorchTrainer) -> str:
    """Of the weights and statistics that this rank has."""
    values = trainer._learner.model.state_dict().values()
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in values)).hexdigest()


def _limit_memory() -> None:
    real = torch.nn.functional.cross_entropy

    def limited(logits: Tensor, labels: Tensor, **options: Any) -> Tensor:
        if len(labels) > _MEMORY:
            raise torch.OutOfMemoryError
        return real(logits, labels, **options)

    learner.functional.cross_entropy = limited


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
