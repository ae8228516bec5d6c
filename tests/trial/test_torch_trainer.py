"""PyTorch trainer: learning, resuming, halving of the batch, inherited weights, typed failures."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from aiperf_orch.network import counts, morphisms, seeds
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import EpochMeasurements
from aiperf_orch.records.operations import OperationsPerImage
from aiperf_orch.records.trial import Hyperparameters, TrialSpec
from aiperf_orch.settings.models import DataSettings, TrainingSettings
from aiperf_orch.trial.data import open_dataset
from aiperf_orch.trial.data.dataset import SKIPPED, Batch, Indices
from aiperf_orch.trial.data.digits import digits
from aiperf_orch.trial.data.in_memory import InMemory
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.trial.training import compilation, learner, precision
from aiperf_orch.trial.training.model import Model
from aiperf_orch.trial.training.precision import select_precision
from aiperf_orch.trial.training.torch_trainer import TorchTrainer

# below 8 channels, a 1x1 convolution of stride 2 corrupts the heap in oneDNN for AVX2
SEED_NETWORK = seeds.small_residual(width=8)
EDITS = [Edit("wider", 4), Edit("deeper", 3, kernel=5), Edit("skip_add", 3, to=12), Edit("skip_concat", 3, to=15)]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})


def _spec(
    network: Graph = SEED_NETWORK,
    edits: Sequence[Edit] = (),
    *,
    batch: int = 64,
    dropout: float = 0.0,
    seed: int = 1,
    **training: Any,
) -> TrialSpec:
    return TrialSpec(
        campaign="test",
        trial=1,
        round=0,
        seed=seed,
        parent=0 if edits else None,
        edits=[edit.to_json() for edit in edits],
        network_hash=network.hash,
        operations=OperationsPerImage.of(counts.count(network)),
        hyperparameters=Hyperparameters(kernel_size=3, dropout=dropout, batch_size=batch),
        epochs=4,
        patience=6,
        data=DataSettings(),
        training=TrainingSettings(**{"epochs": 4, **training}),
        network=network.to_json(),
    )


def _check() -> None:
    """Never stop the trial."""


def _prepared(spec: TrialSpec, parent_weights: Path | None = None, parent: Graph | None = None) -> TorchTrainer:
    trainer = TorchTrainer(spec, parent_weights, parent)
    trainer.prepare()
    return trainer


def _run(trainer: TorchTrainer, epochs: Sequence[int]) -> list[EpochMeasurements]:
    """Measurements of the epochs, without times."""
    return [replace(trainer.run_epoch(epoch, _check), data_wait=None) for epoch in epochs]


@torch.no_grad()
def _logits(network: Graph, weights: Path) -> Tensor:
    model = Model(network)
    model.load_state_dict(safetensors.torch.load_file(weights))
    return model.eval()(digits().val_images)


@pytest.fixture
def parent_weights(tmp_path: Path) -> Path:
    path = tmp_path / "parent.safetensors"
    trainer = _prepared(_spec())
    _run(trainer, [1])
    trainer.save_weights(path)
    return path


def test_setup_reports_batch_cores_precision_and_versions() -> None:
    equipment = TorchTrainer(_spec(batch=48), None, None).prepare()
    assert (equipment.batch, equipment.cores, equipment.precision, equipment.inherited) == (48, 1, "fp32", False)
    assert equipment.versions["torch"] == torch.__version__
    assert TorchTrainer(_spec(batch=5000), None, None).prepare().batch == 1437


def test_training_learns_and_counts_every_image() -> None:
    results = _run(_prepared(_spec()), [1, 2, 3])
    assert all((result.train_images, result.val_images) == (1437, 360) for result in results)
    assert results[2].loss < results[1].loss < results[0].loss < math.log(10)
    assert results[2].error < 0.5  # random guessing has nine tenths


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_training_in_half_precision_learns(precision: str) -> None:
    trainer = TorchTrainer(_spec(precision=precision), None, None)
    assert trainer.prepare().precision == precision
    assert trainer.run_epoch(1, _check).loss < math.log(10)


def test_precision_auto_selects_the_fastest_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    small, large = SEED_NETWORK, seeds.resnet50((64, 64, 3), 10)
    for has_bf16, expected in ((False, ["fp32", "fp32"]), (True, ["fp32", "bf16"])):
        monkeypatch.setattr(precision, "cpu_has_bf16_instructions", lambda has=has_bf16: has)
        assert [select_precision("auto", cpu, network).name for network in (small, large)] == expected
    for capability, name in (((9, 0), "bf16"), ((7, 0), "fp16"), ((6, 1), "fp32")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device, now=capability: now)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, now=capability: now >= (8, 0))
        assert select_precision("auto", gpu, small).name == name


def test_unsupported_tf32_becomes_fp32_with_a_warning(capfd: pytest.CaptureFixture[str]) -> None:
    assert TorchTrainer(_spec(precision="tf32"), None, None).prepare().precision == "fp32"
    assert "warning: cpu does not support tf32: training in fp32" in capfd.readouterr().err


@pytest.mark.parametrize("fails_at", ["preparing", "first step"])
def test_training_continues_if_compiling_fails(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], fails_at: str
) -> None:
    expected = _run(_prepared(_spec()), [1])

    def compile_badly(function: Any, **_options: Any) -> Any:
        def fail(*_arguments: Any) -> Any:
            raise RuntimeError("no compiler\nat all")

        return function if fails_at == "first step" and function is compilation._small_function else fail

    monkeypatch.setattr(torch, "compile", compile_badly)
    trainer = TorchTrainer(_spec(compile=True), None, None)
    assert trainer.prepare().compiled == (fails_at == "first step")
    assert _run(trainer, [1]) == expected
    warning = "torch.compile failed, training continues without it (RuntimeError: no compiler)"
    assert capfd.readouterr().err.count(warning) == 1


def test_only_full_batches_are_compiled_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.compile` is replaced because it takes half a minute; the test checks its arguments."""
    expected, shapes = _run(_prepared(_spec()), [1]), []

    def compile_nothing(function: Any, **_options: Any) -> Any:
        def computed(*values: Tensor) -> Any:
            shapes.append(len(values[0]))
            return function(*values)

        return computed

    monkeypatch.setattr(torch, "compile", compile_nothing)
    trainer = TorchTrainer(_spec(compile=True), None, None)
    assert trainer.prepare().compiled
    shapes.clear()
    assert _run(trainer, [1]) == expected
    assert shapes == [64] * 22


