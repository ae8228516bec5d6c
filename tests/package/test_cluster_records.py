"""Tests of packages of clusters: concurrency, job ids, workers, and what the trials of a node compute together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.package.packing import write_package
from aiperf_orch.package.verify import verify
from aiperf_orch.records.journal import SEARCH_EXHAUSTED, Finished, JobRecord, Opened, Submitted, Submitting
from aiperf_orch.settings.models import SiteSettings
from campaign_builder import CampaignBuilder
from package_fixtures import TRUE_SETTINGS, TamperedPackage

_SLURM = {"kind": "slurm", "gpus_per_node": 4, "lookahead": 1}


def _campaign(path: Path, scheduler: dict[str, Any] = _SLURM, version: str | None = "0.2.0", **system: Any) -> Any:
    """A trained campaign of two slots, without trials."""
    settings = TRUE_SETTINGS | {
        "scheduler": scheduler,
        "system": {**TRUE_SETTINGS["system"], **system},
        "campaign": {"duration": "1h", "concurrency": 2},
        "training": {"trainer": "torch", "warmup_epochs": [1], "epochs": 1},
    }
    made = CampaignBuilder(path / "campaign", SiteSettings.model_validate(settings))
    made.write(Opened, at=-4, host="login1", pid=4, version=version)
    return made


def _submit(made: CampaignBuilder, trial: int, at: float, *, job: str | None = None, after: int | None = None) -> None:
    """Journal a trial as submitted; `after` is the trial whose job its own waits for."""
    record = made.attempt_record(trial)
    if after is not None:
        record = record.model_copy(update={"after": made.directory.attempt_name(after, 1)})
    made.write(Submitting, at=at, attempts=[record])
    made.write(Submitted, at=at, jobs=[JobRecord(trial=trial, attempt=1, job=job or str(100 + trial))])


def _train(made: CampaignBuilder, trial: int, at: float, seconds: float = 10, **begin: Any) -> None:
    fields: dict[str, Any] = {"workers": 4, "hosts": [f"n{1 + trial % 2}"]} | begin
    epoch = made.epoch(1, at + seconds, trial=trial, start=at + 1)
    made.run(made.begin(at, trial, **fields), [epoch], at + seconds)


def _faults(made: CampaignBuilder, path: Path) -> list[str]:
    made.write(Finished, at=3602, reason="its 1h are over", by_deadline=True)
    write_package(made.directory, path / "p.tar.gz", with_pseudonyms=False)
    return [f"{fault.id} {fault}" for fault in verify(path / "p.tar.gz").faults]


def test_jobs_that_wait_for_others_exceed_no_concurrency(tmp_path: Path) -> None:
    made = _campaign(tmp_path)
    _submit(made, 0, 0)
    _submit(made, 1, 0)
    _submit(made, 2, 0, after=0)
    _train(made, 0, 1)
    _submit(made, 3, 12, after=1)
    _train(made, 1, 3)
    _train(made, 2, 14)
    _train(made, 3, 16)
    assert _faults(made, tmp_path) == []


@pytest.mark.parametrize("version", ["0.2.0", None])
def test_a_third_trial_at_once_exceeds_the_concurrency(version: str | None, tmp_path: Path) -> None:
    """0.1.0 does not record which jobs wait, and names no version; its settings are of format 1."""
    made = _campaign(tmp_path, version=version)
    for trial in range(3):
        _submit(made, trial, 0)
    for trial in range(3):
        _train(made, trial, 1 + trial)
    found = _faults(made, tmp_path)
    assert len(found) == 1
    assert "campaign.concurrency" in found[0]
    assert "3 attempts may run at once" in found[0]
    package = TamperedPackage(tmp_path / "p.tar.gz")
    package.settings("version: 2", "version: 1")
    package.restate(tmp_path / "restated")
    faults = verify(package.write(tmp_path / "earlier.tar.gz")).faults
    assert [fault.id for fault in faults if fault.id != "settings.version"] == (
        ["campaign.concurrency"] if version else []
    )


def test_more_jobs_than_may_wait_are_found(tmp_path: Path) -> None:
    made = _campaign(tmp_path)
    for trial, after in enumerate((None, None, 0, 1)):
        _submit(made, trial, 0, after=after)
    for trial in range(4):
        _train(made, trial, 1 + 12 * trial)
    found = _faults(made, tmp_path)
    assert len(found) == 1
    assert "4 attempts are live; by the settings there are at most 3" in found[0]


def test_a_campaign_whose_search_is_exhausted_verifies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reason stands in the package as it is, also where a user is named like a word of it."""
    for variable in ("LOGNAME", "USER"):
        monkeypatch.setenv(variable, "search")
    made = _campaign(tmp_path)
    _submit(made, 0, 0)
    _train(made, 0, 1)
    made.write(Finished, reason=f"{SEARCH_EXHAUSTED}: no network is within the limits", by_deadline=False)
    for pseudonyms in (False, True):
        write_package(made.directory, tmp_path / "p.tar.gz", with_pseudonyms=pseudonyms)
        assert list(map(str, verify(tmp_path / "p.tar.gz").faults)) == []


