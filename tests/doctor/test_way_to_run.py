"""`check` reports which of the two ways to run trials fits a site's limits, on those of large public systems."""

from __future__ import annotations

from typing import Any, Final

import pytest

from aiperf_orch.doctor import pbs_checks, pbs_job_classes, slurm_checks, slurm_job_classes
from aiperf_orch.doctor.findings import Finding, Level
from aiperf_orch.doctor.job_words import ALLOCATION
from aiperf_orch.doctor.way_to_run import Bound, JobClass, Trials, check_way, choose_plan
from aiperf_orch.schedulers.pbs.access_lists import Submitter
from aiperf_orch.schedulers.slurm.inventory import Cluster
from aiperf_orch.settings.allocation_job import allocation_job
from aiperf_orch.settings.schedulers import PbsSettings, SlurmSettings
from doctor.large_sites import AURORA, FRONTIER, FRONTIER_WITH_BINS, JADE, LUMI

pytestmark = pytest.mark.unit

ME: Final = Submitter("me", "staff", frozenset({"staff"}), frozenset({"login1"}))
HALF_DAY: Final = 12 * 3600.0
FRONTIER_NODE: Final = {"exclusive": True, "gpus_per_node": 8, "cpus_per_task": 56}
LUMI_NODE: Final = {"exclusive": True, "gpus_per_node": 8, "cpus_per_task": 56, "partition": "standard-g"}
JADE_GPU: Final = {"partition": "small", "gpus_per_node": 1, "cpus_per_task": 10}
AURORA_NODE: Final = {"queue": "prod", "project": "climate", "cpus": 208, "gpus": 6, "place": "scatter:excl"}


def printed(finding: Finding) -> str:
    """A finding as `check` prints it, in one line."""
    return f"{finding.level.value} {finding.message}" + (f" -> {finding.advice}" if finding.advice else "")


def on_slurm(cluster: Cluster, concurrency: int, duration: float = HALF_DAY, **settings: Any) -> list[str]:
    site = SlurmSettings.model_validate(settings)
    return list(map(printed, slurm_job_classes.check_way(site, concurrency, duration, cluster)))


def on_aurora(concurrency: int, duration: float = HALF_DAY, **settings: Any) -> list[str]:
    site = PbsSettings.model_validate(AURORA_NODE | settings)
    return list(map(printed, pbs_job_classes.check_way(site, concurrency, duration, AURORA, ME)))


