"""Changes of settings: names of keys, values, and what is refused."""

from pathlib import Path

import pytest

from aiperf_orch.settings.changes import apply_changes, parse_changes
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import UsageError

pytestmark = pytest.mark.unit

SLURM = SiteSettings.model_validate({"scheduler": {"kind": "slurm", "partition": "a"}})
ALLOCATIONS = SiteSettings.model_validate(
    {"scheduler": {"kind": "slurm", "allocations": {"nodes": 2, "time_limit": "1h"}}}
)
LOCAL = SiteSettings()


@pytest.mark.parametrize(
    ("settings", "given", "changes"),
    [
        (SLURM, "concurrency=8", {"campaign.concurrency": 8}),
        (SLURM, "campaign.concurrency=8", {"campaign.concurrency": 8}),
        (SLURM, "partition=b", {"scheduler.partition": "b"}),
        (SLURM, "partition=a", {}),
        (SLURM, "partition=null", {"scheduler.partition": None}),
        (SLURM, "advanced.lookahead=3", {"scheduler.lookahead": 3}),
        (SLURM, "scheduler.advanced.poll_interval=10s", {"scheduler.poll_interval": "10s"}),
        (SLURM, "poll_interval=10s", {"scheduler.poll_interval": "10s"}),
        (SLURM, "setup=[module load a, export B=c]", {"scheduler.setup": ["module load a", "export B=c"]}),
        (SLURM, "duration=2h", {"campaign.duration": "7200s"}),
        (SLURM, "account=007", {"scheduler.account": "007"}),
        (SLURM, "max_trials=5", {"campaign.max_trials": 5}),
        (SLURM, "stage=/local", {"data.stage": "/local"}),
        (ALLOCATIONS, "time_limit=2h", {"scheduler.time_limit": "7200s"}),
        (ALLOCATIONS, "allocations.time_limit=2h", {"scheduler.allocations.time_limit": "7200s"}),
        (ALLOCATIONS, "at_once=3", {"scheduler.allocations.at_once": 3}),
        (ALLOCATIONS, "scheduler.allocations.total=3", {"scheduler.allocations.total": 3}),
    ],
)
def test_a_key_may_be_given_by_its_last_parts(settings, given, changes):
    assert parse_changes(settings, [given], Path("campaign")) == changes


@pytest.mark.parametrize(
    ("settings", "given", "said"),
    [
        (SLURM, ["concurency=8"], "concurency: unknown key; did you mean concurrency?"),
        (SLURM, ["nonsense.words=8"], "these may change: campaign.concurrency, campaign.duration"),
        (SLURM, ["concurrency"], "expected KEY=VALUE"),
        (SLURM, ["concurrency=none at all"], "campaign.concurrency: must be a whole number"),
        (SLURM, ["concurrency=0"], "campaign.concurrency: must be greater than or equal to 1"),
        (SLURM, ["concurrency=8", "campaign.concurrency=9"], "campaign.concurrency is given twice"),
        (SLURM, ["duration=13h"], "campaign.duration: may only become shorter"),
        (SLURM, ["partition=b c"], "scheduler.partition: must be names"),
        (SLURM, ["warn_before=1m"], "scheduler.warn_before: may not change"),
        (SLURM, ["time_limit=1m"], "warn_before: must be shorter than time_limit"),
        (SLURM, ["precision=fp16"], "training.precision: may not change: it would change the benchmark"),
        (SLURM, ["seed=1"], "campaign.seed: may not change"),
        (SLURM, ["nodes=2"], "scheduler.nodes: may not change"),
        (SLURM, ["queue=b"], "is a setting of the scheduler pbs, and this campaign's is slurm"),
        (SLURM, ["at_once=2"], "this campaign has no allocations"),
        (SLURM, ["allocations=2"], "this campaign has no allocations"),
        (ALLOCATIONS, ["allocations=2"], "is a part with keys: give one of scheduler.allocations.nodes"),
        (ALLOCATIONS, ["cpus_per_node=2"], "may not change"),
        (LOCAL, ["partition=b"], "is a setting of the scheduler slurm"),
    ],
)
def test_a_wrong_key_or_value_is_refused(settings, given, said):
    with pytest.raises(UsageError) as refused:
        parse_changes(settings, given, Path("campaign"))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"campaign.seed": 1}, "may not change"),
        ({"scheduler.queue": "b"}, "this campaign has no such setting"),
        ({"campaign.concurrency": "b"}, "must be a whole number"),
        ({"campaign.duration": "13h"}, "may only become shorter"),
    ],
)
def test_a_change_that_no_command_makes_is_not_applied(changes, said):
    with pytest.raises(UsageError, match=said):
        apply_changes(SLURM, changes)


def test_changes_are_applied_to_the_settings_before_them():
    changed = apply_changes(SLURM, {"campaign.duration": "2h", "scheduler.partition": "b"})
    assert (changed.campaign.duration, changed.scheduler.partition) == (7200.0, "b")
    assert SLURM.scheduler.partition == "a"
