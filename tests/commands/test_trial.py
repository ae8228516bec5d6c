"""`trial` and `bench-node` as a user on a node starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.commands.trial import allocation_variables
from aiperf_orch.controller.search_adapter import SearchAdapter
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.trial.bench_report import Bench, DataRate, MatrixProduct, TrainingRate, advice, limit, table

_DEADLINE = 120


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., Path]:
    """Writes the first trial of a campaign; keywords are of its simulated training."""

    def write(**simulated: Any) -> Path:
        training = {"trainer": "simulated", "warmup_epochs": [3], "simulated": {"epoch_seconds": 0} | simulated}
        directory = CampaignDirectory.create(
            tmp_path / "campaign", SiteSettings.model_validate({"training": training}), {}
        )
        directory.write_spec(SearchAdapter(directory, []).propose(0, CampaignState())[0])
        return directory.spec(0)

    return write


def test_a_manual_trial_prints_its_events_and_keeps_the_weights(
    aiperf: Any, spec: Callable[..., Path], tmp_path: Path
) -> None:
    done = aiperf("trial", spec(), "--weights", tmp_path / "weights")
    assert done.returncode == 0, done.stderr
    types = [json.loads(line)["type"] for line in done.stdout.splitlines()]
    assert types == ["begin", "epoch", "epoch", "epoch", "end"]
    assert (tmp_path / "weights").stat().st_size > 0
    assert not list((tmp_path / "campaign" / "events").iterdir())


def test_a_manual_trial_has_its_own_exit_status_and_gets_signals(aiperf: Any, spec: Callable[..., Path]) -> None:
    path = spec(epoch_seconds=600)
    command = [sys.executable, "-m", "aiperf_orch.cli", "trial", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    assert json.loads(process.stdout.readline())["type"] == "begin"
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=_DEADLINE)
    assert json.loads(output)["reason"] == "STOPPED"
    path.write_text("{}")
    broken = aiperf("trial", path)
    assert broken.returncode != 0
    assert broken.stderr.startswith("error: ")


def test_a_trial_is_refused_on_fewer_resources_than_it_needs(
    aiperf: Any, spec: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = spec()
    path.write_text(path.read_text().replace('"simulated","', '"torch","'))
    monkeypatch.setenv("AIPERF_ORCH_ACCELERATORS", "9999")
    done = aiperf("trial", path, timeout=_DEADLINE)
    assert done.returncode == 1
    [end] = map(json.loads, done.stdout.splitlines())
    assert end["reason"] == "NODE_FAILURE"
    assert "of the 9999 accelerators that the trial was given" in end["message"]


def test_a_slurm_step_on_several_nodes_lists_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames n[1-2]" ] && printf "n1\\nn2\\n"\n')
    scontrol.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    step = {"SLURM_STEP_NODELIST": "n[1-2]", "SLURM_JOB_ID": "7"}
    assert allocation_variables(step) == {"AIPERF_ORCH_HOSTS": "n1,n2", "AIPERF_ORCH_JOB_ID": "7"}
    assert allocation_variables({}) == allocation_variables(step | {"AIPERF_ORCH_HOSTS": "n9"}) == {}


# what a node reaches


def test_a_measurement_that_takes_too_long_is_named_beside_the_others(tmp_path: Path) -> None:
    settings = json.dumps({"data": {"name": "digits"}})
    command = [sys.executable, "-P", "-m", "aiperf_orch.trial.bench", "--format", "json", "--scale", "0.001"]
    done = subprocess.run(
        [*command, "--settings", settings],
        capture_output=True,
        text=True,
        timeout=_DEADLINE,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert {"fp32", "bf16"} <= {product["precision"] for product in found["products"]}
    assert all(product["tflops"] > 0 for product in found["products"])
    assert found["data"]["name"] == "digits"
    assert found["data"]["images_per_second"] > 0
    assert found["training"] is None
    assert "longer" in found["missing"]["training"]
    assert found["limit"] is None


def _bench(
    images: float, ops: float = 20e12, precision: str = "bf16", side: int = 224, decoder: str = "simplejpeg"
) -> Bench:
    return Bench(
        host="n1",
        device="Big GPU",
        is_accelerator=True,
        cores=8,
        torch="2.0",
        products=[MatrixProduct(precision="fp32", tflops=10), MatrixProduct(precision="bf16", tflops=50)],
        data=DataRate(name="imagenet", image_size=224, images_per_second=images, decoder=decoder),
        training=TrainingRate(image_size=side, precision=precision, batch=128, images_per_second=1000, ops=ops),
    )


@pytest.mark.parametrize(
    ("bench", "limits", "advised"),
    [
        (_bench(5000), "training", []),
        (_bench(900), "data", ["data.loaders"]),
        (_bench(1050), "data", ["data.loaders"]),
        (_bench(900, decoder="Pillow"), "data", ["data.loaders", "install simplejpeg"]),
        (_bench(5000, decoder="Pillow"), "training", []),
        (_bench(5000, precision="fp32", ops=5e12), "training", ["bf16 is 5.0 times as fast"]),
        (_bench(5000, ops=5e12), "training", ["10% of the peak in bf16: try larger batches"]),
        (_bench(900, side=64), None, []),
    ],
)
def test_the_limit_of_a_node_is_shown_with_advice(bench: Bench, limits: str | None, advised: list[str]) -> None:
    assert limit(bench) == limits
    assert len(advice(bench)) == len(advised)
    assert all(words in text for words, text in zip(advised, advice(bench), strict=True))


def test_a_node_as_a_table() -> None:
    assert table(_bench(900)) == (
        "n1: Big GPU, 8 cores, torch 2.0\n"
        "matrix product   fp32: 10 TFLOPS\n"
        "matrix product   bf16: 50 TFLOPS\n"
        "data loading     imagenet at 224 px: 900 images/s, decoded by simplejpeg\n"
        "training         ResNet-50 at 224 px, bf16, batch 128: 1,000 images/s, 20 Tera-OPS, 40% of the peak\n"
        "limit            data loading\n"
        "  -> data loading limits the training: give a trial more cores and data.loaders, and stage the data on the "
        "node's own disk (data.stage)\n"
    )
