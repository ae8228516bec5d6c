"""Submission to Slurm: the first wave as one array, and single jobs, compared with a plain sbatch of the same scripts.

A private cluster on this machine accepts the jobs and runs none: its partition is down. Our side includes the
controller's work for specifications that exist: requests, directories, pickles, scripts, sbatch. The alternative
calls sbatch on an existing script. The sides alternate, each as often first as the other, on the same queue.

    python benchmarks/submission.py [--wave 1000] [--waves 4] [--jobs 300] [--block 25]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.campaign.trial_state import AttemptState, TrialState
from aiperf_orch.controller.job_requests import make_request
from aiperf_orch.controller.search_adapter import SearchAdapter
from aiperf_orch.controller.submission_planner import array_names
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.schedulers.slurm.executor import SCRIPT
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.units import now
from cluster.slurm import SlurmCluster, foreign_variables, missing_program

SETTINGS = SiteSettings.model_validate(
    {"scheduler": {"kind": "slurm", "cpus_per_task": 1, "memory": "200M", "time_limit": "10m", "command_timeout": "5m"}}
)


class Campaign:
    """A campaign with existing specifications; its jobs are numbered from 1."""

    def __init__(self, path):
        self.directory, self.state = CampaignDirectory.create(path, SETTINGS, {}), CampaignState()
        self.scheduler = make_scheduler(SETTINGS.scheduler)
        _, self.proposal = SearchAdapter(self.directory, []).propose(0, self.state)

    def attempts(self, names):
        """First attempts of trials, from their numbers and names."""
        attempts = [AttemptState(trial, 1, name, now()) for trial, name in names.items()]
        for each in attempts:  # all trials have the same network: the scheduler does not read it
            self.state.trials[each.trial] = TrialState(each.trial, self.proposal, "0" * 64, [each])
        return attempts

    def wave(self, number):
        """Attempts of the first wave: elements of one array."""
        alone = [self.directory.attempt_name(each, 1) for each in range(1, number + 1)]
        arrays = [self.directory.array_name(each) for each in range(1, number + 1)]
        names = array_names(alone, self.scheduler.array_limit(), arrays)
        if len({name.partition("[")[0] for name in names}) != 1:
            sys.exit(f"{number} jobs are more than one array takes")
        return self.attempts(dict(enumerate(names, start=1)))

    def singles(self, first, number):
        """Attempts that are single jobs."""
        return self.attempts({each: self.directory.attempt_name(each, 1) for each in range(first, first + number)})

    def submit(self, attempts):
        """Submit as the controller does; returns the seconds and the directory of the first batch script."""
        start = time.perf_counter()
        requests = [make_request(self.directory, self.state, each) for each in attempts]
        left = requests
        while left:
            done = self.scheduler.submit(left)
            if not done.jobs:
                sys.exit(f"not all were submitted: {done}")
            left = [request for request in left if request.name not in done.jobs]
        taken = time.perf_counter() - start
        return taken, requests[0].submit_folder


def bare(folder, times):
    """Seconds to submit the script in a directory `times` times with sbatch."""
    start = time.perf_counter()
    for _ in range(times):
        subprocess.run(["sbatch", "--parsable", SCRIPT], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def in_turn(turn, ours, theirs):
    """Measure both sides, ours first in even turns."""
    if turn % 2:
        alternative = theirs()
        return ours(), alternative
    return ours(), theirs()


def empty(cluster, expected):
    """Check the number of pending jobs, and cancel them."""
    queued = cluster.run("squeue", "--noheader", "--array", "--states=pending", "--format=%i").stdout.split()
    if len(queued) != expected:
        sys.exit(f"{len(queued)} jobs are in the queue, not {expected}")
    cluster.run("scancel", "--partition=main")


def measure_waves(cluster, scratch, options):
    """Seconds of each wave: ours, and sbatch."""
    campaign = Campaign(scratch / "first")  # warms the file cache, and provides the script for the alternative
    _, folder = campaign.submit(campaign.wave(options.wave))
    empty(cluster, options.wave)
    rows = []
    for turn in range(options.waves):
        campaign = Campaign(scratch / f"wave{turn}")
        attempts = campaign.wave(options.wave)
        rows.append(in_turn(turn, lambda: campaign.submit(attempts)[0], lambda: bare(folder, 1)))  # noqa: B023  called immediately
        empty(cluster, 2 * options.wave)
    return rows


def measure_singles(cluster, scratch, options):
    """Seconds of each block: ours, and sbatch."""
    campaign = Campaign(scratch / "singles")
    _, folder = campaign.submit(campaign.singles(1, 1))
    starts = range(2, 2 + options.jobs, options.block)
    rows = []
    for turn, start in enumerate(starts):
        attempts = campaign.singles(start, options.block)
        rows.append(in_turn(turn, lambda: campaign.submit(attempts)[0], lambda: bare(folder, options.block)))  # noqa: B023  called immediately
    empty(cluster, 1 + 2 * options.block * len(starts))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wave", type=int, default=1000, help="number of jobs in the first wave")
    parser.add_argument("--waves", type=int, default=4, help="number of submissions of the wave, preferably even")
    parser.add_argument("--jobs", type=int, default=300, help="number of single jobs")
    parser.add_argument("--block", type=int, default=25, help="number of single jobs before the sides alternate")
    options = parser.parse_args()
    if missing := missing_program(accounting=False):
        sys.exit(f"{missing} is not installed")
    for name in foreign_variables():
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="aiperf-", dir="/tmp") as folder:  # a short path: it holds sockets
        root = Path(folder)
        (root / "c").mkdir()
        with SlurmCluster(root / "c", max_array_size=options.wave + 1, extra_conf="MaxJobCount=100000") as cluster:
            os.environ["SLURM_CONF"] = cluster.environment["SLURM_CONF"]
            cluster.run("scontrol", "update", "partitionname=main", "state=down")
            waves = measure_waves(cluster, root, options)
            singles = measure_singles(cluster, root, options)
    load = os.getloadavg()[0]
    print(f"load {load:.1f} on {os.cpu_count()} cores")
    print(f"{'':<40}{'ours':>10}{'sbatch':>10}{'ours - sbatch':>16}{'sbatch / ours':>16}")
    ours, theirs = (statistics.median(column) for column in zip(*waves, strict=True))
    added = statistics.median(mine - its for mine, its in waves)
    wave = f"array of {options.wave}, s, median of {len(waves)}"
    print(f"{wave:<40}{ours:>10.3f}{theirs:>10.3f}{added:>16.3f}{theirs / ours:>16.2f}")
    number = options.block * len(singles)
    ours, theirs = (sum(column) / number for column in zip(*singles, strict=True))
    one = f"single jobs, ms per job, mean of {number}"
    print(f"{one:<40}{1e3 * ours:>10.1f}{1e3 * theirs:>10.1f}{1e3 * (ours - theirs):>16.1f}{theirs / ours:>16.2f}")


if __name__ == "__main__":
    main()
