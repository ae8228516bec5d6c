"""torch.compile of the training step: every way computes the same, addresses of weights for CUDA graphs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from aiperf_orch.network import seeds
from aiperf_orch.records.trial import TrainingRecord
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.training.compilation import Compilation, can_compile, compile_function
from aiperf_orch.trial.training.learner import Learner
from aiperf_orch.trial.training.model import build
from aiperf_orch.trial.training.precision import Precision

CPU = torch.device("cpu")


def _quadratic(values: Tensor) -> Tensor:
    return (values.relu() * values + 1).sum()


@pytest.mark.parametrize("how", Compilation)
def test_compiled_gradients_equal_those_of_the_function(how: Compilation) -> None:
    if not can_compile(CPU, Compilation.FUSED):
        pytest.skip("torch.compile needs a C++ compiler")
    assert can_compile(CPU, how)
    values = torch.tensor([-1.0, 2.0, 3.0], requires_grad=True)
    for _ in range(3):  # CUDA graphs are recorded in the second call and repeated in the third
        values.grad = None
        torch.autograd.backward(compile_function(_quadratic, CPU, how)(values))
        assert values.grad is not None
        assert values.grad.tolist() == [0.0, 4.0, 6.0]


@pytest.mark.parametrize("how", Compilation)
def test_weights_and_statistics_are_used_in_place_by_cuda_graphs_only(
    how: Compilation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each step would copy them, and PyTorch would record no graph because the statistics change."""
    asked: list[dict[str, Any]] = []

    def compile_nothing(function: Any, **options: Any) -> Any:
        asked.append(options)
        return function

    monkeypatch.setattr(torch, "compile", compile_nothing)
    model = build(seeds.small_residual(width=8), 0.0, torch.Generator().manual_seed(0))
    learner = Learner(model, TrainingRecord(), Precision("fp32", "cpu"), CPU, ProcessGroup())
    learner.set_up_forward(how)
    tensors = [*learner.model.parameters(), *learner.model.buffers()]
    marked = {hasattr(tensor, "_dynamo_static_input_type") for tensor in tensors}
    assert marked == {how is Compilation.GRAPHS}
    assert [options.get("mode") for options in asked] == [
        {Compilation.GRAPHS: "reduce-overhead", Compilation.AUTOTUNED: "max-autotune-no-cudagraphs"}.get(how)
    ]
    learner.model.train()
    images, labels = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])
    first, second = (
        float(learner.train(images, labels, step_images=4, full=True, learning_rate=0.1)) for _ in range(2)
    )
    assert second < first
