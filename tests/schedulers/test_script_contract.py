"""Contract of batch scripts: a site's own template and directives are checked before anything is submitted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.commands.render import check_scripts, script_violations
from aiperf_orch.settings.loading import LoadedSettings, load_site
from aiperf_orch.util.errors import UsageError

SLURM_NAME = "#SBATCH --job-name={{ name }}"
SLURM_REQUEUE = '--{{ "requeue" if site.requeue else "no-requeue" }}'
LOST = "neither found nor cancelled"
SITES = sorted((Path(__file__).parents[2] / "site_configs").glob("*.yaml"))
Load = Callable[..., LoadedSettings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Settings of a scheduler, `kind` and its keys, in the third line of a site file."""

    def load(kind: str, **scheduler: Any) -> LoadedSettings:
        way = {"job_per_trial": True} if kind == "local" else {}
        lines = [f"  {key}: {json.dumps(value)}" for key, value in {"kind": kind, **way, **scheduler}.items()]
        (tmp_path / "site.yaml").write_text("\n".join(["scheduler:", *lines]) + "\n")
        return load_site(tmp_path / "site.yaml")

    return load


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., str]:
    """A site's own template: ours with one text replaced by another."""

    def own(kind: str, old: str = "", new: str = "") -> str:
        text = (files("aiperf_orch.templates") / f"{kind}.sh.j2").read_text()
        assert old in text
        path = tmp_path / "own.sh.j2"
        path.write_text(text.replace(old, new))
        return str(path)

    return own


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.stem)
def test_our_templates_meet_the_contract(site: Path) -> None:
    assert script_violations(load_site(site)) == []


@pytest.mark.parametrize("kind", ["local", "slurm", "pbs"])
def test_a_copy_of_our_template_meets_the_contract(load: Load, own: Callable[..., str], kind: str) -> None:
    assert script_violations(load(kind, template=own(kind))) == []


@pytest.mark.parametrize(
    ("kind", "old", "new", "line", "message"),
    [
        ("slurm", "--job-name={{ name }}", "--job-name=mine", ":LINE: #SBATCH --job-name=mine", LOST),
        ("slurm", SLURM_NAME, "#SBATCH -J mine", ":LINE: #SBATCH -J mine", LOST),
        ("slurm", SLURM_NAME, "#SBATCH -Jmine", "#SBATCH -Jmine", LOST),
        ("slurm", "--job-name={{ name }}", "--job-name=x{{ name }}", "--job-name=xabcde-00000-1", "another name"),
        ("slurm", SLURM_NAME, "#", "", "no directive names the job"),
        ("slurm", SLURM_NAME, f"set -e\n{SLURM_NAME}", "", "no directive names the job"),
        ("slurm", "#SBATCH --nodes", "true\n#SBATCH --nodes", "#SBATCH --nodes=1", "after the first command"),
        ("slurm", "#SBATCH --array={{ elements | ranges }}", "#", "", "other elements of the array than 3"),
        ("slurm", "--output=log", "--output=slurm-%j.out", "--output=slurm-%j.out", "would go elsewhere"),
        ("slurm", "--output=log", "-o /dev/null", "", "would go elsewhere|no directive names the file"),
        ("slurm", SLURM_REQUEUE, "--requeue", "--requeue", "contradicts scheduler"),
        ("slurm", f"#SBATCH {SLURM_REQUEUE}", "#", "", "whether the scheduler may requeue"),
        ("slurm", '{% include "guard.sh.j2" %}', "", "", "that others can write"),
        ("slurm", "{{ command }}", "python -m mine", "", "does not run the trial's command"),
        ("slurm", 'ln -sf {{ pickle }} "${job}_submitted.pkl"', "", "", "the name that submitit expects"),
        ("slurm", "AIPERF_ORCH_JOB_ID=$job", "X=1", "", "does not export AIPERF_ORCH_JOB_ID"),
        ("slurm", "#!/usr/bin/env bash", "# mine", "", "no script without an interpreter"),
        ("pbs", "#PBS -N {{ name }}", "#PBS -N mine", ":LINE: #PBS -N mine", LOST),
        ("pbs", "#PBS -N {{ name }}", "#PBS -Nmine", "#PBS -Nmine", LOST),
        ("pbs", "#PBS -N {{ name }}", "#", "", "no directive names the job"),
        ("pbs", "#PBS -o {{ output }}", "#PBS -o /dev/null", "#PBS -o /dev/null", "would go elsewhere"),
        ("pbs", "#PBS -j oe", "#", "", "would not stand in its output"),
        ("pbs", '-r {{ "y" if job.requeue else "n" }}', "-r y", "#PBS -r y", "contradicts scheduler.requeue"),
        ("pbs", '{% include "guard.sh.j2" %}', "", "", "that others can write"),
        ("pbs", "{{ command }}", "python -m mine", "", "does not run the trial's command"),
        ("pbs", "exec >>{{ log | sh }} 2>&1", "", "", "does not write its output to the file log"),
        ("slurm", "#SBATCH --dependency=afterany:{{ after }}", "#", "", "more trials than campaign.concurrency"),
        ("pbs", "#PBS -W depend=afterany:{{ after }}", "#", "", "more trials than campaign.concurrency"),
        ("local", '{% include "guard.sh.j2" %}', "", "", "that others can write"),
        ("local", "{{ command }}", "python -m mine", "", "does not run the trial's command"),
    ],
)  # fmt: skip
def test_a_template_that_violates_it_is_refused_with_the_line(
    load: Load, own: Callable[..., str], kind: str, old: str, new: str, line: str, message: str
) -> None:
    template = own(kind, old, new)
    with pytest.raises(UsageError, match=message) as caught:
        check_scripts(load(kind, template=template), resumed=False)
    text = str(caught.value)
    assert template in text
    assert line in re.sub(r"\.j2:\d+: ", ".j2:LINE: ", text)
    assert check_scripts(load(kind, template=template), resumed=True)  # a started campaign continues with a warning


