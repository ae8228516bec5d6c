"""Commitment to a campaign: the same for each of its packages, and another one for every other campaign."""

from pathlib import Path

import pytest

from aiperf_orch.campaign.commitment import commitment_of
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.journal import read_journal
from aiperf_orch.commands.commitment import announce_commitment
from aiperf_orch.commands.verify import verify_package
from aiperf_orch.package.packing import write_package
from aiperf_orch.package.verify import verify
from aiperf_orch.util.errors import UsageError

NAMES = {"kind": "slurm", "cluster": "jupiter", "partition": "n1", "account": "proj42", "setup": ["export A=secret123"]}
PACKAGES = Path(__file__).parents[1] / "releases"


def commitment(directory):
    return commitment_of(directory, read_journal(directory.journal)[0])


@pytest.mark.parametrize("pseudonyms", [False, True])
@pytest.mark.parametrize(
    "scheduler", [{"job_per_trial": True, "setup": ["export TOKEN=hunter2hunter2"]}, NAMES], ids=["local", "slurm"]
)
def test_each_package_of_a_campaign_keeps_its_commitment(scheduler, pseudonyms, make_true, tmp_path):
    directory = make_true(**_settings(scheduler)).directory
    announced = commitment(directory)
    packed = tmp_path / "packed.tar.gz"
    write_package(directory, packed, with_pseudonyms=pseudonyms)
    assert list(map(str, verify(packed, commitment=announced).faults)) == []
    found = verify(packed, commitment="0" * 64)
    assert [fault.id for fault in found.faults] == ["commitment"]
    assert announced in found.faults[0].message


def _settings(scheduler):
    return {f"scheduler__{key}": value for key, value in scheduler.items()}


def test_a_package_of_an_earlier_version_has_a_commitment():
    found = verify(PACKAGES / "0.1.0" / "killed.tar.gz", commitment="0" * 64)
    assert [fault.id for fault in found.faults] == ["commitment"]


@pytest.mark.parametrize(
    ("was", "now"),
    [("  seed: 0", "  seed: 1"), ("max_layers: 60", "max_layers: 61"), ("name: a test", "name: b test")],
)
def test_other_settings_have_another_commitment(was, now, true_campaign, tampered, tmp_path):
    announced = commitment(true_campaign)
    assert verify(tampered.write(tmp_path / "same.tar.gz"), commitment=announced).verified
    tampered.settings(was, now)
    found = verify(tampered.write(tmp_path / "other.tar.gz"), commitment=announced)
    assert "commitment" in {fault.id for fault in found.faults}


def test_another_begin_has_another_commitment(true_campaign, tampered, tmp_path):
    tampered.journal(lambda entries: entries[0].update(time="2026-01-02T03:04:05.678Z"))
    found = verify(tampered.write(tmp_path / "other.tar.gz"), commitment=commitment(true_campaign))
    assert "commitment" in {fault.id for fault in found.faults}


def test_the_commitment_is_logged_and_saved_once(make_true, caplog):
    caplog.set_level("INFO")
    directory = make_true(empty=True).directory
    announce_commitment(directory)
    assert directory.commitment.read_text() == commitment(directory) + "\n"
    assert commitment(directory) in caplog.text
    caplog.clear()
    announce_commitment(directory)
    assert not caplog.text
    announce_commitment(directory, again=True)
    assert commitment(directory) in caplog.text


def test_a_campaign_runs_without_a_saved_commitment(make_true, caplog):
    directory = make_true(empty=True).directory
    directory.commitment.mkdir()
    announce_commitment(directory, again=True)
    assert "the commitment to this campaign was not saved" in caplog.text


def test_a_campaign_without_a_journal_has_none(make_true, caplog):
    directory = make_true(empty=True).directory
    directory.journal.unlink()
    announce_commitment(CampaignDirectory.open(directory.path))
    assert not caplog.text
    assert not directory.commitment.exists()


def test_what_is_no_commitment_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--commitment: abc is no commitment"):
        verify_package(tmp_path / "package.tar.gz", None, "table", commitment="abc")
