"""Requests to the controller, and its answers, as files."""

from datetime import timedelta

import pytest

from aiperf_orch.campaign.layout import Layout
from aiperf_orch.campaign.requests import answer_request, leave_request, pending_requests, requester, take_answer
from aiperf_orch.records.requests import Answer, DrainRequest
from aiperf_orch.util.units import now

pytestmark = pytest.mark.unit


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path)


def leave(layout, node="n1", seconds=0):
    request = DrainRequest(**requester() | {"time": now() + timedelta(seconds=seconds)}, nodes=[node])
    leave_request(layout, request)
    return request


def test_requests_are_found_in_the_order_of_their_times(layout):
    assert pending_requests(layout) == []
    made = [leave(layout, f"n{number}", number) for number in range(5)]
    assert [each.request for each in pending_requests(layout)] == made
    assert layout.requests_folder.stat().st_mode & 0o777 == 0o700


def test_an_answer_replaces_its_request_and_is_read_once(layout):
    request = leave(layout)
    assert take_answer(layout, request.id) is None
    answer = Answer(id=request.id, accepted=True, message="done", time=now())
    answer_request(layout, answer)
    assert pending_requests(layout) == []
    assert take_answer(layout, request.id) == answer
    assert take_answer(layout, request.id) is None
    assert not [*layout.requests_folder.iterdir()]


@pytest.mark.parametrize("text", ["", "{}", '{"type": "later", "id": "0123456789abcdef"}', "[1, 2"])
def test_a_file_that_is_no_request_is_found_as_one_to_refuse(layout, text):
    request = leave(layout)
    layout.request("0123456789abcdef").write_text(text)
    found = pending_requests(layout)
    assert [(each.id, each.request) for each in found] == [("0123456789abcdef", None), (request.id, request)]


def test_a_request_under_another_name_is_refused(layout):
    request = leave(layout)
    layout.request("0123456789abcdef").write_bytes(layout.request(request.id).read_bytes())
    assert [each.request for each in pending_requests(layout)] == [None, request]


def test_other_files_are_no_requests(layout):
    leave(layout)
    (layout.requests_folder / ".0123.tmp").write_text("x")
    layout.answer("0123456789abcdef").write_text("x")
    assert len(pending_requests(layout)) == 1
