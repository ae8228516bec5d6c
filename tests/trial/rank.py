"""One of two ranks that train together, for test_two_workers: `rank.py SPEC RANK PORT LISTEN_FD FOLDER`.

Rank 1 has memory for 66 images only, and is asked to stop in its third epoch. Prints its results as JSON.
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
from aiperf_orch.records.events import EpochMeasurements
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.runtime.trainer import PeerStoppedError
from aiperf_orch.trial.training import learner
from aiperf_orch.trial.training.torch_trainer import TorchTrainer

_MAX_IMAGES = 66
_STOP_AT_CALL = 5


class StopRequestedError(Exception):
    """Raised by the check of rank 1."""


def main(spec_path: Path, rank: int, port: int, listen_fd: int, folder: Path) -> None:
    group = ProcessGroup.join(rank, 2, rank, 2, ("127.0.0.1", port), listen_fd=listen_fd if rank == 0 else None)
    spec, _ = read_spec(spec_path)
    if rank == 1:
        _limit_memory()

    trainer = TorchTrainer(spec, None, None, group)
    setup = trainer.prepare()
    first = _run_epoch(trainer, 1)
    trainer.save_checkpoint(folder / "checkpoint", 1)
    digest = trainer.save_weights(folder / "weights")
    state = _state_digest(trainer)
    second = _run_epoch(trainer, 2)

    resumed = TorchTrainer(spec, None, None, group)
    resumed.prepare()
    # only the file system of rank 0 needs to have the checkpoint
    done = resumed.load_checkpoint(folder / "checkpoint" if rank == 0 else folder / "missing")
    loaded_state = _state_digest(resumed)
    second_again = _run_epoch(resumed, 2)
    try:
        resumed.load_checkpoint(folder / "missing")
    except (OSError, ValueError) as error:
        load_error = type(error).__name__

    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if rank == 1 and calls == _STOP_AT_CALL:
            raise StopRequestedError

    try:
        resumed.run_epoch(3, check)
    except (StopRequestedError, PeerStoppedError) as error:
        stop_error = type(error).__name__
    print(
        json.dumps(
            {
                "setup": [setup.workers, setup.batch],
                "first": [first.train_images, first.val_images, first.loss, first.error, first.batch],
                "digest": digest,
                "states": [state, loaded_state],
                "done": done,
                "same_second_epoch": second == second_again,
                "load_error": load_error,
                "stop": [stop_error, calls],
            }
        )
    )
    group.leave()


def _run_epoch(trainer: TorchTrainer, number: int) -> EpochMeasurements:
    return replace(trainer.run_epoch(number, lambda: None), data_wait=None)


def _state_digest(trainer: TorchTrainer) -> str:
    """Digest of this rank's weights and batch-norm statistics."""
    values = trainer._learner.model.state_dict().values()
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in values)).hexdigest()


def _limit_memory() -> None:
    real = torch.nn.functional.cross_entropy

    def limited(*inputs: Any, **options: Any) -> Tensor:
        _logits, labels = inputs
        if len(labels) > _MAX_IMAGES:
            raise torch.OutOfMemoryError
        return real(*inputs, **options)

    learner.functional.cross_entropy = limited


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
