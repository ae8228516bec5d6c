"""Makes the fixtures of a release: small campaigns of this version, on each scheduler, and their packages.

Made in a folder and on a host of neutral names: `README.md` says how, and what each of them holds.
"""

import gzip
import io
import os
import re
import shutil
import sys
import tarfile
from pathlib import Path

import pytest

import aiperf_orch
from aiperf_orch.campaign.snapshot import read_state
from aiperf_orch.campaign.state import Phase
from aiperf_orch.commands.package import package_campaign
from controller.conftest import LOCAL, PBS, SLURM, Campaign, PbsCampaign, SlurmCampaign, _settings
from controller.following import ends_of, once, run_until, trained
from controller.test_killed_controller import run_and_die

WORK = Path("/tmp/aiperf-releases")  # stands in the fixtures
HERE = Path(__file__).parent / aiperf_orch.__version__
PYTHON = WORK / "bin" / "python"
LONG = {"training__warmup_epochs": [30], "training__epochs": 30, "training__patience": 60, "training__max_patience": 60}


@pytest.fixture(autouse=True)
def python():
    """An interpreter of a neutral path."""
    shutil.rmtree(WORK, ignore_errors=True)
    PYTHON.parent.mkdir(parents=True)
    WORK.chmod(0o700)
    PYTHON.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    PYTHON.chmod(0o755)
    yield
    shutil.rmtree(WORK, ignore_errors=True)


def make(kind, name, scheduler, *cluster, **changes):
    system = {"system__name": "a test system", "system__submitter": "testers", "scheduler__python": str(PYTHON)}
    slow = {"training__simulated_epoch_seconds": 0.2}
    return kind(WORK / name, _settings(scheduler, **system | slow | changes), *cluster)


def keep(campaign, name, *, pseudonyms=False):
    """Package a campaign, and keep both."""
    HERE.mkdir(exist_ok=True)
    packed = HERE / f"{name}.tar.gz"
    assert not packed.exists(), f"{packed} is there already"
    text = package_campaign(campaign.directory.path, packed, None, pseudonyms=pseudonyms).text
    ends = read_state(campaign.directory).ends
    print(name, [(end.trial, end.attempt, end.reason.value) for end in ends], text)
    lock = campaign.directory.lock
    lock.write_text(re.sub(r'"boot":"[^"]*"', '"boot":"00000000-0000-0000-0000-000000000000"', lock.read_text()))
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.add(campaign.directory.path, "campaign", filter=_neutral)
    (HERE / f"{name}.campaign.tar.gz").write_bytes(gzip.compress(data.getvalue(), 9, mtime=0))


def _neutral(info):
    """Without owners and times, and of jobs only the scripts: logs and submitit's files tell of this machine."""
    path = Path(info.name)
    if len(path.parts) > 3 and path.name != "job.sh":
        return None
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info


