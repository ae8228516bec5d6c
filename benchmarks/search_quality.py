"""Whether the search finds better networks than random morphing does, with equal numbers of trials.

The protocol, fixed before the first run:

- Data: scikit-learn's digits. The last 360 images are the final test, which neither training nor the search sees. Of
  the others the last 288 validate, which is all that the search sees, and 1,149 train.
- Four arms, the same seeds, trials, epochs and limits for all: `search` proposes as a campaign with one trial at a time
  would; `random` takes a random earlier trial, edits it at random 1 to 3 times, and draws all hyperparameters at
  random from the same ranges. Each with the parent's weights (`inherited`) and with new ones (`fresh`). Trial 0 is the
  same in every arm: the seed network at the first point.
- A run is 20 trials of 4 epochs, of batches of 64 to 256 images; networks may take 4 times the seed network's operations.
- What counts is the error on the final test of the trial that is best on validation so far. `best` is that after the
  last trial, `area` its mean over all trials (the area under the best-error curve). Per arm: mean over the seeds with
  a 95 % confidence interval (Student's t), and the difference random - search of the same seed with its own.

Runs are appended to a file as they end, and those that stand there are not run again:

    python benchmarks/search_quality.py runs.jsonl [--seeds 8] [--plot curves.png]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

import numpy as np
import torch
from scipy import stats

from aiperf_orch.config import SearchSettings, TrainingSettings
from aiperf_orch.network import counts, morphisms, seeds
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit, Limits
from aiperf_orch.records import Hyperparameters, OperationsPerImage, TrialSpec
from aiperf_orch.search import Search, forecast_error
from aiperf_orch.search.hyperparameters import first_point, random_point
from aiperf_orch.trial import data
from aiperf_orch.trial.torch_trainer import TorchTrainer

TRIALS, EPOCHS, GROWTH = 20, 4, 4
TEST, VALIDATION = 360, 288
SEED_NETWORK = seeds.small_residual(width=6)
LIMITS = Limits(max_layers=100, max_operations=GROWTH * counts.count(SEED_NETWORK).train)
SETTINGS = SearchSettings(batch_size=[64, 256])
MAX_EDITS = 3
ARMS = [(way, weights) for way in ("search", "random") for weights in ("inherited", "fresh")]


@dataclass(frozen=True)
class Plan:
    """A trial to run."""

    parent: int | None
    edits: tuple[Edit, ...]
    graph: Graph
    hyperparameters: Hyperparameters


class Judged(TorchTrainer):
    """Counts wrong test images whenever the weights are kept, which is when validation was best."""

    test: data.DataSet
    test_error = 1.0

    def save_weights(self, path: Path) -> str:
        """Write the weights, and judge them."""
        self._model.eval()
        with torch.inference_mode():
            wrong = self._model(self.test.val_images).argmax(1) != self.test.val_labels
        self.test_error = float(wrong.float().mean())
        return super().save_weights(path)


class Way(Protocol):
    """How the next trial is chosen."""

    def next(self, trial: int) -> Plan:
        """The trial to run."""

    def ended(self, trial: int, errors: list[float]) -> None:
        """Hear what became of it."""


class SearchWay:
    """As a campaign with one trial at a time."""

    def __init__(self, seed: int) -> None:
        self._search = Search(SEED_NETWORK, SETTINGS, LIMITS, seed=seed, concurrency=1, keep=TRIALS)

    def next(self, trial: int) -> Plan:
        """The trial to run."""
        made = self._search.propose(trial)
        self._search.started(
            trial, made.parent, made.edits, made.hyperparameters, made.graph.hash, counts.count(made.graph).train
        )
        return Plan(made.parent, made.edits, made.graph, made.hyperparameters)

    def ended(self, trial: int, errors: list[float]) -> None:
        """Hear what became of it."""
        best = min(errors)
        self._search.ended(trial, best, forecast_error(errors, SETTINGS.forecast_epoch, best))


class RandomWay:
    """Random morphing with random hyperparameters."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng([seed, 1])
        self.graphs: list[Graph] = []

    def next(self, trial: int) -> Plan:
        """The trial to run."""
        plan = self._edited() if trial else Plan(None, (), SEED_NETWORK, first_point(SETTINGS))
        self.graphs.append(plan.graph)
        return plan

    def ended(self, trial: int, errors: list[float]) -> None:
        """Nothing is learnt."""

    def _edited(self) -> Plan:
        while True:
            parent = int(self.generator.integers(len(self.graphs)))
            point = random_point(SETTINGS, self.generator)
            graph, edits = self.graphs[parent], []
            for _ in range(self.generator.integers(1, MAX_EDITS, endpoint=True)):
                edit = morphisms.random_edit(graph, point.kernel_size, self.generator)
                assert edit is not None
                graph = morphisms.apply(graph, edit)
                edits.append(edit)
            if LIMITS.admit(graph) and graph.hash not in {other.hash for other in self.graphs}:
                return Plan(parent, tuple(edits), graph, point)


