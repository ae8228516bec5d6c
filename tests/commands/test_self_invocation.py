"""Commands that a message proposes run from anywhere, from cron too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.commands.self_invocation import command_line, cron_line


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program as a script of this name, started by a relative path."""
    script = tmp_path / "bin dir" / "aiperf-orch"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bin dir/aiperf-orch", "run"])
    return script


def test_the_program_and_its_files_are_named_by_absolute_paths(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").touch()
    (tmp_path / "run").touch()  # no path is meant by that word
    assert command_line(["run", "site.yaml", "--set", "a.b=c/d"]) == (
        f"'{installed}' run {tmp_path}/site.yaml --set a.b=c/d"
    )


def test_started_as_a_module_it_is_named_by_its_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/aiperf_orch/cli.py"])
    assert command_line(["tick", "/c"]) == f"{sys.executable} -P -m aiperf_orch.cli tick /c"


def test_crons_line_has_the_folder_of_the_schedulers_programs(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("slurm", "usr"):
        (tmp_path / folder).mkdir()
    (tmp_path / "slurm" / "sbatch").write_text("#!/bin/sh\n")
    (tmp_path / "slurm" / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/slurm:/usr/bin")
    assert cron_line(["tick", "/100%"], ["sbatch"]) == (
        f"*/2 * * * * PATH={tmp_path}/slurm:$PATH '{installed}' tick /100\\%"
    )
    assert cron_line(["tick", "/c"], ["ls", "nosuch"]) == f"*/2 * * * * '{installed}' tick /c"


def test_the_command_of_a_prepared_campaign_runs_without_a_path(aiperf: Any, write_site: Any, tmp_path: Path) -> None:
    done = aiperf("run", write_site(), "--campaign-dir", tmp_path / "campaign", "--prepare")
    [line] = [line for line in done.stderr.splitlines() if "*/2 * * * * " in line]
    command = line.rpartition("*/2 * * * * ")[2]
    stepped = subprocess.run(["/bin/sh", "-c", command], env={}, cwd="/", timeout=100, check=False, capture_output=True)
    assert stepped.returncode in (0, 4), stepped.stderr
