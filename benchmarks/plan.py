"""Predictions of `aiperf-orch plan` against campaigns that were run.

    python benchmarks/plan.py simulated FOLDER [--slots 4 64 512] [--seeds 3] [--seconds 360]
    python benchmarks/plan.py digits FOLDER [--slots 1 2] [--seeds 3] [--seconds 75]
    python benchmarks/plan.py table FOLDER

`simulated` and `digits` run campaigns, one after the other, and keep them in FOLDER; trials of simulated campaigns are
played as coroutines (`played_agent.py`) on one agent for each 64 slots, with the real controller and search. `table`
predicts each campaign from each one of another size, and from all of one other size together, and prints how many
measured numbers lie in the predicted interval. Results are in docs/guides/planning.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.planning.campaign_sample import sample_of
from aiperf_orch.planning.playback import Played
from aiperf_orch.planning.prediction import Prediction, Target, predict
from aiperf_orch.planning.samples import Sample
from aiperf_orch.results.result import Result, compute_result

_AGENT_SLOTS = 64
_ERROR_LIMIT = 0.3
_LOCAL = Path(__file__).parents[1] / "site_configs" / "local.yaml"


@dataclass(frozen=True)
class Campaign:
    """A campaign that was run."""

    kind: str
    result: Result
    sample: Sample

    @property
    def slots(self) -> int:
        """Number of its concurrent trials."""
        return self.sample.slots

    def measured(self) -> dict[str, float]:
        """What is compared."""
        score = self.result.score
        return {
            "score": score.score,
            "error": score.error or 0.0,
            "epochs": score.epochs,
            "trials": sum(bool(each.begins) for each in self.result.collected.trials),
        }


PREDICTED: dict[str, Callable[[Played], float | None]] = {
    "score": lambda played: played.score,
    "error": lambda played: played.error,
    "epochs": lambda played: played.epochs,
    "trials": lambda played: played.trials,
}


def run_simulated(folder: Path, slots: int, seed: int, seconds: float) -> None:
    """Run a campaign whose trials are played."""
    site = {
        "scheduler": {"kind": "agents", "poll_interval": "2s"},
        "campaign": {"concurrency": slots, "duration": f"{seconds:g}s", "seed": seed},
        "training": {
            "trainer": "simulated",
            "warmup_epochs": [2, 3, 4],
            "epochs": 6,
            "simulated": {"epoch_seconds": seconds / 30},
        },
    }
    path = folder / f"simulated-{slots}-{seed}"
    file = path.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(site))
    played = [sys.executable, str(Path(__file__).with_name("played_agent.py")), str(path)]
    number = max(slots // _AGENT_SLOTS, 1)
    played += ["--slots", str(slots // number), "--hosts", *(f"bench{each:04d}" for each in range(number))]
    with path.with_suffix(".out").open("wb") as output:
        controller = subprocess.Popen(_run_command(file, path), stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        while not (path / "campaign.yaml").exists() and controller.poll() is None:
            time.sleep(0.1)
        agents = subprocess.Popen(played, stdout=output, stderr=output)
        controller.wait(seconds + 600)
        agents.wait(120)


def run_digits(folder: Path, slots: int, seed: int, seconds: float) -> None:
    """Run a campaign of real trials on this machine."""
    path = folder / f"digits-{slots}-{seed}"
    size = ["--concurrency", str(slots), "--seed", str(seed), "--duration", f"{seconds:g}s"]
    with path.with_suffix(".out").open("wb") as output:
        command = [*_run_command(_LOCAL, path), *size]
        subprocess.run(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, check=False)


def _run_command(site: Path, path: Path) -> list[str]:
    return [sys.executable, "-m", "aiperf_orch.cli", "run", str(site), "--campaign-dir", str(path), "--yes"]


def read_campaigns(folder: Path) -> list[Campaign]:
    """The campaigns of a folder that have an epoch."""
    found = []
    for path in sorted(each.parent for each in folder.glob("*/campaign.yaml")):
        result = compute_result(CampaignDirectory.open(path))
        if result.score.epochs:
            found.append(Campaign(path.name.partition("-")[0], result, sample_of(path, result, None)))
    return found


def predictions(campaigns: Sequence[Campaign]) -> Iterator[tuple[str, Campaign, int, str, Prediction]]:
    """Kind, predicted campaign, slots of the sources, `one` source or `all` of that size, and the prediction."""
    for target in campaigns:
        settings = target.result.directory.settings
        goal = Target(target.slots, settings.campaign.duration, settings.training.epochs_of_round, _ERROR_LIMIT)
        others = [each for each in campaigns if each.kind == target.kind and each.slots != target.slots]
        for slots in sorted({each.slots for each in others}):
            samples = [each.sample for each in others if each.slots == slots]
            for sample in samples:
                yield target.kind, target, slots, "one", predict([sample], goal)
            if len(samples) > 1:
                yield target.kind, target, slots, "all", predict(samples, goal)


def table(folder: Path) -> None:
    """Print how many measured numbers lie in their predicted intervals, and how wide these are."""
    rows: dict[tuple[Any, ...], dict[str, list[tuple[bool, float, float]]]] = {}
    for kind, target, slots, sources, predicted in predictions(read_campaigns(folder)):
        row = rows.setdefault((kind, slots, target.slots, sources), {name: [] for name in PREDICTED})
        for name, value in target.measured().items():
            interval = predicted.interval(PREDICTED[name])
            if interval is None or interval.low is None or interval.high is None:
                sys.exit(f"no interval of {name} for {target.result.directory.path}")
            inside = interval.low <= value <= interval.high
            width = (interval.high - interval.low) / interval.expected if interval.expected else 0.0
            row[name].append((inside, value / interval.expected if interval.expected else 1.0, width))
    print("| kind | from slots | to slots | sources | " + " | ".join(PREDICTED) + " | score: measured / expected |")
    print("| --- " * (len(PREDICTED) + 5) + "|")
    for key, row in sorted(rows.items()):
        cells = [f"{sum(each[0] for each in found)} of {len(found)}" for found in row.values()]
        ratios = sorted(each[1] for each in row["score"])
        width = sum(each[2] for each in row["score"]) / len(ratios)
        print(f"| {' | '.join(map(str, (*key, *cells)))} | {ratios[0]:.2f} to {ratios[-1]:.2f}; width {width:.0%} |")


def main() -> None:
    """Run campaigns, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("simulated", "digits", "table"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--slots", type=int, nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float)
    options = parser.parse_args()
    if options.what == "table":
        table(options.folder)
        return
    run, sizes, seconds = {"simulated": (run_simulated, [4, 64, 512], 360.0), "digits": (run_digits, [1, 2], 75.0)}[
        options.what
    ]
    options.folder.mkdir(parents=True, exist_ok=True)
    for seed in range(1, options.seeds + 1):
        for slots in options.slots or sizes:
            run(options.folder, slots, seed, options.seconds or seconds)


if __name__ == "__main__":
    main()