@pytest.mark.parametrize(
    ("kind", "directive", "message", "instead"),
    [
        ("slurm", "--job-name=mine", LOST, "leave it out"),
        ("slurm", "-J mine", LOST, "leave it out"),
        ("slurm", "--job-n=mine", LOST, "leave it out"),
        ("slurm", "--output=/tmp/%j", "would go elsewhere", "leave it out"),
        ("slurm", "--error=/tmp/%j", "first errors would go elsewhere", "leave it out"),
        ("slurm", "--open-mode=truncate", "would delete the output of the first", "leave it out"),
        ("slurm", "--array=0-9", "several jobs", "campaign.concurrency"),
        ("slurm", "-a 0-9", "several jobs", "campaign.concurrency"),
        ("slurm", "--hold", "until a user releases it", "start the campaign later"),
        ("slurm", "-H", "until a user releases it", "start the campaign later"),
        ("slurm", "--dependency=afterok:7", "wait for another job", "start the campaign when that job has ended"),
        ("slurm", "-d singleton", "wait for another job", "start the campaign when that job has ended"),
        ("slurm", "--begin=now+1hour", "wait for that time", "start the campaign then"),
        ("slurm", "--wait", "before the job has ended", "waits by itself"),
        ("slurm", "-W", "before the job has ended", "waits by itself"),
        ("slurm", "--test-only", "nothing would be submitted", "aiperf-orch check"),
        ("slurm", "--chdir=/scratch", "not found", "scheduler.setup: [cd /some/folder]"),
        ("slurm", "-D /scratch", "not found", "scheduler.setup: [cd /some/folder]"),
        ("slurm", "--requeue", "contradicts scheduler.requeue", "scheduler.requeue: true"),
        ("slurm", "--signal=USR1@5", "not be warned before its time limit as it expects", "scheduler.warn_before"),
        ("slurm", "--licenses=a --hold", "until a user releases it", "start the campaign later"),
        ("pbs", "-N mine", LOST, "leave it out"),
        ("pbs", "-o /tmp/x", "would go elsewhere", "leave it out"),
        ("pbs", "-e /tmp/x", "would go elsewhere", "leave it out"),
        ("pbs", "-J 0-9", "several jobs", "campaign.concurrency"),
        ("pbs", "-h", "until a user releases it", "start the campaign later"),
        ("pbs", "-a 2359", "wait for that time", "start the campaign then"),
        ("pbs", "-W depend=afterok:7", "wait for another job", "start the campaign when that job has ended"),
        ("pbs", "-W group_list=x,block=true", "before the job has ended", "waits by itself"),
        ("pbs", "-Wblock=true", "before the job has ended", "waits by itself"),
        ("pbs", "-W sandbox=PRIVATE", "would go elsewhere", "scheduler.setup: [cd /some/folder]"),
        ("pbs", "-z", "would not print the job's id", "leave it out"),
        ("pbs", "-I", "interactive", "leave it out"),
        ("pbs", "-r y", "contradicts scheduler.requeue", "scheduler.requeue: true"),
        ("pbs", "-k oe", "stay on its node", "-k oed"),
        ("pbs", "-R oe", "delete the job's output", "leave it out"),
        ("pbs", "-S /bin/csh", "another shell than bash", "leave it out"),
    ],
)
def test_a_directive_that_violates_it_is_refused_with_advice(
    load: Load, tmp_path: Path, kind: str, directive: str, message: str, instead: str
) -> None:
    with pytest.raises(UsageError) as caught:
        check_scripts(load(kind, directives=[directive]), resumed=False)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path}/site.yaml:3: scheduler.directives: {directive}: ")
    assert message in text
    assert instead in text


