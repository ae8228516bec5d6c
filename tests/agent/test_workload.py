"""What orders mean for the attempts of an agent."""

from __future__ import annotations

from typing import Any

import pytest

from aiperf_orch.agent.slots import Slot
from aiperf_orch.agent.workload import Dropped, Signalled, Stage, StopLevel, Workload
from aiperf_orch.records.agents import Dismiss, Place, Stop
from aiperf_orch.util.units import now

pytestmark = pytest.mark.unit


def place(name: str, *, generation: int = 1, at_once: int = 100) -> Place:
    return Place(
        seq=0,
        generation=generation,
        time=now(),
        name=name,
        command=["true"],
        folder="/",
        agents=["n1.1"],
        hosts=["n1"],
        at_once=at_once,
    )


def stop(name: str, *, force: bool = False) -> Stop:
    return Stop(seq=0, generation=1, time=now(), name=name, force=force)


def dismiss(generation: int = 1) -> Dismiss:
    return Dismiss(seq=0, generation=generation, time=now(), reason="finished")


def workload(slots: int, *names: str, **fields: Any) -> Workload:
    """A workload with these attempts in its queue."""
    made = Workload([Slot(number, (number,)) for number in range(slots)])
    for name in names:
        assert made.obey(place(name, **fields)) == []
    return made


def start(made: Workload) -> list[str]:
    """Start what can start; returns the names."""
    started = made.startable()
    for attempt in started:
        attempt.stage, attempt.pid = Stage.RUNNING, 100 + len(attempt.name)
    return [attempt.name for attempt in started]


def test_attempts_start_first_come_first_served() -> None:
    made = workload(2, "aaa", "bbb", "ccc")
    assert start(made) == ["aaa", "bbb"]
    assert start(made) == []
    freed = made.attempts.pop("aaa")
    assert start(made) == ["ccc"]
    assert made.attempts["ccc"].slot == freed.slot


def test_the_latest_order_limits_how_many_run_at_once() -> None:
    made = workload(3, "aaa", "bbb", "ccc", at_once=1)
    assert start(made) == ["aaa"]
    made.obey(place("ddd", at_once=2))
    assert start(made) == ["bbb"]


def test_orders_of_an_earlier_controller_are_ignored() -> None:
    made = workload(1, "aaa", generation=2)
    assert made.obey(place("bbb", generation=1)) == []
    assert made.obey(dismiss(generation=1)) == []
    assert list(made.attempts) == ["aaa"]
    assert not made.dismissed


def test_a_new_controller_confirms_a_waiting_attempt() -> None:
    made = workload(1, "aaa")
    first = made.startable()[0].order
    made.obey(place("aaa", generation=2))
    assert made.preparing(first) is None
    assert [attempt.order.generation for attempt in made.startable()] == [2]
    assert made.preparing(made.attempts["aaa"].order) is made.attempts["aaa"]


def test_a_confirmation_of_what_is_over_places_nothing() -> None:
    made = workload(1, "aaa")
    made.obey(place("bbb", generation=2).model_copy(update={"renews": True}))
    assert list(made.attempts) == ["aaa"]
    made.obey(place("aaa", generation=2).model_copy(update={"renews": True}))
    assert [attempt.order.generation for attempt in made.startable()] == [2]


def test_a_running_attempt_is_not_placed_twice() -> None:
    made = workload(2, "aaa")
    start(made)
    made.obey(place("aaa", generation=2))
    assert start(made) == []


def test_stop_drops_a_waiting_attempt_and_signals_a_running_one() -> None:
    made = workload(1, "aaa", "bbb")
    start(made)
    running = made.attempts["aaa"]
    assert made.obey(stop("bbb")) == [Dropped("bbb", "stopped before it started")]
    assert made.obey(stop("aaa")) == [Signalled(running, StopLevel.TERMINATE)]
    assert made.obey(stop("aaa", force=True)) == [Signalled(running, StopLevel.KILL)]
    assert made.obey(stop("aaa")) == [Signalled(running, StopLevel.TERMINATE)]
    assert running.stop is StopLevel.KILL
    assert made.obey(stop("ccc")) == []


def test_stop_of_an_attempt_that_is_being_started_waits_for_its_process() -> None:
    made = workload(1, "aaa")
    made.startable()[0].stage = Stage.STARTING
    assert made.obey(stop("aaa")) == []
    assert made.attempts["aaa"].stop is StopLevel.TERMINATE


def test_dismissal_drops_what_waits_and_keeps_what_runs() -> None:
    made = workload(1, "aaa", "bbb")
    start(made)
    assert made.obey(dismiss()) == [Dropped("bbb", "the agent was dismissed", agent_ends=True)]
    assert made.obey(place("ccc")) == [Dropped("ccc", "the agent was dismissed", agent_ends=True)]
    assert list(made.attempts) == ["aaa"]
    assert start(made) == []


def test_an_attempt_that_could_not_start_keeps_its_place() -> None:
    made = workload(1, "aaa", "bbb")
    attempt = made.startable()[0]
    assert made.put_back(attempt) == []
    assert start(made) == ["aaa"]


def test_an_attempt_that_was_stopped_meanwhile_is_not_started_again() -> None:
    made = workload(1, "aaa", "bbb")
    attempt = made.startable()[0]
    attempt.stage, attempt.stop = Stage.STARTING, StopLevel.TERMINATE
    assert made.put_back(attempt) == [Dropped("aaa", "stopped before it started")]


def test_the_end_of_the_agent_stops_everything() -> None:
    made = workload(1, "aaa", "bbb")
    start(made)
    running = made.attempts["aaa"]
    assert made.stop_all(StopLevel.KILL, "why") == [
        Dropped("bbb", "why", agent_ends=True),
        Signalled(running, StopLevel.KILL),
    ]
    assert running.note == "why"


def test_room_is_for_attempts_that_could_start_at_once() -> None:
    made = workload(2)
    assert made.has_room
    made.obey(place("aaa"))
    assert made.has_room
    made.obey(place("bbb"))
    assert not made.has_room  # what is queued takes the free slots
    start(made)
    assert not made.has_room
    made.attempts.pop("aaa")
    assert made.has_room
    made.obey(place("ccc", at_once=1))
    assert not made.has_room
    made.attempts.pop("bbb")
    assert not made.has_room  # the only one that may run waits
    made.attempts.pop("ccc")
    made.close("the end")
    assert not made.has_room
