"""The PBS batch script: golden files of the sites that ship, and what a data field may not do."""

import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from aiperf_orch.config import PbsSettings, SiteSettings
from aiperf_orch.config_loading import load_site
from aiperf_orch.schedulers.base import JobRequest
from aiperf_orch.schedulers.choosing import make_scheduler

GOLDEN = Path(__file__).parent / "golden"
SITES = Path(__file__).parents[2] / "site_configs"


def rendered(settings, campaign="/scratch/me/campaign"):
    folder = Path(campaign) / "jobs" / "00042-1"
    request = JobRequest("qk3f9-00042-1", folder, folder, Path(campaign), ("python", "-m", "aiperf_orch.trial"))
    return make_scheduler(settings).render(request)


@pytest.mark.parametrize("site", ["pbs-gpu", "pbs-cpu"])
def test_a_site_that_ships_gets_the_golden_script(site):
    settings = load_site(SITES / f"{site}.yaml").settings.scheduler
    script = rendered(settings.model_copy(update={"python": "/opt/python/bin/python"}))
    assert script == (GOLDEN / f"{site}.sh").read_text()


@pytest.mark.parametrize("launcher", ["pbs_tmrsh", "pbsdsh", "mpiexec"])
@pytest.mark.parametrize("name", ["a b", "it's", 'double "quotes"', "$(touch pwned)", "; touch pwned #"])
def test_no_path_can_inject_a_command_or_a_directive(launcher, name):
    scheduler = {"kind": "pbs", "nodes": 2, "launcher": launcher, "python": f"/opt/{name}/python", "requeue": True}
    settings = SiteSettings.model_validate({"scheduler": scheduler}).scheduler
    plain = rendered(settings.model_copy(update={"python": "/opt/python"}))
    script = rendered(settings, campaign=f"/scratch/{name}")
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in script.split("\n") if line.startswith("#PBS")] == [
        line for line in plain.split("\n") if line.startswith("#PBS")
    ]


def test_a_task_that_an_mpi_started_by_ssh_needs_nothing_of_pbs(tmp_path):
    campaign = tmp_path / "campaign"
    folder = campaign / "jobs" / "00042-1"
    folder.mkdir(mode=0o700, parents=True)
    campaign.chmod(0o700)
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/bash\necho $AIPERF_ORCH_JOB_ID $SUBMITIT_PBS_JOB_ID $SUBMITIT_PBS_RANK of $AIPERF_ORCH_HOSTS\n"
    )
    python.chmod(0o700)
    scheduler = {"kind": "pbs", "nodes": 2, "launcher": "mpiexec", "python": str(python)}
    script = rendered(SiteSettings.model_validate({"scheduler": scheduler}).scheduler, campaign=str(campaign))
    task = ["bash", "-c", script, "script", "task", "mpi", "7.pbs.example.org", "n1,n2", "never"]
    subprocess.run(task, env={"PATH": "/usr/bin:/bin", "PMI_RANK": "1"}, check=True)
    assert (folder / "log").read_text() == "7.pbs.example.org 7 1 of n1,n2\n"


@pytest.mark.parametrize(
    "field", ["queue", "account", "project", "memory", "chunk", "place", "mail_user", "mail_points", "modules"]
)
@pytest.mark.parametrize("value", ["a b", "x\n#PBS -q other", "x\n", "-a", "$(touch pwned)", "'x'", "x;y", "x`y`", ""])
def test_no_data_field_takes_what_could_add_to_a_directive(field, value):
    with pytest.raises(ValidationError):
        PbsSettings.model_validate({field: [value] if field == "modules" else value})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"resources": ["nodes=2:ppn=4"], "memory": "4gb"}, "memory"),
        ({"launcher_options": ["-n 4"]}, "pbs_tmrsh takes none"),
        ({"comment": "for the committee"}, "comment"),
    ],
)
def test_a_setting_that_would_be_dropped_is_refused(settings, said):
    with pytest.raises(ValidationError, match=said):
        PbsSettings.model_validate(settings)