def refuse_once(folder, program, monkeypatch):
    """A stand-in that refuses one submission for good, for the trial that a file names, and then passes all on."""
    folder.mkdir()
    real = shutil.which(program)
    refused = folder / "refused"
    said = "sbatch: error: Batch job submission failed: Requested node configuration is not available"
    if program == "qsub":
        said = "qsub: Unknown resource: nosuch"
    (folder / program).write_text(
        f'#!/bin/sh\nif [ -e {folder}/refuse ] && mkdir {refused} 2>/dev/null; then echo "{said}" >&2; '
        f'exit {187 if program == "qsub" else 1}; fi\nexec {real} "$@"\n'
    )
    (folder / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "refuse"


def test_local():
    spoilt = "case $PWD in *00004-1) sleep 1000 ;; *00005-1) exit 7 ;; esac"
    campaign = make(
        Campaign, "local", LOCAL, campaign__max_trials=7, campaign__concurrency=4, campaign__duration="40s",
        scheduler__begin_within="2s", training__min_delta=0.2, training__patience=2, training__max_patience=2,
        training__patience_per_round=0, training__warmup_epochs=[12], training__epochs=12,
        scheduler__setup=[spoilt], training__simulated_failure_rate=0.2,
    )  # fmt: skip
    campaign.run(until=lambda controller: controller.state.trials_ended >= 1)
    run_until(
        campaign,
        lambda controller: ends_of(controller.state, 2) and ends_of(controller.state, 4),
        once(lambda controller: trained(controller, 1, epochs=1), lambda _: campaign.kill_job(1)),
        once(lambda controller: trained(controller, 2, epochs=1), lambda _: campaign.cancel_job(2)),
    )
    campaign.run(stop=lambda controller: True)
    campaign.run()
    keep(campaign, "local")


def test_local_deadline_and_killed_controller():
    campaign = make(
        Campaign, "killed", LOCAL, campaign__max_trials=None, campaign__concurrency=2, campaign__duration="12s", **LONG
    )
    assert not run_and_die(campaign, 7, True)
    assert not run_and_die(campaign, 3, False)
    phase, _ = campaign.run()
    assert phase is Phase.FINISHED
    keep(campaign, "killed", pseudonyms=True)


def test_slurm(slurm_accounting):
    campaign = make(SlurmCampaign, "slurm", SLURM, slurm_accounting, campaign__max_trials=4, campaign__concurrency=3)
    assert not run_and_die(campaign, 6, False)
    phase, _ = campaign.run()
    assert phase is Phase.FINISHED
    keep(campaign, "slurm")


def test_slurm_faults(slurm_accounting, monkeypatch):
    cluster = slurm_accounting
    refuse = refuse_once(WORK / "shim", "sbatch", monkeypatch)
    campaign = make(
        SlurmCampaign, "slurm-faults", SLURM, cluster, campaign__max_trials=6, campaign__concurrency=3,
        scheduler__partition="lowcancel", scheduler__exclusive=True, **LONG,
    )  # fmt: skip
    refuse.touch()
    phase, _ = campaign.run()
    assert phase is Phase.PAUSED

    def preempt(controller):
        (node,) = trained(controller, 1).begin.hosts
        cluster.submit("sleep 5", f"--nodelist={node}", "--exclusive")

    def down(controller):
        (node,) = trained(controller, 2).begin.hosts
        cluster.down(node)

    phase, _ = run_until(
        campaign,
        lambda _: False,
        once(lambda controller: trained(controller, 1, epochs=2), preempt),
        once(lambda controller: trained(controller, 2, epochs=2), down),
        once(lambda controller: trained(controller, 3, epochs=2), lambda _: campaign.cancel_job(3)),
    )
    assert phase is Phase.FINISHED
    keep(campaign, "slurm-faults")


def test_slurm_requeued(slurm_accounting):
    cluster = slurm_accounting
    campaign = make(
        SlurmCampaign, "slurm-requeued", SLURM, cluster, campaign__max_trials=2, campaign__concurrency=2,
        scheduler__partition="low", scheduler__requeue=True, scheduler__exclusive=True, **LONG,
    )  # fmt: skip

    def disturb(controller):
        (node,) = trained(controller, 0).begin.hosts
        cluster.submit("sleep 5", f"--nodelist={node}", "--exclusive")

    phase, _ = run_until(
        campaign,
        lambda _: False,
        once(lambda controller: trained(controller, 0, epochs=2), disturb),
        once(
            lambda controller: trained(controller, 1, epochs=2),
            lambda _: cluster.run("scontrol", "requeue", campaign.job(1)),
        ),
    )
    assert phase is Phase.FINISHED
    keep(campaign, "slurm-requeued")


def test_pbs(pbs, monkeypatch):
    refuse = refuse_once(WORK / "shim", "qsub", monkeypatch)
    campaign = make(
        PbsCampaign, "pbs", PBS, pbs, campaign__max_trials=8, campaign__concurrency=4, **LONG,
    )  # fmt: skip
    pbs.configure(kill_delay=1)

    def disturb(_controller):
        campaign.cancel_job(1)
        pbs.preempt(campaign.job(2))
        pbs.crash_mom(campaign.job(3))

    phase, _ = run_until(
        campaign,
        lambda _: False,
        once(lambda controller: all(trained(controller, trial) for trial in (1, 2, 3)), disturb),
        once(lambda controller: trained(controller, 4), lambda _: refuse.touch()),
    )
    assert phase is Phase.PAUSED
    phase, _ = campaign.run()
    assert phase is Phase.FINISHED
    keep(campaign, "pbs")


def test_nothing_of_this_machine_stands_in_them():
    for file in sorted(HERE.glob("*.tar.gz")):
        with tarfile.open(file) as archive:
            text = b"\n".join(archive.extractfile(info).read() for info in archive if info.isfile()).decode()
        paths = set(re.findall(r"/(?:tmp|home|root|work|usr|opt|mnt)/[^\s\"':]+", text)) - {"/usr/bin/env"}
        assert all(path.startswith(str(WORK)) for path in paths), (file.name, paths)
        assert os.uname().nodename == "login1", "see the head of this file"
