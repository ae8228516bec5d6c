"""Reads of the device by the host: two numbers in an epoch, however many steps it has; each would wait for the device.

On a CPU nothing waits, but the same operations are called there.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from aiperf_orch.campaign.measured_trial import measured_trial
from aiperf_orch.network import seeds
from aiperf_orch.records.trial import DataRecord
from aiperf_orch.settings.models import TrainingSettings
from aiperf_orch.trial.training.torch_trainer import TorchTrainer

_READS = {"aten._local_scalar_dense.default", "aten.equal.default", "aten.nonzero.default", "aten.item.default"}
_STEPS = "aten._fused_sgd_.default"


class _Calls(TorchDispatchMode):
    """Counts the operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.by_name: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.by_name[str(func)] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("batch", "steps"), [(64, 23), (512, 3)])
def test_an_epoch_reads_the_loss_and_the_errors_once(batch: int, steps: int) -> None:
    data, training = DataRecord(name="digits"), TrainingSettings(precision="fp32")
    trainer = TorchTrainer(
        measured_trial(seeds.small_residual(width=8), data, training, batch=batch, epochs=2), None, None
    )
    trainer.prepare()
    trainer.run_epoch(1, lambda: None)  # serializes the state before the first step
    with _Calls() as calls:
        trainer.run_epoch(2, lambda: None)
    trainer.close()
    assert calls.by_name[_STEPS] == steps
    assert sum(calls.by_name[name] for name in _READS) == 2
