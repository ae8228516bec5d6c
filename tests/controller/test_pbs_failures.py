"""The failure policy on the PBS stand-in: faults, the end reasons that follow, and retries.

Several faults hit one campaign at a time: its trials are independent of each other.
"""

import json
import os
import signal
from datetime import datetime

import pytest

from aiperf_orch.campaign.state import Phase
from aiperf_orch.commands.status import show_status
from aiperf_orch.records.base import EndReason
from controller.following import check_goes_on, ends_of, epoch_numbers, once, run_until, trained
from processes import words_of

pytestmark = pytest.mark.pbs


def all_trained(number):
    return lambda controller: all(trained(controller, trial, epochs=2) for trial in range(number))


def test_failures_of_running_jobs(make_pbs_campaign, long_trials):
    campaign = make_pbs_campaign(
        campaign__max_trials=7, campaign__concurrency=7, campaign__max_attempts=2, **long_trials
    )
    pbs, seen, shown = campaign.cluster, [], []
    pbs.configure(kill_delay=1)

    def disturb(_controller):
        campaign.cancel_job(0)
        pbs.preempt(campaign.job(1))
        pbs.crash_mom(campaign.job(2))
        pbs.lose(campaign.job(3))
        (python,) = [each for each in campaign.processes(4) if "aiperf_orch.trial" in words_of(each)]
        os.kill(python.pid, signal.SIGKILL)
        for process in campaign.processes(5):
            process.send_signal(signal.SIGSTOP)  # deaf: it will not say that its time is over
        pbs.exceed_walltime(campaign.job(5))
        assert pbs.run("qsig", "-s", "suspend", campaign.job(6), operator=True).returncode == 0

    def suspended(controller):
        live = controller.live_attempts.get((6, 1))
        if live and live.note.startswith("suspended"):
            seen.append(len(live.epochs))
            if len(seen) == 2:
                shown.append(show_status(campaign.directory.path, "json").text)
        return len(seen) >= 5  # asked after again and again

    ended = range(6)
    _, state = run_until(
        campaign,
        lambda controller: (
            all(ends_of(controller.state, trial) for trial in ended)
            and all(trained(controller, trial, attempt=2) for trial in range(1, 6))
            and seen
            and trained(controller, 6, epochs=seen[-1] + 2)
        ),
        once(all_trained(7), disturb),
        once(suspended, lambda _: pbs.run("qsig", "-s", "resume", campaign.job(6), operator=True)),
    )
    ends = {trial: ends_of(state, trial)[0] for trial in ended}
    assert {trial: (end.reason, end.final) for trial, end in ends.items()} == {
        0: (EndReason.CANCELLED, True),
        1: (EndReason.PREEMPTED, False),
        2: (EndReason.NODE_FAILURE, False),
        3: (EndReason.LOST, False),
        4: (EndReason.TRIAL_ERROR, False),
        5: (EndReason.TIME_LIMIT, False),
    }
    assert "terminated by Scheduler@" in ends[1].message
    assert "PBS was restarted on its node" in ends[2].message
    assert "exceeded its walltime" in ends[5].message
    assert len(set(seen)) == 1  # it stood still
    row = json.loads(shown[0])["trials"][6]
    assert (row["state"], row["why"]) == ("SUSPENDED", "suspended; `qsig -s resume` resumes it")
    assert sorted(state.live) == [(1, 2), (2, 2), (3, 2), (4, 2), (5, 2), (6, 1)]
    for trial in range(1, 6):
        check_goes_on(campaign, f"{trial:05d}-1.0.jsonl", f"{trial:05d}-2.0.jsonl")

    phase, state = campaign.run(stop=lambda controller: True)
    assert phase is Phase.STOPPED
    assert not state.live
    assert campaign.leaves_nothing_running()
    campaign.check_verifies()