@pytest.mark.parametrize(
    ("cluster", "settings", "concurrency", "duration", "line"),
    [
        pytest.param(
            FRONTIER,
            FRONTIER_NODE,
            512,
            11.5 * 3600,
            "warning at most 100 jobs of yours in the queue (MaxSubmitJobsPerUser=100 of QOS normal): 512 "
            "concurrent trials need allocations: one, of 512 nodes in partition batch -> "
            "set scheduler.allocations: {nodes: 512, time_limit: 12h}",
            id="frontier",
        ),
        pytest.param(
            FRONTIER,
            FRONTIER_NODE,
            512,
            HALF_DAY,
            "warning at most 100 jobs of yours in the queue (MaxSubmitJobsPerUser=100 of QOS normal): 512 "
            "concurrent trials need allocations: one, of 512 nodes in partition batch (campaign.duration: 11h30m "
            "leaves time for the start) -> set scheduler.allocations: {nodes: 512, time_limit: 12h}",
            id="frontier-12h",
        ),
        pytest.param(
            FRONTIER,
            FRONTIER_NODE,
            90,
            HALF_DAY,
            "ok not needed: a job for each trial fits: at most 100 jobs of yours at once "
            "(MaxSubmitJobsPerUser=100 of QOS normal)",
            id="frontier-90",
        ),
        pytest.param(
            FRONTIER_WITH_BINS,
            FRONTIER_NODE,
            512,
            11.5 * 3600,
            "warning at most 100 jobs of yours in the queue (MaxSubmitJobsPerUser=100 of QOS bin5): 512 "
            "concurrent trials need allocations: one, of 512 nodes in partition batch, QOS bin3 -> "
            "set scheduler.qos: bin3, scheduler.allocations: {nodes: 512, time_limit: 12h}",
            id="frontier-with-bins",
        ),
        pytest.param(
            LUMI,
            LUMI_NODE,
            512,
            HALF_DAY,
            "warning at most 200 jobs of yours at once (MaxJobsPerUser=200 of QOS standard-g): 512 concurrent trials "
            "need allocations: one, of 512 nodes in partition standard-g -> "
            "set scheduler.allocations: {nodes: 512, time_limit: 12h30m}",
            id="lumi",
        ),
        pytest.param(
            LUMI,
            LUMI_NODE | {"partition": "small-g"},
            512,
            HALF_DAY,
            "warning at most 200 jobs of yours at once (MaxJobsPerUser=200 of QOS small-g): 512 concurrent trials "
            "need allocations: one, of 512 nodes in partition standard-g -> "
            "set scheduler.partition: standard-g, scheduler.allocations: {nodes: 512, time_limit: 12h30m}",
            id="lumi-small",
        ),
        pytest.param(
            LUMI,
            LUMI_NODE,
            2048,
            HALF_DAY,
            "warning at most 200 jobs of yours at once (MaxJobsPerUser=200 of QOS standard-g): 2,048 "
            "concurrent trials need allocations: 2 at once, of 1,024 nodes in partition standard-g -> "
            "set scheduler.allocations: {nodes: 1024, time_limit: 12h30m, at_once: 2}",
            id="lumi-2048",
        ),
        pytest.param(
            LUMI,
            LUMI_NODE,
            200,
            HALF_DAY,
            "ok not needed: a job for each trial fits: at most 200 jobs of yours at once "
            "(MaxJobsPerUser=200 of QOS standard-g)",
            id="lumi-200",
        ),
        pytest.param(
            JADE,
            JADE_GPU,
            64,
            HALF_DAY,
            "warning at most 8 jobs of yours in the queue (MaxSubmitJobsPerUser=8 of QOS normal): 64 "
            "concurrent trials need allocations: 8 at once, of 1 node in partition small -> set scheduler.allocations: "
            "{nodes: 1, time_limit: 12h30m, at_once: 8, cpus_per_node: 80, gpus_per_node: 8}",
            id="jade",
        ),
        pytest.param(
            JADE,
            JADE_GPU,
            65,
            HALF_DAY,
            "warning at most 8 jobs of yours in the queue (MaxSubmitJobsPerUser=8 of QOS normal): 65 "
            "concurrent trials fit neither as jobs nor in allocations, by the limits of partition small -> "
            "set campaign.concurrency: 64 or less, or ask for higher limits",
            id="jade-65",
        ),
    ],
)
def test_slurm_sites_get_the_way_that_fits_with_its_reason(
    cluster: Cluster, settings: dict[str, Any], concurrency: int, duration: float, line: str
) -> None:
    assert on_slurm(cluster, concurrency, duration, **settings) == [line]


@pytest.mark.parametrize(
    ("concurrency", "duration", "line"),
    [
        (
            512,
            11.5 * 3600,
            "warning at most 10 jobs of yours at once (max_run = 10 of queue tiny): 512 concurrent trials need "
            "allocations: one, of 513 nodes in queue small, through prod -> "
            "set scheduler.allocations: {nodes: 513, time_limit: 12h}",
        ),
        (
            400,
            6 * 3600,
            "warning at most 10 jobs of yours at once (max_run = 10 of queue tiny): 400 concurrent trials need "
            "allocations: one, of 400 nodes in queue tiny, through prod (campaign.duration: 5h30m "
            "leaves time for the start) -> set scheduler.allocations: {nodes: 400, time_limit: 6h}",
        ),
        (10, HALF_DAY, "ok not needed: a job for each trial fits: at most 10 jobs of yours at once (max_run = 10 of "
         "queue tiny)"),
    ],
)  # fmt: skip
def test_a_routing_queue_of_pbs_gets_the_size_with_the_best_limit(concurrency: int, duration: float, line: str) -> None:
    assert on_aurora(concurrency, duration) == [line]


