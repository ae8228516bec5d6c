"""What OpenPBS 23.06.06 printed of its queues and nodes, and the site file that is drafted from it."""

from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from aiperf_orch.config import PbsSettings, SiteSettings
from aiperf_orch.schedulers.pbs.draft import draft
from aiperf_orch.schedulers.pbs.site import (
    Complex,
    Place,
    lacks,
    may_use,
    parse_memory,
    parse_nodes,
    parse_queues,
    parse_server,
    trials_a_node,
)

SHOWN = Path(__file__).parent / "pbs_site"


def shown(name):
    return (SHOWN / f"{name}.txt").read_text()


def made(queues=None, nodes=None, **server):
    place = parse_server(shown("qstat_Bf"))
    return Complex(
        Place(place.name, {**place.attributes, **server}),
        parse_queues(shown("qstat_Qf") if queues is None else queues),
        tuple(parse_nodes(shown("pbsnodes_av") if nodes is None else nodes)),
    )


def node(name, state="free", ncpus=8, mem="100gb", **more):
    lines = {"state": state, "resources_available.host": name, "resources_available.ncpus": ncpus}
    lines |= {"resources_available.mem": mem, **{key.replace("__", "."): value for key, value in more.items()}}
    return name + "\n" + "".join(f"     {key} = {value}\n" for key, value in lines.items()) + "\n"


def queue(name, **attributes):
    lines = {"queue_type": "Execution", "enabled": "True", "started": "True"}
    lines |= {key.replace("__", "."): value for key, value in attributes.items()}
    return f"Queue: {name}\n" + "".join(f"    {key} = {value}\n" for key, value in lines.items()) + "\n"


def drafted(found):
    text = draft(found, "site.yaml")
    settings = SiteSettings.model_validate(yaml.safe_load(text))
    return settings.scheduler, settings.campaign, text


def test_the_vnodes_of_a_host_are_one_node():
    first, second = parse_nodes(shown("pbsnodes_av"))
    assert (first.name, first.cpus, first.gpus, first.memory) == ("pbsn1", 8, 2, 24684084)
    assert (second.name, second.cpus, second.gpus, second.memory) == ("pbsn2", 8, 2, 24684084 + (16 << 20))
    assert first.is_usable


def test_the_server_and_its_queue():
    found = made()
    assert (found.name, found.version, found.default_queue) == ("vm", "23.06.06", "workq")
    (workq,) = found.queues.values()
    assert workq.says("enabled")
    assert workq.walltime("max") is None
    assert not found.server.says("job_history_enable")
    assert [each.name for each in found.nodes_of(found.executing("workq"))] == ["pbsn1", "pbsn2"]


@pytest.mark.parametrize(
    ("state", "usable"),
    [
        ("free", True),
        ("job-busy", True),
        ("job-exclusive", True),
        ("job-busy,resv-exclusive", True),
        ("offline", False),
        ("down,offline", False),
        ("state-unknown, down", False),
        ("provisioning", False),
        ("something new", False),
    ],
)
def test_which_nodes_are_in_service(state, usable):
    (found,) = parse_nodes(node("n1", state))
    assert found.is_usable is usable


@pytest.mark.parametrize(
    ("text", "kibibytes"), [("24684084kb", 24684084), ("8gb", 8 << 20), ("1TB", 1 << 30), ("2048", 2), ("much", None)]
)
def test_memory(text, kibibytes):
    assert parse_memory(text) == kibibytes


def test_what_a_node_lacks_and_how_many_trials_it_holds():
    (found,) = parse_nodes(node("n1", resources_available__ngpus=4, resources_available__model="milan"))
    fits = PbsSettings.model_validate({"cpus": 2, "gpus": 1, "memory": "30gb", "chunk": "model=milan"})
    assert lacks(fits, found) == []
    assert trials_a_node(fits, found) == 3  # its memory is the narrowest
    assert trials_a_node(fits.model_copy(update={"place": "scatter:excl"}), found) == 1
    wants = PbsSettings.model_validate({"cpus": 9, "gpus": 5, "memory": "200gb", "chunk": "model=rome"})
    assert [lack.partition(" ")[0] for lack in lacks(wants, found)] == ["cpus", "gpus", "memory", "chunk"]