def test_a_job_on_a_dead_node_keeps_no_other_from_being_cancelled(make_pbs_campaign, long_trials):
    campaign = make_pbs_campaign(
        campaign__max_trials=2, campaign__concurrency=2, scheduler__place="scatter:excl", **long_trials
    )
    pbs, lost = campaign.cluster, []
    pbs.configure(node_fail_requeue=3600)  # the server has not given the node up yet

    def lose(controller):
        lost.extend(trained(controller, 0).begin.hosts)
        pbs.node_down(lost[0])

    run_until(campaign, lambda _: bool(lost), once(all_trained(2), lose))
    campaign.run(stop=lambda controller: True, until=lambda controller: list(controller.state.live) == [(0, 1)])
    assert any("Server could not connect to MOM" in warning for warning in campaign.warnings)
    pbs.configure(node_fail_requeue=0)
    phase, state = campaign.run(stop=lambda controller: True)
    assert phase is Phase.STOPPED
    assert {end.reason for end in state.ends} == {EndReason.STOPPED}
    assert campaign.queue() == []
    campaign.check_verifies()


@pytest.mark.long
def test_the_trials_own_alarm_comes_before_the_walltime(make_pbs_campaign, long_trials):
    campaign = make_pbs_campaign(
        campaign__max_trials=1,
        campaign__max_attempts=1,
        scheduler__time_limit="80s",  # 20 s for an epoch
        scheduler__warn_before="60s",
        **long_trials,
    )
    _, state = run_until(campaign, lambda controller: trained(controller, 0, attempt=2))
    (end,) = ends_of(state)
    assert (end.reason, end.final) == (EndReason.TIME_LIMIT, False)  # not held against its one attempt
    assert "the job's time limit is near" in end.message
    check_goes_on(campaign, "00000-1.0.jsonl", "00000-2.0.jsonl")
    campaign.check_verifies()


def test_holds_and_cancellations_of_pending_jobs(make_pbs_campaign, long_trials):
    campaign = make_pbs_campaign(
        campaign__max_trials=6,
        campaign__concurrency=5,
        campaign__max_attempts=1,
        scheduler__lookahead=1,
        scheduler__place="scatter:excl",
        **long_trials,
    )
    pbs, seen = campaign.cluster, {}

    def qhold(kind, trial):
        return pbs.run("qhold", "-h", kind, campaign.job(trial), operator=True).returncode == 0

    def waits(note):
        return note.startswith(("Not Running", "waits for the end of job"))

    def observe(controller):
        found = {live.attempt.trial: live.note for live in controller.live_attempts.values()}
        if len(campaign.queue()) == 6 and waits(found.get(5, "")) and 1 not in seen:
            assert qhold("u", 2)
            assert qhold("s", 3)  # an administrator's
            seen[1] = campaign.cancel_job(4)
        held = "held by its user" in found.get(2, "") and "Job held by root on" in found.get(3, "")
        if held and 2 not in seen and {end.trial for end in controller.state.ends} == {4}:
            seen.update({2: found[2], 3: found[3]})
            pbs.run("qrls", campaign.job(2))
            pbs.run("qrls", "-h", "s", campaign.job(3), operator=True)
            campaign.cancel_job(0)
            campaign.cancel_job(1)
        return len(controller.state.ends) == 3 and trained(controller, 2) and trained(controller, 3)

    _, state = run_until(campaign, observe)
    assert {end.trial: (end.reason, end.final) for end in state.ends} == {
        0: (EndReason.CANCELLED, True),
        1: (EndReason.CANCELLED, True),
        4: (EndReason.CANCELLED, True),
    }
    assert "`qrls` releases it" in seen[2]
    assert "held by the system or an operator (s)" in seen[3]
    campaign.check_verifies()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"scheduler__cpus": 99, "scheduler__begin_within": "2s"},
            "trial 0 ended HELD: Can Never Run: Insufficient amount of resource: ncpus",
        ),
        ({"scheduler__queue": "nosuch"}, "trial 0 ended SUBMIT_REFUSED: qsub: Unknown queue"),
        ({"scheduler__queue": "short"}, "Job violates queue and/or server resource limits"),
        ({"scheduler__chunk": "nosuch=1"}, "Unknown resource: nosuch"),
    ],
)
def test_a_job_that_can_never_run_pauses_the_campaign(make_pbs_campaign, settings, said):
    campaign = make_pbs_campaign(**settings)
    campaign.cluster.add_queue("short", max_walltime=60)
    phase, state = campaign.run()
    assert phase is Phase.PAUSED
    assert said in state.phase_reason
    assert campaign.queue() == []
    campaign.check_verifies()


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (173, "Queue is not enabled", "Queue is not enabled"),
        (32, "Please give a project with -A\nsecond line", "Please give a project with -A second line"),
    ],
)
def test_a_refusal_that_may_pass_pauses_the_campaign_only_after_a_while(make_pbs_campaign, status, text, said):
    campaign = make_pbs_campaign(scheduler__retry_submit_for="1s")
    campaign.cluster.fault("qsub", "refused", text=text, status=status)
    phase, state = campaign.run()
    assert phase is Phase.PAUSED
    assert said in state.phase_reason
    assert len(campaign.cluster.calls("qsub")) > 1
    assert any(said in warning for warning in campaign.warnings)


