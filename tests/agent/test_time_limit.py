"""What is due before an allocation ends."""

from __future__ import annotations

import pytest

from aiperf_orch.agent.time_limit import TimeLimit, TimeStage

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("left", "stage"),
    [
        (241, TimeStage.OPEN),
        (240, TimeStage.CLOSED),
        (120, TimeStage.WARNED),
        (60, TimeStage.TERMINATED),
        (15, TimeStage.KILLED),
        (-100, TimeStage.KILLED),
    ],
)
def test_the_end_comes_in_stages(left: float, stage: TimeStage) -> None:
    assert TimeLimit(1000, warn_before=120, stop_grace=90).stage(1000 - left) is stage


@pytest.mark.parametrize(("left", "stage"), [(1, TimeStage.OPEN), (0, TimeStage.TERMINATED), (-15, TimeStage.KILLED)])
def test_without_a_warning_attempts_run_until_the_end(left: float, stage: TimeStage) -> None:
    assert TimeLimit(1000, warn_before=0, stop_grace=15).stage(1000 - left) is stage


def test_an_unknown_end_never_comes() -> None:
    assert TimeLimit(None, warn_before=120, stop_grace=90).stage(1e12) is TimeStage.OPEN
