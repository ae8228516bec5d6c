"""Playback of a campaign with few trials, against sums by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aiperf_orch.planning.growth import growth_of
from aiperf_orch.planning.playback import Playback, Played, Source
from aiperf_orch.planning.samples import Sample, TrialSample
from aiperf_orch.planning.trial_arrays import TrialArrays

pytestmark = pytest.mark.unit

Make = Callable[..., Any]


def play(
    sample: Sample, seconds: float, slots: int = 1, limit: float = 0.3, epochs: int = 100, seed: int = 0
) -> Played:
    source = Source(sample, TrialArrays.of(sample), growth_of(sample))
    return Playback(source, slots, lambda _: epochs, limit, np.random.default_rng(seed)).play(seconds)


def planned(make: Make, /, **changes: Any) -> TrialSample:
    """A trial that stopped by itself before its limit, so that it has as many epochs in each playback."""
    return make(planned=9, **changes)


def test_a_slot_plays_one_trial_after_the_other(trial: Make, sample: Make) -> None:
    # trials take 43 s, and begin at 0, 46 and 92; their epochs end at 12, 22, 32, 42, 58, 68, 78, 88 and 104
    played = play(sample(planned(trial)), 100.0)
    assert (played.trials, played.epochs, played.seconds) == (3, 8, 88.0)
    assert played.operations == 8000.0
    assert played.energy == 400.0
    assert played.score == pytest.approx(8000 / 88)
    assert (played.first_epoch, played.first_trial) == (12.0, 43.0)


def test_the_time_divides_without_remainder(trial: Make, sample: Make) -> None:
    played = play(sample(planned(trial)), 100.0)
    assert (played.before, played.idle, played.lost) == (6.0, 6.0, 8.0)
    assert (played.training, played.validation) == (64.0, 16.0)


def test_an_epoch_that_ends_with_the_campaign_counts(trial: Make, sample: Make) -> None:
    assert play(sample(planned(trial)), 12.0).epochs == 1
    assert play(sample(planned(trial)), 11.9).epochs == 0


def test_slots_begin_at_the_offsets_of_the_sample(trial: Make, sample: Make) -> None:
    played = play(sample(planned(trial), offsets=(5.0,)), 43.0, slots=3)
    assert (played.trials, played.epochs, played.idle) == (3, 12, 0.0)  # the earliest slot begins the campaign


def test_a_trial_that_reached_its_limit_trains_as_long_as_the_plan_says(trial: Make, sample: Make) -> None:
    assert play(sample(trial()), 1000.0, epochs=7).epochs > play(sample(trial()), 60.0, epochs=7).epochs == 5
    assert play(sample(trial()), 80.0, epochs=7).first_trial == 73.0
    assert play(sample(planned(trial)), 80.0, epochs=3).first_trial == 33.0


@pytest.mark.parametrize(("cut_off", "length"), [(2, 6), (5, 6), (6, 8), (7, 8)])
def test_a_trial_that_was_cut_off_goes_on_like_a_longer_one(
    trial: Make, sample: Make, cut_off: int, length: int
) -> None:
    """It is as long as a complete one that went further; where there is none, it ends at its limit."""
    cut = trial(planned=9, epochs=cut_off, is_complete=False)
    arrays = TrialArrays.of(sample(trial(planned=9, epochs=6), cut))
    lengths = np.minimum(arrays.draw_lengths(np.random.default_rng(0)), 8)
    assert lengths.tolist() == [6, length]


def test_the_error_and_the_time_of_reaching_the_limit(trial: Make, sample: Make) -> None:
    played = play(sample(planned(trial)), 100.0)
    assert played.error == 0.2
    assert played.reached == 32.0
    assert play(sample(planned(trial)), 100.0, limit=0.1).reached == math.inf
    assert play(sample(planned(trial)), 25.0).error == 0.4


def test_an_error_is_one_that_the_validation_images_can_give(trial: Make, sample: Make) -> None:
    trials = [planned(trial, trial=number, errors=(error,) * 4) for number, error in enumerate((0.1, 0.2, 0.3, 0.2))]
    errors = {play(sample(*trials), 100.0, seed=seed).error for seed in range(20)}
    assert len(errors) > 1
    assert all(error is not None and math.isclose(error * 10, round(error * 10)) for error in errors)


def test_no_error_is_known_of_a_sample_without_errors(trial: Make, sample: Make) -> None:
    assert play(sample(planned(trial, errors=())), 100.0).error is None


def test_energy_is_unknown_where_a_trial_has_none(trial: Make, sample: Make) -> None:
    assert math.isnan(play(sample(planned(trial, energy=None)), 100.0).energy)


def test_rounds_draw_from_trials_of_the_same_round(trial: Make, sample: Make) -> None:
    early = [planned(trial, trial=number, ops=1.0) for number in range(8)]
    late = [planned(trial, trial=number, round=1, ops=10.0) for number in range(8, 16)]
    played = play(sample(*early, *late, slots=8), 135.0, slots=8)
    assert played.operations == 8 * (4 * 1.0 + 2 * 4 * 10.0)  # later rounds are like the last one


def test_slots_are_played_until_the_end_of_the_time_only(trial: Make, sample: Make) -> None:
    played = play(sample(planned(trial)), 1.0)
    assert (played.trials, played.epochs, played.before, played.seconds) == (1, 0, 1.0, 0.0)
    assert played.score == 0.0
