"""Loader processes: start, number, end; fails when PyTorch or Python change what the adapter uses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from aiperf_orch.trial.data import loader_processes
from aiperf_orch.trial.data.dataset import Dataset
from data_fixtures import training_images

_READING = """
import sys, torch
from aiperf_orch.settings.models import DataSettings
from aiperf_orch.trial.data.imagenet import ImageTree
from aiperf_orch.trial.runtime.process_group import ProcessGroup
import numpy as np
data = DataSettings(name="imagenet", path=sys.argv[1], image_size=16, classes=3, loaders=1)
if __name__ == "__main__":
    dataset = ImageTree(data, torch.device("cpu"), ProcessGroup())
    print(sum(len(batch.labels) for batch in dataset.training([np.arange(18)], 1)))
    dataset.close()
"""


@pytest.mark.parametrize("length", [76, 200])
def test_loaders_work_with_long_paths_of_temporary_files(tree: Path, tmp_path: Path, length: int) -> None:
    temporary = Path(f"{tmp_path}/{'t' * (length - len(str(tmp_path)) - 1)}")
    temporary.mkdir()
    assert len(str(temporary)) >= 76
    done = subprocess.run(
        [sys.executable, "-c", _READING, str(tree)],
        env=os.environ | {"TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "18\n"), done.stderr


def test_number_of_loaders_is_limited_by_shared_memory(
    tree: Path, opened: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = shutil.disk_usage(tree)
    monkeypatch.setattr(loader_processes.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert training_images(opened(tree, loaders=2), 1).shape == (11, 3, 32, 32)
    assert "warning: only 0 of 2 processes that decode images are started" in capsys.readouterr().err


_LOADING = """
import os, sys, torch
from aiperf_orch.settings.models import DataSettings
from aiperf_orch.trial.data.imagenet import ImageTree
from aiperf_orch.trial.data.loader_processes import process_ids
from aiperf_orch.trial.runtime.process_group import ProcessGroup
data = DataSettings(name="imagenet", path=sys.argv[1], image_size=16, classes=3, loaders=1)
dataset = ImageTree(data, torch.device("cpu"), ProcessGroup())
print(*process_ids(dataset._loader), flush=True)
sys.stdin.read()
"""


def test_loaders_end_with_a_killed_worker(tree: Path) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", _LOADING, str(tree)], **pipes) as worker:  # type: ignore[call-overload]
        loader = psutil.Process(int(worker.stdout.readline()))
        server = loader.parent()
        assert server
        worker.kill()
    _, alive = psutil.wait_procs([loader, server], timeout=60)
    assert not alive
