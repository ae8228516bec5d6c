"""Runs a campaign until a condition holds, disturbs it on the way, and checks its records."""

import gc
from pathlib import Path

from aiperf_orch.commands.package import package_campaign
from aiperf_orch.package.replay_request import ReplayRequest
from aiperf_orch.package.verify import verify
from aiperf_orch.results.result import compute_result


def check_verifies(path):
    """A campaign that is over, or stopped, packages and verifies without any fault, with its scheduler's accounting.

    The search proposes all of its trials again without a difference.
    """
    packed = path.with_name(f"{path.name}.tar.gz")
    output = package_campaign(path, packed, None, pseudonyms=False)
    gc.enable()  # a command that ends soon leaves it disabled
    found = verify(packed, replay=ReplayRequest())
    assert [f"{fault.id} {fault}" for fault in found.faults] == []
    assert [remark.id for remark in found.remarks] == ["replay.done"], found.remarks
    assert output.exit_status == 0, output.text


def trained(controller, trial, attempt=1, epochs=1, run=0):
    """A live attempt once it has completed this number of epochs in this run."""
    live = controller.live_attempts.get((trial, attempt))
    return live and len(live.runs) > run and len(live.runs[run].epochs) >= epochs and live


def ends_of(state, trial=0):
    return [end for end in state.ends if end.trial == trial]


def once(condition, action):
    """Acts the first time that the condition holds of the controller; an action that returns False is repeated."""
    done = []

    def act(controller):
        if not done and condition(controller) and action(controller) is not False:
            done.append(True)
        return False

    act.done, act.action = done, action
    return act


def run_until(campaign, condition, *actions, what=None):
    """Run until the condition holds, and take each action when it is due; `what` names the awaited event."""

    def step(controller):
        for action in actions:
            action(controller)
        return condition(controller)

    return campaign.run(until=step, what=what or _source_of(condition, actions))


def _source_of(condition, actions):
    """The source lines of a condition, and of the actions that have not been taken, as the name of an awaited event."""
    left = [action for action in actions if not getattr(action, "done", True)]
    return " ".join([_line(condition), *(f"(not taken: {_line(action.action)})" for action in left)])


def _line(function):
    """File, line and name of a function."""
    code = function.__code__
    return f"{code.co_name} of {Path(code.co_filename).name}:{code.co_firstlineno}"


def epoch_numbers(campaign, name):
    return [event["epoch"] for event in campaign.events()[name] if event["type"] == "epoch"]


def check_goes_on(campaign, first, second):
    """The events file `second` goes on where `first` ended, but for an epoch that was on its way."""
    done, again = epoch_numbers(campaign, first), epoch_numbers(campaign, second)
    assert again
    assert again == list(range(again[0], again[0] + len(again)))
    assert done[-1] <= again[0] <= done[-1] + 1
    counted = [(epoch.trial, epoch.epoch) for epoch in compute_result(campaign.directory).collected.epochs]
    assert len(counted) == len(set(counted))
    assert {epoch for trial, epoch in counted if trial == int(first[:5])} >= set(done)
