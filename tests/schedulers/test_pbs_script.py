"""The PBS batch script: golden files of the site files in the package, and injection through settings."""

import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError

from aiperf_orch.schedulers.base import JobRequest
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.settings.loading import load_site
from aiperf_orch.settings.models import PbsSettings, SiteSettings

GOLDEN = Path(__file__).parent / "golden"
SITES = Path(__file__).parents[2] / "site_configs"


def rendered(settings, campaign="/scratch/me/campaign"):
    folder = Path(campaign) / "jobs" / "00042-1"
    request = JobRequest("qk3f9-00042-1", folder, folder, Path(campaign), ("python", "-m", "aiperf_orch.trial"))
    return make_scheduler(settings).render(request)


@pytest.mark.parametrize("site", ["pbs-gpu", "pbs-cpu"])
def test_script_of_a_packaged_site_file(site):
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


@pytest.fixture
def mpi_task(tmp_path):
    """Runs a task as an MPI starts it, on a host with the given name; returns its log and its exit status."""
    folder = tmp_path / "campaign" / "jobs" / "00042-1"
    folder.mkdir(mode=0o700, parents=True)
    folder.parents[1].chmod(0o700)
    python, uname = tmp_path / "python", tmp_path / "uname"
    python.write_text(
        "#!/bin/bash\necho $AIPERF_ORCH_JOB_ID $SUBMITIT_PBS_JOB_ID $SUBMITIT_PBS_RANK of $AIPERF_ORCH_HOSTS\n"
    )
    python.chmod(0o700)
    scheduler = {"kind": "pbs", "nodes": 2, "launcher": "mpiexec", "python": str(python)}
    script = rendered(SiteSettings.model_validate({"scheduler": scheduler}).scheduler, str(folder.parents[1]))

    def run(host, **environment):
        uname.write_text(f"#!/bin/bash\necho {host}\n")
        uname.chmod(0o700)
        command = ["bash", "-c", script, "script", "task", "mpi", "7.pbs.example.org", "n1.example.org,n2", "never"]
        done = subprocess.run(command, env={"PATH": f"{tmp_path}:/usr/bin:/bin", **environment}, check=False)
        return (folder / "log").read_text(), done.returncode

    return run


@pytest.mark.parametrize(
    "variable", ["PALS_RANKID", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK"]
)
def test_a_task_that_mpi_started_by_ssh_needs_no_variables_of_pbs(mpi_task, variable):
    assert mpi_task("n2.example.org", **{variable: "1"}) == ("7.pbs.example.org 7 1 of n1.example.org,n2\n", 0)


def test_a_task_without_a_rank_or_on_the_wrong_host_fails(mpi_task):
    log, status = mpi_task("n2")
    assert ("mpiexec set no rank variable" in log, status) == (True, 72)
    log, status = mpi_task("n1", PMI_RANK="1")
    assert ("mpiexec started task 1 on n1 instead of n2" in log, status) == (True, 72)
    assert mpi_task("a-name-that-pbs-does-not-use", PMI_RANK="1")[1] == 0
    assert mpi_task("n1", PMI_RANK="2")[1] == 0  # one task too many, which the trial rejects


@pytest.mark.parametrize(
    "field", ["queue", "account", "project", "memory", "chunk", "place", "mail_user", "mail_points", "modules"]
)
@pytest.mark.parametrize("value", ["a b", "x\n#PBS -q other", "x\n", "-a", "$(touch pwned)", "'x'", "x;y", "x`y`", ""])
def test_no_data_field_accepts_text_that_extends_a_directive(field, value):
    with pytest.raises(ValidationError):
        PbsSettings.model_validate({field: [value] if field == "modules" else value})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resources": ["nodes=2:ppn=4"], "memory": "4gb"}, "memory"),
        ({"launcher_options": ["-n 4"]}, "pbs_tmrsh takes none"),
        ({"comment": "for the committee"}, "comment"),
    ],
)
def test_a_setting_without_effect_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        PbsSettings.model_validate(settings)
