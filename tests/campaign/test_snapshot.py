"""The state of a campaign, and journals that are not complete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aiperf_orch.campaign.snapshot import read_state
from aiperf_orch.util.errors import RecordError


@pytest.mark.parametrize(("trial", "attempt"), [(0, 2), (2, 1), (7, 3)])
def test_a_journal_without_its_end_is_refused(campaign: Callable[..., Any], trial: int, attempt: int) -> None:
    made = campaign()
    made.trial(0, [(1, 0.5)])
    made.submit(1)  # no job of it has begun yet
    assert sorted(read_state(made.directory).trials) == [0, 1]
    file = made.directory.events(trial, attempt, 0)
    file.touch()
    with pytest.raises(
        RecordError,
        match=rf"journal\.jsonl: ends before the attempt that wrote {file}: lines are missing at its end; restore",
    ):
        read_state(made.directory)
