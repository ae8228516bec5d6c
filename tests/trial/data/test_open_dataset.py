"""Reason why a dataset cannot be opened: the data, the Python environment, or the node."""

from __future__ import annotations

import errno
import gzip
import os
import zlib
from typing import Any

import pytest
import torch

from aiperf_orch.network import seeds
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.trial import DataRecord
from aiperf_orch.trial.data import cifar10, open_dataset
from aiperf_orch.trial.data.open_dataset import load_dataset
from aiperf_orch.trial.runtime.process_group import ProcessGroup
from aiperf_orch.trial.runtime.trainer import TrialFailedError

NODE_ERRNOS = [errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.EIO, errno.ECONNREFUSED]


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number), "/data/file")


def _failure(monkeypatch: pytest.MonkeyPatch, error: Exception, name: str = "cifar10") -> TrialFailedError:
    def fail(*_: Any) -> None:
        raise error

    settings = DataRecord(name="digits").model_copy(update={"name": name})
    monkeypatch.setitem(open_dataset.DATASETS, name, fail)
    with pytest.raises(TrialFailedError) as raised:
        load_dataset(settings, seeds.small_residual((8, 8, 1), 10), torch.device("cpu"), ProcessGroup())
    return raised.value


@pytest.mark.parametrize("error", [*map(_error, NODE_ERRNOS), OSError("AF_UNIX path too long")], ids=str)
def test_fault_of_the_node_is_a_node_failure(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    failure = _failure(monkeypatch, error)
    assert failure.reason is EndReason.NODE_FAILURE
    assert (error.strerror or str(error)) in str(failure)
    assert "Python environment" not in str(failure)


@pytest.mark.parametrize(
    ("error", "name", "environment"),
    [
        (_error(errno.ENOENT), "cifar10", False),
        (_error(errno.EACCES), "cifar10", False),
        (ValueError("wrong"), "cifar10", False),
        (ImportError("no module"), "cifar10", True),
        (_error(errno.ENOENT), "digits", True),
        (gzip.BadGzipFile("Not a gzipped file"), "digits", True),
        (zlib.error("invalid"), "digits", True),
    ],
    ids=str,
)
def test_advice_to_reinstall_is_only_for_the_environment(
    monkeypatch: pytest.MonkeyPatch, error: Exception, name: str, environment: bool
) -> None:
    failure = _failure(monkeypatch, error, name)
    assert failure.reason is EndReason.BAD_DATA
    assert ("reinstall it" in str(failure)) is environment
    assert str(error) in str(failure)


def test_input_output_error_of_a_data_file_is_a_node_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Any) -> bytes:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(cifar10.Path, "read_bytes", fail)
    settings = DataRecord(name="cifar10", path="/data")
    with pytest.raises(TrialFailedError, match=r"/data/data_batch_1.bin: Input/output error\): the node") as raised:
        cifar10.Cifar10(settings, torch.device("cpu"))
    assert raised.value.reason is EndReason.NODE_FAILURE
