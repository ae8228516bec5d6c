"""Access control lists and job limits of PBS queues and servers."""

import grp
import os
from types import SimpleNamespace

import pytest

from aiperf_orch.schedulers.pbs.access_lists import Submitter, denies_host, denying_list, job_limit
from aiperf_orch.schedulers.pbs.inventory import QueueOrServer
from aiperf_orch.util import users

pytestmark = pytest.mark.unit

ME = Submitter("me", "staff", frozenset({"staff", "ai"}), frozenset({"login1", "login1.example.org"}))


@pytest.mark.parametrize(
    ("users", "denied"),
    [
        ("me,you", False),
        ("you@login1,me@login9", False),  # PBS may know this host as login9
        ("+me", False),
        ("you", True),
        ("mean", True),
        ("", True),
        ("-me,+", True),
        ("-me@login1.example.org,me", True),
        ("-me@*,me", True),
        ("-me@login9,+", False),
        ("+,-you", False),
        ("+,-me", True),
        ("*", True),  # not a wildcard for users
    ],
)
def test_list_of_users(users, denied):
    queue = QueueOrServer("q", {"acl_user_enable": "True", "acl_users": users})
    assert denying_list(queue, ME) == ("acl_users" if denied else None)
    assert denying_list(QueueOrServer("q", {"acl_users": users}), ME) is None  # not enabled


@pytest.mark.parametrize(
    ("groups", "denied"), [("ai", False), ("hpc,staff", False), ("hpc", True), ("-ai,+", True), ("-hpc,+", False)]
)
def test_list_of_groups_applies_to_all_groups_of_a_user(groups, denied):
    queue = QueueOrServer("q", {"acl_group_enable": "True", "acl_groups": groups})
    assert denying_list(queue, ME) == ("acl_groups" if denied else None)
    assert denying_list(QueueOrServer("q", {"acl_groups": groups}), ME) is None


@pytest.mark.parametrize(
    ("hosts", "denied"),
    [
        ("login1", False),
        ("*.EXAMPLE.org", False),
        ("*", False),
        ("-login1,*", True),
        ("login2,*.other.org", True),
        ("login1.*", True),  # a wildcard stands for the beginning only
        ("*7", True),
    ],
)
def test_list_of_hosts(hosts, denied):
    assert denies_host(QueueOrServer("q", {"acl_host_enable": "True", "acl_hosts": hosts}), ME) is denied
    assert not denies_host(QueueOrServer("q", {"acl_hosts": hosts}), ME)


@pytest.mark.parametrize(
    ("limits", "running", "queued"),
    [
        ({}, None, None),
        ({"max_run": "[u:PBS_GENERIC=4]", "max_queued": "[u:PBS_GENERIC=9], [u:me=2]"}, 4, 2),
        ({"max_run": "[u:PBS_GENERIC=4], [u:me=8]"}, 8, None),
        ({"max_run": "[o:PBS_ALL=3], [u:PBS_GENERIC=4]", "max_user_run": "7"}, 3, None),
        ({"max_run": '[g:"staff"=2], [g:ai=1], [p:PBS_GENERIC=5]'}, 2, None),
        ({"max_run": "[p:climate=1], [p:PBS_GENERIC=5]"}, 1, None),
        ({"max_run": "[u:me=many]"}, None, None),
        ({"max_run": "[u:me=many]", "max_user_run": "7"}, 7, None),
        ({"max_user_run": "7", "max_queuable": "5"}, 7, 5),
        ({"max_group_run": "6", "max_running": "5"}, 5, None),
        ({"max_run_res.ncpus": "[u:PBS_GENERIC=100]"}, 6, None),
        ({"max_run_res.mem": "[u:PBS_GENERIC=1tb]", "max_queued_res.mem": "[o:PBS_ALL=32gb]"}, 16, 0),
        ({"max_run_res.ngpus": "[u:PBS_GENERIC=0]", "max_user_res.ncpus": "32"}, 2, None),  # a trial requests no GPU
        ({"max_group_res.ncpus": "48", "max_run": "[u:me=9]"}, 3, None),
    ],
)
def test_limits_on_jobs(limits, running, queued):
    requested = {"nodect": 1, "ncpus": 16, "ngpus": 0, "mem": 64 << 20}
    found = [job_limit(QueueOrServer("q", limits), kind, ME, "climate", requested) for kind in ("run", "queued")]
    assert [limit.jobs if limit else None for limit in found] == [running, queued]


def test_a_limit_of_a_project_does_not_apply_to_jobs_without_one():
    assert job_limit(QueueOrServer("q", {"max_run": "[p:PBS_GENERIC=5]"}), "run", ME, None, {}) is None


def test_a_limit_is_described_as_pbs_shows_it():
    scope = QueueOrServer("q", {"max_run": "[u:me=9]", "max_queued_res.mem": "[u:me=8gb]"})
    assert job_limit(scope, "run", ME, None, {}).why == "max_run = 9"
    described = "max_queued_res.mem = 8388608kb, and a job asks for 4194304kb"
    assert job_limit(scope, "queued", ME, None, {"mem": 4 << 20}).why == described


def test_the_current_submitter():
    current = Submitter.current()
    assert current.group in current.groups
    assert all(map(current.submits_from, current.hosts))


@pytest.mark.parametrize("known", [True, False])
def test_names_of_the_submitters_groups(monkeypatch, known):
    """A group that the name service does not know has its number as name."""

    def getgrgid(number):
        if not known:
            raise KeyError(number)
        return SimpleNamespace(gr_name=f"group{number}")

    monkeypatch.setattr(grp, "getgrgid", getgrgid)
    monkeypatch.setattr(users, "current_group", lambda: 7)
    monkeypatch.setattr(os, "getgrouplist", lambda *_: [7, 8])
    current = Submitter.current()
    names = ["group7", "group8"] if known else ["7", "8"]
    assert (current.group, current.groups) == (names[0], set(names))
