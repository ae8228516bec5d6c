"""The failure policy on a real Slurm: what goes wrong there, why an attempt is said to have ended, and what follows."""

import json
import os
import shutil
import signal
from collections import Counter
from datetime import timedelta

import pytest

from aiperf_orch.campaign.state import Phase
from aiperf_orch.commands import live_view
from aiperf_orch.commands.live_view import summary_lines
from aiperf_orch.commands.status import show_status
from aiperf_orch.records.base import EndReason
from controller.following import check_goes_on, ends_of, once, run_until, trained
from processes import words_of

pytestmark = pytest.mark.slurm


def script_of(campaign, trial, attempt):
    return (campaign.directory.job_folder(trial, attempt) / "job.sh").read_text()


def is_submitted(controller, trial, attempt):
    """Whether an attempt lives, and its job's id is known."""
    live = controller.state.live.get((trial, attempt))
    return live is not None and live.job is not None


def test_a_script_that_fails_is_retried_on_another_node(make_slurm_campaign):
    campaign = make_slurm_campaign(
        # only after a first trial has shown that the site works is a failure forgiven
        scheduler__setup=["case $folder in *0000[12]-1) echo the module is not there >&2; exit 7 ;; esac"],
        campaign__concurrency=1,
    )
    phase, state = campaign.run()
    assert phase is Phase.FINISHED
    for trial in (1, 2):
        first, second = ends_of(state, trial)
        assert (first.reason, first.final) == (EndReason.TRIAL_ERROR, False)
        assert "exit status 7" in first.message
        assert "the module is not there" in first.message
        assert second.reason is EndReason.COMPLETED
        (node,) = first.hosts
        assert f"#SBATCH --exclude={node}\n" in script_of(campaign, trial, 2)
        assert second.hosts != first.hosts
    campaign.check_verifies()


def test_a_killed_trial_process_is_recognised_by_its_exit_status(make_slurm_campaign, long_trials):
    campaign = make_slurm_campaign(campaign__max_trials=1, **long_trials)

    def kill(_controller):
        (trial,) = [each for each in campaign.processes(0) if "aiperf_orch.trial" in words_of(each)]
        os.kill(trial.pid, signal.SIGKILL)

    _, state = run_until(
        campaign,
        lambda controller: trained(controller, 0, attempt=2),
        once(lambda controller: trained(controller, 0, epochs=2), kill),
    )
    (first,) = ends_of(state)
    assert (first.reason, first.final) == (EndReason.TRIAL_ERROR, False)
    assert "exit status 1" in first.message
    check_goes_on(campaign, "00000-1.0.jsonl", "00000-2.0.jsonl")
    campaign.check_verifies()


def test_a_lost_node_costs_no_epoch_and_is_excluded_the_second_time(make_slurm_campaign, long_trials):
    campaign = make_slurm_campaign(
        campaign__max_trials=None,
        campaign__concurrency=1,
        scheduler__exclusive=True,
        scheduler__exclude="n[3-4]",
        **long_trials,
    )
    cluster, lost = campaign.cluster, []

    def lose(controller, trial):
        lost.extend(trained(controller, trial).begin.hosts)
        cluster.kill_node(lost[-1])
        cluster.down(lost[-1])

    run_until(
        campaign,
        lambda controller: trained(controller, 0, attempt=2),
        once(lambda controller: trained(controller, 0, epochs=2), lambda controller: lose(controller, 0)),
    )
    check_goes_on(campaign, "00000-1.0.jsonl", "00000-2.0.jsonl")
    assert f"#SBATCH --exclude=n[3-4],{lost[0]}\n" in script_of(campaign, 0, 2)

    cluster.start_node(lost[0])
    (other,) = {"n1", "n2"} - {*lost}
    cluster.submit("sleep 1000", f"--nodelist={other}", "--exclusive")  # the next trial gets the node that was lost
    campaign.cancel_job(0)
    _, state = run_until(
        campaign,
        lambda controller: (2, 1) in controller.state.live,
        once(lambda controller: trained(controller, 1), lambda controller: lose(controller, 1)),
        once(lambda controller: is_submitted(controller, 1, 2), lambda _: campaign.cancel_job(1)),
    )
    assert lost[0] == lost[1]
    for end in (ends_of(state, 0)[0], ends_of(state, 1)[0]):
        assert (end.reason, end.final, end.hosts) == (EndReason.NODE_FAILURE, False, lost[:1])
    assert [ends_of(state, trial)[1].reason for trial in (0, 1)] == [EndReason.CANCELLED] * 2  # one ran, one waited
    assert f"#SBATCH --exclude=n[3-4],{lost[0]}\n" in script_of(campaign, 2, 1)
    assert any(f"node {lost[0]}: 2 trials failed on it" in warning for warning in campaign.warnings)
    campaign.check_verifies()


