"""What a queue's lists and limits let a user have."""

import pytest

from aiperf_orch.schedulers.pbs.access_lists import Submitter, denies_host, denying_list, job_limit
from aiperf_orch.schedulers.pbs.inventory import QueueOrServer

ME = Submitter("me", "staff", frozenset({"staff", "ai"}), frozenset({"login1", "login1.example.org"}))


@pytest.mark.parametrize(
    ("users", "barred"),
    [
        ("me,you", False),
        ("you@login1,me@login9", False),  # PBS may call this host login9
        ("+me", False),
        ("you", True),
        ("mean", True),
        ("", True),
        ("-me,+", True),
        ("-me@login1.example.org,me", True),
        ("-me@login9,+", False),
        ("+,-you", False),
        ("*", True),  # is no wildcard for users
    ],
)
def test_a_list_of_users(users, barred):
    assert denying_list(QueueOrServer("q", {"acl_user_enable": "True", "acl_users": users}), ME) == (
        "acl_users" if barred else None
    )
    assert denying_list(QueueOrServer("q", {"acl_users": users}), ME) is None  # a list that is not enabled


@pytest.mark.parametrize(
    ("groups", "barred"), [("ai", False), ("hpc,staff", False), ("hpc", True), ("-ai,+", True), ("-hpc,+", False)]
)
def test_a_list_of_groups_knows_all_of_a_users(groups, barred):
    assert (
        denying_list(QueueOrServer("q", {"acl_group_enable": "True", "acl_groups": groups}), ME) is not None
    ) is barred


@pytest.mark.parametrize(
    ("hosts", "barred"),
    [("login1", False), ("*.EXAMPLE.org", False), ("*", False), ("-login1,*", True), ("login2,*.other.org", True)],
)
def test_a_list_of_hosts(hosts, barred):
    assert denies_host(QueueOrServer("q", {"acl_host_enable": "True", "acl_hosts": hosts}), ME) is barred
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
        ({"max_user_run": "7", "max_queuable": "5"}, 7, 5),
        ({"max_run_res.ncpus": "[u:PBS_GENERIC=100]"}, 6, None),
        ({"max_run_res.mem": "[u:PBS_GENERIC=1tb]", "max_queued_res.mem": "[o:PBS_ALL=32gb]"}, 16, 0),
        ({"max_run_res.ngpus": "[u:PBS_GENERIC=0]", "max_user_res.ncpus": "32"}, 2, None),  # a trial asks for no GPU
    ],
)
def test_limits_of_jobs(limits, running, queued):
    asked = {"nodect": 1, "ncpus": 16, "ngpus": 0, "mem": 64 << 20}
    found = [job_limit(QueueOrServer("q", limits), kind, ME, "climate", asked) for kind in ("run", "queued")]
    assert [limit.jobs if limit else None for limit in found] == [running, queued]


def test_who_is_here_is_known():
    here = Submitter.current()
    assert here.group in here.groups
    assert all(map(here.is_on, here.hosts))
