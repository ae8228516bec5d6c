"""Campaigns of distributed trials on two nodes with two workers each; a worker or a node is lost."""

import contextlib
import json
import socket
import time

import psutil
import pytest

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import Phase
from aiperf_orch.controller.controller import Controller
from aiperf_orch.controller.loop import run
from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.settings.models import SiteSettings
from controller.following import check_verifies
from processes import running, words_of

PATIENCE = 800  # seconds; some 40 on an idle machine
EPOCHS = 8
SCHEDULERS = {"slurm": {"cpus_per_task": 2, "memory": "1000M"}, "pbs": {"cpus": 2}}


@pytest.fixture(
    params=[
        pytest.param("slurm", marks=[pytest.mark.slurm, pytest.mark.long]),
        pytest.param("pbs", marks=[pytest.mark.pbs, pytest.mark.long]),
    ]
)
def settings(request):
    request.getfixturevalue(request.param)  # the cluster
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    scheduler = {
        "kind": request.param,
        "nodes": 2,
        "workers_per_node": 2,
        "interface": "lo",
        "ports": [port, min(port + 50, 65535)],
        "time_limit": "10m",
        "lookahead": 0,
        "poll_interval": "100ms",
        "query_interval": "1s",
        "lost_after": "5s",
    }
    return SiteSettings.model_validate(
        {
            "scheduler": scheduler | SCHEDULERS[request.param],
            "campaign": {"concurrency": 1, "max_trials": 2},
            "search": {"batch_size": [16, 16]},
            "training": {"warmup_epochs": [EPOCHS], "epochs": EPOCHS, "patience": EPOCHS, "max_patience": EPOCHS}
            | {"precision": "fp32"},
        }
    )


def workers_of(spec):
    """Processes that the tasks of a trial have started, the oldest first."""
    found = []
    for each in running():
        with contextlib.suppress(psutil.Error):
            parent = each.process.parent()
            if parent and all(
                "aiperf_orch.trial" in words and spec in words for words in (each.words, words_of(parent))
            ):
                found.append(each.process)
    return sorted(found, key=lambda process: process.create_time())


def second_task(workers):
    """Of these workers' parents the one on the second node."""
    tasks = {worker.parent() for worker in workers}
    return next(task for task in tasks if task.environ()["SLURM_PROCID"] == "1")


def test_a_trial_goes_on_after_a_worker_or_a_node_was_lost(settings, tmp_path):
    directory = CampaignDirectory.create(tmp_path / "campaign", settings, {})
    deadline = time.monotonic() + PATIENCE
    on_slurm = settings.scheduler.kind == "slurm"
    killed = []

    def events(trial, attempt):
        path = directory.events(trial, attempt, 0)
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def kill_one():
        for trial in () if killed else (0, 1):
            # the checkpoint of the first epoch is on disk when the second has ended
            if sum(event["type"] == "epoch" for event in events(trial, 1)) >= 2:
                workers = workers_of(str(directory.spec(trial)))
                if len(workers) == 4:
                    lost = second_task(workers) if on_slurm else workers[-1]
                    lost.kill()
                    killed.append(trial)

    controller = Controller(directory, make_scheduler(settings.scheduler), resume=True, take_over=False, warn=print)
    try:
        phase = run(
            controller,
            observe=kill_one,
            stop_wanted=lambda: False,
            leave_wanted=lambda: time.monotonic() > deadline,
        )
    finally:
        controller.close()
    logs = "\n".join(path.read_text()[-3000:] for path in directory.path.glob("jobs/*/log"))
    assert phase is Phase.FINISHED, logs
    assert len(killed) == 1
    for number, trial in controller.state.trials.items():
        reasons = [attempt.end.reason for attempt in trial.attempts]
        assert reasons[-1] is EndReason.COMPLETED, logs
        assert reasons[:-1] == [EndReason.NODE_FAILURE] * (number in killed), logs
        runs = [events(number, attempt) for attempt in range(1, len(reasons) + 1)]
        assert all((each[0]["workers"], len(each[0]["hosts"])) == (4, 2) for each in runs)
        epochs = [[event["epoch"] for event in each if event["type"] == "epoch"] for each in runs]
        assert epochs[-1][-1] == EPOCHS
        if number in killed:
            assert 1 < epochs[1][0] <= epochs[0][-1] + 1
            assert ("the trial's task on n" if on_slurm else "was killed") in runs[0][-1]["message"]
    check_verifies(directory.path)
