"""Runs a campaign until something holds, disturbs it on the way, and looks at what became of it."""

import gc

from aiperf_orch.commands.package import package_campaign
from aiperf_orch.package.verify import verify
from aiperf_orch.results.result import compute_result


def check_verifies(path):
    """A campaign that is over, or stopped, packages and verifies without any fault, with its scheduler's accounting."""
    packed = path.with_name(f"{path.name}.tar.gz")
    output = package_campaign(path, packed, None, pseudonyms=False)
    gc.enable()  # a command that ends soon leaves it disabled
    assert [f"{fault.id} {fault}" for fault in verify(packed).faults] == []
    assert output.exit_status == 0, output.text


def trained(controller, trial, attempt=1, epochs=1, run=0):
    """A live attempt when it has ended so many epochs in this run."""
    watched = controller.live_attempts.get((trial, attempt))
    return watched and len(watched.runs) > run and len(watched.runs[run].epochs) >= epochs and watched


def ends_of(state, trial=0):
    return [end for end in state.ends if end.trial == trial]


def once(condition, action):
    """Acts the first time that the condition holds of the controller. An action that says False came too late, and is tried again."""
    done = []

    def act(controller):
        if not done and condition(controller) and action(controller) is not False:
            done.append(True)
        return False

    act.done = done
    return act


def run_until(campaign, condition, *actions):
    """Run until the condition holds, and take each action when it is due."""

    def step(controller):
        for action in actions:
            action(controller)
        return condition(controller)

    return campaign.run(until=step)


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
