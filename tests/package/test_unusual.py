"""Remarks on unusual measurements: none on an honest package, and the expected one on each that is made unusual."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from aiperf_orch.package import check_unusual
from aiperf_orch.package.packing import write_package
from aiperf_orch.package.verify import verify
from aiperf_orch.records.events import Epoch
from aiperf_orch.records.journal import Finished, Paused, Resumed, Stopped
from aiperf_orch.settings.models import SiteSettings
from campaign_builder import CampaignBuilder

SETTINGS: dict[str, Any] = {
    "scheduler": {"kind": "slurm"},
    "campaign": {"duration": "12h", "concurrency": 2},
    "network": {"max_layers": 60},
    "training": {"warmup_epochs": [12], "epochs": 12},
}
EPOCHS = 12
Duration = Callable[[int, int, int, float], float]
"""(trial, attempt, epoch, the honest duration in seconds) -> the stated one."""


def honest(_trial: int, _attempt: int, _epoch: int, seconds: float) -> float:
    return seconds


def write_campaign(
    path: Path,
    duration: Duration = honest,
    *,
    trials: int = 4,
    attempts: int = 1,
    gap: float = 0,
    paused: bool = False,
    trainer: str = "torch",
    change: Callable[[Epoch], Epoch] = lambda epoch: epoch,
) -> Path:
    """Package of a trained campaign: two nodes train in turn, in epochs of 20 s that vary by 2 %.

    Args:
        path: folder of the campaign and its package.
        duration: of each epoch.
        trials: number of trials.
        attempts: of each trial, on the other node each; all but the last one are lost.
        gap: seconds between the fourth trial and the next.
        paused: whether the campaign is paused in the gap.
        trainer: of the settings.
        change: of each epoch.
    """
    settings = {
        **SETTINGS,
        "campaign": {**SETTINGS["campaign"], "max_trials": trials},
        "training": {**SETTINGS["training"], "trainer": trainer},
    }
    made = CampaignBuilder(path / "campaign", SiteSettings.model_validate(settings))
    chance = Random(5)
    clock = 0.0
    each = EPOCHS // attempts
    for trial in range(trials):
        if trial == 4 and gap:
            if paused:
                made.write(Paused, at=clock + 5, reason="an administrator wanted it")
                made.write(Resumed, at=clock + gap)
            clock += gap
        for attempt in range(1, attempts + 1):
            made.submit(trial, attempt, at=clock, job=str(100 + 10 * trial + attempt))
            begin = made.begin(clock + 4, trial, attempt, hosts=[f"node{(trial + attempt) % 2}"], batch=32)
            epochs, now = [], clock + 5
            for epoch in range(each * (attempt - 1) + 1, each * attempt + 1):
                seconds = duration(trial, attempt, epoch, round(20 * (1 + 0.02 * chance.gauss(0, 1)), 3))
                error = (300 - 10 * epoch - trial) / 360
                epochs.append(change(made.epoch(epoch, now + seconds, error, trial, attempt, start=now)))
                now = round(now + seconds + 0.01, 3)
            last = attempt == attempts
            reason = "COMPLETED" if last else "NODE_FAILURE"
            made.run(begin, epochs, now, reason=reason, final=last, weights_sha256="1" * 64 if last else None)
            clock = now + 5
    made.write(Finished, at=clock, reason="done", by_deadline=False)
    write_package(made.directory, path / "package.tar.gz", with_pseudonyms=False)
    return path / "package.tar.gz"


def remarks(package: Path) -> list[tuple[str, str, str]]:
    """Kind, place and words of the remarks on a package without faults."""
    found = verify(package)
    assert [f"{fault.id} {fault}" for fault in found.faults] == []
    return [(remark.id, remark.where, remark.message) for remark in found.remarks]


def test_an_honest_campaign_has_no_remark(tmp_path: Path) -> None:
    assert remarks(write_campaign(tmp_path)) == []


def one_fast_epoch(trial: int, _attempt: int, epoch: int, seconds: float) -> float:
    return seconds / 3 if (trial, epoch) == (2, 5) else seconds


def test_an_epoch_three_times_as_fast_as_the_others(tmp_path: Path) -> None:
    [(kind, where, words)] = remarks(write_campaign(tmp_path, one_fast_epoch))
    assert (kind, where) == ("epoch.fast", "events/00002-1.0.jsonl")
    assert words.startswith("epoch 5 is 3 times faster than the median epoch of its network on the same nodes, ")
    assert words.endswith(" robust standard deviations away")


def test_epochs_that_are_faster_alone_on_their_node(tmp_path: Path) -> None:
    """Four trials share a node; the last one is alone there after its eighth epoch, and three times as fast."""
    settings = {**SETTINGS, "campaign": {"duration": "12h", "concurrency": 4}}
    made = CampaignBuilder(tmp_path / "campaign", SiteSettings.model_validate(settings))
    for trial in range(4):
        made.submit(trial, at=-2, job=str(trial))
    begins = [made.begin(0, trial) for trial in range(4)]
    for trial in range(4):
        made.began(0, trial)
    for trial, begin in enumerate(begins):
        epochs, now = [], 1.0
        for epoch in range(1, 13 if trial == 3 else 9):
            seconds = 20.0 + epoch / 100 if epoch < 9 else 6.0
            epochs.append(made.epoch(epoch, now + seconds, (300 - 9 * epoch - trial) / 360, trial, start=now))
            now += seconds
        best, reason = epochs[-1], "COMPLETED" if trial == 3 else "STOPPED"
        line = made.end(now, trial, reason=reason, best_error=best.error, best_epoch=best.epoch)
        made.events(begin, *epochs, line, trial=trial)
        made.ended(trial, reason=reason, first_begin=begin.time, at=now)
    made.write(Stopped)
    write_package(made.directory, tmp_path / "package.tar.gz", with_pseudonyms=False)
    assert remarks(tmp_path / "package.tar.gz") == []


@pytest.mark.parametrize(("seconds", "expected"), [(20.0, ["epoch.equal"]), (0.5, [])])
def test_epochs_without_any_variation(seconds: float, expected: list[str], tmp_path: Path) -> None:
    found = remarks(write_campaign(tmp_path, lambda *_: seconds))
    assert [kind for kind, _, _ in found] == expected
    for _, where, words in found:
        assert where == "events/00000-1.0.jsonl"
        assert "all 12 epochs of trial 0 on these nodes take 20.000 s; if times varied by 0.1%, by chance 1 in" in words
        assert "and in 3 more series" in words


def test_epochs_that_become_faster(tmp_path: Path) -> None:
    found = remarks(write_campaign(tmp_path, lambda _t, _a, epoch, seconds: seconds * 0.96**epoch, trials=40))
    [(kind, where, words)] = found
    assert (kind, where[:7]) == ("speed.growth", "events/")
    assert "in 40 of 40 series of epochs of one network on the same nodes the last third is faster than" in words


@pytest.mark.parametrize(("trials", "expected"), [(5, []), (10, ["node.fast"])])
def test_a_node_that_is_faster_in_every_comparison(trials: int, expected: list[str], tmp_path: Path) -> None:
    def faster_on_node_1(trial: int, attempt: int, _epoch: int, seconds: float) -> float:
        return seconds / 1.25 if (trial + attempt) % 2 else seconds

    found = remarks(write_campaign(tmp_path, faster_on_node_1, trials=trials, attempts=2))
    assert [kind for kind, _, _ in found] == expected
    for _, _, words in found:
        assert words.startswith("each epoch on node1 is faster, by 1")
        assert (
            "than all epochs of the same 10 networks on other nodes; if nodes were equal, by chance 1 in 512" in words
        )


def test_equal_nodes_have_no_remark(tmp_path: Path) -> None:
    assert remarks(write_campaign(tmp_path, trials=10, attempts=2)) == []


@pytest.mark.parametrize(
    ("gap", "paused", "words"),
    [
        (1800, False, "the journal states no pause in it"),
        (1800, True, "the campaign was paused in it"),
        (200, False, None),
    ],
)
def test_an_idle_stretch(gap: float, paused: bool, words: str | None, tmp_path: Path) -> None:
    found = remarks(write_campaign(tmp_path, trials=8, gap=gap, paused=paused))
    if words is None:
        assert found == []
        return
    [(kind, where, why)] = found
    assert kind == "campaign.idle"
    assert where.startswith("journal.jsonl")
    assert "no trial was at work for 30m" in why
    assert why.endswith(words)


def with_energy(joules: Callable[[Epoch, float], float]) -> Callable[[Epoch], Epoch]:
    def change(epoch: Epoch) -> Epoch:
        seconds = (epoch.end - epoch.start).total_seconds()
        return replace(epoch, energy=round(joules(epoch, seconds), 1), energy_of="accelerators")

    return change


def test_energy_that_does_not_follow_the_time(tmp_path: Path) -> None:
    honest_energy = with_energy(lambda _epoch, seconds: 300 * seconds)
    assert remarks(write_campaign(tmp_path / "honest", change=honest_energy)) == []
    of_three_times = with_energy(lambda epoch, seconds: 300 * seconds * (3 if epoch.epoch == 4 else 1))
    found = remarks(write_campaign(tmp_path / "forged", change=of_three_times))
    assert [kind for kind, _, _ in found] == ["epoch.power"]
    assert found[0][2].startswith("epoch 4 has 3 times the power of the median epoch of its network on the same nodes")
    assert found[0][2].endswith("and in 3 more series of epochs")


def test_simulated_campaigns_are_not_examined(tmp_path: Path) -> None:
    assert remarks(write_campaign(tmp_path, lambda *_: 20.0, trainer="simulated", trials=8, gap=1800)) == []


def test_probabilities_of_any_size_have_words() -> None:
    assert check_unusual._odds(2.71) == "1 in 513"
    assert check_unusual._odds(5000.2) == "1 in 10^5000"


def test_numbers_of_any_size_cause_no_error(tmp_path: Path) -> None:
    energies = [1e29, 1e29, 1e29, 5e-324, 1e-300, 0.0] * 2
    extreme = with_energy(lambda epoch, _seconds: 0.0)
    package = write_campaign(
        tmp_path, change=lambda epoch: replace(extreme(epoch), energy=energies[epoch.epoch - 1]), trials=2
    )
    assert [kind for kind, _, _ in remarks(package)] == ["epoch.power"]
