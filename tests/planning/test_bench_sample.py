"""Samples of measured nodes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.planning.bench_sample import GAP_OF_JOBS, GAP_ON_AGENTS, read_bench, sample_of_bench
from aiperf_orch.planning.campaign_size import slots_on, trial_size
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import UsageError

pytestmark = pytest.mark.unit

BENCH: dict[str, Any] = {
    "host": "n1",
    "device": "an accelerator",
    "data": {"name": "imagenet", "image_size": 224, "images_per_second": 4000.0},
    "training": {"image_size": 224, "precision": "bf16", "batch": 448, "images_per_second": 2000.0, "ops": 1e13},
    "missing": {},
    "limit": "training",
}
SITE: dict[str, Any] = {
    "scheduler": {"kind": "slurm", "gpus_per_node": 4, "nodes": 2},
    "data": {"name": "imagenet", "path": "/data"},
    "network": {"seed": "resnet50"},
}


def changed(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A document with other values, by keys with two underscores between parts."""
    document = json.loads(json.dumps(base))
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            document[section][name] = value
        else:
            document[section] = value
    return dict(document)


def write(path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps(changed(BENCH, **changes)), encoding="utf-8")
    return path


def settings(**changes: Any) -> SiteSettings:
    return SiteSettings.model_validate(changed(SITE, **changes))


def test_a_node_trains_the_seed_network(tmp_path: Path) -> None:
    file, site = write(tmp_path / "bench.json"), settings()
    sample = sample_of_bench(file, read_bench(file), site, slots=8, workers=trial_size(site).workers)
    [trial] = sample.trials
    assert trial.period == pytest.approx((1_281_167 + 50_000) / (8 * 2000.0))
    # ResNet-50: benchmark.md has 23,053,458,315 operations to train an image, and 7,806,583,495 to evaluate one
    assert trial.ops == float(1_281_167 * 23_053_458_315 + 50_000 * 7_806_583_495)
    assert (trial.epochs, trial.errors, sample.gaps) == (60, (), [GAP_OF_JOBS])


def test_slow_loading_limits_the_rate(tmp_path: Path) -> None:
    bench = read_bench(write(tmp_path / "bench.json", data__images_per_second=500.0))
    assert bench.images_per_second == 500.0


def test_trials_on_agents_follow_one_another_sooner(tmp_path: Path) -> None:
    file, site = write(tmp_path / "bench.json"), settings(scheduler={"kind": "agents", "gpus_per_trial": 1})
    assert sample_of_bench(file, read_bench(file), site, slots=8, workers=1).gaps == [GAP_ON_AGENTS]


@pytest.mark.parametrize(
    ("bench", "site", "why"),
    [
        ({"training": None}, {}, "training was not measured"),
        ({}, {"network__seed": "small_residual"}, "ResNet-50 was measured, and network.seed is small_residual"),
        ({"data__name": "digits"}, {}, "digits was measured, and data.name is imagenet"),
        ({"data": None}, {}, "no data set was measured"),
        ({"training__image_size": 32}, {}, "training was measured with images of 32 px"),
        ({"data__image_size": 64}, {}, "data loading was measured with images of 64 px"),
        ({"training__precision": "bf16"}, {"training": {"precision": "fp32"}}, "bf16 was measured"),
        ({}, {"data__classes": 10}, "how many images an epoch"),
    ],
)
def test_a_measurement_of_something_else_is_refused(
    tmp_path: Path, bench: dict[str, Any], site: dict[str, Any], why: str
) -> None:
    file = write(tmp_path / "bench.json", **bench)
    with pytest.raises(UsageError, match=why) as refused:
        sample_of_bench(file, read_bench(file), settings(**site), slots=1, workers=1)
    assert str(file) in str(refused.value)


@pytest.mark.parametrize("content", ["", "[]", '{"host": "n1"}', '{"training": NaN}'])
def test_a_file_that_is_no_measurement_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "bench.json"
    file.write_text(content)
    with pytest.raises(UsageError, match="is neither a campaign, a package, nor the output of bench-node"):
        read_bench(file)


@pytest.mark.parametrize(
    ("scheduler", "nodes", "slots"),
    [
        ({"kind": "slurm", "nodes": 2}, 7, 3),
        (
            {"kind": "slurm", "gpus_per_node": 2, "allocations": {"nodes": 4, "time_limit": "2h", "gpus_per_node": 8}},
            3,
            12,
        ),
        ({"kind": "pbs", "nodes": 1}, 5, 5),
        ({"kind": "agents", "nodes": 1}, 5, 5),
        ({"kind": "local"}, 1, 2),
    ],
)
def test_number_of_concurrent_trials_on_nodes(scheduler: dict[str, Any], nodes: int, slots: int) -> None:
    assert slots_on(SiteSettings.model_validate({"scheduler": scheduler}), nodes, None) == slots
    assert slots_on(SiteSettings.model_validate({"scheduler": scheduler}), nodes, 9) == 9


@pytest.mark.parametrize(
    ("scheduler", "nodes", "why"),
    [
        ({"kind": "local"}, 2, "give --nodes 1"),
        ({"kind": "slurm", "nodes": 4}, 3, "give at least --nodes 4"),
    ],
)
def test_nodes_that_hold_no_trial_are_refused(scheduler: dict[str, Any], nodes: int, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        slots_on(SiteSettings.model_validate({"scheduler": scheduler}), nodes, None)