def test_broken_images_are_skipped_and_not_counted_as_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(InMemory):
        def training(self, batches: Sequence[Indices], seed: int) -> Iterator[Batch]:
            for images, labels, _ in super().training(batches, seed):
                labels[:2] = SKIPPED
                yield Batch(images, labels, 2)

    monkeypatch.setitem(open_dataset.DATASETS, "digits", lambda _settings, device, _group: Broken(digits(), device))
    data = DataSettings(name="digits", max_broken=46)
    result = _prepared(_spec().model_copy(update={"data": data})).run_epoch(1, _check)  # in 23 steps
    assert (result.train_images, result.skipped, result.val_images) == (1437 - 46, 46, 360)
    assert 1 < result.loss < math.log(10)


def test_data_wait_is_a_fraction_of_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(InMemory):
        def training(self, batches: Sequence[Indices], seed: int) -> Iterator[Batch]:
            time.sleep(0.5)
            yield from super().training(batches, seed)

    monkeypatch.setitem(open_dataset.DATASETS, "digits", lambda _settings, device, _group: Slow(digits(), device))
    start = time.perf_counter()
    share = _prepared(_spec()).run_epoch(1, _check).data_wait
    assert share is not None
    assert 0.5 / (time.perf_counter() - start) <= share <= 1


