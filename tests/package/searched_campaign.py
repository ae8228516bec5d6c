"""Packages of campaigns whose trials the search proposed, so that a replay finds what was changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiperf_orch.network import morphisms
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.package.packing import write_package
from aiperf_orch.records.journal import AttemptEnd, Ended, Finished, Opened
from aiperf_orch.search import SEARCH_VERSION, JournalSearch
from aiperf_orch.settings.models import SiteSettings
from campaign_builder import CampaignBuilder

TRIALS = 16
SETTINGS: dict[str, Any] = {
    "scheduler": {"job_per_trial": True},
    "campaign": {"duration": "2h", "seed": 7, "concurrency": 2, "max_trials": TRIALS},
    "network": {"max_layers": 60},
    "search": {"batch_size": [16, 64], "candidates": 8},
    "training": {"trainer": "simulated", "warmup_epochs": [2], "epochs": 2},
}


@dataclass
class Forgery:
    """What a package states in place of the truth, from which the search made its proposals."""

    error: dict[int, float] = field(default_factory=dict)
    forecast: dict[int, float] = field(default_factory=dict)
    network: dict[int, tuple[Edit, ...]] = field(default_factory=dict)
    seed: int = 7


def make(
    path: Path,
    forgery: Forgery | None = None,
    *,
    versions: tuple[int | None, ...] = (SEARCH_VERSION,),
    trainer: str = "simulated",
) -> Path:
    """Package of a campaign whose trials the search proposed; two run at a time, and one is lost and retried.

    Args:
        path: folder of the campaign and its package.
        forgery: what is stated in place of the truth.
        versions: of the search, which the controllers name that take turns.
        trainer: of the trials.
    """
    forgery = forgery or Forgery()
    settings = {**SETTINGS, "training": {**SETTINGS["training"], "trainer": trainer}}
    truth = SiteSettings.model_validate(settings)
    stated = {**settings, "campaign": {**SETTINGS["campaign"], "seed": forgery.seed}}
    builder = CampaignBuilder(path / "campaign", SiteSettings.model_validate(stated))
    search = JournalSearch(truth)
    for trial in range(TRIALS):
        if trial % (TRIALS // len(versions)) == 0:
            version = versions[trial * len(versions) // TRIALS]
            builder.write(Opened, at=30 * trial - 4, host="login1", pid=4, search=version)
        _submit(builder, search, forgery, trial)
        if trial:
            _run(builder, search, forgery, trial - 1)
    _run(builder, search, forgery, TRIALS - 1)
    builder.write(Finished, at=3600, reason=f"its {TRIALS} trials have ended", by_deadline=False)
    package = path / "package.tar.gz"
    write_package(builder.directory, package, with_pseudonyms=False)
    return package


def _submit(builder: CampaignBuilder, search: JournalSearch, forgery: Forgery, trial: int) -> None:
    proposal, record = search.propose(trial)
    search.started(trial, record)
    edits = forgery.network.get(trial, proposal.edits)
    builder.submit(
        trial,
        at=30 * trial - 3,
        job=str(100 + trial),
        parent=proposal.parent,
        edits=edits,
        network=proposal.graph if edits == proposal.edits else _edited(search, proposal.parent, edits),
        round=record.round,
        hyperparameters=record.hyperparameters,
    )


def _edited(search: JournalSearch, parent: int | None, edits: tuple[Edit, ...]) -> Any:
    history = search._search._history
    return morphisms.apply_all(history._seed_network if parent is None else history.graph(parent), edits)


def _run(builder: CampaignBuilder, search: JournalSearch, forgery: Forgery, trial: int) -> None:
    at = 30.0 * trial + 31  # the next trial is submitted before
    batch = builder.proposal(trial).hyperparameters.batch_size
    if trial == 4:
        begin = builder.begin(at - 28, trial, batch=batch)
        builder.run(begin, [], at - 27, reason="LOST", final=False, message="")
        builder.submit(trial, 2, at=at - 2, job="99")
    attempt = 2 if trial == 4 else 1
    true_error, forecast = (30 + 37 * trial % 300) / 360, 0.05 if trial == 3 else None
    error = forgery.error.get(trial, true_error)
    failed = trial == 6
    epochs = (
        []
        if failed
        else [builder.epoch(n, at + 10 * n, error, trial, attempt, start=at + 10 * n - 9, batch=batch) for n in (1, 2)]
    )
    begin = builder.begin(at, trial, attempt, batch=batch)
    best: dict[str, Any] = {"best_error": error, "best_epoch": 1, "weights_sha256": f"{trial:064x}"}
    line = builder.end(
        at + 21,
        trial,
        attempt,
        reason="OUT_OF_MEMORY" if failed else "COMPLETED",
        **({} if failed else best),
    )
    builder.began(at, trial, attempt)
    builder.events(begin, *epochs, line, trial=trial, attempt=attempt)
    end = builder.end_record(
        trial,
        attempt,
        reason=line.reason.value,
        first_begin=begin.time,
        predicted_error=forgery.forecast.get(trial, forecast),
    )
    builder.write(Ended, at=at + 22, attempts=[end])
    true_end = AttemptEnd(**dict(end) | {"best_error": None if failed else true_error, "predicted_error": forecast})
    search.feed(Ended(seq=1, time=builder.at(at), generation=1, prev="0" * 64, attempts=[true_end]))