@pytest.mark.parametrize(
    ("concurrency", "allocations", "lines"),
    [
        (
            512,
            {"nodes": 512, "time_limit": "12h"},
            [
                "ok 1 allocation of 512 nodes, 12h, has 512 slots for 512 trials; without allocations: at most 100 "
                "jobs of yours in the queue (MaxSubmitJobsPerUser=100 of QOS normal)"
            ],
        ),
        (
            64,
            {"nodes": 64, "time_limit": "12h"},
            [
                "ok 1 allocation of 64 nodes, 12h, has 64 slots for 64 trials; a job for each trial would fit, "
                "too: remove scheduler.allocations for that"
            ],
        ),
        (
            512,
            {"nodes": 200, "time_limit": "12h", "at_once": 2},
            [
                "warning 2 allocations of 200 nodes, 12h, have 400 slots, and campaign.concurrency is 512: the other "
                "trials wait -> set campaign.concurrency: 400"
            ],
        ),
        (
            100,
            {"nodes": 184, "time_limit": "12h"},
            [
                "warning 1 allocation of 184 nodes, 12h, has 184 slots, and campaign.concurrency is 100: 84 nodes "
                "would stay idle -> set campaign.concurrency: 184, or lower scheduler.allocations.nodes"
            ],
        ),
        (
            184,
            {"nodes": 184, "time_limit": "3h", "total": 2},
            [
                "ok 1 allocation of 184 nodes, 3h, has 184 slots for 184 trials; without allocations: at most 100 "
                "jobs of yours in the queue (MaxSubmitJobsPerUser=100 of QOS normal)",
                "warning scheduler.allocations.total, 2, lasts for 6h, and campaign.duration is 12h -> "
                "raise it to 4, or shorten the campaign",
            ],
        ),
    ],
)
def test_allocations_of_a_site_file_are_compared_with_its_trials(
    concurrency: int, allocations: dict[str, Any], lines: list[str]
) -> None:
    assert on_slurm(FRONTIER, concurrency, **FRONTIER_NODE, allocations=allocations) == lines


def test_the_checks_of_slurm_compare_the_allocation_instead_of_a_trial() -> None:
    site = SlurmSettings.model_validate(LUMI_NODE | {"allocations": {"nodes": 1025, "time_limit": "3d"}})
    job = allocation_job(site)
    [partition] = slurm_checks.check_partitions(job, LUMI.partitions, ALLOCATION)
    assert printed(partition) == (
        "fault standard-g: its time limit is 2d, and scheduler.allocations.time_limit is 3d -> "
        "set scheduler.allocations.time_limit: 2d or less: trials continue in the next allocation"
    )
    shorter = job.model_copy(update={"time_limit": 3600.0})
    [partition] = slurm_checks.check_partitions(shorter, LUMI.partitions, ALLOCATION)
    assert printed(partition) == (
        "fault standard-g: allows 1024 nodes per job, and scheduler.allocations.nodes is 1025 -> "
        "set scheduler.allocations.nodes: 1024 or less"
    )
    groups = [group for group in LUMI.nodes if group.partition == "standard-g"]
    [nodes] = slurm_checks.check_nodes(job, 3, groups, ALLOCATION)
    assert printed(nodes) == (
        "warning 2800 of 2800 suitable nodes are in service: 2 concurrent allocations possible, and "
        "scheduler.allocations.at_once is 3 -> set scheduler.allocations.at_once: 2"
    )


def test_the_limits_of_slurm_count_allocations() -> None:
    site = SlurmSettings.model_validate(JADE_GPU | {"allocations": {"nodes": 1, "time_limit": "12h", "at_once": 9}})
    found = slurm_checks.check_account(allocation_job(site), 9, HALF_DAY, JADE, ALLOCATION)
    assert [printed(each) for each in found if each.level is not Level.OK] == [
        "warning MaxJobsPerUser=8 of QOS normal: allows 8 concurrent allocations, and scheduler.allocations.at_once is "
        "9: the other jobs stay pending -> set scheduler.allocations.at_once: 8",
        "warning MaxSubmitJobsPerUser=8 of QOS normal: allows 8 jobs in the queue, and the campaign has 9 allocations "
        "and 9 pending ones: the other jobs are submitted later -> lower scheduler.allocations.at_once",
    ]