def run(way: Way, weights: str, seed: int, folder: Path) -> list[tuple[float, float]]:
    """Validation and test error of each trial, at its epoch of the best validation error."""
    training = TrainingSettings(epochs=EPOCHS, patience=EPOCHS, inherit_weights=weights == "inherited")
    plans: list[Plan] = []
    found = []
    for trial in range(TRIALS):
        plan = way.next(trial)
        plans.append(plan)
        operations = counts.count(plan.graph)
        spec = TrialSpec(
            campaign="bench",
            trial=trial,
            round=trial,
            seed=1000 * seed + trial,
            parent=plan.parent,
            edits=[edit.to_json() for edit in plan.edits],
            network_hash=plan.graph.hash,
            operations=OperationsPerImage(forward=operations.forward, train=operations.train),
            hyperparameters=plan.hyperparameters,
            epochs=EPOCHS,
            patience=EPOCHS,
            data={"name": "digits"},
            training=training,
            network=plan.graph.to_json(),
        )
        parent = None if plan.parent is None else plans[plan.parent].graph
        trainer = Judged(spec, None if parent is None else folder / f"{plan.parent}.safetensors", parent)
        trainer.prepare()
        trainer.test = _split()[1]
        errors: list[float] = []
        for epoch in range(1, EPOCHS + 1):
            result = trainer.run_epoch(epoch, lambda: None)
            errors.append(result.wrong / result.val_images)
            if errors[-1] < min([1.1, *errors[:-1]]):
                trainer.save_weights(folder / f"{trial}.safetensors")
        way.ended(trial, errors)
        found.append((min(errors), trainer.test_error))
    return found


@cache
def _split() -> tuple[data.DataSet, data.DataSet]:
    """What trials and the search see, and the final test as another set's validation images, normalised alike."""
    whole = data._digits()
    images, labels = whole.train_images, whole.train_labels
    train, val = images[:-VALIDATION], images[-VALIDATION:]
    mean, deviation = train.mean(), train.std()

    def normalised(part: torch.Tensor) -> torch.Tensor:
        return (part - mean) / deviation

    seen = data.DataSet(normalised(train), labels[:-VALIDATION], normalised(val), labels[-VALIDATION:], 10)
    return seen, data.DataSet(seen.train_images, seen.train_labels, normalised(whole.val_images), whole.val_labels, 10)


def best_so_far(trials: list[tuple[float, float]]) -> list[float]:
    """After each trial, the test error of the one that validation takes for the best."""
    return [min(trials[: index + 1], key=lambda each: each[0])[1] for index in range(len(trials))]


def curves(path: Path) -> dict[tuple[str, str], dict[int, list[float]]]:
    found: dict[tuple[str, str], dict[int, list[float]]] = {arm: {} for arm in ARMS}
    for line in path.read_text().splitlines() if path.exists() else []:
        row = json.loads(line)
        found[row["way"], row["weights"]][row["seed"]] = best_so_far(row["trials"])
    return found


def missing(path: Path, seeds_wanted: int) -> Iterator[tuple[str, str, int]]:
    done = curves(path)
    for seed in range(seeds_wanted):
        for way, weights in ARMS:
            if seed not in done[way, weights]:
                yield way, weights, seed


def interval(values: list[float]) -> str:
    """Mean and half the width of its 95 % confidence interval, in percent."""
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{100 * np.mean(values):6.2f} ±{100 * half:5.2f}"


def report(path: Path) -> None:
    measures = {"best": lambda curve: curve[-1], "area": np.mean}
    done = curves(path)
    print(f"error on the final test in percent, {TRIALS} trials; mean and 95 % confidence interval")
    print(f"{'weights':<11}{'measure':<9}{'seeds':>5}{'search':>16}{'random':>16}{'random - search':>18}")
    for weights in ("inherited", "fresh"):
        ours, theirs = done["search", weights], done["random", weights]
        both = sorted(ours.keys() & theirs.keys())
        for name, measure in measures.items() if len(both) > 1 else ():
            pairs = [(float(measure(ours[seed])), float(measure(theirs[seed]))) for seed in both]
            columns = [[one for one, _ in pairs], [other for _, other in pairs], [other - one for one, other in pairs]]
            print(f"{weights:<11}{name:<9}{len(both):>5}" + "  ".join([""] + [interval(each) for each in columns]))


def plot(path: Path, picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True)
    for axis, weights in zip(axes, ("inherited", "fresh"), strict=True):
        for way in ("search", "random"):
            runs = np.array(list(curves(path)[way, weights].values())) * 100
            mean, half = runs.mean(0), 1.96 * runs.std(0, ddof=1) / np.sqrt(len(runs))
            axis.plot(range(1, TRIALS + 1), mean, label=way)
            axis.fill_between(range(1, TRIALS + 1), mean - half, mean + half, alpha=0.2)
        axis.set(title=f"{weights} weights", xlabel="trials", yscale="log")
        axis.legend()
    axes[0].set_ylabel("test error of the best so far, %")
    figure.tight_layout()
    figure.savefig(picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="file of the runs that ended, one JSON object a line")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--plot", type=Path, help="draw the curves (needs matplotlib)")
    arguments = parser.parse_args()
    loaders: dict[str, Any] = {"digits": lambda: _split()[0]}
    with mock.patch.dict(data.LOADERS, loaders):
        for way, weights, seed in list(missing(arguments.runs, arguments.seeds)):
            with tempfile.TemporaryDirectory() as folder:
                trials = run((SearchWay if way == "search" else RandomWay)(seed), weights, seed, Path(folder))
            with arguments.runs.open("a") as file:
                print(json.dumps({"way": way, "weights": weights, "seed": seed, "trials": trials}), file=file)
    report(arguments.runs)
    if arguments.plot:
        plot(arguments.runs, arguments.plot)


if __name__ == "__main__":
    main()
