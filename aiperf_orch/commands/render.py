"""`render`: the batch script that a trial would get, submitting nothing."""

from __future__ import annotations

import sys
from pathlib import Path

from aiperf_orch.config_loading import LoadedSettings
from aiperf_orch.schedulers import make_scheduler
from aiperf_orch.schedulers.base import JobRequest


def render(loaded: LoadedSettings) -> str:
    """The script of trial 0's first attempt, in a campaign directory that is only an example."""
    settings = loaded.settings.scheduler
    campaign = Path.cwd() / "campaigns" / "example"
    python = settings.python or sys.executable
    spec = campaign / "trials" / "00000.json"
    request = JobRequest(
        name="abcde-00000-1",
        folder=campaign / "jobs" / "00000-1",
        command=(python, "-P", "-m", "aiperf_orch.trial", str(spec), "--attempt", "1"),
    )
    return make_scheduler(settings).render(request)
