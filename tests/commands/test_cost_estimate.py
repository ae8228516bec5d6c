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


@pytest.mark.parametrize(
    ("allocations", "text"),
    [
        (
            {"nodes": 512, "time_limit": "12h"},
            "up to 512 nodes (1 allocation of 512 nodes at once, each up to 12h, with 512 slots for 500 trials) for "
            "12h: at most 6,144.0 node-hours, those of idle slots included",
        ),
        (
            {"nodes": 1, "time_limit": "2h", "at_once": 4, "total": 8},
            "up to 4 nodes (4 allocations of 1 node at once, each up to 2h, with 4 slots for 500 trials) for 4h: "
            "at most 16.0 node-hours, those of idle slots included",
        ),
    ],
)
def test_allocations_are_counted_whole(allocations: dict[str, Any], text: str) -> None:
    settings = SlurmSettings.model_validate({"allocations": allocations})
    assert settings.allocations is not None
    assert describe_allocations(settings, settings.allocations, 500, 12 * 3600.0) == text


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
