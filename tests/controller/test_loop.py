"""The controller's loop: when it steps again, and when it ends."""

from types import SimpleNamespace

import pytest

from aiperf_orch.campaign.state import Phase
from aiperf_orch.controller import loop

pytestmark = pytest.mark.unit


class Controller:
    """A controller with these phases, one a step; waiting moves the clock, and a call may end at these times."""

    def __init__(self, clock, phases, *, busy=(), pause=1.0, calls_end=()):
        self.clock, self.phases, self.pause, self.calls_end = clock, list(phases), pause, list(calls_end)
        self.busy_steps, self.steps = busy, []
        self.settings = SimpleNamespace(scheduler=SimpleNamespace(poll_interval=5.0))

    def step(self, *, stop):
        self.steps.append((self.clock.time, stop))
        return self.phases[min(len(self.steps), len(self.phases)) - 1]

    @property
    def busy(self):
        return len(self.steps) in self.busy_steps

    @property
    def seconds_to_next_step(self):
        return self.pause

    def wait(self, seconds):
        assert seconds == 0.1  # the user's wish is checked so often
        self.clock.time = round(self.clock.time + seconds, 3)
        if self.calls_end and self.clock.time >= self.calls_end[0]:
            self.calls_end.pop(0)
            return True
        return False


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(time=0.0)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: clock.time))
    return clock


def steps_of(controller, *, stop_at=None, leave_at=None):
    """The phase at the end, and times and `stop` of all steps; the user stops or leaves at these times."""
    clock, observed = controller.clock, []

    def wanted(time):
        return lambda: time is not None and clock.time >= time

    phase = loop.run(
        controller,
        observe=lambda: observed.append(clock.time),
        stop_wanted=wanted(stop_at),
        leave_wanted=wanted(leave_at),
    )
    assert observed == [time for time, _ in controller.steps]
    return phase, controller.steps


RUNNING, FINISHED, STOPPED = Phase.RUNNING, Phase.FINISHED, Phase.STOPPED


def test_steps_follow_until_the_campaign_is_over(clock):
    controller = Controller(clock, [RUNNING, RUNNING, FINISHED])
    assert steps_of(controller) == (FINISHED, [(0.0, False), (1.0, False), (2.0, False)])


def test_a_campaign_that_is_over_waits_for_its_jobs(clock):
    controller = Controller(clock, [Phase.PAUSED], busy=[1, 2])
    assert steps_of(controller) == (Phase.PAUSED, [(0.0, False), (1.0, False), (2.0, False)])


def test_a_running_campaign_without_jobs_goes_on(clock):
    controller = Controller(clock, [RUNNING, FINISHED], busy=[])
    assert len(steps_of(controller)[1]) == 2


def test_the_end_of_a_scheduler_call_makes_the_next_step_due(clock):
    controller = Controller(clock, [RUNNING, FINISHED], calls_end=[0.3])
    assert steps_of(controller)[1] == [(0.0, False), (0.3, False)]


def test_pending_work_is_done_at_once(clock):
    assert steps_of(Controller(clock, [RUNNING, FINISHED], pause=0.0))[1] == [(0.0, False), (0.0, False)]


def test_a_wish_to_stop_makes_the_next_step_due_once(clock):
    controller = Controller(clock, [RUNNING, RUNNING, STOPPED])
    assert steps_of(controller, stop_at=0.5) == (STOPPED, [(0.0, False), (0.5, True), (1.5, True)])


def test_a_wish_to_leave_ends_the_loop(clock):
    controller = Controller(clock, [RUNNING], busy=range(99))
    phase, steps = steps_of(controller, leave_at=0.5)
    assert (phase, steps[0], clock.time, len(steps)) == (RUNNING, (0.0, False), 0.5, 2)
