"""`bench-node --tune` as a user on a node starts it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.commands import tune_node
from aiperf_orch.tuning.alternatives import PRECISION, Setup, with_values
from aiperf_orch.tuning.comparison import Compared, Verdict
from aiperf_orch.util.errors import UsageError

_DEADLINE = 300
BEST = Compared(with_values(Setup("fp32", 32, 1, False, None), {PRECISION: "bf16"}), Verdict.FASTER, {}, 0.5)
BEFORE = "training:\n  precision: fp32  # mine\n"
AFTER = "training:\n  precision: bf16  # mine\n"


def test_a_short_tuning_measures_the_present_settings_first(aiperf: Any, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("search:\n  batch_size: [16, 32]\n")
    options = ["--time-limit", "4s", "--format", "json", "--write", "--yes"]
    done = aiperf("bench-node", site, "--tune", *options, timeout=_DEADLINE)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["time_limit_reached"]
    assert found["proposed"] == {}
    assert "present settings" in done.stderr.splitlines()[0]
    assert site.read_text() == "search:\n  batch_size: [16, 32]\n"


def test_present_settings_that_cannot_be_measured_are_explained(aiperf: Any, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(f"data: {{name: cifar10, path: {tmp_path / 'none'}}}\n")
    done = aiperf("bench-node", site, "--tune", "--time-limit", "1m", timeout=_DEADLINE)
    assert done.returncode == 1
    assert "error: the present settings cannot be measured: BAD_DATA" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tune"], "no SITE is given"),
        (["SITE", "--write"], "belong to --tune"),
        (["SITE", "--time-limit", "5m"], "belong to --tune"),
        (["SITE", "--tune", "--time-limit", "5"], "--time-limit: "),
        (["SITE", "--tune", "--write", "--set", "training.epochs=2"], "--write: the site file has other settings"),
        (["SITE", "--tune"], "training.trainer: simulated"),
        (["SITE", "--tune", "--set", "training.trainer=torch", "--set", "scheduler.gpus_per_trial=999"], "999 GPUs"),
    ],
)
def test_wrong_use_is_refused(aiperf: Any, write_site: Any, arguments: list[str], message: str) -> None:
    site = str(write_site())
    done = aiperf("bench-node", *(site if word == "SITE" else word for word in arguments))
    assert done.returncode == 2
    assert message in done.stderr


def test_faster_settings_are_written_after_the_difference_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site, link = tmp_path / "site.yaml", tmp_path / "link.yaml"
    site.write_text(BEFORE)
    site.chmod(0o640)
    link.symlink_to(site)
    tune_node._write(link, BEFORE, BEST, yes=True)
    assert site.read_text() == AFTER
    assert site.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    shown = capsys.readouterr().err
    assert shown.startswith("# training.precision: +50% images/s; changes what trials compute")
    assert "-  precision: fp32  # mine\n+  precision: bf16  # mine\n" in shown


def test_nothing_is_written_without_agreement_or_over_another_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(BEFORE)
    tune_node._write(site, BEFORE, BEST, yes=False)
    assert "give --yes" in capsys.readouterr().err
    assert site.read_text() == BEFORE
    site.write_text(BEFORE + "campaign: {seed: 3}\n")
    with pytest.raises(UsageError, match="changed by another program"):
        tune_node._write(site, BEFORE, BEST, yes=True)
    assert site.read_text() == BEFORE + "campaign: {seed: 3}\n"
