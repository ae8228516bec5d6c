"""Slurm's batch scripts: golden files, and no data field of a site file can add a command to one."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from aiperf_orch.schedulers.base import JobRequest
from aiperf_orch.schedulers.slurm.scheduler import SlurmScheduler
from aiperf_orch.settings.loading import load_site
from aiperf_orch.settings.schedulers import SlurmSettings
from aiperf_orch.util.errors import UsageError

GOLDEN = Path(__file__).parent / "golden"
SITES = Path(__file__).parents[2] / "site_configs"
PYTHON = "/opt/python/bin/python"


def request(name: str, campaign: str = "/scratch/me/campaign", folder: str = "00042-1", **fields: Any) -> JobRequest:
    own = Path(campaign) / "jobs" / folder
    return JobRequest(name, own, own, Path(campaign), ("python", "-m", "aiperf_orch.trial"), **fields)


def script(fields: SlurmSettings, requests: Sequence[JobRequest] = (request("qk3f9-00042-1"),)) -> str:
    return SlurmScheduler(fields)._script(requests)


def site(name: str) -> SlurmSettings:
    scheduler = load_site(SITES / f"{name}.yaml").settings.scheduler
    assert isinstance(scheduler, SlurmSettings)
    return scheduler.model_copy(update={"python": PYTHON})


@pytest.mark.parametrize("name", ["slurm-cpu", "slurm-gpu", "slurm-gpu-qos"])
def test_the_script_of_each_site_file_matches_the_golden_file(name: str) -> None:
    assert script(site(name)) == (GOLDEN / f"{name}.sh").read_text()


def test_the_script_of_an_array_matches_the_golden_file() -> None:
    """With a shortened time limit, excluded nodes, and the settings that the site files do not use."""
    fields = {
        "python": PYTHON,
        "partition": "gpu",
        "reservation": "aiperf",
        "constraint": "[rack1|rack2]",
        "cluster": "big",
        "exclude": "n7",
        "nodes": 2,
        "gpus_per_node": 4,
        "gpu_type": "h100",
        "gpu_option": "gpus-per-node",
    }
    requests = [
        request(f"qk3f9-w00000[{index}]", folder=f"{index:05d}-1", time_limit=90.0, exclude=("n3", "n4"))
        for index in (0, 1, 2, 7)
    ]
    assert script(SlurmSettings.model_validate(fields), requests) == (GOLDEN / "slurm-array.sh").read_text()


WORD = st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.:@+/-]{0,20}\Z")
# fmt: off
ATTEMPTS = [
    "a\n#SBATCH --uid=0", "a\r\nreboot", "a #SBATCH --x", "$(reboot)", "`reboot`", "a;reboot", "-a", "--wrap=x", "a b",
    "a'b", 'a"b', "a\\", "a\u2028b", "a\x85b", "\ufeffa", "a\x00", "", " a", "a=b", "{{ 1 }}", "%j", "a;b # c", "a\n",
    "\n",
]
# fmt: on
HOSTILE = st.text(max_size=20) | st.sampled_from(ATTEMPTS)
TEXTS = ["partition", "account", "qos", "reservation", "constraint", "cluster", "exclude", "memory", "gpu_type"]
PRINTABLE = st.text(
    st.characters(exclude_categories=("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")), min_size=1, max_size=30
)


@st.composite
def hostile_fields(draw: st.DrawFn) -> dict[str, Any]:
    """Data fields of a site file, each plain or hostile."""
    fields: dict[str, Any] = {
        name: draw(WORD | HOSTILE) for name in draw(st.lists(st.sampled_from(TEXTS), unique=True)) if name != "memory"
    }
    fields |= {"memory": draw(st.sampled_from(["1G", "0", "64M"]) | HOSTILE)} if draw(st.booleans()) else {}
    if draw(st.booleans()):
        fields["comment"] = draw(PRINTABLE | HOSTILE)
    if draw(st.booleans()):
        fields |= {"mail_user": draw(WORD | HOSTILE), "mail_type": draw(WORD | HOSTILE)}
    if draw(st.booleans()):
        fields["modules"] = draw(st.lists(WORD | HOSTILE, max_size=3))
    fields["gpus_per_node"] = draw(st.integers(1, 8))
    fields["python"] = draw(PRINTABLE)
    return fields


def accepted(fields: dict[str, Any]) -> SlurmSettings:
    """The settings without the fields that are refused."""
    try:
        return SlurmSettings.model_validate(fields)
    except ValidationError as error:
        refused = {str(fault["loc"][0]) for fault in error.errors() if fault["loc"]}
        refused |= {"mail_user", "mail_type"}  # one without the other is refused, too
        return SlurmSettings.model_validate({key: value for key, value in fields.items() if key not in refused})


def plain(fields: SlurmSettings) -> SlurmSettings:
    """The same fields, each with a harmless value."""
    changes: dict[str, Any] = {name: "plain" for name in TEXTS if getattr(fields, name)}
    changes |= {name: "plain" for name in ("comment", "mail_user", "mail_type", "python") if getattr(fields, name)}
    changes["memory"] = "1G" if fields.memory else None
    return fields.model_copy(update=changes | {"modules": ["plain" for _ in fields.modules]})


@settings(max_examples=60, deadline=None)
@given(
    hostile_fields(), st.lists(PRINTABLE.filter(lambda text: "/" not in text and text != "."), min_size=1, max_size=3)
)
def test_no_data_field_adds_a_line_an_option_or_a_command(fields: dict[str, Any], paths: list[str]) -> None:
    checked, campaign = accepted(fields), "/" + "/".join(paths)
    written = script(checked, [request("qk3f9-00042-1", campaign)])
    expected = script(plain(checked), [request("qk3f9-00042-1")])
    lines, plain_lines = written.split("\n"), expected.split("\n")
    assert len(lines) == len(plain_lines)
    for line, plain_line in zip(lines, plain_lines, strict=True):
        if plain_line.startswith("#SBATCH"):
            # the same option, and one word as its value
            assert line.partition("=")[0] == plain_line.partition("=")[0]
            assert len(shlex.split(line)) == len(shlex.split(plain_line)), line
            assert not set(line) & set("`$\\'")
        elif plain_line.startswith(("campaign=", "folder=")):
            assert shlex.split(line) == [plain_line.replace("/scratch/me/campaign", campaign)]
        else:  # the next line continues one that ends with a backslash
            assert len(shlex.split(line.removesuffix("\\"))) == len(shlex.split(plain_line.removesuffix("\\"))), line
    done = subprocess.run(["bash", "-n"], input=written.encode(), capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_code_fields_are_copied_into_the_script_unchanged() -> None:
    fields = {
        "setup": ["export A='b c'", "cd /x && ls"],
        "directives": ["--licenses=a:1"],
        "container": "apptainer exec 'an image'",
        "launcher_options": ["--mpi=none", "--label"],
    }
    written = script(SlurmSettings.model_validate(fields)).splitlines()
    assert "export A='b c'" in written
    assert "cd /x && ls" in written
    assert "#SBATCH --licenses=a:1" in written
    assert any(" --mpi=none --label " in line for line in written)
    assert any(line.strip().startswith("apptainer exec 'an image' ") for line in written)


@pytest.mark.parametrize("field", ["directives", "launcher_options", "container"])
def test_a_code_field_is_one_line(field: str) -> None:
    value = "--a\n--b"
    with pytest.raises(ValidationError, match="must be one line"):
        SlurmSettings.model_validate({field: value if field == "container" else [value]})


def test_a_site_brings_its_own_template(tmp_path: Path) -> None:
    own = tmp_path / "own.sh.j2"
    own.write_text("#!/bin/sh\n#SBATCH --job-name={{ name }} --partition={{ site.partition }}\n{{ command }}\n")
    written = script(SlurmSettings.model_validate({"template": str(own), "partition": "gpu", "python": PYTHON}))
    assert written.splitlines()[:2] == ["#!/bin/sh", "#SBATCH --job-name=qk3f9-00042-1 --partition=gpu"]


@pytest.mark.parametrize("text", ["{{ site.partitoin }}", "{{ walltime }}", "{{ site.nodes.count }}"])
def test_a_template_that_uses_an_undefined_name_is_refused(tmp_path: Path, text: str) -> None:
    own = tmp_path / "own.sh.j2"
    own.write_text(text)
    with pytest.raises(UsageError, match=r"own\.sh\.j2: cannot be rendered: .*(no attribute|undefined)"):
        script(SlurmSettings.model_validate({"template": str(own)}))
