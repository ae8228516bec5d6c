"""Drafts of site files for PBS complexes."""

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from aiperf_orch.schedulers.pbs.access_lists import Submitter
from aiperf_orch.schedulers.pbs.inventory import Complex
from aiperf_orch.schedulers.pbs.site_draft import choose_queue, draft
from aiperf_orch.settings.models import SiteSettings
from schedulers.pbs_inventory import make_complex, node_text, queue_text

ME = Submitter("me", "staff", frozenset({"staff", "ai"}), frozenset({"login1"}))


def drafted(found):
    """The scheduler and campaign settings of the draft, and its text."""
    text = draft(found, "site.yaml", ME)
    settings = SiteSettings.model_validate(yaml.safe_load(text))
    return settings.scheduler, settings.campaign, text


@pytest.mark.unit
@pytest.mark.parametrize(
    ("worse", "better"),
    [
        ({"enabled": "False"}, {}),
        ({"started": "False"}, {}),
        ({"from_route_only": "True"}, {}),
        ({"acl_user_enable": "True", "acl_users": "you"}, {}),
        ({"resources_max__walltime": "00:29:59"}, {"resources_max__walltime": "00:30:00"}),
        ({"default_chunk__Qlist": "cpu"}, {"default_chunk__Qlist": "gpu"}),
        ({"default_chunk__Qlist": "none"}, {"default_chunk__Qlist": "cpu"}),
    ],
)
def test_the_better_queue_is_chosen(worse, better):
    nodes = node_text("c1", resources_available__Qlist="cpu")
    nodes += node_text("g1", resources_available__Qlist="gpu", resources_available__ngpus=4)
    bad, good = queue_text("bad", **worse), queue_text("good", **better)
    assert choose_queue(make_complex(bad + good, nodes), ME).name == "good"
    assert choose_queue(make_complex(good + bad, nodes), ME).name == "good"


@pytest.mark.unit
def test_the_default_queue_is_chosen_among_equal_ones():
    queues = queue_text("a") + queue_text("b") + queue_text("c")
    assert choose_queue(make_complex(queues, node_text("n1"), default_queue="b"), ME).name == "b"
    assert choose_queue(make_complex("", node_text("n1")), ME) is None


def test_one_gpu_and_its_share_of_the_node_in_the_queue_with_gpus():
    queues = queue_text("cpu", default_chunk__Qlist="cpu")
    queues += queue_text("gpu", resources_max__walltime="02:00:00", default_chunk__Qlist="gpu")
    nodes = "".join(node_text(f"c{number}", resources_available__Qlist="cpu") for number in range(5))
    gpus = {"resources_available__ngpus": 8, "resources_available__Qlist": "gpu,test"}
    nodes += "".join(node_text(f"g{number}", ncpus=64, mem="500gb", **gpus) for number in range(2))
    scheduler, campaign, text = drafted(make_complex(queues, nodes, default_queue="cpu"))
    assert (scheduler.queue, scheduler.gpus, scheduler.cpus, scheduler.memory) == ("gpu", 1, 8, "64000mb")
    assert (scheduler.time_limit, campaign.concurrency) == (7200.0, 16)
    assert "queue: gpu                      # 2 nodes with 64 cores, 500 GiB, 8 GPUs; jobs up to 2h" in text
    assert "# queue: cpu                    # 5 nodes with 8 cores, 100 GiB; jobs of any length; the default" in text


def test_whole_nodes_without_gpus_in_a_routing_queue():
    queues = queue_text("route", queue_type="Route", route_destinations="small,big")
    queues += queue_text("small", enabled="False")
    queues += queue_text("big", from_route_only="True", resources_max__walltime="24:00:00")
    nodes = node_text("n1") + node_text("n2", "down")
    scheduler, campaign, text = drafted(make_complex(queues, nodes, default_queue="route"))
    assert (scheduler.queue, scheduler.cpus, scheduler.place) == ("route", 8, "scatter:excl")
    assert campaign.concurrency == 1
    assert "routes jobs to small, big; the default" in text
    assert "disabled: accepts no jobs now" in text


@pytest.mark.parametrize("queues", ["", None])
def test_a_draft_without_nodes_is_a_valid_site_file(queues):
    found = make_complex(queues, "")
    scheduler, campaign, _ = drafted(found)
    assert campaign.concurrency == 1
    assert scheduler.kind == "pbs"
    without_nodes = Complex(found.server, found.queues, (), without_nodes="pbsnodes: not allowed")
    assert "fill in: pbsnodes: not allowed" in drafted(without_nodes)[2]


def test_the_limits_of_the_queue_are_drafted():
    queues = queue_text("vip", acl_group_enable="True", acl_groups="vips", resources_max__walltime="100:00:00")
    queues += queue_text("test", resources_max__walltime="00:10:00", priority="100")
    limits = {"max_run_res__ngpus": "[u:PBS_GENERIC=3]", "resources_min__walltime": "06:00:00"}
    queues += queue_text("all", resources_max__ncpus="7", resources_max__mem="20gb", **limits)
    nodes = node_text("g1", ncpus=64, mem="500gb", resources_available__ngpus=8)
    scheduler, campaign, text = drafted(make_complex(queues, nodes, default_queue="test"))
    assert (scheduler.queue, scheduler.cpus, scheduler.time_limit, campaign.concurrency) == ("all", 7, 21600.0, 3)
    assert scheduler.memory == "20480mb"
    assert "max_run_res.ngpus = 3, and a job asks for 1" in text
    assert "jobs up to 4d04h; denies you access (acl_groups)" in text


@pytest.mark.parametrize("limit", ["00:00:01", "0", "9" * 18 + ":00:00", "9" * 400])
def test_absurd_amounts_are_drafted_as_the_nearest_valid_ones(limit):
    queues = queue_text("q", resources_max__walltime=limit, resources_min__walltime=limit, resources_max__mem="1b")
    nodes = node_text("n1", ncpus=10**9, mem="999999999tb", resources_available__ngpus=3)
    nodes += node_text("n2", ncpus="²", mem="9" * 5000, resources_available__ngpus="9" * 5000)
    scheduler, campaign, _ = drafted(make_complex(queues, nodes))
    assert 60 <= scheduler.time_limit <= 365 * 86400
    assert (scheduler.cpus, scheduler.memory, campaign.concurrency) == (100_000, "999999999mb", 3)


@given(st.text() | st.text("abn \n=.5:,[]kQueue_type", max_size=300))
@example("Queue: ")
@example("Queue: a b\n    enabled = True\n")
def test_no_output_of_pbs_raises_an_error(output):
    drafted(make_complex(output, output))
    drafted(make_complex("Queue: q\n" + output, "n1\n" + output))
