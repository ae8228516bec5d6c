"""Settings that are changed while a campaign runs, waits, or has no controller."""

import contextlib
import random
import tarfile
from datetime import timedelta

import pytest

from aiperf_orch.campaign.requests import leave_request, pending_requests, requester, take_answer
from aiperf_orch.campaign.snapshot import read_state
from aiperf_orch.campaign.state import Phase
from aiperf_orch.commands.package import package_campaign
from aiperf_orch.commands.set_settings import change_campaign
from aiperf_orch.controller import requests
from aiperf_orch.controller.locked_campaign import HeldCampaign
from aiperf_orch.package.verify import verify
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.requests import SetRequest
from aiperf_orch.results.result import compute_result
from aiperf_orch.results.tables import result_row
from aiperf_orch.settings.changes import parse_changes
from aiperf_orch.util.errors import AiperfError, UsageError
from aiperf_orch.util.units import now
from aiperf_orch.util.users import user_identifiers
from controller.following import once, run_until, trained

PLACED = {"scheduler__job_per_trial": False, "campaign__concurrency": 2}


def ask(campaign, *assignments):
    """Leave a request as `set` does for a controller that runs."""
    settings = read_state(campaign.directory).settings(campaign.directory.config.settings)
    changes = parse_changes(settings, assignments, campaign.directory.path)
    if changes:
        leave_request(campaign.directory, SetRequest(**requester(), changes=changes))


def ended(number):
    return lambda controller: controller.state.trials_ended >= number


def changes_of(campaign):
    """Key, value before and value after of each change in the journal."""
    entries = [entry for entry in campaign.journal() if entry["type"] == "settings-changed"]
    return [(each["key"], each["before"], each["after"]) for entry in entries for each in entry["changes"]]


def reasons(state):
    return [end.reason for end in state.ends if end.reason is not EndReason.COMPLETED]


@pytest.fixture
def make_placed(make_campaign):
    """Makes campaigns whose trials one agent of this machine starts; what is left of agents is ended."""
    made = []

    def make(**changes):
        made.append(make_campaign(**PLACED | changes))
        return made[-1]

    yield make
    for campaign in made:
        campaign.end_jobs()


