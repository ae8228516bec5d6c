"""Plan of a campaign as a record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from aiperf_orch.planning.make_plan import make_plan
from aiperf_orch.planning.samples import FileSample, Sample
from aiperf_orch.records.plan import Plan
from aiperf_orch.settings.models import SiteSettings

pytestmark = pytest.mark.unit

Make = Callable[..., Any]


def plan(*samples: Sample, seconds: float = 100.0, notes: Sequence[str] = (), **settings: Any) -> Plan:
    site = SiteSettings.model_validate({"training": {"epochs": 4, "warmup_epochs": [4]}} | settings)
    return make_plan(site, samples, nodes=3, slots=2, seconds=seconds, notes=notes)


def test_what_is_not_known_says_what_would_make_it_known(trial: Make, sample: Make) -> None:
    found = plan(sample(trial(errors=(), energy=None))).quantities
    assert found.error.missing == "known from an earlier campaign on this data set"
    assert found.energy.missing == "known from a campaign whose telemetry measured energy in every epoch"
    assert found.files.missing == "known from the directory of an earlier campaign"


def test_a_duration_without_an_epoch_is_called_too_short(trial: Make, sample: Make) -> None:
    found = plan(sample(), seconds=5.0).quantities
    for quantity in (found.error, found.first_epoch, found.first_trial):
        assert quantity.missing is not None
        assert quantity.missing.endswith("plan a longer campaign")


def test_files_grow_with_trials_and_nodes(trial: Make, sample: Make) -> None:
    files = FileSample(trial_files=4, trial_bytes=100, agent_files=3, agent_bytes=10, weights_bytes=1000, other_files=7)
    found = plan(sample(files=files)).quantities
    trials = found.trials.expected
    assert trials == 6  # three in each slot, as in the playback of 100 s
    assert found.files.expected == 4 * 6 + 3 * 3 + 6 + 7
    assert found.bytes.expected == 100 * 6 + 10 * 3 + 1000 * 6


def test_the_start_of_processes_is_part_of_start_up(trial: Make, sample: Make) -> None:
    apart, together = (plan(sample(starts=starts)).shares for starts in ((1.5,), ()))
    assert apart.idle.share == pytest.approx(0.03)
    assert apart.start_up.share == pytest.approx(0.09)
    assert together.idle.share == pytest.approx(0.06)


@pytest.mark.parametrize(("starts", "where"), [((1.5,), "start_up"), ((), "idle")])
def test_staging_is_not_known_apart(trial: Make, sample: Make, starts: tuple[float, ...], where: str) -> None:
    staging = plan(sample(starts=starts), data={"stage": "/tmp/stage"}).shares.staging
    assert staging.share is None
    assert staging.missing is not None
    assert staging.missing.startswith(f"part of {where}")


def test_many_notes_on_sources_are_counted(trial: Make, sample: Make) -> None:
    notes = plan(sample(), notes=[f"note {number}" for number in range(70)]).notes
    assert notes[19:21] == ["note 19", "and 50 more on the sources"]
