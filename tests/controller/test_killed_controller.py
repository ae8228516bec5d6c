"""kill -9 of the controller at every journal line: no epoch is lost or counted twice, and what runs is adopted."""

import os
import signal
import time
from collections import Counter

import pytest

from aiperf_orch.campaign import journal as journal_module
from aiperf_orch.campaign.state import Phase
from aiperf_orch.results.result import compute_result

DEADLINE = 300  # seconds


def run_and_die(campaign, at_append, torn):
    """Control the campaign in a child process that is killed at its n-th journal line; returns whether it finished.

    With `torn` only half of that line reaches the disk; otherwise all of it does, and nothing that would follow it.
    """
    child = os.fork()
    if child == 0:
        appended = 0
        append = journal_module.AppendFile.append

        def append_and_die(self, text, **options):
            nonlocal appended
            appended += self.path == campaign.directory.journal
            dies = self.path == campaign.directory.journal and appended >= at_append
            if dies and torn:
                os.write(self.descriptor, text[: len(text) // 2].encode())
            else:
                append(self, text, **options)
            if dies:
                os.kill(os.getpid(), signal.SIGKILL)

        journal_module.AppendFile.append = append_and_die
        try:
            phase, _ = campaign.run(seconds=DEADLINE)
            os._exit(0 if phase is Phase.FINISHED else 3)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(4)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0
    return True


def check_nothing_lost_and_nothing_twice(campaign, trials):
    on_disk = [event for events in campaign.events().values() for event in events]
    finished = {(event["trial"], event["epoch"]) for event in on_disk if event["type"] == "epoch"}
    result = compute_result(campaign.directory)
    counted = Counter((epoch.trial, epoch.epoch) for epoch in result.collected.epochs)
    assert set(counted) == finished  # none lost
    assert set(counted.values()) == {1}  # none twice
    assert result.faults == []
    begun = Counter(event["trial"] for event in on_disk if event["type"] == "begin")
    assert begun == dict.fromkeys(range(trials), 1)  # what ran was adopted, not started again
    for number, trial in result.state.trials.items():
        assert trial.end
        assert trial.end.epochs == sum(1 for key in finished if key[0] == number)
    assert campaign.leaves_nothing_running()
    campaign.check_verifies()


@pytest.mark.parametrize(("torn", "trials"), [(False, 2), (True, 1)], ids=["line on disk", "line torn"])
def test_a_campaign_survives_being_killed_once_at_any_journal_line(make_campaign, torn, trials):
    for line in range(1, 100):
        campaign = make_campaign(
            f"line {line}",
            campaign__max_trials=trials,
            training__simulated_epoch_seconds=0.0,
            scheduler__silent_after="200ms",
            scheduler__lost_after="300ms",
        )
        if run_and_die(campaign, line, torn):
            break
        assert run_and_die(campaign, 1000, torn)
        check_nothing_lost_and_nothing_twice(campaign, trials)
    assert line > 3 + 3 * trials


@pytest.mark.parametrize(("at_append", "torn"), [(3, True), (4, False)])
def test_a_campaign_survives_being_killed_again_and_again(any_campaign, at_append, torn):
    campaign = any_campaign(
        campaign__max_trials=3, training__simulated_epoch_seconds=0.1, scheduler__silent_after="300ms"
    )
    deadline = time.monotonic() + DEADLINE
    lives = 1
    while not run_and_die(campaign, at_append, torn):
        lives += 1
        assert time.monotonic() < deadline, "the campaign makes no progress"
    assert lives >= 4
    assert sum(entry["type"] == "opened" for entry in campaign.journal()) == lives
    check_nothing_lost_and_nothing_twice(campaign, trials=3)


def test_the_next_controller_deletes_what_a_killed_one_left(make_campaign):
    campaign = make_campaign(campaign__max_trials=2)
    campaign.run(until=lambda controller: controller.state.trials_ended >= 1)
    left = campaign.directory.checkpoint(0)
    left.write_text("3")
    campaign.run()
    assert not left.exists()
    assert not list((campaign.directory.path / "weights").glob("*.checkpoint"))
