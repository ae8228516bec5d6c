"""`render`: the batch script that a trial would get, submitting nothing."""

from __future__ import annotations

from pathlib import Path

from aiperf_orch.campaign.layout import Layout
from aiperf_orch.config_loading import LoadedSettings
from aiperf_orch.schedulers.base import JobRequest, trial_command
from aiperf_orch.schedulers.choosing import make_scheduler


def render(loaded: LoadedSettings) -> str:
    """The script of trial 0's first attempt, in a campaign directory that is only an example."""
    settings = loaded.settings.scheduler
    example = Layout(Path.cwd() / "campaigns" / "example")
    request = JobRequest(
        name="abcde-00000-1",
        folder=example.job_folder(0, 1),
        submit_folder=example.job_folder(0, 1),
        campaign=example.path,
        command=trial_command(settings.python, example.spec(0), 1),
    )
    return make_scheduler(settings).render(request)
