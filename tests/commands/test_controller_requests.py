"""Requests of `set` and `drain`: several at once, a controller that ends meanwhile, files that are no requests."""

import os
import threading

import pytest

from aiperf_orch.campaign.lock import read_holder
from aiperf_orch.campaign.requests import answer_request, leave_request, pending_requests, requester, take_answer
from aiperf_orch.campaign.snapshot import read_state
from aiperf_orch.cli import main
from aiperf_orch.commands.controller_requests import request_of_controller
from aiperf_orch.controller import requests
from aiperf_orch.controller.locked_campaign import HeldCampaign
from aiperf_orch.records.journal import Finished
from aiperf_orch.records.requests import Answer, SetRequest
from aiperf_orch.util.errors import AiperfError, UsageError
from aiperf_orch.util.units import now
from waiting import wait_for

OTHER = "0123456789abcdef"


@pytest.fixture
def made(campaign):
    return campaign(campaign__max_trials=4)


def changes(made):
    return [each.values for entry in read_state(made.directory).settings_changes for each in entry.changes]


def request(**values):
    return SetRequest(**requester(), changes={f"campaign.{key}": value for key, value in values.items()})


def asking(made, *assignments):
    """`set` in a thread of its own, and its exit status; another process holds the campaign."""
    status = []

    def change():
        try:
            main(["set", str(made.path), *assignments])
        except SystemExit as ended:
            status.append(ended.code)

    thread = threading.Thread(target=change, daemon=True)
    thread.start()
    wait_for(lambda: pending_requests(made.directory), f"the request of {assignments}")
    return thread, status


def test_a_command_replaces_a_controller_that_ends_without_an_answer(made):
    held = HeldCampaign(made.directory, resume=False)
    thread, status = asking(made, "max_trials=6")
    held.close()
    thread.join(50)  # less than an answer is waited for
    assert status == [0]
    assert changes(made) == [("campaign.max_trials", 4, 6)]
    assert not [*made.directory.requests_folder.iterdir()]


def test_a_command_whose_campaign_finishes_meanwhile_is_refused(made, capsys):
    held = HeldCampaign(made.directory, resume=False)
    thread, status = asking(made, "max_trials=6")
    held.append(Finished, reason="all 4 trials have ended", by_deadline=False)
    held.close()
    thread.join(50)
    assert status == [2]
    assert "the campaign is finished" in capsys.readouterr().err
    assert changes(made) == []


def test_the_values_before_are_those_that_an_earlier_request_has_set(made, capsys):
    held = HeldCampaign(made.directory, resume=False)
    leave_request(made.directory, request(max_trials=5))
    thread, status = asking(made, "max_trials=6")
    wait_for(lambda: len(pending_requests(made.directory)) == 2, "both requests")
    held.close()
    thread.join(50)
    assert status == [0]
    assert "campaign.max_trials: 5 -> 6" in capsys.readouterr().err
    assert changes(made) == [("campaign.max_trials", 4, 5), ("campaign.max_trials", 5, 6)]


def test_a_request_of_the_journal_is_not_carried_out_again(made):
    first, second = request(max_trials=6), request(max_trials=8)
    for each in (first, second):
        request_of_controller(made.directory, each)
    leave_request(made.directory, first)  # as after a controller that was killed before its answer
    request_of_controller(made.directory, request(concurrency=3))
    assert [change[1:] for change in changes(made)] == [(4, 6), (6, 8), (2, 3)]
    assert take_answer(made.directory, first.id).accepted


def _folder(path):
    path.mkdir()


def _pipe(path):
    os.mkfifo(path)


def _loop(path):
    path.symlink_to(path)


def _dangling(path):
    path.symlink_to("nothing")


def _huge(path):
    with path.open("w") as file:
        file.truncate(50_000_000_000)


@pytest.mark.parametrize("make", [_folder, _pipe, _loop, _dangling, _huge])
def test_what_is_no_request_keeps_no_other_from_being_carried_out(make, made):
    made.directory.requests_folder.mkdir()
    make(made.directory.request(OTHER))
    warnings = []
    held = HeldCampaign(made.directory, resume=False)
    handler = requests.RequestHandler(held, warnings.append)
    asked = request(max_trials=6)
    leave_request(made.directory, asked)
    for _ in range(3):
        handler.take()
    held.close()
    assert take_answer(made.directory, asked.id).accepted
    assert len(warnings) == 1 + (make is _huge)
    request_of_controller(made.directory, request(max_trials=8))
    assert changes(made) == [("campaign.max_trials", 4, 6), ("campaign.max_trials", 6, 8)]


def test_an_answer_that_cannot_be_written_keeps_no_other_request(made, monkeypatch):
    left = request(max_trials=5)
    leave_request(made.directory, left)

    def refuse(_layout, _answer):
        raise AiperfError("requests: not permitted")

    monkeypatch.setattr("aiperf_orch.commands.controller_requests.answer_request", refuse)
    request_of_controller(made.directory, request(max_trials=6))
    request_of_controller(made.directory, request(max_trials=7))
    assert [change[2] for change in changes(made)] == [5, 6, 7]  # the first one once


def test_an_answer_of_another_version_is_no_traceback(made):
    asked = request(max_trials=6)
    leave_request(made.directory, asked)
    answer_request(made.directory, Answer(id=asked.id, accepted=True, message="", time=now()))
    made.directory.answer(asked.id).write_text('{"id": "' + asked.id + '", "accepted": "later"}')
    with pytest.raises(AiperfError, match="no answer of this version"):
        take_answer(made.directory, asked.id)


@pytest.mark.parametrize("text", ['{"campaign.concurrency": NaN}', '{"campaign.max_trials": "6"}', '{"a": 1}', "{}"])
def test_forged_values_are_refused_and_not_journalled(text, made):
    asked = request(max_trials=6)
    leave_request(made.directory, asked)
    file = made.directory.request(asked.id)
    file.write_text(file.read_text().replace('{"campaign.max_trials":6}', text))
    held = HeldCampaign(made.directory, resume=False)
    requests.RequestHandler(held, lambda _: None).take()
    held.close()
    assert not take_answer(made.directory, asked.id).accepted
    assert changes(made) == []


@pytest.mark.parametrize("arguments", [["set", "max_trials=6"], ["drain", "n1"]])
def test_a_dead_controller_of_another_host_is_replaced_on_request(arguments, campaign):
    made = campaign(scheduler__kind="slurm")
    HeldCampaign(made.directory, resume=False).close()
    elsewhere = read_holder(made.directory.lock).model_copy(update={"host": "elsewhere", "released": False})
    made.directory.lock.write_text(elsewhere.to_line() + "\n")
    with pytest.raises(SystemExit) as ended:
        main([arguments[0], str(made.path), *arguments[1:], "--take-over"])
    assert ended.value.code == 0
    assert [line for line in made.journal_lines() if '"settings-changed"' in line or '"drained"' in line]
    assert not made.directory.requests_folder.exists()


def test_a_finished_campaign_is_left_as_it_is(made):
    held = HeldCampaign(made.directory, resume=False)
    held.append(Finished, reason="all 4 trials have ended", by_deadline=False)
    held.close()
    before = made.directory.journal.read_bytes()
    with pytest.raises(UsageError, match="is finished"):
        request_of_controller(made.directory, request(max_trials=6))
    assert before in made.directory.journal.read_bytes()
    assert changes(made) == []
