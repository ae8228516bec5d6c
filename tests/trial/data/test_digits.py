"""Digits of scikit-learn, and datasets that do not fit a network or cannot be loaded."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from aiperf_orch.network import seeds
from aiperf_orch.network.graph import Graph
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.trial import DataRecord
from aiperf_orch.trial.data.dataset import Dataset
from aiperf_orch.trial.data.digits import digits as load
from aiperf_orch.trial.data.open_dataset import load_dataset
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.runtime.trainer import TrialFailedError


def _open(name: str, network: Graph) -> Dataset:
    settings = DataRecord().model_copy(update={"name": name})  # not validated: the name may be unknown
    return load_dataset(settings, network, torch.device("cpu"), ProcessGroup())


def test_shapes_types_and_normalisation() -> None:
    digits = load()
    assert digits.input_shape == (8, 8, 1)
    assert digits.classes == 10
    assert digits.train_images.shape == (1437, 1, 8, 8)
    assert digits.val_images.shape == (360, 1, 8, 8)
    assert digits.train_images.dtype == digits.val_images.dtype == torch.float32
    assert digits.train_labels.dtype == digits.val_labels.dtype == torch.int64
    assert digits.train_images.mean().item() == pytest.approx(0, abs=1e-5)
    assert digits.train_images.std().item() == pytest.approx(1, abs=1e-5)
    assert set(digits.train_labels.tolist()) == set(digits.val_labels.tolist()) == set(range(10))


def test_images_are_those_of_scikit_learn_and_the_last_ones_validate() -> None:
    from sklearn.datasets import load_digits

    digits, loaded = load(), load_digits()
    assert digits.train_labels.tolist() == loaded.target[:-360].tolist()
    assert digits.val_labels.tolist() == loaded.target[-360:].tolist()
    pixels = torch.cat([digits.train_images, digits.val_images])[:, 0].double()
    expected = torch.from_numpy(loaded.images)
    train = expected[:-360]
    assert torch.allclose(pixels * train.std() + train.mean(), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (seeds.small_residual((8, 8, 3), 10), r"\(8, 8, 1\).*\(8, 8, 3\)"),
        (seeds.small_residual((9, 8, 1), 10), "images of shape"),
        (seeds.small_residual((8, 8, 1), 11), "10 classes.*11 outputs"),
    ],
)
def test_network_that_does_not_fit_the_dataset_is_refused(network: Graph, message: str) -> None:
    with pytest.raises(TrialFailedError, match=message) as failure:
        _open("digits", network)
    assert failure.value.reason is EndReason.BAD_DATA


def test_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(TrialFailedError, match=r"'digit'.*digits") as failure:
        _open("digit", seeds.small_residual())
    assert failure.value.reason is EndReason.BAD_DATA


def test_missing_package_is_bad_data_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TrialFailedError, match=r"scikit-learn.* is not installed .*extra \[torch\]") as failure:
        _open("digits", seeds.small_residual())
    assert failure.value.reason is EndReason.BAD_DATA


def test_damaged_file_is_bad_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sklearn

    file = Path("datasets") / "data" / "digits.csv.gz"
    whole = (Path(sklearn.__file__).parent / file).read_bytes()
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    with pytest.raises(TrialFailedError, match="EOFError") as failure:
        _open("digits", seeds.small_residual())
    assert failure.value.reason is EndReason.BAD_DATA


def test_digits_do_not_need_torchvision() -> None:
    code = (
        "import sys; sys.modules['torchvision'] = None\n"
        "from aiperf_orch.trial.data.digits import digits\n"
        "print(len(digits().val_labels))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "360\n", done.stderr
