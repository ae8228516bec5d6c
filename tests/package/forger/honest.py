"""Honest packages of several kinds of campaigns, from which forgeries are made. All are of trained trials.

jobs: local jobs, with the peak of accelerators; a lost attempt that is retried, early stopping, inherited weights.
ranked: Slurm, ImageNet, within all rules; trials of two nodes, a requeued job, lookahead, accounting, the peak,
    changed settings.
agents: agents in allocations, with accounting, and by hand; killed, lost and returned agents, time limits, retries.
searched: trials that the search proposed, so that a replay finds what changes a proposal.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

from aiperf_orch.network.morphisms import Edit
from aiperf_orch.package.packing import write_package
from aiperf_orch.records.events import Begin, Epoch
from aiperf_orch.records.journal import (
    Began,
    Finished,
    JobRecord,
    Opened,
    SettingChange,
    SettingsChanged,
    Submitted,
    Submitting,
)
from aiperf_orch.settings.models import SiteSettings
from campaign_builder import CampaignBuilder
from package.forger.records import Records
from package.searched_campaign import make
from package_fixtures import TRUE_SETTINGS, TamperedPackage, add_trials, build_true_campaign
from placed_fixtures import HISTORY, add_history, build_placed_campaign

_TRAINED: dict[str, Any] = {**TRUE_SETTINGS["training"], "trainer": "torch"}
_IMAGENET = 1_281_167, 50_000
_HOSTS = (["n1", "n2"], ["n3", "n4"])
_SECONDS = 400.0  # of an epoch


def _jobs(folder: Path) -> Path:
    made = build_true_campaign(folder / "campaign", {**TRUE_SETTINGS, "training": _TRAINED})
    add_trials(made)
    return _packed(made, folder)


def _agents(folder: Path) -> Path:
    made = build_placed_campaign(folder / "campaign", training=_TRAINED | {"warmup_epochs": [2]}, campaign=HISTORY)
    add_history(made)
    return _packed(made, folder)


def _searched(folder: Path) -> Path:
    return make(folder, trainer="torch")


def _ranked(folder: Path) -> Path:
    settings = {
        "system": {**TRUE_SETTINGS["system"], "number_of_nodes": 4, "accelerator_peak_ops": 4e12},
        "scheduler": {"kind": "slurm", "nodes": 2, "gpus_per_node": 4, "lookahead": 1},
        "campaign": {"duration": "4000s"},
        "data": {"name": "imagenet", "path": "/data/imagenet"},
        "training": _TRAINED,
    }
    made = _RankedBuilder(folder / "campaign", SiteSettings.model_validate(settings), images=_IMAGENET)
    made.write(Opened, at=-4, host="login1", pid=4, version="0.2.0")
    made.submit_after(0, at=-3)
    made.submit_after(1, at=-2)
    made.submit_after(2, at=-1, leader=0)
    made.start_run(0, 0)
    made.start_run(1, 2)
    made.start_run(1, 812, run=1)
    made.finish(0, (20_000, 15_000, 12_000), at=1206)
    made.change_settings({"scheduler.lookahead": (1, 2), "scheduler.exclude": (None, "n9")}, at=1207)
    made.submit_after(3, at=1208, leader=1)
    made.start_run(2, 1210)
    made.finish(1, (18_000, 14_000, 13_500), at=1218)
    made.start_run(3, 1225)
    made.finish(2, (19_000, 19_500), at=2016, reason="EARLY_STOPPED")
    made.change_settings({"campaign.duration": ("4000s", "3700s")}, at=2017)
    made.submit_after(4, at=2018, parent=0, edits=[Edit("wider", 1)])
    made.start_run(4, 2020)
    made.submit_after(5, at=2021, leader=3, parent=1, edits=[Edit("wider", 1)])
    made.finish(3, (16_000, 13_000, 12_500), at=2431)
    made.start_run(5, 2440)
    made.finish(4, (11_000, 10_500, 10_400), at=3226)
    made.submit_after(6, at=3228)
    made.start_run(6, 3230)
    made.finish(5, (11_900, 11_000, 10_000), at=3646)
    made.finish(6, (12_000,), at=3700, reason="CAMPAIGN_ENDED", line="STOPPED")
    made.write(Finished, at=3702, reason="its 3700s are over", by_deadline=True)
    made.write_accounting(made.accounted)
    return _packed(made, folder)


class _RankedBuilder(CampaignBuilder):
    """Writes trials of two nodes each, on the hosts of one of two places, with the scheduler's accounting."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.accounted: list[dict[str, Any]] = []
        self._starts: dict[int, list[float]] = {}

    def change_settings(self, changes: dict[str, tuple[Any, Any]], *, at: float) -> None:
        """Journal changes of settings: key -> value before and after."""
        made = [SettingChange(key=key, before=before, after=after) for key, (before, after) in changes.items()]
        self.write(SettingsChanged, at=at, request="0" * 16, user="ada", host="login1", changes=made)

    def submit_after(self, trial: int, *, at: float, leader: int | None = None, **proposal: Any) -> None:
        """Journal a trial as submitted; its job waits for that of the leader."""
        record = self.attempt_record(trial, **proposal)
        if leader is not None:
            record = record.model_copy(update={"after": self.directory.attempt_name(leader, 1)})
        self.write(Submitting, at=at, attempts=[record])
        self._jobs[trial, 1] = str(100 + trial)
        self.write(Submitted, at=at, jobs=[JobRecord(trial=trial, attempt=1, job=self.job(trial, 1))])

    def start_run(self, trial: int, at: float, run: int = 0) -> None:
        """Journal a run as begun."""
        self._starts.setdefault(trial, []).append(at)
        self._begin(trial, run)
        self.write(Began, at=at + 0.5, attempts=[self.began_record(at, trial, run=run)])

    def _begin(self, trial: int, run: int) -> Begin:
        return self.begin(
            self._starts[trial][run],
            trial,
            run=run,
            hosts=_HOSTS[trial % 2],
            workers=8,
            precision="bf16",
            clock_skew=0.01,
            data_sha256="1" * 64,
        )

    def finish(
        self, trial: int, wrong: tuple[int, ...], *, at: float, reason: str = "COMPLETED", line: str | None = None
    ) -> None:
        """Write the events of all runs of a trial, of two epochs each but for the last one, and its end."""
        starts = self._starts[trial]
        epochs: list[Epoch] = []
        for run, start in enumerate(starts):
            last = run == len(starts) - 1
            own = [
                self.epoch(
                    number + 1,
                    start + 5 + _SECONDS * (number + 1 - len(epochs)),
                    images / _IMAGENET[1],
                    trial,
                    run=run,
                    start=start + 5 + _SECONDS * (number - len(epochs)),
                )
                for number, images in list(enumerate(wrong))[len(epochs) : None if last else len(epochs) + 2]
            ]
            epochs += own
            best = min(epochs, key=attrgetter("error"))
            known: dict[str, Any] = {
                "best_error": best.error,
                "best_epoch": best.epoch,
                "weights_sha256": f"{trial:064x}",
            }
            end = [self.end(at, trial, run=run, reason=line or reason, **known)] if last else []
            self.events(self._begin(trial, run), *own, *end, trial=trial, run=run)
            self._account(trial, start - 3, at + 1 if last else own[-1].end, "COMPLETED" if last else "PREEMPTED")
        self.ended(trial, runs=len(starts), reason=reason, at=at + 1)

    def _account(self, trial: int, start: float, end: float | datetime, state: str) -> None:
        ended = end if isinstance(end, datetime) else self.at(end)
        job = {"name": self.directory.attempt_name(trial, 1), "job": self.job(trial, 1), "state": state}
        times = {"exit_code": "0:0", "start": self.at(start).isoformat(), "end": ended.isoformat()}
        self.accounted.append(job | times)


def _packed(made: CampaignBuilder, folder: Path) -> Path:
    write_package(made.directory, folder / "package.tar.gz", with_pseudonyms=False)
    return folder / "package.tar.gz"


KINDS: dict[str, Callable[[Path], Path]] = {
    "jobs": _jobs,
    "ranked": _ranked,
    "agents": _agents,
    "searched": _searched,
}
"""Kind of campaign -> writes a package of it into a folder, and returns its path."""


def honest_records(kind: str, folder: Path) -> Records:
    """The records of an honest package."""
    folder.mkdir(parents=True, exist_ok=True)
    return Records.read(TamperedPackage(KINDS[kind](folder)))
