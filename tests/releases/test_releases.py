"""Files of earlier versions stay readable: packages verify, and every command reads campaign directories."""

import json
import tarfile
from functools import cache
from pathlib import Path

import pytest

import aiperf_orch
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.commands.report import write_report_again
from aiperf_orch.commands.score import score_campaign
from aiperf_orch.commands.status import show_status
from aiperf_orch.controller.locked_campaign import HeldCampaign
from aiperf_orch.package.packing import write_package
from aiperf_orch.package.verify import verify

HERE = Path(__file__).parent
CAMPAIGNS = {
    f"{file.parent.name}-{file.name.partition('.campaign')[0]}": file
    for file in sorted(HERE.glob("*/*.campaign.tar.gz"))
}
RULES = {"0.1.0": "aiperf-1.0"}  # release -> rules of its campaigns, by every version
PACKAGES = {name: file.with_name(file.name.replace(".campaign", "")) for name, file in CAMPAIGNS.items()}


@pytest.fixture
def unpack(tmp_path):
    def unpack(file):
        with tarfile.open(file) as archive:
            archive.extractall(tmp_path, filter="data")
        (tmp_path / "campaign").chmod(0o700)
        return tmp_path / "campaign"

    return unpack


@cache
def verified(name):
    return verify(PACKAGES[name])


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_a_package_of_an_earlier_version_verifies(name):
    found = verified(name)
    assert list(map(str, found.faults)) == []
    assert found.result_row["simulated"] == "yes"
    assert found.result_row["rules"] == RULES[name.partition("-")[0]]


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_a_campaign_directory_of_an_earlier_version_can_be_read(name, unpack, tmp_path):
    path = unpack(CAMPAIGNS[name])
    shown = json.loads(show_status(path, "json").text)
    assert shown["state"] == "finished"
    assert all(row["state"] for row in shown["trials"])
    before = verified(name).result_row
    assert json.loads(score_campaign(path, "json").text)["operations"] == before["operations"]
    write_report_again(path, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size > 1000

    for pseudonyms in (False, True):
        packed = tmp_path / f"{pseudonyms}.tar.gz"
        result = write_package(CampaignDirectory.open(path), packed, with_pseudonyms=pseudonyms)
        found = verify(packed)
        assert list(map(str, found.faults)) == []
        assert found.result_row["score"] == result.score.score == before["score"]
        assert found.result_row["rules"] == before["rules"]


def test_a_campaign_of_an_earlier_version_keeps_the_formats_that_it_states(unpack, tmp_path):
    """A controller opens it again, and adds lines only: docs/development/formats.md."""
    path = unpack(CAMPAIGNS["0.1.0-local"])
    before = [(path / name).read_bytes() for name in ("campaign.yaml", "journal.jsonl")]
    HeldCampaign(CampaignDirectory.open(path), resume=True).close()
    settings, journal = [(path / name).read_bytes() for name in ("campaign.yaml", "journal.jsonl")]
    assert settings == before[0]
    assert journal.startswith(before[1])
    added = [json.loads(line) for line in journal[len(before[1]) :].splitlines()]
    assert [(line["type"], line.get("version")) for line in added] == [("opened", aiperf_orch.__version__)]
    write_package(CampaignDirectory.open(path), tmp_path / "packed.tar.gz", with_pseudonyms=True)
    found = verify(tmp_path / "packed.tar.gz")
    assert list(map(str, found.faults)) == []


def test_the_campaigns_have_every_scheduler_and_many_end_reasons():
    ends, kinds = set(), set()
    for file in CAMPAIGNS.values():
        with tarfile.open(file) as archive:
            journal = archive.extractfile("campaign/journal.jsonl").read().decode()
            settings = archive.extractfile("campaign/campaign.yaml").read().decode()
        entries = map(json.loads, journal.splitlines())
        ends |= {end["reason"] for entry in entries if entry["type"] == "ended" for end in entry["attempts"]}
        kinds |= {kind for kind in ("local", "slurm", "pbs") if f"kind: {kind}" in settings}
    assert kinds == {"local", "slurm", "pbs"}
    assert len(ends) >= 10
