"""ReFrame test of aiperf-orch: a short campaign through the site's scheduler, with its scores as performance.

    reframe -C SETTINGS.py -c contrib/reframe/aiperf_orch_check.py -S site_file=/absolute/path/site.yaml -r

The controller runs where ReFrame runs, a login node, and submits its trials itself: the test is local for ReFrame.
"""

from __future__ import annotations

import csv
import shlex
from pathlib import Path

import reframe as rfm
import reframe.utility.sanity as sn
import reframe.utility.typecheck as typ
from reframe.core.builtins import parameter, performance_function, run_before, sanity_function, variable


@rfm.simple_test
class AiperfOrchCheck(rfm.RunOnlyRegressionTest):
    """A campaign that ends by itself, with scores in operations per second."""

    trainer = parameter(["simulated", "torch"])
    """`simulated` tests scheduler and file system, and its scores have no meaning; `torch` trains on digits."""

    site_file = variable(str)
    """Absolute path of the site file."""
    duration = variable(str, value="10m")
    """Time limit of the campaign, as of `aiperf-orch run --duration`."""
    trials = variable(int, value=8)
    """Number of trials after which the campaign ends."""
    settings = variable(typ.List[str], value=[])
    """Further settings, each KEY=VALUE as of `aiperf-orch run --set`."""

    valid_systems = ["*"]
    valid_prog_environs = ["*"]
    local = True
    executable = "aiperf-orch"
    keep_files = ["campaign/result.csv", "campaign/leaderboard.csv", "campaign/report.html"]
    reference = {"*": {"score": (0, None, None, "OPS"), "regulated_score": (0, None, None, "OPS")}}

    @run_before("run")
    def set_command(self):
        """Write the command line of the campaign."""
        settings = ["data.name=digits", "network.seed=small_residual", f"training.trainer={self.trainer}"]
        changes = [f"--set {shlex.quote(setting)}" for setting in [*settings, *self.settings]]
        limits = ["--duration", shlex.quote(self.duration), "--max-trials", str(self.trials)]
        self.executable_opts = [
            "run",
            shlex.quote(self.site_file),
            "--yes",
            "--campaign-dir campaign",
            *limits,
            *changes,
        ]

    @sanity_function
    def campaign_is_complete(self):
        """The command succeeded, and its result is that of the whole campaign."""
        sn.evaluate(sn.assert_eq(self.job.exitcode, 0, msg="exit status of aiperf-orch: {0}"))
        row = self.result()
        return sn.all(
            [
                sn.assert_eq(row["state"], "finished", msg="state of the campaign: {0}"),
                sn.assert_eq(row["simulated"], "yes" if self.trainer == "simulated" else "no"),
                sn.assert_eq(int(row["trials"]), self.trials, msg="trials: {0}"),
                sn.assert_gt(int(row["epochs"]), 0, msg="epochs: {0}"),
            ]
        )

    @performance_function("OPS")
    def score(self):
        """Operations a second."""
        return float(self.result()["score"])

    @performance_function("OPS")
    def regulated_score(self):
        """Score x -ln(error)."""
        return float(self.result()["regulated_score"])

    def result(self):
        """The row of result.csv."""
        with (Path(self.stagedir) / "campaign" / "result.csv").open(encoding="utf-8", newline="") as file:
            return next(csv.DictReader(file))
