"""A campaign directory that the nodes do not see: the message of the first trial names that cause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.state import Phase
from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import JobEnd
from aiperf_orch.schedulers.missing_job_output import missing_output_reason
from aiperf_orch.settings.models import LocalSettings, SlurmSettings


@pytest.mark.slurm
def test_the_first_trial_of_an_invisible_directory_names_the_cause(make_slurm_campaign: Any, slurm: Any) -> None:
    campaign = make_slurm_campaign(campaign__max_attempts=1)
    if not slurm.hide(campaign.directory.path):
        pytest.skip("a node's folders cannot be covered here")
    try:
        phase, state = campaign.run()
    finally:
        slurm.show(campaign.directory.path)
    assert phase is Phase.PAUSED
    (end,) = state.ends
    assert end.reason in (EndReason.TRIAL_ERROR, EndReason.LOST)  # by what sacct or scontrol make of exit code 0:53
    assert f"most likely its node does not see {campaign.directory.path}/jobs/00000-1" in end.message
    assert "most likely its node does not see" in state.phase_reason


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (None, True),
        (JobEnd(None), True),
        (JobEnd(EndReason.TRIAL_ERROR, "exit status 53"), True),
        (JobEnd(EndReason.LOST), True),
        (JobEnd(EndReason.CANCELLED), False),
        (JobEnd(EndReason.PREEMPTED), False),
        (JobEnd(EndReason.NODE_FAILURE), False),
        (JobEnd(EndReason.TIME_LIMIT), False),
    ],
)
def test_no_output_at_all_has_a_likely_reason(tmp_path: Path, end: JobEnd | None, said: bool) -> None:
    logs = [tmp_path / "log", tmp_path / "pbs.log"]
    assert bool(missing_output_reason(SlurmSettings(), end, logs)) is said
    assert missing_output_reason(LocalSettings(), end, logs) == ""
    for log in logs:
        log.touch()
        assert missing_output_reason(SlurmSettings(), end, logs) == ""
        log.unlink()