@pytest.mark.parametrize("precision", ["fp32", "fp16"])  # fp16 also has the state of its scaler
def test_resumed_training_equals_uninterrupted_training(tmp_path: Path, precision: str) -> None:
    spec = _spec(dropout=0.2, seed=5, precision=precision)
    whole = _prepared(spec)
    expected = _run(whole, [1, 2, 3])

    first = _prepared(spec)
    assert _run(first, [1]) == expected[:1]
    first.save_checkpoint(tmp_path / "checkpoint", 1)
    second = TorchTrainer(spec, None, None)
    second.prepare()
    assert second.load_checkpoint(tmp_path / "checkpoint") == 1
    assert _run(second, [2, 3]) == expected[1:]
    assert second.save_weights(tmp_path / "second") == whole.save_weights(tmp_path / "whole")


def test_training_depends_on_the_seed() -> None:
    first, second = (_prepared(_spec(seed=seed)).run_epoch(1, _check) for seed in (1, 2))
    assert first.loss != second.loss


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 torn"])
def test_unusable_checkpoint_leaves_the_trainer_unchanged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint"
    path.write_bytes(content)
    trainer = _prepared(_spec())
    before = trainer.save_weights(tmp_path / "weights")
    with pytest.raises(ValueError, match="not a checkpoint of this trial"):
        trainer.load_checkpoint(path)
    assert trainer.save_weights(tmp_path / "weights") == before


def test_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    _prepared(_spec(seeds.small_residual(width=5))).save_checkpoint(tmp_path / "checkpoint", 3)
    trainer = _prepared(_spec())
    before = trainer.save_weights(tmp_path / "weights")
    with pytest.raises(ValueError, match="not a checkpoint of this trial"):
        trainer.load_checkpoint(tmp_path / "checkpoint")
    assert trainer.save_weights(tmp_path / "weights") == before
    with pytest.raises(FileNotFoundError):
        trainer.load_checkpoint(tmp_path / "missing")


def test_weights_are_replaced_atomically_and_digest_is_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"older")
    digest = _prepared(_spec()).save_weights(path)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [file.name for file in tmp_path.iterdir()] == ["weights.safetensors"]
    assert _logits(SEED_NETWORK, path).shape == (360, 10)


def test_child_starts_with_the_function_of_its_parent(parent_weights: Path, tmp_path: Path) -> None:
    child = morphisms.apply_all(SEED_NETWORK, EDITS)
    trainer = TorchTrainer(_spec(child, EDITS), parent_weights, SEED_NETWORK)
    assert trainer.prepare().inherited
    trainer.save_weights(tmp_path / "child")
    expected = _logits(SEED_NETWORK, parent_weights)
    torch.testing.assert_close(_logits(child, tmp_path / "child"), expected, rtol=1e-4, atol=1e-4)
    assert trainer.run_epoch(1, _check).loss < 2


def test_weights_are_initial_without_a_file_of_the_parent(parent_weights: Path, tmp_path: Path) -> None:
    child = morphisms.apply_all(SEED_NETWORK, EDITS)
    assert not TorchTrainer(_spec(child, EDITS), None, SEED_NETWORK).prepare().inherited
    assert not TorchTrainer(_spec(child, EDITS), tmp_path / "pruned", SEED_NETWORK).prepare().inherited
    refusing = _spec(child, EDITS, inherit_weights=False)
    assert not TorchTrainer(refusing, parent_weights, SEED_NETWORK).prepare().inherited


def test_weights_of_another_network_are_refused(parent_weights: Path) -> None:
    other = seeds.small_residual(width=5)
    spec = _spec(morphisms.apply_all(other, EDITS), EDITS)
    with pytest.raises(TrialFailedError, match=r"cannot be inherited: tensor '1\.weight' is \(8, 1, 3, 3\)") as failure:
        TorchTrainer(spec, parent_weights, other).prepare()
    assert failure.value.reason is EndReason.TRIAL_ERROR


def test_damaged_weights_are_refused(parent_weights: Path) -> None:
    parent_weights.write_bytes(parent_weights.read_bytes()[:-100])
    spec = _spec(morphisms.apply_all(SEED_NETWORK, EDITS), EDITS)
    with pytest.raises(TrialFailedError, match="cannot be inherited") as failure:
        TorchTrainer(spec, parent_weights, SEED_NETWORK).prepare()
    assert failure.value.reason is EndReason.TRIAL_ERROR


