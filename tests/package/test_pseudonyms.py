"""Tests of pseudonyms: names are replaced in every form, words and numbers are kept."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aiperf_orch.package.pseudonyms import Pseudonyms

pytestmark = pytest.mark.unit


@pytest.fixture
def names() -> Pseudonyms:
    names = Pseudonyms()
    for host in ("login1.hpc.example.edu", "n1.hpc.example.edu", "n2", "gpu-a-07", "10.1.2.3", "node", "a", "1"):
        names.add_host(host)
    names.add_job("123.pbs01.example.edu")
    names.add_users(["alice", "data"])
    names.add("account", ["proj42"])
    names.add("cluster", ["jupiter"])
    return names


_LEFT = re.compile(
    r"(?<![a-z0-9])(login1|n\d+|gpu-a|pbs01|hpc|example|edu|alice|bob|proj42|jupiter|storage7)(?![a-z0-9])", re.I
)


@pytest.mark.parametrize(
    "text",
    [
        "n1",
        "lost on N1",
        "n1.hpc.example.edu:29400",
        "N1.HPC.Example.EDU",
        "n1-ib0.hpc.example.edu",
        "n1-ib0",
        "n1.ib.hpc.example.edu",
        "slurm_n1.log",
        "telemetry-n1.jsonl",
        "/scratch/n1/alice/x",
        "n[1-4]",
        "n[01,3-4]-ib0",
        "n[1-2].hpc.example.edu,n9",
        "srun: error: n3: task 1: Exited with exit code 1",
        "gpu-a-[07-12]",
        "gpu-a-08 is down",
        "123.pbs01.example.edu",
        "123[4].pbs01.example.edu and 123.pbs01",
        "terminated by alice@pbs01.example.edu",
        "terminated by bob@login1",
        "/home/alice/campaign, /home/bob/x, /Users/BOB",
        "ALICE",
        "storage7.hpc.example.edu: cannot be reached",
        "ask help@example.edu.",
        "account proj42 (proj42) on jupiter, --account=proj42",
        "https://portal.jupiter.example.edu/n1",
        "HPC.EXAMPLE.EDU",
    ],
)
def test_a_name_is_replaced_in_every_form(names: Pseudonyms, text: str) -> None:
    shown = names.text(text)
    assert not _LEFT.search(shown), shown


def test_a_name_has_the_same_pseudonym_in_every_form(names: Pseudonyms) -> None:
    first = names.host("n1.hpc.example.edu")
    assert {names.host(name) for name in ("n1", "N1", "n1.other.edu")} == {first}
    for form in ("n1", "N1", "n1.hpc.example.edu", "N1.HPC.example.edu"):
        assert names.text(f"on {form}: 3 left") == f"on {first}: 3 left"
    assert names.text("n1-ib0.hpc.example.edu") == names.host("n1-ib0") == f"{first}-ib0"
    assert names.job("123.pbs01.example.edu") == names.text("123.pbs01") == f"123.{names.host('pbs01')}"
    assert names.host("n2") != first
    both = sorted(int(names.host(host).split("-")[1]) for host in ("n1", "n2"))
    assert names.text("n[1-2]") == f"host-[{both[0]},{both[1]}]"
    assert names.text("alice, Alice and /home/alice") == "user-1, user-1 and /home/user-1"


@pytest.mark.parametrize(
    "text",
    [
        "a trial of 1 node failed on a node: exit status 1",
        "1 of 3 nodes, 10.5 GiB, 1e-05, 2026-01-02T03:04:05.678Z",
        "the data end early: 1 file in data/train",
        "x86_64, sha256:0a1b, torch 2.11.0, cifar10, resnet50, bf16",
        "signal USR1@120, array[1-3], qk3f9-00042-1[17]",
        "no such file: log, job.sh, node.py",
    ],
)
def test_words_and_numbers_stay(names: Pseudonyms, text: str) -> None:
    assert names.text(text) == text


def test_hosts_named_like_words_are_replaced_in_host_fields(names: Pseudonyms) -> None:
    hosts = {name: names.host(name) for name in ("a", "1", "node", "localhost")}
    assert len(set(hosts.values())) == 4
    assert all(re.fullmatch(r"host-\d+", shown) for shown in hosts.values())
    assert names.text("node.hpc.example.edu") == hosts["node"]
    assert names.job("7.node") == f"7.{hosts['node']}"
    assert names.text("in /home/data/x of data@node") == "in /home/user-1/x of data@" + hosts["node"]


@pytest.mark.parametrize("agent", ["vm.1", "node.12", "a.1", "n17.hpc.example.edu.3"])
def test_an_agent_is_replaced_in_text_for_any_name_of_its_host(agent: str) -> None:
    names = Pseudonyms()
    names.add_agent(agent)
    number = agent.rpartition(".")[2]
    shown = f"its agent host-1.{number} was killed: agent host-1.99 took its place; a node of 1.5 s"
    host = agent.rpartition(".")[0]
    assert names.text(f"its agent {agent} was killed: agent {host}.99 took its place; a node of 1.5 s") == shown
    assert names.agent(agent) == f"host-1.{number}"


def test_a_number_is_no_agent_of_a_host_that_is_named_like_one() -> None:
    names = Pseudonyms()
    names.add_agent("10.1")
    assert names.text("ended after 10.1 s") == "ended after 10.1 s"


def test_no_pseudonym_is_a_real_name() -> None:
    names = Pseudonyms()
    for host in ("host-2", "host-1", "n1"):
        names.add_host(host)
    shown = names.text("host-1 host-2 n1")
    assert not {"host-1", "host-2", "n1"} & set(shown.split())
    assert len(set(shown.split())) == 3


_NAMES = st.from_regex(r"[a-z]{2,8}(-[a-z]{1,4})?-?[0-9]{1,4}", fullmatch=True)
_DOMAINS = st.from_regex(r"[a-z]{3,8}(\.[a-z]{3,8}){1,2}", fullmatch=True)
_FORMS = st.sampled_from(
    [
        "{0}",
        "{0}.{1}",
        "{0}-ib0.{1}",
        "x={0};",
        "/tmp/{0}/y",
        "7.{0}.{1}",
        "me@{0}",
        "({0})",
        "{0}:22",
        "{0}.log",
        "_{0}_",
    ]
)


@given(_NAMES, _DOMAINS, _FORMS, st.sampled_from([str, str.upper, str.title]), st.integers(0, 10**9))
def test_any_host_is_replaced_and_any_number_stays(
    host: str, domain: str, form: str, case: type[str], number: int
) -> None:
    assume(not {"host", "domain", "log", "tmp"} & set(re.split(r"[-.\d]+", f"{host}.{domain}")))
    names = Pseudonyms()
    names.add_host(f"{host}.{domain}")
    shown = names.text(f"{number} images on {form.format(case(host), case(domain))} in 0.5 s")
    for name in (host, domain):
        assert not re.search(rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])", shown, re.I), shown
    assert shown.startswith(f"{number} images on ")
    assert shown.endswith(" in 0.5 s")