@pytest.mark.parametrize(
    ("kind", "directive", "instead"),
    [
        ("slurm", "--parsable", "leave it out"),
        ("slurm", "--export=NONE", "scheduler.setup: [export NAME=value]"),
        ("slurm", "--export=ALL,A=b", "scheduler.setup: [export NAME=value]"),
        ("slurm", "--time=1:00", "scheduler.time_limit"),
        ("slurm", "-p other", "scheduler.partition"),
        ("slurm", "--nodes=4", "scheduler.nodes"),
        ("pbs", "-V", "scheduler.setup: [export NAME=value]"),
        ("pbs", "-v A=b", "scheduler.setup: [export NAME=value]"),
        ("pbs", "-l walltime=1:00:00", "scheduler.time_limit"),
    ],
)
def test_a_directive_that_a_setting_replaces_is_warned_of(load: Load, kind: str, directive: str, instead: str) -> None:
    more = {"partition": "gpu"} if kind == "slurm" else {}
    [warning] = check_scripts(load(kind, directives=[directive], **more), resumed=False)
    assert directive in warning
    assert instead in warning


@pytest.mark.parametrize(
    ("kind", "line"), [("slurm", "#SBATCH --time={{ time_limit }}"), ("pbs", "#PBS -l walltime={{ walltime }}")]
)
def test_a_template_without_a_time_limit_is_warned_of(
    load: Load, own: Callable[..., str], kind: str, line: str
) -> None:
    [warning] = check_scripts(load(kind, template=own(kind, line, "#")), resumed=False)
    assert "no directive limits the time of a job" in warning


@pytest.mark.parametrize(
    ("kind", "directives"),
    [
        ("slurm", ["--gpu-bind=closest", "--licenses=scratch", "--wait-all-nodes=1", "--mem-bind local"]),
        ("slurm", ["--export=ALL"]),
        ("slurm", ["--no-requeue"]),
        ("pbs", ["-W group_list=hpc", "-l software=x", "-k oed", "-p 10", "-r n", "-m n", "-Wblock=false"]),
    ],
)  # fmt: skip
def test_other_directives_are_accepted(load: Load, kind: str, directives: list[str]) -> None:
    assert check_scripts(load(kind, directives=directives), resumed=False) == []