def test_edits_that_do_not_make_the_network_are_refused(parent_weights: Path) -> None:
    spec = _spec(morphisms.apply_all(SEED_NETWORK, EDITS), EDITS[:1])
    with pytest.raises(TrialFailedError, match="cannot be inherited") as failure:
        TorchTrainer(spec, parent_weights, SEED_NETWORK).prepare()
    assert failure.value.reason is EndReason.TRIAL_ERROR


def test_diverged_loss_is_reported(parent_weights: Path) -> None:
    state = safetensors.torch.load_file(parent_weights)
    state["1.weight"].fill_(math.nan)
    safetensors.torch.save_file(state, parent_weights)
    child = morphisms.apply_all(SEED_NETWORK, EDITS)
    result = _prepared(_spec(child, EDITS), parent_weights, SEED_NETWORK).run_epoch(1, _check)
    assert math.isnan(result.loss)


def test_dataset_that_does_not_fit_is_refused_before_training() -> None:
    with pytest.raises(TrialFailedError, match="classes") as failure:
        TorchTrainer(_spec(seeds.small_residual(classes=12)), None, None).prepare()
    assert failure.value.reason is EndReason.BAD_DATA


@pytest.mark.parametrize("stop_at", [1, 3, 24])  # the first step, a later one, the first of validation
def test_check_stops_at_once(stop_at: int) -> None:
    class StopError(Exception):
        pass

    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == stop_at:
            raise StopError

    with pytest.raises(StopError):
        _prepared(_spec()).run_epoch(1, check)  # 23 steps
    assert calls == stop_at


def _limit_batch(monkeypatch: pytest.MonkeyPatch, limit: int, error: Exception) -> None:
    real = torch.nn.functional.cross_entropy

    def limited(logits: Tensor, labels: Tensor, **options: Any) -> Tensor:
        if len(labels) > limit:
            raise error
        return real(logits, labels, **options)

    monkeypatch.setattr(learner.functional, "cross_entropy", limited)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        MemoryError(),
    ],
)
def test_batch_that_does_not_fit_is_halved(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    expected = _run(_prepared(_spec(batch=64)), [1])
    _limit_batch(monkeypatch, 65, error)
    assert _run(_prepared(_spec(batch=256)), [1]) == expected


def test_halved_batch_is_kept_in_the_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = _spec(batch=256)
    trainer = _prepared(spec)
    with monkeypatch.context() as patch:
        _limit_batch(patch, 65, torch.OutOfMemoryError())
        trainer.run_epoch(1, _check)
    trainer.save_checkpoint(tmp_path / "checkpoint", 1)
    resumed = _prepared(spec)
    resumed.load_checkpoint(tmp_path / "checkpoint")
    assert _run(resumed, [2]) == _run(trainer, [2])


def test_smallest_batch_that_does_not_fit_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    _limit_batch(monkeypatch, 0, torch.OutOfMemoryError())
    with pytest.raises(TrialFailedError, match="a batch of 2 images") as failure:
        _prepared(_spec()).run_epoch(1, _check)
    assert failure.value.reason is EndReason.OUT_OF_MEMORY


def test_other_errors_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    _limit_batch(monkeypatch, 0, RuntimeError("something else"))
    with pytest.raises(RuntimeError, match="something else"):
        _prepared(_spec()).run_epoch(1, _check)


def test_learning_rate_stays_at_its_final_value(tmp_path: Path) -> None:
    """From 0.1 to 0 within one epoch: afterwards no trained parameter changes."""
    trainer = _prepared(_spec(epochs=1))
    states = []
    for epoch in (1, 2):
        trainer.run_epoch(epoch, _check)
        trainer.save_weights(tmp_path / "weights")
        states.append(safetensors.torch.load_file(tmp_path / "weights"))
    changed = {name for name in states[0] if not torch.equal(states[0][name], states[1][name])}
    assert {name.split(".")[1] for name in changed} == {"running_mean", "running_var"}
