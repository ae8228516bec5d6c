"""Tests of the check of batch scripts: those that our schedulers render pass, however redaction changes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import aiperf_orch
from aiperf_orch.package.packing import write_package
from aiperf_orch.package.verify import Verification, verify
from aiperf_orch.records.journal import Opened, Submitted, Submitting
from aiperf_orch.schedulers.allocation_jobs import allocation_request, make_allocation_scheduler
from aiperf_orch.schedulers.base import JobRequest
from aiperf_orch.schedulers.batch_scripts import local_script, slurm_script
from aiperf_orch.schedulers.pbs.scheduler import PbsScheduler
from aiperf_orch.schedulers.script_rendering import scripts_sha256
from aiperf_orch.schedulers.slurm.scheduler import SlurmScheduler
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.schedulers import LocalSettings, PbsSettings, SlurmSettings
from package_fixtures import TamperedPackage
from placed_campaign import PlacedCampaignBuilder

_SETUP = ["umask 077", "export TOKEN=hunter2hunter2", "if true; then\n  module use /apps\n\n  fi\n", "ls", "  date  "]
_PRIVATE = {
    "setup": _SETUP, "python": "/opt/my python/bin/python3", "account": "proj42", "directives": ["--wckey=set -euo"],
    "container": "apptainer exec /images/'a b'.sif", "comment": "for the board", "mail_user": "alice@hpc.example.edu",
}  # fmt: skip
SCHEDULERS: dict[str, dict[str, Any]] = {
    "slurm": {"kind": "slurm"},
    "slurm, private": {
        "kind": "slurm", **_PRIVATE, "mail_type": "FAIL", "exclude": "n[7-8]", "reservation": "r1,r2", "nodes": 2,
        "launcher_options": ["--mpi=none", "-v"], "modules": ["cuda/12"], "gpus_per_node": 4, "cpus_per_task": 8,
        "partition": "n1", "memory": "64G", "exclusive": True, "interface": "ib0", "cluster": "jupiter",
    },
    "slurm, requeued": {"kind": "slurm", "requeue": True, "launcher": "none", "setup": ["export A=1"]},
    "pbs": {"kind": "pbs"},
    "pbs, private": {
        "kind": "pbs", **{key: value for key, value in _PRIVATE.items() if key not in ("comment", "directives")},
        "directives": ["-l software=x"], "nodes": 2, "launcher": "mpiexec", "launcher_options": ["--hosts=$hosts"],
        "project": "secret", "queue": "gpu@pbs1.example.org", "gpus": 4, "requeue": True,
    },
    "pbs, resources": {"kind": "pbs", "nodes": 3, "resources": ["nodes=3:ppn=4"], "launcher": "pbsdsh"},
    "local": {"kind": "local", "job_per_trial": True, "setup": _SETUP, "python": "/opt/python", "cores_per_trial": 2},
    "local, gpus": {"kind": "local", "job_per_trial": True, "gpus_per_trial": 2, "workers_per_node": 2},
}  # fmt: skip
ALLOCATIONS: dict[str, dict[str, Any]] = {
    "slurm": {**SCHEDULERS["slurm, private"], "allocations": {"nodes": 2, "time_limit": "12h"}},
    "pbs": {"kind": "pbs", "setup": _SETUP, "allocations": {"nodes": 2, "time_limit": "12h"}},
    "pbs, mpiexec": {"kind": "pbs", "launcher": "mpiexec", "allocations": {"nodes": 2, "time_limit": "12h"}},
    "local": {"kind": "local", "setup": _SETUP},
}


class _Campaign(PlacedCampaignBuilder):
    """A campaign whose scripts are rendered by its scheduler; its other records do not matter here."""

    def __init__(self, folder: Path, scheduler: dict[str, Any], *, templates: str | None = None) -> None:
        super().__init__(folder / "alice" / "campaign", SiteSettings.model_validate({"scheduler": scheduler}))
        self.open(templates or scripts_sha256())

    def open(self, templates: str, version: str = aiperf_orch.__version__) -> None:
        self.write(Opened, host="login1.example.org", pid=4, version=version, templates=templates)

    def request(self, trial: int, attempt: int = 1, name: str | None = None) -> JobRequest:
        folder = self.directory.job_folder(trial, attempt)
        return JobRequest(name or self.directory.attempt_name(trial, attempt), folder, folder, self.path, ("true",))

    def script(self, folder: str, text: str) -> None:
        (self.directory.jobs_folder / folder).mkdir(exist_ok=True)
        (self.directory.jobs_folder / folder / "job.sh").write_text(text)

    def add_job(self, trial: int = 0, **changes: Any) -> None:
        """A job of one attempt, which runs on a host."""
        self.submit(trial, job=f"12{trial}.pbs1.example.org")
        self.events(self.begin(2, trial, hosts=["n1.example.org"]), trial=trial)
        self.began(2, trial)
        self.script(
            f"{trial:05d}-1", _render(self.directory.settings.scheduler, replace(self.request(trial), **changes))
        )

    def array(self, trials: Sequence[int]) -> str:
        """An array of jobs, one for each trial; returns its name."""
        array = self.directory.array_name(trials[0])
        records = [
            self.attempt_record(trial).model_copy(update={"name": f"{array}[{number}]"})
            for number, trial in enumerate(trials)
        ]
        self.write(Submitting, attempts=records)
        self.write(Submitted, jobs=[])
        settings = self.directory.settings.scheduler
        assert isinstance(settings, SlurmSettings)
        requests = [self.request(record.trial, name=record.name) for record in records]
        self.script(array, slurm_script(settings, "slurm.sh.j2", requests))
        return array

    def allocation(self) -> None:
        settings = self.directory.settings
        name = self.allocate()
        scheduler = make_allocation_scheduler(settings.scheduler, settings.campaign.concurrency)
        assert scheduler is not None
        self.script(name, scheduler.render(allocation_request(self.directory, settings.scheduler, name)))
        self.join("n1.1", 2, allocation=name)

    def pack(self, file: Path, *, pseudonyms: bool = False) -> Path:
        write_package(self.directory, file, with_pseudonyms=pseudonyms)
        return file


def _render(settings: Any, request: JobRequest) -> str:
    match settings:
        case SlurmSettings():
            return SlurmScheduler(settings).render(request)
        case PbsSettings():
            return PbsScheduler(settings).render(request)
        case LocalSettings():
            gpus = ["GPU-1", "GPU-2"] if settings.gpus_per_trial else []
            return local_script(settings, "local.sh.j2", request, ["3", "17"], gpus)
    raise AssertionError


def _of_scripts(found: Verification) -> tuple[list[str], list[str]]:
    """Faults and remarks of scripts."""
    faults = [f"{fault.id} {fault}" for fault in found.faults if fault.id.startswith("script.")]
    return faults, [remark.id for remark in found.remarks if remark.id.startswith("script.")]


@pytest.mark.parametrize("pseudonyms", [False, True])
@pytest.mark.parametrize("kind", SCHEDULERS)
def test_a_rendered_script_passes(kind: str, pseudonyms: bool, tmp_path: Path) -> None:
    made = _Campaign(tmp_path, SCHEDULERS[kind])
    made.add_job()
    is_local = SCHEDULERS[kind]["kind"] == "local"
    changes = {} if is_local else {"time_limit": 1234.5, "after": "120.pbs1.example.org", "exclude": ("n3", "n4")}
    made.add_job(1, **changes)
    faults, remarks = _of_scripts(verify(made.pack(tmp_path / "p.tar.gz", pseudonyms=pseudonyms)))
    assert faults == []
    assert set(remarks) <= {"script.masked"}
    assert bool(remarks) == (SCHEDULERS[kind].get("setup") == _SETUP)  # it has a line of the template, `umask 077`


@pytest.mark.parametrize("pseudonyms", [False, True])
@pytest.mark.parametrize("kind", ["slurm", "slurm, private"])
def test_a_rendered_script_of_an_array_passes(kind: str, pseudonyms: bool, tmp_path: Path) -> None:
    made = _Campaign(tmp_path, SCHEDULERS[kind])
    made.array([0, 1, 2])
    assert _of_scripts(verify(made.pack(tmp_path / "p.tar.gz", pseudonyms=pseudonyms)))[0] == []


@pytest.mark.parametrize("pseudonyms", [False, True])
@pytest.mark.parametrize("kind", ALLOCATIONS)
def test_a_rendered_script_of_an_allocation_passes(kind: str, pseudonyms: bool, tmp_path: Path) -> None:
    made = _Campaign(tmp_path, ALLOCATIONS[kind])
    made.allocation()
    assert _of_scripts(verify(made.pack(tmp_path / "p.tar.gz", pseudonyms=pseudonyms)))[0] == []


def test_names_that_are_words_of_the_template_may_have_pseudonyms(tmp_path: Path) -> None:
    made = _Campaign(tmp_path, SCHEDULERS["slurm"])
    made.submit(0)
    made.events(made.begin(2, 0, hosts=["kill-on", "unbuffered", "folder"]))
    made.script("00000-1", SlurmScheduler(made.directory.settings.scheduler).render(made.request(0)))  # type: ignore[arg-type]
    faults, remarks = _of_scripts(verify(made.pack(tmp_path / "p.tar.gz", pseudonyms=True)))
    assert (faults, remarks) == ([], ["script.masked"])


def test_the_note_in_place_of_a_site_template_passes(tmp_path: Path) -> None:
    template = tmp_path / "own.sh.j2"
    template.write_text("#!/bin/bash\ntrue\n")
    made = _Campaign(tmp_path, {"kind": "slurm", "template": str(template)})
    made.add_job()
    path = made.pack(tmp_path / "p.tar.gz")
    assert _of_scripts(verify(path)) == ([], [])
    package = TamperedPackage(path)
    package.files["jobs/00000-1/job.sh"] = b"#!/bin/bash\ntrue\n"
    [fault] = _of_scripts(verify(package.write(tmp_path / "q.tar.gz")))[0]
    assert "this is not the note in its place" in fault


# manipulations


def _replace(was: str, now: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert was in text
        return text.replace(was, now, 1)

    return change


_HASH = "sha256:" + "0" * 64
MANIPULATIONS: dict[str, tuple[str, Callable[[str], str], str]] = {
    "a node of its own": (
        "slurm", _replace("#SBATCH --nodes=1", "#SBATCH --nodes=1\n#SBATCH --exclusive"), "has 4",
    ),
    "more nodes": ("slurm", _replace("--nodes=1\n", "--nodes=9\n"), "the template gives '#SBATCH --nodes=1'"),
    "another command": ("slurm", _replace("aiperf_orch.schedulers.job_process", "other"), "the template gives"),
    "another user's command": ("slurm", _replace("bash -c", "sudo bash -c"), "the template gives"),
    "no guard": ("slurm", _replace("exit 78", "exit 0"), "the template gives '    exit 78'"),
    "another job's name": ("slurm", _replace("00001-1\n", "00000-1\n"), "--job-name="),
    "another job's folder": ("slurm", _replace("/jobs/00001-1", "/jobs/00000-1"), "the template gives 'folder="),
    "a second dependency": (
        "slurm", _replace("#SBATCH --output", "#SBATCH --dependency=afterany:1\n" * 2 + "#SBATCH --output"), "has",
    ),
    "a time limit that is code": ("slurm", _replace("--time=0-04:00:00", "--time=$(true)"), "--time=$(true)"),
    "a dependency that is code": (
        "slurm", _replace("#SBATCH --output", "#SBATCH --dependency=afterany:$'x'\n#SBATCH --output"), "has",
    ),
    "setup that is shown": (
        "slurm, requeued", lambda text: text.replace(_setup_line(text), "export A=2"),
        "export A=2",
    ),
    "setup where there is none": (
        "slurm", _replace("\nexec srun", f"\n{_HASH}\nexec srun"), "lines, and that of the template",
    ),
    "nothing but hashes": ("slurm", lambda _: f"{_HASH}\n" * 3, "has 4 lines, and that of the template"),
    "an empty script": ("pbs", lambda _: "", "has 1 lines, and that of the template"),
    "another resource": ("pbs", _replace("ncpus=1", "ncpus=64"), "ncpus=1"),
    "another interpreter's option": ("pbs", _replace(" -P -u -m ", " -u -m "), "the template gives"),
    "other cores": ("local", _replace("taskset --cpu-list 3,17", "taskset --cpu-list 3,17 nice"), "taskset"),
    "another variable": ("local, gpus", _replace("AIPERF_ORCH_WORKERS=2", "AIPERF_ORCH_WORKERS=8"), "_WORKERS=2"),
}  # fmt: skip


def _setup_line(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("sha256:"))


@pytest.mark.parametrize("name", MANIPULATIONS)
def test_a_manipulation_of_a_script_is_found(name: str, tmp_path: Path) -> None:
    kind, change, message = MANIPULATIONS[name]
    made = _Campaign(tmp_path, SCHEDULERS[kind])
    made.add_job()
    made.add_job(1)
    package = TamperedPackage(made.pack(tmp_path / "p.tar.gz"))
    file = "jobs/00001-1/job.sh"
    package.files[file] = change(package.files[file].decode()).encode()
    [fault] = _of_scripts(verify(package.write(tmp_path / "q.tar.gz")))[0]
    assert fault.startswith(f"script.text {file}: ")
    assert message in fault


def test_an_element_that_the_journal_does_not_have_is_found(tmp_path: Path) -> None:
    made = _Campaign(tmp_path, SCHEDULERS["slurm"])
    array = made.array([0, 1])
    package = TamperedPackage(made.pack(tmp_path / "p.tar.gz"))
    file = f"jobs/{array}/job.sh"
    text = package.files[file].decode().replace("    [1]=", "    [7]=")
    package.files[file] = text.encode()
    [fault] = _of_scripts(verify(package.write(tmp_path / "q.tar.gz")))[0]
    assert f"element 7 of the array {array} is not in the journal" in fault


def test_an_element_twice_is_found(tmp_path: Path) -> None:
    made = _Campaign(tmp_path, SCHEDULERS["slurm"])
    array = made.array([0, 1])
    package = TamperedPackage(made.pack(tmp_path / "p.tar.gz"))
    file = f"jobs/{array}/job.sh"
    line = next(line for line in package.files[file].decode().splitlines(keepends=True) if "[1]=" in line)
    package.files[file] = package.files[file].replace(line.encode(), 2 * line.encode())
    [fault] = _of_scripts(verify(package.write(tmp_path / "q.tar.gz")))[0]
    assert "names 3 elements of its array, which has 2" in fault


@pytest.mark.parametrize(
    "text", ["x" * 9_000_000, "CUDA_VISIBLE_DEVICES=" * 500_000, "folder='" * 1_000_000, "'" * 9_000_000]
)
def test_a_long_line_is_refused_at_once(text: str, tmp_path: Path) -> None:
    """Each would take hours if the time grew with the square of its length."""
    made = _Campaign(tmp_path, SCHEDULERS["local, gpus"])
    made.add_job()
    package = TamperedPackage(made.pack(tmp_path / "p.tar.gz"))
    package.files["jobs/00000-1/job.sh"] += text.encode()
    assert len(_of_scripts(verify(package.write(tmp_path / "q.tar.gz")))[0]) == 1


def test_the_script_of_an_allocation_is_held(tmp_path: Path) -> None:
    made = _Campaign(tmp_path, ALLOCATIONS["slurm"])
    made.allocation()
    package = TamperedPackage(made.pack(tmp_path / "p.tar.gz"))
    [file] = [name for name in package.files if name.endswith("job.sh")]
    package.files[file] = package.files[file].replace(b"--nodes=2\n", b"--nodes=3\n")
    [fault] = _of_scripts(verify(package.write(tmp_path / "q.tar.gz")))[0]
    assert "the template gives '#SBATCH --nodes=2'" in fault


def test_a_script_of_no_job_is_found(tmp_path: Path) -> None:
    made = _Campaign(tmp_path, SCHEDULERS["slurm"])
    made.add_job()
    made.script("other", "#!/bin/bash\n")
    [fault] = _of_scripts(verify(made.pack(tmp_path / "p.tar.gz")))[0]
    assert fault == "script.unknown jobs/other/job.sh: is the script of no job in the journal"


def test_a_script_that_is_not_there_is_a_remark(tmp_path: Path) -> None:
    made = _Campaign(tmp_path, SCHEDULERS["slurm"])
    made.add_job()
    package = TamperedPackage(made.pack(tmp_path / "p.tar.gz"))
    del package.files["jobs/00000-1/job.sh"]
    assert _of_scripts(verify(package.write(tmp_path / "q.tar.gz"))) == ([], ["script.missing"])


def test_text_of_the_template_that_is_hidden_is_a_remark(tmp_path: Path) -> None:
    made = _Campaign(tmp_path, SCHEDULERS["slurm"])
    made.add_job()
    package = TamperedPackage(made.pack(tmp_path / "p.tar.gz"))
    file = "jobs/00000-1/job.sh"
    package.files[file] = package.files[file].replace(b"umask 077", _HASH.encode())
    assert _of_scripts(verify(package.write(tmp_path / "q.tar.gz"))) == ([], ["script.masked"])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"templates": "0" * 64}, None),
        ({"templates": scripts_sha256(), "version": "0.1.9"}, None),
        ({"templates": scripts_sha256()}, {"templates": "0" * 64}),
    ],
)
def test_scripts_of_other_templates_are_a_remark(
    first: dict[str, str], second: dict[str, str] | None, tmp_path: Path
) -> None:
    """Also where only a later controller had others, if it may have submitted the job."""
    made = _Campaign(tmp_path, SCHEDULERS["slurm"])
    made.open(**first)
    array = made.array([0, 1])
    if second:
        made.open(**second)
    made.script(array, "#!/bin/bash\n")
    assert _of_scripts(verify(made.pack(tmp_path / "p.tar.gz"))) == ([], ["script.unchecked"])


def test_a_later_controller_does_not_change_a_script_whose_job_has_begun(tmp_path: Path) -> None:
    made = _Campaign(tmp_path, SCHEDULERS["slurm"])
    made.add_job()
    made.open("0" * 64)
    made.script("00000-1", "#!/bin/bash\n")
    assert len(_of_scripts(verify(made.pack(tmp_path / "p.tar.gz")))[0]) == 1