def test_a_job_of_two_attempts_is_found(tmp_path: Path) -> None:
    made = _campaign(tmp_path)
    _submit(made, 0, 0, job="77")
    _submit(made, 1, 0, job="77")
    for trial in range(2):
        _train(made, trial, 1)
    found = _faults(made, tmp_path)
    assert ["attempt.job" in fault for fault in found] == [True]


@pytest.mark.parametrize(
    ("scheduler", "workers", "hosts", "expected"),
    [
        ({}, 4, ["n1"], []),
        ({}, 8, ["n1"], ["trial.workers"]),
        ({"workers_per_node": 2}, 2, ["n1"], []),
        ({"workers_per_node": 2}, 4, ["n1"], ["trial.workers"]),
        ({"template": "/site/job.sh"}, 3, ["n1", "n2"], []),
        ({"nodes": 2}, 8, ["n1", "n2"], []),
        ({"nodes": 2}, 4, ["n1", "n2"], ["trial.workers"]),
        ({"nodes": 2}, 12, ["n1", "n2", "n3"], ["trial.nodes"]),
        ({"nodes": 2}, 8, ["n1", "n1"], ["trial.nodes"]),
        ({"directives": ["--nodes=2"]}, 8, ["n1", "n2"], []),
    ],
)
def test_nodes_and_workers_are_those_of_the_settings(
    scheduler: dict[str, Any], workers: int, hosts: list[str], expected: list[str], tmp_path: Path
) -> None:
    made = _campaign(tmp_path, _SLURM | scheduler, number_of_nodes=3)
    _submit(made, 0, 0)
    _train(made, 0, 1, workers=workers, hosts=hosts)
    assert [fault.split()[0] for fault in _faults(made, tmp_path)] == expected


@pytest.mark.parametrize(("batch", "expected"), [(32, []), (16, []), (2, []), (1, ["trial.batch"])])
def test_a_batch_is_halved_while_memory_does_not_suffice(batch: int, expected: list[str], tmp_path: Path) -> None:
    made = _campaign(tmp_path)
    _submit(made, 0, 0)
    begin = made.begin(1, 0, workers=4, batch=batch)
    epoch = made.epoch(1, 10, trial=0, start=2)
    object.__setattr__(epoch, "batch", batch)
    made.run(begin, [epoch], 10)
    assert [fault.split()[0] for fault in _faults(made, tmp_path)] == expected


@pytest.mark.parametrize(("share", "expected"), [(0.9, []), (1.2, ["speed.node"])])
def test_trials_of_a_node_together_are_within_its_peak(share: float, expected: list[str], tmp_path: Path) -> None:
    """Two trials at once, each with a share of what the node computes in that time."""
    seconds = 1000.0
    trained = _campaign(tmp_path / "count")
    for trial in range(2):
        trained.attempt_record(trial)
    operations = sum(trained.epoch(1, 10, trial=trial).ops for trial in range(2))
    peak = operations / seconds / 4 / share
    made = _campaign(tmp_path, accelerator_peak_ops=peak, number_of_nodes=2)
    for trial in range(2):
        _submit(made, trial, 0)
    for trial in range(2):
        _train(made, trial, 1, seconds=1 + seconds, hosts=["n1"])
    assert [fault.split()[0] for fault in _faults(made, tmp_path)] == expected


@pytest.mark.parametrize(
    ("device", "workers", "expected"),
    [("H100", 2, []), ("H100", 1, ["speed.peak"]), ("cpu", 1, [])],
)
def test_a_worker_is_within_the_peak_of_one_accelerator(
    device: str, workers: int, expected: list[str], tmp_path: Path
) -> None:
    """An epoch at three quarters of the peak of two accelerators; on processors a worker has all of its node."""
    seed = _campaign(tmp_path / "count")
    seed.attempt_record(0)
    scheduler = {"kind": "slurm", "workers_per_node": workers}
    peak = seed.epoch(1, 10, trial=0).ops / 1000 / 1.5
    made = _campaign(tmp_path, scheduler, accelerator_peak_ops=peak)
    _submit(made, 0, 0)
    _train(made, 0, 1, seconds=1001, workers=workers, device=device)
    assert [fault.split()[0] for fault in _faults(made, tmp_path)] == expected


def test_an_epoch_takes_time(tmp_path: Path) -> None:
    made = _campaign(tmp_path, accelerator_peak_ops=None)
    _submit(made, 0, 0)
    made.run(made.begin(1, 0, workers=4), [made.epoch(1, 9, trial=0, start=9)], 10)
    assert [fault.split()[0] for fault in _faults(made, tmp_path)] == ["epoch.time"]