@pytest.mark.parametrize(
    ("allocations", "lines"),
    [
        ({"nodes": 513, "time_limit": "12h"}, ["ok prod: enabled and started, time limit 12h"]),
        (
            {"nodes": 512, "time_limit": "12h"},
            [
                "fault tiny: its time limit is 6h, and scheduler.allocations.time_limit is 12h -> set "
                "scheduler.allocations.time_limit: 6h or less: trials continue in the next allocation",
                "fault small: requires at least 513 nodes, and an allocation requests 512 -> "
                "set scheduler.allocations.nodes: 513, or set another scheduler.queue",
                "fault medium: requires at least 1025 nodes, and an allocation requests 512 -> "
                "set scheduler.allocations.nodes: 1025, or set another scheduler.queue",
            ],
        ),
    ],
)
def test_the_queues_of_pbs_must_take_the_allocation(allocations: dict[str, Any], lines: list[str]) -> None:
    job = allocation_job(PbsSettings.model_validate(AURORA_NODE | {"allocations": allocations}))
    assert list(map(printed, pbs_checks.check_queue(job, AURORA, ME, ALLOCATION))) == lines


def test_the_plan_with_the_fewest_jobs_and_hardly_more_nodes_is_chosen() -> None:
    trials = Trials(concurrency=100, nodes=1, duration=HALF_DAY)
    short = JobClass("short", max_nodes=100, time_limit=3600.0)
    large = JobClass("large", min_nodes=101, time_limit=86400.0)
    huge = JobClass("huge", min_nodes=1000, time_limit=86400.0)
    few = JobClass("few", max_nodes=10, time_limit=86400.0, queued=Bound(9, "x"))
    for classes, name, at_once, nodes in (
        ([short, large, huge, few], "large", 1, 101),
        ([huge, short], "short", 1, 100),
        ([huge], "huge", 1, 1000),
    ):
        plan = choose_plan(trials, classes)
        assert plan is not None
        assert (plan.job_class.name, plan.at_once, plan.nodes) == (name, at_once, nodes)
    assert choose_plan(trials, [few]) is None


def test_trials_of_several_nodes_lie_within_one_allocation() -> None:
    plan = choose_plan(Trials(concurrency=5, nodes=3, duration=3600.0), [JobClass("x", max_nodes=8)])
    assert plan is not None
    assert (plan.at_once, plan.nodes) == (3, 6)
    assert choose_plan(Trials(concurrency=5, nodes=9, duration=3600.0), [JobClass("x", max_nodes=8)]) is None


def test_without_known_limits_each_trial_is_a_job() -> None:
    [finding] = check_way(SlurmSettings(), Trials(9999, 1, 3600.0), [JobClass("partition a")])
    assert finding.message == "not needed: a job for each trial fits: no limit on the number of your jobs was found"
    assert not list(check_way(SlurmSettings(), Trials(9999, 1, 3600.0), []))


def test_memory_of_an_allocation_is_that_of_its_slots() -> None:
    own = {"nodes": 2, "time_limit": "1h", "cpus_per_node": 64}
    slurm = SlurmSettings.model_validate({"cpus_per_task": 8, "memory": "60G", "allocations": own})
    assert allocation_job(slurm).memory == "480G"
    assert allocation_job(slurm.model_copy(update={"memory": "0"})).memory == "0"
    assert (allocation_job(slurm).cpus_per_task, allocation_job(slurm).nodes) == (64, 2)
    pbs = PbsSettings.model_validate({"cpus": 16, "gpus": 1, "memory": "60gb", "allocations": own})
    assert (allocation_job(pbs).memory, allocation_job(pbs).cpus, allocation_job(pbs).gpus) == ("240gb", 64, 4)
    assert allocation_job(SlurmSettings()) == SlurmSettings()
