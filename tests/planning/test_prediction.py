"""Prediction from many playbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from aiperf_orch.planning import prediction
from aiperf_orch.planning.prediction import Interval, Target, predict, regulated
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.progress import followed

pytestmark = pytest.mark.unit

Make = Callable[..., Any]


def target(seconds: float = 100.0, slots: int = 1, limit: float = 0.3) -> Target:
    return Target(slots, seconds, lambda _: 9, limit)


def test_one_trial_gives_a_number_without_an_interval(trial: Make, sample: Make) -> None:
    found = predict([sample(trial(planned=9))], target())
    assert found.interval(lambda played: played.epochs) == Interval(8.0)


def test_different_trials_give_an_interval(trial: Make, sample: Make) -> None:
    trials = [trial(trial=number, planned=9, ops=1000.0 * (number + 1)) for number in range(8)]
    found = predict([sample(*trials)], target())
    score = found.interval(lambda played: played.score)
    assert score is not None
    assert score.low is not None
    assert score.high is not None
    assert 1000 * 8 / 88 <= score.low < score.expected < score.high <= 8000 * 8 / 88


def test_more_slots_narrow_the_interval_to_what_the_sample_leaves_open(trial: Make, sample: Make) -> None:
    trials = [trial(trial=number, planned=9, ops=1000.0 * (number + 1)) for number in range(8)]

    def width(slots: int) -> float:
        score = predict([sample(*trials, slots=8)], target(slots=slots)).interval(lambda played: played.score)
        assert score is not None
        assert score.low is not None
        assert score.high is not None
        return (score.high - score.low) / score.expected

    assert width(1) > 1.5 * width(64) > 0.2


def test_several_sources_differ_as_their_campaigns_do(trial: Make, sample: Make) -> None:
    sources = [sample(trial(planned=9, ops=ops)) for ops in (1000.0, 3000.0)]
    score = predict(sources, target()).interval(lambda played: played.score)
    assert score is not None
    assert (score.low, score.high) == (pytest.approx(8000 / 88), pytest.approx(24000 / 88))


def test_the_same_samples_give_the_same_prediction(trial: Make, sample: Make) -> None:
    trials = [trial(trial=number, ops=1000.0 * (number + 1)) for number in range(3)]
    first, second = (predict([sample(*trials)], target()) for _ in range(2))
    assert [each.operations for each in first.playbacks] == [each.operations for each in second.playbacks]


def test_a_quantity_that_a_playback_lacks_is_unknown(trial: Make, sample: Make) -> None:
    found = predict([sample(trial(errors=(), energy=None))], target(seconds=5.0))
    for quantity in (
        lambda played: played.error,
        lambda played: played.energy,
        lambda played: played.first_epoch,
        regulated,
    ):
        assert found.interval(quantity) is None


def test_the_time_of_reaching_an_error(trial: Make, sample: Make) -> None:
    assert predict([sample(trial())], target()).time_of_reaching() == Interval(32.0)
    assert predict([sample(trial())], target(limit=0.05)).time_of_reaching() is None


def test_shares_of_the_time_add_up_to_all_of_it(trial: Make, sample: Make) -> None:
    found = predict([sample(trial(planned=9))], target())
    shares = [found.share(part) for part in ("idle", "before", "training", "validation", "lost")]
    assert shares == pytest.approx([0.06, 0.06, 0.64, 0.16, 0.08])


def test_trials_that_are_too_short_are_refused(trial: Make, sample: Make) -> None:
    short = sample(trial(before=0.0, period=0.0, after=0.0), gaps=())
    with pytest.raises(UsageError, match="too many to be played"):
        predict([short], target(seconds=43_200.0, slots=512))


class _CountedError(Exception):
    """Ends a prediction; its argument is the number of playbacks."""


def test_a_campaign_of_many_rounds_is_played_less_often(
    trial: Make, sample: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers: list[int] = []

    def stop(playbacks: range, _part: str) -> NoReturn:
        numbers.append(len(playbacks))
        raise _CountedError

    monkeypatch.setattr(prediction, "tracked", stop)
    for seconds in (3600.0, 20 * 3600.0):
        with pytest.raises(_CountedError):
            predict([sample(trial(before=0.0, after=0.0), gaps=())], target(seconds=seconds))
    assert numbers[0] == 400
    assert 40 <= numbers[1] < 400


def test_each_playback_is_progress(trial: Make, sample: Make) -> None:
    with followed() as progress:
        predict([sample(trial())], target(seconds=600.0))
    assert str(progress) == "playing campaigns: 400 of 400"
