"""What a campaign takes of a cluster, as it is asked before anything is submitted."""

from __future__ import annotations

from typing import Any

import pytest

from aiperf_orch.commands.cost_estimate import describe, describe_allocations
from aiperf_orch.schedulers.node_sharing import NodeSharing
from aiperf_orch.schedulers.pbs import survey as pbs_survey
from aiperf_orch.schedulers.slurm import survey as slurm_survey
from aiperf_orch.settings.schedulers import PbsSettings, SlurmSettings


@pytest.mark.parametrize(
    ("trials", "room", "settings", "words"),
    [
        (
            16,
            NodeSharing(4, 4),
            {},
            "up to 4 nodes (16 trials of 1 node at once, 4 to a node; 1 more wait in the queue)",
        ),
        (
            17,
            NodeSharing(4, 4),
            {},
            "up to 4 nodes (17 trials of 1 node at once, 4 to a node; more than there is room for; 1 more",
        ),
        (16, NodeSharing(None, 1), {}, "up to 16 nodes (16 trials of 1 node at once; 1 more"),
        (5, NodeSharing(100, 4), {"lookahead": 0}, "up to 2 nodes (5 trials of 1 node at once, 4 to a node) for 12h"),
        (
            6,
            NodeSharing(100, 2),
            {"nodes": 3, "lookahead": 0},
            "up to 9 nodes (6 trials of 3 nodes at once, 2 to a node)",
        ),
    ],
)
def test_nodes_that_trials_share_are_counted_once(
    trials: int, room: NodeSharing, settings: dict[str, Any], words: str
) -> None:
    assert describe(SlurmSettings.model_validate(settings), trials, 12 * 3600.0, room).startswith(words)


def test_node_hours_are_of_these_nodes() -> None:
    text = describe(SlurmSettings.model_validate({}), 16, 12 * 3600.0, NodeSharing(4, 4))
    assert text.endswith("for 12h: at most 48.0 node-hours; one trial runs first")


@pytest.mark.slurm
@pytest.mark.parametrize(
    ("settings", "room"),
    [
        ({"cpus_per_task": 1, "memory": "200M"}, NodeSharing(4, 4)),
        ({"cpus_per_task": 2}, NodeSharing(4, 2)),
        ({"exclusive": True}, NodeSharing(4, 1)),
        ({"partition": "short", "gpus_per_node": 4}, NodeSharing(4, 1)),
        ({"cpus_per_task": 64}, NodeSharing(None, 1)),
    ],
)
def test_slurms_inventory_says_how_trials_share_nodes(slurm: Any, settings: dict[str, Any], room: NodeSharing) -> None:
    assert slurm_survey.node_sharing(SlurmSettings.model_validate(settings)) == room


@pytest.mark.pbs
def test_pbss_inventory_says_how_trials_share_hosts(pbs: Any) -> None:
    assert pbs_survey.node_sharing(PbsSettings.model_validate({"cpus": 2})) == NodeSharing(2, 4)
    assert pbs_survey.node_sharing(PbsSettings.model_validate({"cpus": 2, "place": "scatter:excl"})) == NodeSharing(
        2, 1
    )
    assert pbs_survey.node_sharing(PbsSettings.model_validate({"resources": ["nodes=1:ppn=2"]})) == NodeSharing(None, 1)


@pytest.mark.parametrize(
    ("trials", "settings", "words"),
    [
        (
            16,
            {"nodes": 2, "time_limit": "6h", "at_once": 2},
            "up to 4 nodes (2 allocations of 2 nodes at once; 16 trials of 1 node at once, 4 to a node) for 12h: "
            "at most 48.0 node-hours",
        ),
        (
            8,
            {"nodes": 4, "time_limit": "6h"},
            "up to 4 nodes (1 allocation of 4 nodes at once; 8 trials of 1 node at once, 4 to a node; "
            "room for 16: a higher concurrency would use all of it) for 12h: at most 48.0 node-hours",
        ),
        (
            17,
            {"nodes": 4, "time_limit": "6h", "total": 1},
            "up to 4 nodes (1 allocation of 4 nodes at once; 17 trials of 1 node at once, 4 to a node; room for 16) "
            "for 12h: at most 24.0 node-hours",
        ),
    ],
)
def test_the_cost_of_allocations_is_theirs(trials: int, settings: dict[str, Any], words: str) -> None:
    of_node = {"gpus_per_node": 4} | settings
    scheduler = SlurmSettings.model_validate({"gpus_per_node": 1, "allocations": of_node})
    assert scheduler.allocations is not None
    assert describe_allocations(scheduler, scheduler.allocations, trials, 12 * 3600.0) == words