def test_a_queue_that_is_disabled_for_a_while_costs_nothing(make_pbs_campaign):
    campaign = make_pbs_campaign(campaign__max_trials=2, campaign__concurrency=2)
    campaign.cluster.disable_queue()

    def enable(_controller):
        if any("Queue is not enabled" in warning for warning in campaign.warnings):
            campaign.cluster.enable_queue()
        return False

    phase, state = campaign.run(until=enable)
    assert phase is Phase.FINISHED
    assert [(end.attempt, end.reason) for end in state.ends] == [(1, EndReason.COMPLETED)] * 2


def test_a_server_that_is_back_before_its_moms_costs_nothing(make_pbs_campaign):
    campaign = make_pbs_campaign(campaign__max_trials=2, campaign__concurrency=2)
    campaign.cluster.restart_server()
    notes_seen = []

    def report(controller):
        notes_seen.extend(live.note for live in controller.live_attempts.values() if "Can Never Run" in live.note)
        if len(notes_seen) == 5:
            campaign.cluster.moms_report()
        return False

    phase, state = campaign.run(until=report)
    assert phase is Phase.FINISHED
    assert [(end.attempt, end.reason) for end in state.ends] == [(1, EndReason.COMPLETED)] * 2


def test_a_job_that_pbs_holds_is_retried_and_a_job_limit_is_waited_for(make_pbs_campaign):
    campaign = make_pbs_campaign(campaign__max_trials=5, campaign__concurrency=4, training__simulated_epoch_seconds=0.0)
    campaign.cluster.configure(max_queued=2, refuse_starts=[campaign.directory.attempt_name(2, 1)])
    phase, state = campaign.run()
    assert phase is Phase.FINISHED
    held = ends_of(state, 2)[0]
    assert (held.reason, held.final) == (EndReason.HELD, False)
    assert "too many failed attempts to run" in held.message
    assert {trial.end.reason for trial in state.trials.values()} == {EndReason.COMPLETED}
    assert any("would exceed complex's per-user limit" in warning for warning in campaign.warnings)
    campaign.check_verifies()


def test_no_trial_fails_or_runs_twice_while_the_server_is_down(make_pbs_campaign, long_trials):
    campaign = make_pbs_campaign(
        campaign__max_trials=3,
        campaign__concurrency=3,
        scheduler__command_timeout="2s",
        **long_trials | {"training__simulated_epoch_seconds": 1.0},  # silent in between, and asked after
    )
    pbs = campaign.cluster
    pbs.fault("qsub", "hang_after", times=1)  # accepted, and the client never hears of it

    stages = []

    def observe(controller):
        said = " ".join(campaign.warnings)
        if not stages and controller.state.begins:
            pbs.stop_server()
            stages.append("down")
        elif stages == ["down"] and "cannot connect to server" in said:
            campaign.warnings.clear()
            pbs.fault("*", "hang")
            pbs.start_server()
            stages.append("hung")
        elif stages == ["down", "hung"] and "did not answer within 2s" in said:
            pbs.heal()
            stages.append("healed")
        return "healed" in stages and all_trained(3)(controller)

    _, state = run_until(campaign, observe)
    assert state.ends == []
    assert len(campaign.queue()) == 3
    assert [len(events) > 1 for events in campaign.events().values()] == [True] * 3
    campaign.check_verifies()