ALLOCATIONS = {"allocations": {"nodes": 2, "time_limit": "12h"}}


@pytest.mark.parametrize("kind", ["slurm", "pbs"])
def test_templates_of_allocations_meet_the_contract(load: Load, own: Callable[..., str], kind: str) -> None:
    assert script_violations(load(kind, **ALLOCATIONS)) == []
    assert script_violations(load(kind, **ALLOCATIONS, template=own(f"{kind}_allocation"))) == []
    assert script_violations(load("local", job_per_trial=False, template=own("local_allocation"))) == []


@pytest.mark.parametrize(
    ("kind", "directives", "old", "new", "message"),
    [
        ("slurm_allocation", ["--signal=USR1@60"], "", "", "would end the agents"),
        ("slurm_allocation", [], "AIPERF_ORCH_ENDS_AT=", "X=", "does not export AIPERF_ORCH_ENDS_AT to the agents"),
        ("slurm_allocation", [], "{{ command }}", "true", "does not run the agents' command"),
        ("slurm_allocation", ["--requeue"], "", "", "contradicts scheduler.requeue"),
        ("slurm", [], "", "", "does not export AIPERF_ORCH_ENDS_AT"),
        ("pbs", [], "", "", "does not export AIPERF_ORCH_ENDS_AT"),
        ("pbs_allocation", [], "{{ command }}", "true", "does not run the agents' command"),
    ],
)
def test_a_template_that_does_not_keep_agents_is_refused(
    load: Load, own: Callable[..., str], kind: str, directives: list[str], old: str, new: str, message: str
) -> None:
    scheduler = load(kind.partition("_")[0], **ALLOCATIONS, directives=directives, template=own(kind, old, new))
    with pytest.raises(UsageError, match=message):
        check_scripts(scheduler, resumed=False)


@pytest.mark.parametrize(
    ("kind", "old", "message"),
    [
        ("slurm", "#SBATCH --no-kill", "a lost node would end the whole allocation: write #SBATCH --no-kill"),
        ("slurm", "--kill-on-bad-exit=0", "an agent that fails may end all others"),
        ("pbs", "#PBS -W tolerate_node_failures=all", "a lost node would end the whole allocation"),
    ],
)
def test_an_allocation_that_a_lost_node_ends_is_warned_of(
    load: Load, own: Callable[..., str], kind: str, old: str, message: str
) -> None:
    template = own(f"{kind}_allocation", old, "")
    [warning] = check_scripts(load(kind, **ALLOCATIONS, template=template), resumed=False)
    assert message in warning
    one_node = {"allocations": {"nodes": 1, "time_limit": "12h"}}
    assert check_scripts(load(kind, **one_node, template=template), resumed=False) == []


def test_requeue_directives_must_agree_with_the_setting(load: Load, own: Callable[..., str]) -> None:
    assert check_scripts(load("slurm", requeue=True, directives=["--requeue"]), resumed=False) == []
    with pytest.raises(UsageError, match=r"set scheduler\.requeue: false"):
        check_scripts(load("slurm", requeue=True, directives=["--no-requeue"]), resumed=False)


@pytest.mark.parametrize("command", ["check", "render", "run"])
def test_every_command_reports_violations_before_submitting(
    aiperf: Any, tmp_path: Path, own: Callable[..., str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    template = own("local", "{{ command }}", "python -m mine")
    (tmp_path / "site.yaml").write_text(
        f"scheduler: {{kind: local, job_per_trial: true, template: {template}}}\ncampaign: {{concurrency: 1}}\n"
    )
    done = aiperf(command, "site.yaml")
    text = done.stdout + done.stderr
    assert done.returncode == (1 if command == "check" else 2)
    assert "own.sh.j2" in text
    assert "does not run the trial's command" in text
    assert not (tmp_path / "campaigns").exists()
    assert ("python -m mine" in done.stdout) == (command == "render")
