"""A command that takes a campaign up parses each line of its journal once: that takes seconds for many trials."""

import pytest

from aiperf_orch.campaign import journal as journal_module
from aiperf_orch.campaign.snapshot import read_snapshot
from aiperf_orch.campaign.state import Phase
from aiperf_orch.commands import run as run_module
from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.foreground_controller import Outcome
from aiperf_orch.commands.tick import step_campaign
from aiperf_orch.controller.controller import Controller
from aiperf_orch.controller.locked_campaign import HeldCampaign
from aiperf_orch.records.journal import Finished, Opened, Stopped
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.settings.loading import load_site


@pytest.fixture
def parsed(monkeypatch):
    """The numbers of the journal lines that were parsed, in order."""
    numbers, read = [], journal_module._read

    def counted(path, known):
        before = len(known.entries)
        contents = read(path, known)
        numbers.extend(range(before, len(contents.entries)))
        return contents

    monkeypatch.setattr(journal_module, "_read", counted)
    return numbers


@pytest.fixture
def stopped(campaign):
    """A stopped campaign of three trials that are over."""
    made = campaign(campaign__max_trials=3, campaign__duration="5h")
    for trial in range(3):
        made.trial(trial, [(2 + trial, 0.5)])
    made.write(Stopped)
    return made


def test_resuming_by_run_parses_each_line_once(stopped, parsed, monkeypatch):
    lines = len(stopped.journal_lines())
    states = []

    def control(directory, *, take_over, resume=True, snapshot=None):
        controller = Controller(
            directory,
            make_scheduler(directory.settings.scheduler),
            resume=resume,
            take_over=take_over,
            warn=pytest.fail,
            snapshot=snapshot,
        )
        states.append((controller.state.phase, controller.state.trials_ended, controller.step()))
        controller.close()
        return Outcome(Phase.FINISHED, False, 0, 0)

    monkeypatch.setattr(run_module, "run_controller", control)
    monkeypatch.setattr(run_module, "_finish", lambda *_: CommandOutput())
    assert run_module.run_campaign(load_site(stopped.site), stopped.site, stopped.path).exit_status == 0
    assert states == [(Phase.RUNNING, 3, Phase.FINISHED)]
    assert parsed == list(range(lines))


def test_resuming_by_tick_parses_each_line_once(stopped, parsed):
    lines = len(stopped.journal_lines())
    step_campaign(stopped.path, take_over=False)
    assert parsed == list(range(lines))


def test_a_controller_reads_on_from_what_was_read_before(stopped, parsed):
    snapshot = read_snapshot(stopped.directory)
    stopped.write(Opened, host="n9", pid=3)  # another controller, in between
    stopped.write(Finished, reason="it is over", by_deadline=False)
    parsed.clear()
    held = HeldCampaign(stopped.directory, resume=True, snapshot=snapshot)
    held.close()
    lines = len(stopped.journal_lines()) - 1  # without its own
    assert parsed == [lines - 2, lines - 1]
    assert (held.state.phase, held.state.phase_reason) == (Phase.FINISHED, "it is over")
    assert [entry.seq for entry in held.entries] == list(range(lines + 1))
    assert read_snapshot(stopped.directory).state.trials_ended == 3


def test_a_journal_that_was_replaced_by_a_shorter_one_is_read_whole(stopped, parsed):
    stopped.write(Finished, reason="it is over", by_deadline=False)
    snapshot = read_snapshot(stopped.directory)
    lines = stopped.directory.journal.read_bytes().splitlines(keepends=True)
    stopped.directory.journal.write_bytes(b"".join(lines[:-1]))
    parsed.clear()
    held = HeldCampaign(stopped.directory, resume=False, snapshot=snapshot)
    held.close()
    assert parsed == list(range(len(lines) - 1))
    assert held.state.phase is Phase.STOPPED
    assert held.state.trials_ended == 3
