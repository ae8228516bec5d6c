"""Duration of `--help`, `ops resnet50`, `status` of a finished campaign, `verify` and `rank`, beside an empty process.

Each command is a new process; the commands alternate, so that changes in the speed of the machine affect all of them.

    python benchmarks/command_line.py [--runs 10] [--trials 12]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SITE = Path(__file__).parents[1] / "site_configs" / "local.yaml"
PACKAGE = Path(__file__).parents[1] / "tests" / "releases" / "0.1.0" / "local.tar.gz"
AIPERF = [sys.executable, "-m", "aiperf_orch.cli"]


def seconds(command):
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="number of measured runs of each command")
    parser.add_argument(
        "--trials", type=int, default=12, help="number of trials of the (simulated) campaign that status shows"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        campaign = Path(scratch) / "campaign"
        simulated = ["--set", "training.trainer=simulated", "--set", "training.simulated.epoch_seconds=0"]
        subprocess.run(
            [*AIPERF, "run", SITE, "--campaign-dir", campaign, "--max-trials", str(options.trials), *simulated],
            check=True,
            capture_output=True,
        )
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "aiperf-orch --help": [*AIPERF, "--help"],
            "aiperf-orch ops resnet50": [*AIPERF, "ops", "resnet50"],
            f"aiperf-orch status ({options.trials} trials)": [*AIPERF, "status", campaign],
            "aiperf-orch verify (13 trials)": [*AIPERF, "verify", PACKAGE],
            "aiperf-orch rank (13 trials)": [*AIPERF, "rank", PACKAGE],
        }
        times = {name: [] for name in commands}
        for run in range(options.runs + 1):
            for name, command in commands.items():
                taken = seconds(command)
                if run:  # the first run warms the file cache
                    times[name].append(taken)
    bare = statistics.median(times["python -c pass"])
    print(f"{'command':<36}{'median s':>10}{'worst s':>10}{'x bare':>8}")
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"{name:<36}{median:>10.3f}{max(taken):>10.3f}{median / bare:>8.1f}")


if __name__ == "__main__":
    main()