def test_pending_jobs_are_held_released_and_cancelled_manually(make_slurm_campaign, long_trials, monkeypatch, caplog):
    caplog.set_level("INFO", "aiperf_orch")
    monkeypatch.setattr(live_view, "_SUMMARY_INTERVAL", timedelta(0))
    campaign = make_slurm_campaign(
        campaign__max_trials=4, campaign__concurrency=4, scheduler__exclusive=True, **long_trials
    )
    cluster = campaign.cluster
    filler = cluster.submit("sleep 1000", "--nodelist=n2,n3,n4", "--exclusive")
    cluster.wait_for_state(filler, "RUNNING")
    lines, seen = live_view.PlainLines(), {}

    def notes(controller):
        return {live.attempt.trial: live.note for live in controller.live_attempts.values()}

    def observe(controller):
        lines.show(controller)
        found = notes(controller)
        if "Resources" in found.get(2, "") + found.get(3, "") and 1 not in seen:
            seen[1] = show_status(campaign.directory.path, "json").text
            cluster.run("scontrol", "uhold", campaign.job(2))
        if "JobHeldUser" in found.get(2, "") and 2 not in seen:
            seen[2] = found[2]
            cluster.run("scancel", campaign.job(3))  # an element of an array that waits
        if ends_of(controller.state, 3) and 3 not in seen:
            seen[3] = True
            cluster.run("scancel", campaign.job(0), filler)  # the first trial, which runs
        if ends_of(controller.state, 0) and trained(controller, 1) and 4 not in seen:
            seen[4] = controller.state.live[2, 1].began
            cluster.run("scontrol", "release", campaign.job(2))
        return trained(controller, 2)

    _, state = run_until(campaign, observe)
    assert "held by a user" in seen[2]
    assert seen[4] is None
    assert {(end.trial, end.reason, end.final) for end in state.ends} == {
        (3, EndReason.CANCELLED, True),
        (0, EndReason.CANCELLED, True),
    }
    waiting = [row for row in json.loads(seen[1])["trials"] if row["state"] == "PENDING"]
    assert waiting
    assert any("waits for nodes to become free" in row["why"] for row in waiting)
    for reason in ("Resources: waits for nodes to become free", "JobHeldUser: held by a user"):
        assert any(reason in line.partition("waiting: ")[2] for line in caplog.messages)
    campaign.check_verifies()


def test_a_suspended_job_has_not_failed(make_slurm_campaign, long_trials):
    campaign = make_slurm_campaign(campaign__max_trials=1, **long_trials)
    seen, shown = [], []

    def suspended(controller):
        live = controller.live_attempts[0, 1]
        if live.note == "SUSPENDED":
            seen.append(len(live.epochs))
            if len(seen) == 2:
                shown.append((show_status(campaign.directory.path, "json").text, summary_lines(controller)))
        return len(seen) >= 15  # asked after again and again

    def resume(controller):
        campaign.cluster.run("scontrol", "resume", campaign.job(0))

    _, state = run_until(
        campaign,
        lambda controller: seen and trained(controller, 0, epochs=seen[-1] + 2),
        once(
            lambda controller: trained(controller, 0),
            lambda _: campaign.cluster.run("scontrol", "suspend", campaign.job(0)),
        ),
        once(suspended, resume),
    )
    assert len(set(seen)) == 1
    assert state.ends == []
    assert list(state.live) == [(0, 1)]
    document, heading = shown[0]
    (row,) = json.loads(document)["trials"]
    assert row["state"] == "SUSPENDED"
    assert row["why"].startswith("suspended for another job or by an administrator")
    assert heading[1].startswith("0 running, 1 halted, 0 ended")
    assert heading[3] == "1 halted: SUSPENDED"
    (row,) = json.loads(show_status(campaign.directory.path, "json").text)["trials"]
    assert (row["state"], row["why"]) == ("RUNNING", None)  # the note of the halt is gone
    campaign.check_verifies()


