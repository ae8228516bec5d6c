"""Retention of weights and checkpoints: which files are deleted when."""

import errno
from pathlib import Path

import pytest

from aiperf_orch.controller.weight_retention import WeightRetention

pytestmark = pytest.mark.unit


class Directory:
    """The files of a campaign that the retention handles."""

    def __init__(self, path):
        self.path = path

    def weights(self, trial):
        return self.path / f"{trial}.weights"

    def checkpoint(self, trial):
        return self.path / f"{trial}.checkpoint"

    def files(self):
        return " ".join(sorted(path.name for path in self.path.iterdir()))


@pytest.fixture
def directory(tmp_path):
    directory = Directory(tmp_path)
    for trial in range(3):
        directory.weights(trial).touch()
        directory.checkpoint(trial).touch()
    return directory


def test_checkpoints_of_trials_that_are_over_are_deleted(directory):
    retention = WeightRetention(directory, [0])
    assert directory.files() == "0.weights 1.checkpoint 1.weights 2.checkpoint 2.weights"
    retention.end_trials([1])
    assert directory.files() == "0.weights 1.weights 2.checkpoint 2.weights"


def test_weights_of_trials_that_are_over_are_kept_while_inheritable(directory):
    retention = WeightRetention(directory, [0, 1])
    retention.keep_only({0, 1, None})
    assert directory.files() == "0.weights 1.weights 2.checkpoint 2.weights"
    retention.keep_only({1})
    assert directory.files() == "1.weights 2.checkpoint 2.weights"  # trial 2 is not over
    retention.end_trials([2])
    retention.keep_only(set())
    assert directory.files() == ""


def test_deleted_weights_are_not_deleted_again(directory):
    retention = WeightRetention(directory, [0])
    retention.keep_only(set())
    directory.weights(0).touch()
    retention.keep_only(set())
    assert directory.weights(0).exists()


def test_files_that_cannot_be_deleted_are_deleted_later(directory, monkeypatch):
    def refuse(path, missing_ok=False):
        raise OSError(errno.EBUSY, "Device or resource busy", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        retention = WeightRetention(directory, [2])
        retention.keep_only({0})
    assert directory.checkpoint(2).exists()
    assert directory.weights(2).exists()
    retention.keep_only({0})
    assert not directory.checkpoint(2).exists()
    assert not directory.weights(2).exists()


def test_files_that_are_gone_already_are_no_error(directory):
    directory.checkpoint(0).unlink()
    WeightRetention(directory, [0]).keep_only(set())
    assert directory.files() == "1.checkpoint 1.weights 2.checkpoint 2.weights"