def test_a_site_may_let_pbs_run_jobs_again(make_pbs_campaign, long_trials):
    campaign = make_pbs_campaign(
        campaign__max_trials=2, campaign__concurrency=2, scheduler__requeue=True, **long_trials
    )
    pbs = campaign.cluster
    pbs.configure(node_fail_requeue=0)

    def disturb(controller):
        assert pbs.run("qrerun", campaign.job(0), operator=True).returncode == 0
        pbs.crash_mom(campaign.job(1))

    _, state = run_until(
        campaign,
        lambda controller: all(trained(controller, trial, run=1) for trial in range(2)),
        once(all_trained(2), disturb),
    )
    assert state.ends == []
    for trial in range(2):
        check_goes_on(campaign, f"{trial:05d}-1.0.jsonl", f"{trial:05d}-1.1.jsonl")
    campaign.check_verifies()


def test_jobs_of_a_controller_killed_during_submission_are_adopted(make_pbs_campaign, long_trials, wait_for):
    campaign = make_pbs_campaign(campaign__max_trials=2, campaign__concurrency=2, **long_trials)
    campaign.cluster.fault("qsub", "hang_after", times=1)
    child = os.fork()
    if child == 0:
        try:
            campaign.run(seconds=60)
        finally:
            os._exit(1)
    try:
        wait_for(campaign.queue, "a job in the queue")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert not [entry for entry in campaign.journal() if entry["type"] == "submitted"]
    run_until(campaign, all_trained(2))  # and is left: detached
    before = {name: epoch_numbers(campaign, name)[-1] for name in campaign.events()}
    run_until(campaign, lambda _: all(epoch_numbers(campaign, name)[-1] > last + 2 for name, last in before.items()))
    assert sorted(before) == ["00000-1.0.jsonl", "00001-1.0.jsonl"]  # no second job, no second attempt
    assert len(campaign.queue()) == 2
    campaign.check_verifies()


@pytest.mark.long
def test_without_job_history_the_files_name_the_end_reasons(make_pbs_campaign, long_trials):
    campaign = make_pbs_campaign(
        campaign__max_trials=3, campaign__concurrency=3, scheduler__stop_grace="1s", **long_trials
    )
    pbs = campaign.cluster
    pbs.configure(history=False)

    def disturb(_controller):
        campaign.cancel_job(0)  # its trial hears of it, and says so
        pbs.lose(campaign.job(1))

    _, state = run_until(
        campaign,
        lambda controller: ends_of(controller.state, 0) and trained(controller, 1, attempt=2),
        once(all_trained(3), disturb),
    )
    assert [ends_of(state, trial)[0].reason for trial in (0, 1)] == [EndReason.CANCELLED, EndReason.LOST]
    check_goes_on(campaign, "00001-1.0.jsonl", "00001-2.0.jsonl")

    pbs.fault("qdel", "refused", times=2, text="Unauthorized Request  1.vm", status=159)
    phase, _ = campaign.run(stop=lambda controller: True)
    assert phase is Phase.STOPPED
    assert any("2 job(s) not cancelled" in each and "Unauthorized Request" in each for each in campaign.warnings)
    assert campaign.leaves_nothing_running()
    campaign.check_verifies()


@pytest.mark.long
def test_epochs_of_a_node_that_pbs_lost_count_and_verify(make_pbs_campaign, long_trials):
    some = {"training__warmup_epochs": [150], "training__epochs": 150}  # for some 15 s
    campaign = make_pbs_campaign(campaign__max_trials=1, campaign__concurrency=1, **long_trials | some)
    pbs = campaign.cluster
    pbs.configure(node_fail_requeue=0)

    def cut_off(controller):
        pbs.cut_off(trained(controller, 0).begin.hosts[0])
        assert campaign.queue() == []  # the server gives the job up; its trial writes on, and is not asked after

    phase, state = run_until(campaign, lambda controller: False, once(all_trained(1), cut_off))
    assert phase is Phase.FINISHED
    assert [end.reason for end in state.ends] == [EndReason.COMPLETED]
    campaign.check_verifies()
    (line,) = [json.loads(line) for line in campaign.directory.accounting.read_text().splitlines()]
    last = [event["end"] for event in campaign.events()["00000-1.0.jsonl"] if event["type"] == "epoch"][-1]
    assert line["exit_code"] == "-20"
    apart = datetime.fromisoformat(last) - datetime.fromisoformat(line["end"])
    assert apart.total_seconds() > 10  # what PBS says is when it gave the node up
