"""How many commands a campaign of running trials costs a Slurm controller, counted over ten minutes.

The commands are small scripts that write down each call; the clock is the test's own, and nothing sleeps.
"""

from __future__ import annotations

import pytest

from aiperf_orch.campaign.state import Phase
from aiperf_orch.controller import attempt_monitor, cancellation, job_triage, live_attempts, queue_poller, submitter
from aiperf_orch.controller.controller import Controller
from aiperf_orch.records.journal import (
    Began,
    BeganRecord,
    JobRecord,
    Submitted,
    Submitting,
)
from aiperf_orch.schedulers.registry import make_scheduler
from controller.builders import Clock

MANY, SOME = 1000, 50  # trials
MINUTE = 60
LONG = 10 * MINUTE
CONFIG = "AccountingStorageType   = accounting_storage/none\nMaxArraySize            = 1001\n"
COMMANDS = ("squeue", "sacct", "scontrol", "sbatch", "srun", "scancel")


class Slurm:
    """Programs that answer for a controller with `rows` in its queue, or for one that is down; each call is noted."""

    def __init__(self, folder):
        self.folder = folder
        self.calls = folder / "calls"
        self._down, self._rows = folder / "down", folder / "rows"
        (folder / "config").write_text(CONFIG)
        answers = {"squeue": f"cat {self._rows}", "scontrol": f"cat {folder / 'config'}"}
        for command in COMMANDS:
            program = folder / "bin" / command
            program.parent.mkdir(exist_ok=True)
            program.write_text(
                f'#!/bin/sh\necho "{command} $*" >> {self.calls}\n'
                f"if [ -e {self._down} ]; then\n"
                f'  echo "{command}: error: Unable to contact slurm controller (connect failure)" >&2; exit 1\n'
                f"fi\n{answers.get(command, ':')}\n"
            )
            program.chmod(0o700)

    def runs(self, names):
        """The queue, as `squeue --array --format=%i|%F|%K|%T|%M|%r|%N|%j` prints it."""
        rows = (f"{5000 + each}|{5000 + each}|N/A|RUNNING|1:30:00|None|n1|{name}\n" for each, name in enumerate(names))
        self._rows.write_text("".join(rows))

    def down(self, *, yes):
        self._down.touch() if yes else self._down.unlink()

    def called(self):
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def slurm_programs(tmp_path, monkeypatch):
    folder = tmp_path / "slurm"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder / "bin"), prepend=":")
    return Slurm(folder)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in (cancellation, queue_poller, submitter, job_triage, attempt_monitor, live_attempts):
        monkeypatch.setattr(module, "monotonic", clock)
    return clock


def _running(campaign, trials):
    """A campaign on Slurm with default poll intervals, of this number of trials that have begun."""
    made = campaign(
        scheduler__kind="slurm",
        scheduler__poll_interval="5s",
        campaign__max_trials=trials,
        campaign__concurrency=trials,
        campaign__duration="12h",
    )
    attempts = [made.attempt_record(trial) for trial in range(trials)]
    began = [
        BeganRecord(trial=trial, attempt=1, run=0, time=made.at(0), hosts=["n1"], job=str(5000 + trial))
        for trial in range(trials)
    ]
    made.write(Submitting, attempts=attempts)
    made.write(Submitted, jobs=[JobRecord(trial=trial, attempt=1, job=str(5000 + trial)) for trial in range(trials)])
    made.write(Began, attempts=began)
    for trial in range(trials):
        made.events(made.begin(0, trial, job=str(5000 + trial)), trial=trial)
    return made