def test_a_job_that_is_preempted_for_good_is_retried_from_its_checkpoint(make_slurm_campaign, long_trials):
    campaign = make_slurm_campaign(
        campaign__max_trials=1, campaign__max_attempts=1, scheduler__partition="lowcancel", **long_trials
    )

    def preempt(controller):
        (node,) = trained(controller, 0).begin.hosts
        campaign.cluster.submit("sleep 1000", f"--nodelist={node}", "--exclusive")

    _, state = run_until(
        campaign,
        lambda controller: trained(controller, 0, attempt=2),
        once(lambda controller: trained(controller, 0, epochs=2), preempt),
    )
    (end,) = ends_of(state)
    assert (end.reason, end.final) == (EndReason.PREEMPTED, False)  # not held against its one attempt
    assert not state.node_failures.trials
    check_goes_on(campaign, "00000-1.0.jsonl", "00000-2.0.jsonl")
    campaign.check_verifies()


@pytest.mark.long
def test_a_site_may_let_slurm_requeue_jobs_and_then_the_attempt_goes_on(make_slurm_campaign, long_trials):
    campaign = make_slurm_campaign(
        campaign__max_trials=3,
        campaign__concurrency=3,
        scheduler__partition="low",
        scheduler__requeue=True,
        scheduler__exclusive=True,
        **long_trials,
    )
    cluster, shown = campaign.cluster, []

    def all_trained(controller):
        return all(trained(controller, trial, epochs=2) for trial in range(3))

    def disturb(controller):
        (node,) = trained(controller, 0).begin.hosts
        cluster.submit("sleep 1000", f"--nodelist={node}", "--exclusive")  # preempts trial 0
        cluster.run("scontrol", "requeue", campaign.job(1))
        cluster.run("scontrol", "requeuehold", campaign.job(2))

    def show_and_release(_controller):
        shown.append(show_status(campaign.directory.path, "json").text)
        cluster.run("scontrol", "release", campaign.job(2))

    _, state = run_until(
        campaign,
        lambda controller: all(trained(controller, trial, run=1) for trial in range(3)),
        once(all_trained, disturb),
        once(
            lambda controller: (2, 1) in controller.live_attempts and "is held" in controller.live_attempts[2, 1].note,
            show_and_release,
        ),
    )
    assert state.ends == []
    held = json.loads(shown[0])["trials"][2]
    assert (held["state"], held["host"]) == ("PENDING", None)
    assert held["why"].startswith("requeued, ")
    assert "is held" in held["why"]
    assert list(state.live) == [(0, 1), (1, 1), (2, 1)]
    for trial in range(3):
        check_goes_on(campaign, f"{trial:05d}-1.0.jsonl", f"{trial:05d}-1.1.jsonl")
    campaign.check_verifies()


@pytest.mark.long
def test_a_time_limit_does_not_count_against_a_trial(make_slurm_campaign, long_trials):
    campaign = make_slurm_campaign(
        campaign__max_trials=2,
        campaign__concurrency=2,
        campaign__max_attempts=1,
        scheduler__warn_before="1s",
        **long_trials,
    )
    stopped = []

    def shorten(controller):
        """Trial 0 will be warned in time; trial 1 hears nothing until Slurm ends it."""
        stopped.extend(campaign.processes(1))
        for process in stopped:
            process.send_signal(signal.SIGSTOP)
        campaign.cluster.run("scontrol", "update", f"jobid={campaign.job(0)}", "EndTime=now+32")
        campaign.cluster.run("scontrol", "update", f"jobid={campaign.job(1)}", "EndTime=now")

    _, state = run_until(
        campaign,
        lambda controller: trained(controller, 0, attempt=2) and trained(controller, 1, attempt=2),
        once(lambda controller: all(trained(controller, trial, epochs=2) for trial in (0, 1)), shorten),
    )
    assert {(end.trial, end.reason, end.final) for end in state.ends} == {
        (trial, EndReason.TIME_LIMIT, False) for trial in (0, 1)
    }
    assert "the job's time limit is near" in ends_of(state, 0)[0].message
    assert not state.node_failures.trials
    check_goes_on(campaign, "00000-1.0.jsonl", "00000-2.0.jsonl")
    campaign.check_verifies()


