"""Table of the settings that may change after a campaign began."""

import pytest

from aiperf_orch.settings.allocations import AllocationSettings
from aiperf_orch.settings.changeable import CHANGEABLE, concerns_allocations, concerns_jobs, refusal_reason
from aiperf_orch.settings.models import SCHEDULERS, SiteSettings

pytestmark = pytest.mark.unit


def every_key():
    """Every dotted key that any site file can have."""
    sections = {name: [field.annotation] for name, field in SiteSettings.model_fields.items() if name != "scheduler"}
    sections["scheduler"] = list(SCHEDULERS.values())
    keys = {
        f"{section}.{key}" for section, models in sections.items() for model in models for key in model.model_fields
    }
    return keys | {f"scheduler.allocations.{key}" for key in AllocationSettings.model_fields}


def test_every_key_may_change_or_has_a_reason_why_not():
    assert all(key in CHANGEABLE or refusal_reason(key) for key in every_key())


def test_every_key_that_may_change_is_a_setting():
    assert set(CHANGEABLE) <= every_key()


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("campaign.seed", "seed"),
        ("data.name", "data"),
        ("data.path", "data"),
        ("network.max_layers", "networks"),
        ("search.beta", "search"),
        ("training.precision", "recipe"),
        ("training.epochs", "recipe"),
        ("scheduler.nodes", "accelerators"),
        ("scheduler.gpus_per_node", "accelerators"),
        ("scheduler.allocations.gpus_per_node", "accelerators"),
        ("scheduler.kind", "scheduler"),
        ("campaign.max_attempts", "failure policy"),
    ],
)
def test_what_would_change_the_benchmark_is_refused_with_its_reason(key, word):
    assert word in refusal_reason(key)


@pytest.mark.parametrize(
    ("key", "before", "after", "jobs", "allocations"),
    [
        ("scheduler.partition", "a", "b", True, True),
        ("scheduler.time_limit", "1h", "2h", True, True),
        ("scheduler.poll_interval", "1s", "2s", False, False),
        ("campaign.concurrency", 2, 4, False, False),
        ("campaign.concurrency", 4, 2, True, False),
        ("scheduler.lookahead", 2, 0, True, False),
        ("scheduler.allocations.at_once", 1, 2, False, False),
        ("scheduler.allocations.at_once", 2, 1, False, True),
        ("data.stage", None, "/tmp", False, False),
    ],
)
def test_which_waiting_jobs_are_submitted_again(key, before, after, jobs, allocations):
    assert concerns_jobs(key, before, after) is jobs
    assert concerns_allocations(key, before, after) is allocations
