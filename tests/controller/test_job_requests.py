"""Job requests: time limits, dependencies and excluded nodes, and the folders that are made."""

from datetime import timedelta
from pathlib import Path

import pytest

from aiperf_orch.campaign.snapshot import read_state
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.controller import job_requests
from aiperf_orch.controller.job_requests import leader_job, make_request, time_limit
from aiperf_orch.doctor import probe_job
from aiperf_orch.settings.models import SiteSettings
from controller.builders import NOW, attempt_state

SLURM = {"kind": "slurm", "time_limit": "4h", "warn_before": "1m", "stop_grace": "30s"}


@pytest.fixture
def settings():
    """Makes settings of a campaign on Slurm."""
    return lambda duration, **changes: SiteSettings.model_validate(
        {"scheduler": SLURM | changes, "campaign": {"duration": duration}}
    )


@pytest.mark.unit
@pytest.mark.parametrize(
    ("duration", "elapsed", "seconds"),
    [
        pytest.param("10m", None, 600 + 90, id="before the first begin: the whole campaign, and time to end"),
        pytest.param("10m", 0, 600 + 90, id="at the first begin"),
        pytest.param("10m", 400, 200 + 90, id="what is left of the campaign"),
        pytest.param("10m", 900, 90, id="past the deadline"),
        pytest.param("12h", None, 14400, id="never longer than scheduler.time_limit"),
        pytest.param("12h", 12 * 3600 - 100, 190, id="near the end of a long campaign"),
    ],
)
def test_a_job_asks_for_no_longer_than_the_campaign(monkeypatch, settings, duration, elapsed, seconds):
    monkeypatch.setattr(job_requests, "now", lambda: NOW + timedelta(seconds=elapsed or 0))
    state = CampaignState(first_begin=None if elapsed is None else NOW)
    assert time_limit(settings(duration), state) == seconds


@pytest.mark.unit
def test_the_local_scheduler_has_no_time_limit():
    assert time_limit(SiteSettings(), CampaignState()) is None


@pytest.mark.unit
@pytest.mark.parametrize(
    ("after", "live", "expected"),
    [
        pytest.param(None, True, None, id="it waits for no job"),
        pytest.param("qk3f9-00000-1", True, "7", id="the job of its leader"),
        pytest.param("qk3f9-00000-1", False, None, id="its leader has ended"),
        pytest.param("qk3f9-00009-1", True, None, id="its leader is unknown"),
    ],
)
def test_the_job_that_must_end_before(after, live, expected):
    state = CampaignState()
    leader = attempt_state(0)
    if live:
        state.live[leader.key] = leader
    assert leader_job(state, attempt_state(1, after=after)) == expected


def test_a_request_has_its_folders_and_excluded_nodes(campaign):
    made = campaign(**{f"scheduler__{key}": value for key, value in SLURM.items()})
    made.submit()
    made.ended(reason="NODE_FAILURE", final=False, hosts=["n3"])
    made.submit(attempt=2)
    state = read_state(made.directory)
    (attempt,) = state.live.values()
    request = make_request(made.directory, state, attempt)
    assert request.folder == request.submit_folder == made.directory.job_folder(0, 2)
    assert request.folder.stat().st_mode & 0o777 == 0o700
    assert request.exclude == ("n3",)
    assert request.after is None
    assert "--attempt" in request.command
    attempt.name = f"{made.directory.array_name(0)}[0]"
    element = make_request(made.directory, state, attempt)
    assert element.submit_folder == made.directory.array_folder(made.directory.array_name(0))
    assert element.submit_folder.is_dir()


@pytest.mark.parametrize(("duration", "limit", "seconds"), [("5m", "4h", 390), ("12h", "4h", 900), ("12h", "10m", 600)])
def test_the_probe_job_asks_for_no_longer_than_it_needs(
    tmp_path: Path, settings, duration: str, limit: str, seconds: float
) -> None:
    request = probe_job.probe_request(settings(duration, time_limit=limit), tmp_path / "check-abcde")
    assert request.time_limit == seconds