@pytest.mark.local
def test_a_larger_concurrency_gets_an_agent_with_as_many_slots(make_placed):
    campaign = make_placed(campaign__max_trials=24, training__simulated_epoch_seconds=0.1)
    raised = once(ended(3), lambda controller: ask(campaign, "concurrency=4"))
    phase, state = run_until(campaign, lambda controller: False, raised)
    assert (phase, state.trials_ended) == (Phase.FINISHED, 24)
    assert [agent.record.slots for agent in state.workforce.agents.values()] == [2, 4]
    rounds = [trial.proposal.round for trial in state.trials.values()]
    assert rounds == [number // 2 for number in range(24)]  # a round keeps its size
    campaign.check_verifies()
    row = result_row(compute_result(campaign.directory))
    assert (row["concurrency"], row["settings_changes"]) == (2, "campaign.concurrency: 2 -> 4")


@pytest.mark.long
@pytest.mark.local
@pytest.mark.parametrize("job_per_trial", [False, True])
def test_fewer_trials_at_once_and_fewer_in_all(make_placed, job_per_trial):
    changes = {"scheduler__job_per_trial": job_per_trial, "campaign__concurrency": 3}
    campaign = make_placed(campaign__max_trials=40, training__simulated_epoch_seconds=0.1, **changes)
    lowered = once(ended(4), lambda controller: ask(campaign, "concurrency=1", "max_trials=14", "poll_interval=40ms"))
    phase, state = run_until(campaign, lambda controller: False, lowered)
    assert (phase, state.trials_ended) == (Phase.FINISHED, 14)
    assert changes_of(campaign) == [
        ("campaign.concurrency", 3, 1), ("campaign.max_trials", 40, 14), ("scheduler.poll_interval", "0.05s", "0.04s"),
    ]  # fmt: skip
    campaign.check_verifies()


@pytest.mark.local
def test_a_shorter_duration_ends_the_campaign_at_its_deadline(make_campaign):
    campaign = make_campaign(campaign__max_trials=None, training__simulated_epoch_seconds=0.1)
    shorter = once(ended(3), lambda controller: ask(campaign, f"duration={round(elapsed(controller)) + 4}s"))
    phase, state = run_until(campaign, lambda controller: False, shorter)
    assert (phase, state.by_deadline) == (Phase.FINISHED, True)
    campaign.check_verifies()


def elapsed(controller):
    return (now() - controller.state.first_begin).total_seconds()


@pytest.mark.local
def test_a_request_that_cannot_be_met_is_answered_with_the_reason(make_campaign):
    campaign = make_campaign(campaign__max_trials=6, training__simulated_epoch_seconds=0.1)
    asked = []

    def request(_controller):
        wrong = SetRequest(**requester(), changes={"campaign.seed": 3})
        leave_request(campaign.directory, wrong)
        asked.append(wrong.id)

    phase, _ = run_until(campaign, lambda controller: False, once(ended(1), request))
    assert phase is Phase.FINISHED
    answer = take_answer(campaign.directory, asked[0])
    assert not answer.accepted
    assert "would change the benchmark" in answer.message
    assert changes_of(campaign) == []


@pytest.mark.local
def test_without_a_controller_the_command_journals_the_change(make_campaign):
    campaign = make_campaign(campaign__max_trials=4)
    campaign.run(until=ended(1), stop=ended(1))
    assert change_campaign(campaign.directory.path, ["max_trials=6", "concurrency=3"], take_over=False).exit_status == 0
    assert change_campaign(campaign.directory.path, ["max_trials=6"], take_over=False).exit_status == 0  # no change
    phase, state = campaign.run()
    assert (phase, len(state.trials)) == (Phase.FINISHED, 6)
    assert changes_of(campaign) == [("campaign.max_trials", 4, 6), ("campaign.concurrency", 2, 3)]
    with pytest.raises(UsageError, match="is finished: nothing can be changed"):
        change_campaign(campaign.directory.path, ["max_trials=9"], take_over=False)
    campaign.check_verifies()


@pytest.mark.local
@pytest.mark.parametrize("pseudonyms", [False, True])
def test_a_package_has_no_private_value_of_a_change(make_campaign, pseudonyms):
    campaign = make_campaign(campaign__max_trials=3)
    campaign.run(until=ended(1), stop=ended(1))
    for number in (1, 2):
        change_campaign(campaign.directory.path, [f"setup=[export KEY=confidential{number}]"], take_over=False)
    campaign.run()
    packed = campaign.directory.path.with_suffix(".tar.gz")
    package_campaign(campaign.directory.path, packed, None, pseudonyms=pseudonyms)
    assert [str(fault) for fault in verify(packed).faults] == []
    with tarfile.open(packed) as archive:
        contents = [archive.extractfile(member).read() for member in archive.getmembers() if member.isfile()]
    assert b"confidential" in campaign.directory.journal.read_bytes()
    assert not any(b"confidential" in data for data in contents)
    users = {f'"user":"{name}"'.encode() for name in user_identifiers()}
    assert any(user in data for data in contents for user in users) is not pseudonyms


@pytest.mark.local
@pytest.mark.parametrize("after", ["journal", "answer"])
def test_a_controller_killed_after_the_journal_entry_leaves_the_change_to_the_next_one(
    make_campaign, monkeypatch, after
):
    """The process ends as by kill -9: between the journal's entry and what repeats it, or before the answer."""

    class KilledError(Exception):
        pass

    def kill(*_arguments):
        raise KilledError

    campaign = make_campaign(campaign__max_trials=8, training__simulated_epoch_seconds=0.1)
    request = once(ended(2), lambda _: ask(campaign, "max_trials=5"))
    with monkeypatch.context() as patch:
        if after == "journal":
            patch.setattr(HeldCampaign, "adopt_settings", lambda self: kill() if self.state.settings_changes else None)
        else:
            patch.setattr(requests, "answer_request", kill)
        with pytest.raises(KilledError):
            run_until(campaign, lambda controller: False, request)
    assert pending_requests(campaign.directory)
    phase, state = campaign.run()
    assert (phase, len(state.trials)) == (Phase.FINISHED, 5)
    assert changes_of(campaign) == [("campaign.max_trials", 8, 5)]  # once
    assert not pending_requests(campaign.directory)
    campaign.check_verifies()


@pytest.mark.slurm
def test_a_wrong_partition_is_put_right_on_a_live_campaign(make_slurm_campaign, slurm):
    slurm.run("scontrol", "create", "partition=closed", "nodes=ALL", "state=DOWN")
    campaign = make_slurm_campaign(
        scheduler__partition="closed",
        scheduler__lookahead=1,
        campaign__max_trials=10,
        campaign__concurrency=2,
        training__simulated_epoch_seconds=0.3,
    )
    corrected = once(lambda _: campaign.queue(), lambda _: ask(campaign, "partition=main"))
    doubled = once(ended(3), lambda _: ask(campaign, "concurrency=4"))
    phase, state = run_until(campaign, lambda controller: False, corrected, doubled)
    assert (phase, state.trials_ended) == (Phase.FINISHED, 10)
    assert reasons(state) == [EndReason.RESUBMITTED]
    assert [key for key, _, _ in changes_of(campaign)] == ["scheduler.partition", "campaign.concurrency"]
    campaign.check_verifies()
    assert campaign.leaves_nothing_running()


@pytest.mark.long
@pytest.mark.slurm
def test_more_allocations_join_a_live_campaign(make_slurm_campaign, slurm):
    campaign = make_slurm_campaign(
        scheduler__allocations={"nodes": 1, "time_limit": "10m", "cpus_per_node": 2, "lost_after": "10s"},
        scheduler__warn_before="5s",
        campaign__duration="8m",
        campaign__concurrency=2,
        campaign__max_trials=24,
        training__simulated_epoch_seconds=0.3,
    )
    raised = once(ended(3), lambda _: ask(campaign, "at_once=2", "concurrency=4"))
    phase, state = run_until(campaign, lambda controller: False, raised)
    assert (phase, state.trials_ended) == (Phase.FINISHED, 24)
    assert len({agent.record.allocation for agent in state.workforce.agents.values()}) == 2
    assert reasons(state) == []
    campaign.check_verifies()
    assert campaign.leaves_nothing_running()


@pytest.mark.slurm
def test_an_allocation_that_waits_is_submitted_again_with_the_right_partition(make_slurm_campaign, slurm):
    slurm.run("scontrol", "create", "partition=shut", "nodes=ALL", "state=DOWN")
    campaign = make_slurm_campaign(
        scheduler__allocations={
            "nodes": 1, "time_limit": "10m", "total": 1, "cpus_per_node": 2, "lost_after": "10s",
        },
        scheduler__partition="shut",
        scheduler__warn_before="5s",
        campaign__duration="8m",
        campaign__max_trials=4,
    )  # fmt: skip
    corrected = once(lambda _: campaign.queue(), lambda _: ask(campaign, "partition=main"))
    phase, state = run_until(campaign, lambda controller: False, corrected)
    assert (phase, state.trials_ended) == (Phase.FINISHED, 4)
    assert [each.end.reason for each in state.workforce.allocations.values()] == ["RESUBMITTED", "DISMISSED"]
    campaign.check_verifies()


@pytest.mark.long
@pytest.mark.pbs
def test_another_queue_for_the_jobs_of_pbs_that_wait(make_pbs_campaign, pbs):
    pbs.add_queue("other")
    campaign = make_pbs_campaign(
        campaign__max_trials=8,
        campaign__concurrency=1,
        scheduler__lookahead=1,
        training__simulated_epoch_seconds=0.5,
    )
    changed = once(
        lambda controller: trained(controller, 2) and len(campaign.queue()) == 2,
        lambda _: ask(campaign, "queue=other"),
    )
    phase, state = run_until(campaign, lambda controller: False, changed)
    assert (phase, state.trials_ended) == (Phase.FINISHED, 8)
    assert reasons(state) == [EndReason.RESUBMITTED]
    assert changes_of(campaign) == [("scheduler.queue", None, "other")]
    campaign.check_verifies()


@pytest.mark.local
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))])
def test_changes_at_random_moments_leave_a_campaign_that_verifies(make_placed, seed):
    chance = random.Random(seed)
    campaign = make_placed(
        scheduler__job_per_trial=seed % 2 == 1, campaign__max_trials=40, training__simulated_epoch_seconds=0.05
    )
    times = sorted(chance.sample(range(1, 30), 5))

    def change(controller):
        if not times or controller.state.trials_ended < times[0] or pending_requests(campaign.directory):
            return False
        times.pop(0)
        name, value = chance.choice(
            [
                ("concurrency", chance.randint(1, 5)),
                ("max_trials", chance.randint(32, 45)),
                ("poll_interval", f"{chance.randint(20, 90)}ms"),
                ("stop_grace", f"{chance.randint(5, 20)}s"),
                ("duration", f"{chance.randint(30, 50)}m"),
            ]
        )
        with contextlib.suppress(UsageError):  # a longer duration
            ask(campaign, f"{name}={value}")
        return False

    phase, state = campaign.run(until=change)
    assert phase is Phase.FINISHED
    assert len(state.settings_changes) >= 1
    campaign.check_verifies()


@pytest.mark.local
def test_a_request_whose_answer_could_not_be_written_is_carried_out_once(make_campaign, monkeypatch):
    campaign = make_campaign(campaign__max_trials=4)
    held = HeldCampaign(campaign.directory, resume=False)
    handler = requests.RequestHandler(held, campaign.warnings.append)
    first = SetRequest(**requester() | {"time": now() - timedelta(seconds=1)}, changes={"campaign.max_trials": 6})
    second = SetRequest(**requester(), changes={"campaign.max_trials": 8})
    for request in (first, second):
        leave_request(campaign.directory, request)
    write, refused = requests.answer_request, []

    def answer(layout, answer):
        if answer.id == first.id and not refused:
            refused.append(answer)
            raise AiperfError("no space left")
        write(layout, answer)

    monkeypatch.setattr(requests, "answer_request", answer)
    handler.take()
    handler.take()
    assert held.directory.settings.campaign.max_trials == 8
    assert take_answer(campaign.directory, first.id).accepted
    assert not pending_requests(campaign.directory)
    held.close()
