"""A campaign on a real cluster whose commands are late, answer with old news, or fail after they have done their work.

Meanwhile its controller is killed at random times. Trials neither run twice nor get lost, and the concurrency is never
exceeded.
"""

import os
import random
import shutil
import signal
import time
from collections import Counter
from datetime import datetime

import pytest

from aiperf_orch.campaign.state import Phase
from aiperf_orch.results.result import compute_result

pytestmark = pytest.mark.slurm
TRIALS, CONCURRENCY, EPOCHS = 10, 3, 4
DEADLINE = 300  # seconds
WRAPPER = r"""#!/bin/bash
[ -z "$SLURM_JOB_ID" ] || exec @REAL@ "$@"  # a job's own
# late before and after the real command, so that an answer is old; one in eight fails without a trace of its answer
sleep "0.$((RANDOM % 10))"
answer=$(@REAL@ "$@" 2>&1); status=$?
sleep "$((RANDOM % 2)).$((RANDOM % 10))"
if [ $((RANDOM % 8)) = 0 ]; then echo "slurm_receive_msg: Socket timed out on send/recv operation" >&2; exit 1; fi
[ -z "$answer" ] || echo "$answer"
exit $status
"""


@pytest.fixture
def late_commands(tmp_path, slurm, monkeypatch):
    """Puts the late commands before the real ones on PATH."""
    folder = tmp_path / "late"
    folder.mkdir()
    for name in ("sbatch", "squeue", "scontrol", "scancel"):
        program = folder / name
        program.write_text(WRAPPER.replace("@REAL@", shutil.which(name)))
        program.chmod(0o700)
    return folder


def control_for_a_while(campaign, folder, seconds):
    """A controller in a process of its own, which is killed after a while; returns whether it finished before."""
    child = os.fork()
    if child == 0:
        os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
        try:
            phase, _ = campaign.run(seconds=DEADLINE)
            os._exit(0 if phase is Phase.FINISHED else 3)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(4)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert os.WEXITSTATUS(status) == 0
            return True
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def most_at_work(campaign):
    """The greatest number of trials between their begin and their last line at any moment."""
    changes = []
    for events in campaign.events().values():
        if events and events[0]["type"] == "begin":
            last = events[-1].get("time") or events[-1].get("end")
            changes += [(datetime.fromisoformat(events[0]["time"]), 1), (datetime.fromisoformat(last), -1)]
    at_work = most = 0
    for _, change in sorted(changes):
        at_work += change
        most = max(most, at_work)
    return most


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_late_and_lost_answers_cost_no_trial_and_run_none_twice(make_slurm_campaign, late_commands, seed):
    chance = random.Random(seed)
    campaign = make_slurm_campaign(
        campaign__max_trials=TRIALS,
        campaign__concurrency=CONCURRENCY,
        scheduler__lookahead=2,
        scheduler__lost_after="5s",
        training__warmup_epochs=[EPOCHS],
        training__epochs=EPOCHS,
        training__simulated_epoch_seconds=0.5,
    )
    deadline = time.monotonic() + DEADLINE
    while not control_for_a_while(campaign, late_commands, chance.uniform(5, 25)):
        assert time.monotonic() < deadline, campaign.journal()[-5:]
    result = compute_result(campaign.directory)
    assert result.faults == []
    reasons = Counter(end.reason.value for end in result.state.ends)
    assert reasons == {"COMPLETED": TRIALS}
    begun = Counter(events[0]["trial"] for events in campaign.events().values() if events[0]["type"] == "begin")
    assert begun == dict.fromkeys(range(TRIALS), 1)
    assert most_at_work(campaign) <= CONCURRENCY
    assert campaign.leaves_nothing_running()
