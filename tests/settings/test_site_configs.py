"""The site files that ship: each loads, renders, and says nothing that the settings do not know."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from aiperf_orch.commands.render import rendered_script
from aiperf_orch.settings.loading import load_site

SITES = sorted((Path(__file__).parents[2] / "site_configs").glob("*.yaml"))


def test_there_is_one_for_each_kind_of_site() -> None:
    assert {site.name for site in SITES} >= {"local.yaml", "slurm-cpu.yaml", "slurm-gpu.yaml", "slurm-gpu-qos.yaml"}


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.stem)
def test_a_site_file_loads_and_renders_a_script_that_bash_can_read(site: Path) -> None:
    loaded = load_site(site)
    assert site.stem.startswith(loaded.settings.scheduler.kind)
    script = rendered_script(loaded)
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.stem)
def test_every_key_that_stands_in_a_comment_can_be_used(site: Path, tmp_path: Path) -> None:
    text = re.sub(r"(?m)^  # (?=[a-z_]+:)", "  ", site.read_text(encoding="utf-8"))
    text = re.sub(r"(?m)^  #   - ", "    - ", text)  # the items of such a key's list
    (tmp_path / "site.yaml").write_text(text)
    load_site(tmp_path / "site.yaml")
