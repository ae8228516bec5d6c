"""Site files of the package: each loads, renders a valid script, and contains only known keys, also in comments."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from aiperf_orch.commands.render import print_script, rendered_script, script_violations
from aiperf_orch.settings.loading import load_site

SITES = sorted((Path(__file__).parents[2] / "site_configs").glob("*.yaml"))


def test_there_is_a_file_for_each_kind_of_site() -> None:
    names = {"local", "slurm-cpu", "slurm-gpu", "slurm-gpu-qos", "pbs-cpu", "pbs-gpu"}
    assert {site.stem for site in SITES} == names | {"slurm-allocations", "pbs-allocations", "agents"}


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.stem)
def test_a_site_file_loads_and_renders_a_valid_script(site: Path) -> None:
    loaded = load_site(site)
    assert site.stem.startswith(loaded.settings.scheduler.kind)
    if loaded.settings.scheduler.kind == "agents":
        return  # nothing is submitted
    script = rendered_script(loaded)
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["slurm-allocations", "pbs-allocations"])
def test_a_site_file_with_allocations_renders_their_script(name: str) -> None:
    loaded = load_site(SITES[0].with_name(f"{name}.yaml"))
    assert script_violations(loaded) == []
    script = rendered_script(loaded)
    assert "an allocation for the trials of an AIPerf campaign" in script
    assert {"slurm-allocations": "--nodes=64\n", "pbs-allocations": "select=513:"}[name] in script


def test_for_agents_nothing_is_rendered_but_what_to_start(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "aiperf_orch")
    print_script(load_site(SITES[0].with_name("agents.yaml")))
    assert capsys.readouterr().out == ""
    [message] = caplog.messages
    assert message == (
        "agents: nothing is submitted; start `aiperf-orch agent CAMPAIGN_DIR` on each node of your allocations, with "
        "slots for 32 concurrent trials in all"
    )


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.stem)
def test_every_key_in_a_comment_can_be_used(site: Path, tmp_path: Path) -> None:
    # keys, keys of a commented part, and the items of a list
    text = re.sub(r"(?m)^(  +)# ( *)(?=[a-z_]+:|- )", r"\1\2", site.read_text(encoding="utf-8"))
    (tmp_path / "site.yaml").write_text(text)
    load_site(tmp_path / "site.yaml")