@pytest.mark.parametrize(
    ("setting", "said"),
    [({"scheduler__partition": "nosuch"}, "invalid partition"), ({"scheduler__gpus_per_node": 9}, "not available")],
)
def test_a_refused_job_pauses_the_campaign_with_sbatchs_message(make_slurm_campaign, setting, said):
    campaign = make_slurm_campaign(**setting)
    phase, state = campaign.run()
    assert phase is Phase.PAUSED
    assert state.phase_reason.startswith("trial 0 ended SUBMIT_REFUSED: sbatch: error:")
    assert said in state.phase_reason
    assert campaign.queue() == []
    campaign.check_verifies()


def test_an_account_that_is_not_valid_pauses_the_campaign(make_accounted_campaign):
    campaign = make_accounted_campaign(scheduler__account="unknown")
    phase, state = campaign.run()
    assert phase is Phase.PAUSED
    assert "Invalid account" in state.phase_reason
    campaign.check_verifies()


@pytest.mark.long
def test_nothing_fails_while_slurmctld_is_away(make_slurm_campaign, long_trials):
    campaign = make_slurm_campaign(campaign__concurrency=3, **long_trials | {"training__simulated_epoch_seconds": 5.0})

    def said(text):
        return lambda _controller: any(text in warning for warning in campaign.warnings)

    _, state = run_until(
        campaign,
        lambda controller: all(trained(controller, trial) for trial in range(3)),
        # before the first trial proves that the site works: the first wave gets no answer
        once(lambda controller: controller.state.begins, lambda _: campaign.cluster.stop_controller()),
        once(said("perhaps not submitted"), lambda _: campaign.cluster.start_controller()),
    )
    assert state.ends == []
    assert sorted(state.live) == [(0, 1), (1, 1), (2, 1)]
    assert said("Unable to contact slurm controller")(None)
    assert len(campaign.queue()) == 3
    campaign.check_verifies()