class Watching:
    """A controller of the campaign, ticked by the clock; `asked` are the seconds at which a command was called."""

    def __init__(self, made, trials, slurm, clock):
        self.made, self.trials, self.slurm, self.clock = made, trials, slurm, clock
        settings = made.directory.settings.scheduler
        assert (settings.poll_interval, settings.query_interval, settings.silent_after) == (5, 30, 60)
        self.step = settings.poll_interval
        self.warnings = []
        slurm.runs([made.directory.attempt_name(trial, 1) for trial in range(trials)])
        self.controller = Controller(made.directory, make_scheduler(settings), resume=False, warn=self.warnings.append)
        self.seconds = 0
        self.asked = []

    def epoch(self, number, trials):
        """These trials end their epoch of this number."""
        for trial in trials:
            line = self.made.epoch(number, 50 * number, 0.5, trial).to_line()
            with self.made.directory.events(trial, 1, 0).open("a") as file:
                file.write(line + "\n")

    def tick(self):
        before = len(self.slurm.called())
        assert self.controller.tick() is Phase.RUNNING
        self.asked += [self.seconds] * (len(self.slurm.called()) - before)
        self.clock.time += self.step
        self.seconds += self.step

    def holds_all_for_running(self):
        """Whether nothing was concluded: neither in the journal, nor of the attempts in memory."""
        live = self.controller.state.live.values()
        return len(live) == self.trials and not any(attempt.is_uncertain for attempt in live)


@pytest.fixture
def watching(request, campaign, slurm_programs, clock):
    watching = Watching(_running(campaign, request.param), request.param, slurm_programs, clock)
    yield watching
    watching.controller.close()


@pytest.mark.parametrize("watching", [MANY], indirect=True)
def test_silent_trials_cost_at_most_two_commands_a_minute(watching):
    groups = int(MINUTE / watching.step)
    for group in range(groups):  # each falls silent at another tick, so that some trial is to be asked after at each
        watching.epoch(1, range(group, MANY, groups))
        watching.tick()
    journal = watching.made.journal_lines()
    while watching.seconds < LONG:
        watching.tick()
    busiest = max(sum(since <= time < since + MINUTE for time in watching.asked) for since in watching.asked)
    assert 1 <= busiest <= 2
    assert len(watching.asked) <= 2 * LONG / MINUTE
    assert {call.split()[0] for call in watching.slurm.called()} == {"squeue"}
    assert watching.seconds - max(watching.asked) <= MINUTE  # it goes on asking
    assert watching.holds_all_for_running()
    assert watching.made.journal_lines() == journal
    assert watching.warnings == []


@pytest.mark.parametrize("watching", [SOME], indirect=True)
def test_trials_that_write_events_cost_no_command(watching):
    number = 0
    while watching.seconds < LONG:
        if watching.seconds % 50 == 0:
            number += 1
            watching.epoch(number, range(SOME))
        watching.tick()
    assert watching.slurm.called() == []
    assert all(len(live.epochs) == number for live in watching.controller.live_attempts.values())
    assert watching.holds_all_for_running()
    assert watching.warnings == []


@pytest.mark.parametrize("watching", [SOME], indirect=True)
def test_a_slurm_that_does_not_answer_is_polled_less_and_less_often(watching):
    journal = watching.made.journal_lines()
    watching.slurm.down(yes=True)
    while watching.seconds < LONG:
        watching.tick()
    gaps = [after - before for before, after in zip(watching.asked, watching.asked[1:], strict=False)]
    assert len(gaps) >= 3
    assert gaps == sorted(set(gaps))  # each is longer than the one before it
    assert gaps[-1] >= 2 * MINUTE
    assert {call.split()[0] for call in watching.slurm.called()} == {"squeue"}
    assert len(watching.warnings) == len(watching.asked)
    assert all("Unable to contact slurm controller" in warning for warning in watching.warnings)
    assert watching.holds_all_for_running()
    assert watching.made.journal_lines()[: len(journal)] == journal

    watching.slurm.down(yes=False)
    warned, asked = len(watching.warnings), len(watching.asked)
    while len(watching.asked) == asked and watching.seconds < 2 * LONG:
        watching.tick()
    assert len(watching.asked) == asked + 1
    assert len(watching.warnings) == warned
    assert watching.holds_all_for_running()
