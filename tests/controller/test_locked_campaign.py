"""Opening of a campaign by a controller: what is recorded, what is refused, and what is released after a refusal."""

import errno
import os

import pytest

from aiperf_orch.campaign import durable_files
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.saved_state import read_short_state
from aiperf_orch.campaign.snapshot import read_snapshot
from aiperf_orch.campaign.state import Phase
from aiperf_orch.controller import locked_campaign
from aiperf_orch.controller.locked_campaign import HeldCampaign
from aiperf_orch.records.journal import Finished, Opened, Paused, Stopped
from aiperf_orch.settings.loading import load_site
from aiperf_orch.util.errors import LockedError, RecordError


def opened(directory, **options):
    """Open a campaign and close it; its state, and the types of the entries that this appended."""
    before = len(directory.journal.read_text().splitlines()) if directory.journal.exists() else 0
    held = HeldCampaign(directory, **{"resume": True} | options)
    held.close()
    return held.state, [entry.type for entry in held.entries[before:]]


def test_the_first_controller_of_a_campaign_creates_its_journal(tmp_path, write_site):
    loaded = load_site(write_site())
    directory = CampaignDirectory.create(tmp_path / "new", loaded.settings, loaded.origins)
    state, entries = opened(directory, resume=False)
    assert entries == ["created", "opened"]
    assert state.settings_sha256 == directory.settings_sha256
    assert opened(directory)[1] == ["opened"]


@pytest.mark.parametrize(
    ("entry", "resume", "entries", "phase"),
    [
        pytest.param(None, True, ["opened"], Phase.RUNNING, id="running"),
        pytest.param((Stopped, {}), True, ["opened", "resumed"], Phase.RUNNING, id="stopped, resumed"),
        pytest.param((Stopped, {}), False, ["opened"], Phase.STOPPED, id="stopped, only opened"),
        pytest.param((Paused, {"reason": "x"}), True, ["opened", "resumed"], Phase.RUNNING, id="paused, resumed"),
        pytest.param(
            (Finished, {"reason": "x", "by_deadline": False}), True, ["opened"], Phase.FINISHED, id="finished for good"
        ),
    ],
)
def test_resuming_continues_a_stopped_or_paused_campaign(campaign, entry, resume, entries, phase):
    made = campaign()
    if entry:
        made.write(entry[0], **entry[1])
    made.directory.request_stop()
    state, found = opened(made.directory, resume=resume)
    assert (found, state.phase) == (entries, phase)
    assert made.directory.stop_requested() is not resume


def test_an_appended_entry_is_applied_to_the_state(campaign):
    made = campaign()
    held = HeldCampaign(made.directory, resume=True)
    entry = held.append(Paused, reason="a reason")
    held.close()
    assert (entry.type, held.state.phase_reason, held.entries[-1]) == ("paused", "a reason", entry)


def test_a_campaign_has_one_controller(campaign):
    made = campaign()
    first = HeldCampaign(made.directory, resume=True)
    with pytest.raises(LockedError):
        HeldCampaign(made.directory, resume=True, take_over=True)
    first.close()
    assert opened(made.directory)[1] == ["opened"]


@pytest.mark.parametrize(
    ("host", "live", "refused"),
    [
        pytest.param("elsewhere", True, True, id="its local jobs run on another host"),
        pytest.param("elsewhere", False, False, id="no job runs"),
        pytest.param(None, True, False, id="its local jobs run here"),
    ],
)
def test_local_jobs_are_controlled_on_their_own_host(campaign, host, live, refused):
    made = campaign()
    held = HeldCampaign(made.directory, resume=True)
    here = held.state.opened.host
    held.close()
    made.write(Opened, host=host or here, pid=1)
    if live:
        made.submit()
    if refused:
        for _ in range(2):  # the first refusal released the lock
            with pytest.raises(LockedError, match="its trials run on elsewhere"):
                opened(made.directory)
    else:
        assert opened(made.directory)[1] == ["opened"]


def test_jobs_of_a_cluster_are_controlled_from_any_host(campaign):
    made = campaign(scheduler__kind="slurm", scheduler__time_limit="1h")
    made.write(Opened, host="elsewhere", pid=1)
    made.submit()
    assert opened(made.directory)[1] == ["opened"]


def test_changed_settings_are_refused(campaign):
    made = campaign()
    file = made.directory.config_file
    text = file.read_text()
    assert "max_trials: 2" in text
    file.chmod(0o600)
    file.write_text(text.replace("max_trials: 2", "max_trials: 3"))
    with pytest.raises(RecordError, match="was changed after the campaign was made"):
        opened(CampaignDirectory.open(made.path))


def test_a_journal_without_the_attempts_on_disk_is_refused(campaign):
    made = campaign()
    made.submit()
    made.events(made.begin())
    made.directory.journal.write_text(made.journal_lines()[0] + "\n")
    with pytest.raises(RecordError):
        opened(made.directory)


def test_the_state_of_a_snapshot_is_taken_over(campaign):
    made = campaign()
    made.submit()
    snapshot = read_snapshot(made.directory)
    made.submit(1)
    held = HeldCampaign(made.directory, resume=True, snapshot=snapshot)
    held.close()
    assert held.state is snapshot.state
    assert sorted(held.state.trials) == [0, 1]


def test_the_state_is_saved_at_the_end_and_every_minute(campaign, monkeypatch):
    made = campaign()
    held = HeldCampaign(made.directory, resume=True)
    assert not made.directory.saved_state.exists()
    monkeypatch.setattr(locked_campaign, "_SAVE_INTERVAL", 0.0)
    held.append(Stopped)
    assert made.directory.saved_state.exists()
    made.directory.saved_state.unlink()
    held.close()
    assert made.directory.saved_state.exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_state_that_cannot_be_saved_does_not_matter(campaign, monkeypatch, number):
    made = campaign()
    held = HeldCampaign(made.directory, resume=True)

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(durable_files, "_write_temporary", refuse)
    monkeypatch.setattr(locked_campaign, "_SAVE_INTERVAL", 0.0)
    held.append(Stopped)
    assert read_short_state(made.directory).phase is Phase.STOPPED
    held.close()
    assert not made.directory.saved_state.exists()