def test_a_job_that_was_accepted_although_sbatch_timed_out_counts_once(make_slurm_campaign, tmp_path, monkeypatch):
    slow = tmp_path / "bin" / "sbatch"
    slow.parent.mkdir()
    slow.write_text(f"#!/bin/sh\nPATH={os.environ['PATH']} sbatch \"$@\"\n[ -e '{tmp_path}/quick' ] || sleep 1000\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    campaign = make_slurm_campaign(campaign__max_trials=3, scheduler__command_timeout="3s")
    phase, state = run_until(
        campaign,
        lambda controller: False,
        once(lambda controller: controller.state.trials_ended, lambda _: (tmp_path / "quick").touch()),
    )
    assert phase is Phase.FINISHED
    assert [(end.attempt, end.reason) for end in state.ends] == [(1, EndReason.COMPLETED)] * 3
    assert any("sbatch did not answer within 3s" in warning for warning in campaign.warnings)
    begun = [event["trial"] for events in campaign.events().values() for event in events if event["type"] == "begin"]
    assert sorted(begun) == [0, 1, 2]
    campaign.check_verifies()


@pytest.mark.long
def test_a_limit_of_jobs_in_the_queue_is_waited_for(make_accounted_campaign):
    campaign = make_accounted_campaign(
        campaign__max_trials=8, campaign__concurrency=6, scheduler__qos="few", training__simulated_epoch_seconds=0.0
    )
    phase, state = campaign.run()
    assert phase is Phase.FINISHED
    assert {end.reason for end in state.ends} == {EndReason.COMPLETED}
    assert len(state.ends) == 8
    assert any("trial(s) wait to be submitted: sbatch: error: QOSMaxSubmit" in warning for warning in campaign.warnings)
    first = campaign.directory.array_name(1)
    arrays = [job["job"] for entry in campaign.journal() if entry["type"] == "submitted" for job in entry["jobs"]]
    assert any("_" in job for job in arrays), first
    campaign.check_verifies()


def test_a_wave_beyond_the_array_limit_is_several_arrays(make_slurm_campaign, long_trials):
    campaign = make_slurm_campaign(
        campaign__max_trials=None, campaign__concurrency=110, scheduler__exclusive=True, **long_trials
    )
    cluster = campaign.cluster
    filler = cluster.submit("sleep 1000", "--nodelist=n2,n3,n4", "--exclusive")
    cluster.wait_for_state(filler, "RUNNING")
    mine = cluster.submit("sleep 1000", "--hold", f"--job-name={campaign.directory.config.tag[:4]}")
    run_until(campaign, lambda controller: len(controller.state.live) >= 110)
    arrays = Counter(name for name, _ in campaign.queue() if "-w" in name)
    name = campaign.directory.array_name
    assert arrays == {name(1): 51, name(52): 51, name(103): 7}

    phase, state = campaign.run(stop=lambda controller: True)
    assert phase is Phase.STOPPED
    assert {end.reason for end in state.ends} == {EndReason.STOPPED}
    assert campaign.leaves_nothing_running()
    assert set(cluster.alive_jobs()) == {filler, mine}
    campaign.check_verifies()


def test_a_job_cancelled_before_its_trial_listens_is_cancelled_again(make_slurm_campaign, long_trials, tmp_path):
    cancelled = tmp_path / "cancelled"
    campaign = make_slurm_campaign(
        scheduler__setup=[
            f"until [ -e '{cancelled}' ]; do sleep 0.1; done"
        ],  # Slurm signals steps, and there is none yet
        scheduler__stop_grace="10m",
        **long_trials,
    )
    wanted = []

    def stop(controller):
        if any(attempt.cancelling for attempt in controller.state.live.values()):
            cancelled.touch()
        if not wanted and is_submitted(controller, 0, 1) and campaign.cluster.state(campaign.job(0)) == "RUNNING":
            wanted.append(True)
        return bool(wanted)

    phase, state = campaign.run(stop=stop)
    assert phase is Phase.STOPPED
    (end,) = state.ends
    assert (end.reason, end.message) == (EndReason.STOPPED, "stopped by SIGTERM")
    assert campaign.leaves_nothing_running()
    campaign.check_verifies()


@pytest.mark.long
def test_jobs_that_ran_again_are_accounted_for_with_each_run(make_accounted_campaign, long_trials):
    campaign = make_accounted_campaign(
        campaign__max_trials=2,
        campaign__concurrency=2,
        scheduler__partition="low",
        scheduler__requeue=True,
        scheduler__exclusive=True,
        **long_trials,
    )
    cluster = campaign.cluster

    def disturb(controller):
        (node,) = trained(controller, 0).begin.hosts
        cluster.submit("sleep 1000", f"--nodelist={node}", "--exclusive")  # preempts trial 0
        cluster.run("scontrol", "requeue", campaign.job(1))

    run_until(
        campaign,
        lambda controller: all(trained(controller, trial, run=1, epochs=30) for trial in (0, 1)),
        once(lambda controller: all(trained(controller, trial, epochs=2) for trial in (0, 1)), disturb),
    )
    campaign.check_verifies()
    lines = [json.loads(line) for line in campaign.directory.accounting.read_text().splitlines()]
    assert set(Counter(line["name"] for line in lines).values()) == {2}
    assert all("end" in line for line in lines)
    assert (
        sum("start" in line for line in lines) >= 3
    )  # Slurm's database may hear of an end before it hears of the start


@pytest.mark.long
def test_array_elements_that_never_ran_leave_the_others_accounted(make_accounted_campaign, long_trials):
    campaign = make_accounted_campaign(
        campaign__max_trials=7, campaign__concurrency=7, scheduler__exclusive=True, **long_trials
    )
    # many epochs: slurmdbd records the start of an element some seconds late, and the cancellation of the array at once
    run_until(campaign, lambda controller: sum(bool(trained(controller, trial, epochs=50)) for trial in range(7)) >= 4)
    campaign.check_verifies()
    lines = [json.loads(line) for line in campaign.directory.accounting.read_text().splitlines()]
    assert sum("start" in line for line in lines) == 4  # Slurm keeps no record of some that were cancelled one by one


@pytest.mark.long
def test_all_end_reasons_on_an_accounted_cluster_verify(make_accounted_campaign, long_trials, monkeypatch, tmp_path):
    """Preemption for good, a node down, a lowered time limit, a refused submission: reasons as the queue has them."""
    real, shim = shutil.which("sbatch"), tmp_path / "shim"
    shim.mkdir()
    (shim / "sbatch").write_text(
        f'#!/bin/sh\nrm {shim}/refuse 2>/dev/null || exec {real} "$@"\n'
        "echo 'sbatch: error: Batch job submission failed: "
        "Invalid account or account/partition combination specified' >&2\n"
        "exit 1\n"
    )
    (shim / "sbatch").chmod(0o755)
    (shim / "refuse").touch()
    monkeypatch.setenv("PATH", str(shim), prepend=":")
    campaign = make_accounted_campaign(
        campaign__max_trials=4,
        campaign__concurrency=4,
        scheduler__partition="lowcancel",
        scheduler__exclusive=True,
        **long_trials,
    )
    cluster = campaign.cluster
    phase, state = campaign.run()
    assert (phase, ends_of(state, 0)[0].reason) == (Phase.PAUSED, EndReason.SUBMIT_REFUSED)

    def node_of(controller, trial):
        (node,) = trained(controller, trial).begin.hosts
        return node

    def preempt(controller):
        cluster.submit("sleep 5", f"--nodelist={node_of(controller, 1)}", "--exclusive")

    def shorten(_controller):
        cluster.run("scontrol", "update", f"jobid={campaign.job(3)}", "timelimit=1")

    _, state = run_until(
        campaign,
        lambda controller: all(ends_of(controller.state, trial) for trial in (1, 2, 3)),
        once(lambda controller: trained(controller, 1, epochs=2), preempt),
        once(lambda controller: trained(controller, 2, epochs=2), lambda each: cluster.down(node_of(each, 2))),
        once(lambda controller: trained(controller, 3, epochs=2), shorten),
    )
    reasons = [ends_of(state, trial)[0].reason for trial in (1, 2, 3)]
    assert reasons == [EndReason.PREEMPTED, EndReason.NODE_FAILURE, EndReason.TIME_LIMIT]
    campaign.run(stop=lambda controller: True)
    campaign.check_verifies()
    assert campaign.directory.accounting.exists()


def test_an_empty_answer_of_the_queue_costs_no_trial(make_slurm_campaign, long_trials, monkeypatch, tmp_path, wait_for):
    """A controller that fails over, a cached wrapper: what runs, and what waits, is known to scontrol all the same."""
    real, shim = shutil.which("squeue"), tmp_path / "shim"
    shim.mkdir()
    (shim / "squeue").write_text(
        f'#!/bin/sh\n[ -e {shim}/empty ] && echo >> {shim}/empty && exit 0\nexec {real} "$@"\n'
    )
    (shim / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(shim), prepend=":")
    campaign = make_slurm_campaign(
        campaign__max_trials=6,
        campaign__concurrency=6,  # four nodes: two wait
        scheduler__exclusive=True,
        scheduler__silent_after="100ms",
        **long_trials | {"training__simulated_epoch_seconds": 1.0},
    )

    def asked():
        return len((shim / "empty").read_text()) if (shim / "empty").exists() else 0

    _, state = run_until(
        campaign,
        lambda controller: asked() >= 8,  # several times the grace of a second
        once(
            lambda controller: sum(trial.begin is not None for trial in controller.live_attempts.values()) == 4,
            lambda _: (shim / "empty").touch(),
        ),
    )
    assert state.ends == []
    assert len(state.live) == 6
    (shim / "empty").unlink()
    assert len(campaign.queue()) == 6
    campaign.run(stop=lambda controller: True)
    wait_for(lambda: not campaign.queue(), "an empty queue")
    campaign.check_verifies()
