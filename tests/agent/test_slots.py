"""Division of a node into slots."""

from __future__ import annotations

from typing import Any

import pytest

from aiperf_orch.agent.slots import divide
from aiperf_orch.settings.placement import PlacementSettings
from aiperf_orch.util.errors import UsageError

pytestmark = pytest.mark.unit


def placement(**changes: Any) -> PlacementSettings:
    fields: dict[str, Any] = {
        "nodes": 1,
        "cores": 1,
        "gpus": None,
        "workers": None,
        "slots": None,
        "share_cores": False,
        "lookahead": 1,
        "interface": None,
        "ports": (29400, 29499),
        "warn_before": 0.0,
        "stop_grace": 5.0,
        "wait_for_controller": 60.0,
        "lost_after": 60.0,
    }
    return PlacementSettings(**fields | changes)


@pytest.mark.parametrize(
    ("settings", "cores", "gpus", "asked", "slots"),
    [
        pytest.param({}, range(3), 0, None, [((0,), None), ((1,), None), ((2,), None)], id="as many as fit"),
        pytest.param({"cores": 2}, range(5), 0, None, [((0, 1), None), ((2, 3), None)], id="a core is left"),
        pytest.param({}, [4, 6, 9], 0, 2, [((4,), None), ((6,), None)], id="fewer than fit are asked"),
        pytest.param({"gpus": 2}, range(8), 4, None, [((0,), (0, 1)), ((1,), (2, 3))], id="GPUs limit"),
        pytest.param({"cores": None, "gpus": 1}, range(4), 2, None, [((0, 1), (0,)), ((2, 3), (1,))], id="shared out"),
        pytest.param({"cores": None}, range(4), 0, None, [((0, 1, 2, 3), None)], id="nothing is stated"),
        pytest.param({"cores": None, "slots": 2}, range(5), 0, None, [((0, 1), None), ((2, 3), None)], id="slots"),
        pytest.param({"cores": 2, "nodes": 3}, range(8), 0, None, [((0, 1), None)], id="several nodes"),
        pytest.param({"cores": None, "nodes": 3}, range(3), 0, None, [((0, 1, 2), None)], id="several whole nodes"),
        pytest.param(
            {"slots": 3, "share_cores": True},
            range(2),
            0,
            None,
            [((0,), None), ((1,), None), ((0,), None)],
            id="shared",
        ),
        pytest.param(
            {"slots": 2, "share_cores": True, "cores": 2, "gpus": 1},
            range(3),
            1,
            None,
            [((0, 1), (0,)), ((0, 2), (0,))],
            id="shared GPUs",
        ),
    ],
)
def test_each_slot_gets_what_a_trial_wants(
    settings: dict[str, Any], cores: Any, gpus: int, asked: int | None, slots: list[Any]
) -> None:
    found = divide(list(cores), list(range(gpus)), placement(**settings), asked=asked)
    assert [(slot.cores, slot.gpus) for slot in found] == slots
    assert [slot.number for slot in found] == list(range(len(slots)))


@pytest.mark.parametrize(
    ("settings", "asked", "slots"),
    [({}, 5, 5), ({"slots": 4}, None, 4), ({"cores": 8}, None, 1), ({"cores": 8, "gpus": 8, "slots": 3}, None, 3)],
)
def test_simulated_slots_need_no_cores_of_their_own(settings: dict[str, Any], asked: int | None, slots: int) -> None:
    found = divide([0, 1], [], placement(**settings), asked=asked, simulated=True)
    assert len(found) == slots
    assert all(slot.cores for slot in found)


def test_simulated_slots_are_limited_like_the_concurrency() -> None:
    assert len(divide([0], [], placement(), asked=100_000, simulated=True)) == 100_000
    with pytest.raises(UsageError, match="100001 slots are more than a campaign can use: at most 100000"):
        divide([0], [], placement(), asked=100_001, simulated=True)


@pytest.mark.parametrize(
    ("settings", "asked", "message"),
    [
        ({"cores": 3}, None, "a trial wants 3 cores"),
        ({"cores": 3, "share_cores": True, "slots": 1}, None, "a trial wants 3 cores"),
        ({"gpus": 2}, None, "a trial wants 2 GPUs"),
        ({}, 3, "3 slots do not fit: 2 cores and 1 accelerators"),
        ({"slots": 3}, None, "3 slots do not fit"),
        ({"nodes": 2}, 2, "takes whole nodes"),
    ],
)
def test_too_few_resources_are_refused(settings: dict[str, Any], asked: int | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        divide([0, 1], [0], placement(**settings), asked=asked)


def test_a_node_without_free_cores_is_refused() -> None:
    with pytest.raises(UsageError, match="0 are available"):
        divide([], [], placement())
