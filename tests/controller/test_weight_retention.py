"""Retention of weights and checkpoints: which files are deleted when."""

import errno
from pathlib import Path

import pytest

from aiperf_orch.controller.weight_retention import WeightRetention, with_lowest_error
from controller.builders import end_of

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


@pytest.mark.parametrize(
    ("ends", "kept"),
    [
        ({}, set()),
        ({1: (None, None)}, set()),
        ({1: (0.5, 3), 2: (None, None)}, {1}),
        ({0: (0.5, 3), 1: (0.4, 9), 2: (0.4, 8)}, {2}),
        ({0: (0.4, 8), 1: (0.4, 8), 2: (0.4, 9)}, {0, 1}),
        ({0: (0.0, 8), 1: (0.4, 8)}, {0}),
    ],
)
def test_the_trials_with_the_lowest_error_are_those_whose_weights_a_package_may_have(ends, kept):
    found = with_lowest_error(
        end_of("COMPLETED", trial, best_error=error, best_epoch=epoch) for trial, (error, epoch) in ends.items()
    )
    assert {end.trial for end in found} == kept
