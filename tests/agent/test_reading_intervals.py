"""How often agents open their files."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from aiperf_orch.agent.reading_intervals import reading_intervals
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.placement import PlacementSettings, placement_settings

pytestmark = pytest.mark.unit

_ALLOCATIONS: dict[str, Any] = {"nodes": 2, "time_limit": "12h"}


def _settings(**scheduler: Any) -> tuple[PlacementSettings, float]:
    """Placement and poll interval of a scheduler."""
    settings = SiteSettings.model_validate({"scheduler": scheduler})
    placement = placement_settings(settings.scheduler, concurrency=2)
    assert placement is not None
    return placement, settings.scheduler.poll_interval


@pytest.mark.parametrize(
    "scheduler", [{"kind": "agents"}, {"kind": "slurm", "allocations": _ALLOCATIONS}], ids=["by hand", "slurm"]
)
def test_a_full_agent_opens_at_most_a_file_in_five_seconds(scheduler: dict[str, Any]) -> None:
    found = reading_intervals(*_settings(**scheduler), has_room=False, is_idle=False)
    assert sum(1 / interval for interval in dataclasses.astuple(found)) <= 0.2
    assert found.orders <= 10


def test_a_free_slot_is_filled_within_a_second() -> None:
    found = reading_intervals(*_settings(kind="agents"), has_room=True, is_idle=False)
    assert found.orders == 1
    assert math.isinf(found.controller)


def test_an_idle_agent_sees_a_sign_of_its_controller_in_time() -> None:
    placement, poll_interval = _settings(kind="agents")
    found = reading_intervals(placement, poll_interval, has_room=True, is_idle=True)
    assert found.controller <= placement.wait_for_controller / 4


@pytest.mark.parametrize(
    ("poll_interval", "stop_grace", "seconds"),
    [
        pytest.param("5s", "1m", 10, id="as by default"),
        pytest.param("5s", "8s", 2, id="so that an attempt has time to end"),
        pytest.param("2s", "1m", 4, id="as the controller"),
        pytest.param("50ms", "1m", 0.1, id="as a fast controller"),
        pytest.param("5s", "100ms", 1, id="never more often than with a free slot"),
    ],
)
def test_an_order_to_end_an_attempt_is_obeyed_soon(poll_interval: str, stop_grace: str, seconds: float) -> None:
    settings = _settings(kind="agents", advanced={"poll_interval": poll_interval, "stop_grace": stop_grace})
    assert reading_intervals(*settings, has_room=False, is_idle=False).orders == pytest.approx(seconds)