@pytest.mark.parametrize(
    ("users", "may"),
    [("me,you", True), ("you@login1,me@login1", True), ("+me", True), ("you", False), ("-me,+", False), ("*", True)],
)
def test_a_queues_list_of_users(users, may):
    assert may_use(Place("q", {"acl_user_enable": "True", "acl_users": users}), "me") is may
    assert may_use(Place("q", {"acl_users": users}), "me")  # a list that is not enabled


@pytest.mark.parametrize(
    ("limits", "running", "queued"),
    [
        ({}, None, None),
        ({"max_run": "[u:PBS_GENERIC=4]", "max_queued": "[u:PBS_GENERIC=9], [u:me=2]"}, 4, 2),
        ({"max_run": "[o:PBS_ALL=3], [u:PBS_GENERIC=4]", "max_user_run": "7"}, 3, None),
        ({"max_user_run": "7"}, 7, None),
    ],
)
def test_limits_of_jobs(limits, running, queued):
    place = Place("q", limits)
    assert (place.most_jobs("run", "me"), place.most_jobs("queued", "me")) == (running, queued)


def test_an_amount_that_a_queue_adds_to_each_chunk_is_no_mark_of_its_hosts():
    queues = queue("gpu", default_chunk__mem="4gb", default_chunk__ncpus="2", default_chunk__Qlist="gpu")
    nodes = node("c1", resources_available__Qlist="cpu") + node("g1", resources_available__Qlist="gpu")
    found = made(queues, nodes)
    assert [each.name for each in found.nodes_of(found.executing("gpu"))] == ["g1"]


def test_one_gpu_and_its_share_of_the_node_is_drafted_in_the_queue_that_has_gpus():
    queues = queue("cpu", default_chunk__Qlist="cpu") + queue(
        "gpu", resources_max__walltime="02:00:00", default_chunk__Qlist="gpu"
    )
    nodes = "".join(node(f"c{number}", resources_available__Qlist="cpu") for number in range(5))
    nodes += "".join(
        node(f"g{number}", ncpus=64, mem="500gb", resources_available__ngpus=8, resources_available__Qlist="gpu,test")
        for number in range(2)
    )
    scheduler, campaign, text = drafted(made(queues, nodes, default_queue="cpu"))
    assert (scheduler.queue, scheduler.gpus, scheduler.cpus, scheduler.memory) == ("gpu", 1, 8, "64000mb")
    assert (scheduler.time_limit, campaign.concurrency) == (7200.0, 16)
    assert "queue: gpu                      # 2 nodes with 64 cores, 500 GiB, 8 GPUs; jobs up to 2h" in text
    assert "# queue: cpu                    # 5 nodes with 8 cores, 100 GiB; jobs of any length; the default" in text


def test_whole_nodes_are_drafted_where_there_are_no_gpus_and_a_routing_queue_is_followed():
    queues = queue("route", queue_type="Route", route_destinations="small,big") + queue("small", enabled="False")
    queues += queue("big", from_route_only="True", resources_max__walltime="24:00:00")
    scheduler, campaign, _ = drafted(made(queues, node("n1") + node("n2", "down"), default_queue="route"))
    assert (scheduler.queue, scheduler.cpus, scheduler.place) == ("route", 8, "scatter:excl")
    assert campaign.concurrency == 1


@pytest.mark.parametrize("queues", ["", None])
def test_a_draft_of_little_is_a_valid_file_all_the_same(queues):
    found = made(queues, "")
    scheduler, campaign, _ = drafted(found)
    assert campaign.concurrency == 1
    assert scheduler.kind == "pbs"
    without = Complex(found.server, found.queues, (), without_nodes="pbsnodes: not allowed")
    assert "yours to fill in: pbsnodes: not allowed" in drafted(without)[2]


@given(st.text() | st.text("abn \n=.5:,[]kQueue_type", max_size=300))
@example("Queue: ")
@example("Queue: a b\n    enabled = True\n")
def test_nothing_that_pbs_prints_raises(output):
    found = made(output, output)
    drafted(found)
    drafted(made("Queue: q\n" + output, "n1\n" + output))
