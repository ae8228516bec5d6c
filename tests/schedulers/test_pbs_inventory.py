"""What OpenPBS 23.06.06 printed of its queues and nodes, and the site file that is drafted from it."""

from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from aiperf_orch.schedulers.pbs.access_lists import Submitter
from aiperf_orch.schedulers.pbs.inventory import (
    Complex,
    QueueOrServer,
    parse_memory,
    parse_nodes,
    parse_queues,
    parse_server,
    shortfalls,
    trials_per_node,
)
from aiperf_orch.schedulers.pbs.site_draft import draft
from aiperf_orch.settings.models import PbsSettings, SiteSettings

SHOWN = Path(__file__).parent / "pbs_site"
ME = Submitter("me", "staff", frozenset({"staff", "ai"}), frozenset({"login1"}))


def shown(name):
    return (SHOWN / f"{name}.txt").read_text()


def made(queues=None, nodes=None, **server):
    place = parse_server(shown("qstat_Bf"))
    return Complex(
        QueueOrServer(place.name, {**place.attributes, **server}),
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
    text = draft(found, "site.yaml", ME)
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
    assert workq.is_true("enabled")
    assert workq.walltime("max") is None
    assert not found.server.is_true("job_history_enable")
    assert [each.name for each in found.nodes_of(found.execution_queues("workq"))] == ["pbsn1", "pbsn2"]


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
    assert shortfalls(fits, found) == []
    assert trials_per_node(fits, found) == 3  # its memory is the narrowest
    assert trials_per_node(fits.model_copy(update={"place": "scatter:excl"}), found) == 1
    wants = PbsSettings.model_validate({"cpus": 9, "gpus": 5, "memory": "200gb", "chunk": "model=rome"})
    assert [lack.partition(" ")[0] for lack in shortfalls(wants, found)] == ["cpus", "gpus", "memory", "chunk"]


def test_an_amount_that_a_queue_adds_to_each_chunk_is_no_mark_of_its_hosts():
    queues = queue("gpu", default_chunk__mem="4gb", default_chunk__ncpus="2", default_chunk__Qlist="gpu")
    nodes = node("c1", resources_available__Qlist="cpu") + node("g1", resources_available__Qlist="gpu")
    found = made(queues, nodes)
    assert [each.name for each in found.nodes_of(found.execution_queues("gpu"))] == ["g1"]


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


def test_a_queue_that_lets_the_user_in_is_drafted_with_what_it_lets_run():
    queues = queue("vip", acl_group_enable="True", acl_groups="vips", resources_max__walltime="100:00:00")
    queues += queue("test", resources_max__walltime="00:10:00", priority="100")
    queues += queue(
        "all", max_run_res__ngpus="[u:PBS_GENERIC=3]", resources_min__walltime="06:00:00", resources_max__ncpus="7"
    )
    nodes = node("g1", ncpus=64, mem="500gb", resources_available__ngpus=8)
    scheduler, campaign, text = drafted(made(queues, nodes, default_queue="test"))
    assert (scheduler.queue, scheduler.cpus, scheduler.time_limit, campaign.concurrency) == ("all", 7, 21600.0, 3)
    assert "PBS runs 3 of yours at once: max_run_res.ngpus = 3, and a trial asks for 1" in text
    assert "jobs up to 4d04h; not for you (acl_groups)" in text


@pytest.mark.parametrize("limit", ["00:00:01", "0", "9" * 18 + ":00:00", "9" * 400])
def test_absurd_amounts_are_drafted_as_the_nearest_that_can_be(limit):
    queues = queue("q", resources_max__walltime=limit, resources_min__walltime=limit, resources_max__mem="1b")
    nodes = node("n1", ncpus=10**9, mem="999999999tb", resources_available__ngpus=3)
    nodes += node("n2", ncpus="²", mem="9" * 5000, resources_available__ngpus="9" * 5000)
    scheduler, campaign, _ = drafted(made(queues, nodes))
    assert 60 <= scheduler.time_limit <= 365 * 86400
    assert (scheduler.cpus, scheduler.memory, campaign.concurrency) == (100_000, "999999999mb", 3)


@given(st.text() | st.text("abn \n=.5:,[]kQueue_type", max_size=300))
@example("Queue: ")
@example("Queue: a b\n    enabled = True\n")
def test_nothing_that_pbs_prints_raises(output):
    found = made(output, output)
    drafted(found)
    drafted(made("Queue: q\n" + output, "n1\n" + output))
