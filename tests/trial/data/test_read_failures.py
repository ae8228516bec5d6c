"""Classification of errors in reading data: fault of the data or of the node."""

from __future__ import annotations

import errno
import os

import pytest

from aiperf_orch.trial.data.read_failures import ADVICE, is_node_failure

pytestmark = pytest.mark.unit


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number), "/data/file")


@pytest.mark.parametrize(
    "number",
    [errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EAGAIN],
    ids=errno.errorcode.get,
)
def test_errors_of_the_node(number: int) -> None:
    assert is_node_failure(_error(number))


@pytest.mark.parametrize(
    "number",
    [errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG],
    ids=errno.errorcode.get,
)
def test_errors_of_the_data(number: int) -> None:
    assert not is_node_failure(_error(number))


@pytest.mark.parametrize("error", [OSError("image file is truncated"), ValueError("bad"), EOFError()], ids=repr)
def test_errors_without_a_number_are_of_the_data(error: Exception) -> None:
    assert not is_node_failure(error)


def test_advice_is_only_for_errors_of_the_node() -> None:
    assert all(is_node_failure(_error(number)) for number in ADVICE)
