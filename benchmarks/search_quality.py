"""Comparison of the search with random morphing, with equal numbers of trials.

The protocol, the second one, was fixed before its first run:

- Data: scikit-learn's digits. Each seed divides the images differently, all arms of a seed equally: 600 for training,
  400 for validation, which is all that the search sees, and 797 for the final test, which neither training nor the
  search sees.
- Four arms with equal seeds, trials, epochs and limits: `search` proposes as a campaign with one concurrent trial
  does; `random` takes a random earlier trial, applies 1 to 3 random edits, and draws all hyperparameters at random
  from the same ranges. Each with weights inherited from the parent (`inherited`) and with new ones (`fresh`). Trial 0
  is the same in all arms: the seed network at the first point.
- A run has 24 trials of 6 epochs; there are 8 seeds. Batches have 28 to 32 images, about the paper's proportion of 12
  to 14. Networks may have 4 times the operations of the seed network. Each trial trains to the end of its learning
  rate schedule, so no trial is ranked by a forecast.
- The measure is the error on the final test of the trial that is best on validation so far. `best` is its value after
  the last trial, `area` its mean over all trials (the area under the best-error curve). `proposed`, the mean error on
  the final test of the trials of the second half, describes the proposals without the luck of the best one. Reported
  per arm: mean over the seeds with a 95 % confidence interval (Student's t), and the difference random - search of
  equal seeds with its interval; finally the difference fresh - inherited in the same way.

Results, and the first protocol (`search_quality_first.jsonl`) with the reasons for the second, are in
docs/research/search.md. Runs are appended to a file when they end, and existing ones are not repeated:

    taskset -c 0 python benchmarks/search_quality.py benchmarks/search_quality.jsonl [--plot curves.png]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Protocol
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats

from aiperf_orch.network import counts, morphisms, seeds
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit, MorphismLimits
from aiperf_orch.records.operations import OperationsPerImage
from aiperf_orch.records.trial import Hyperparameters, TrialSpec
from aiperf_orch.search import Search
from aiperf_orch.search.hyperparameters import first_point, random_point
from aiperf_orch.settings.models import SearchSettings, TrainingSettings
from aiperf_orch.trial.data.digits import digits
from aiperf_orch.trial.data.in_memory import Arrays, InMemory
from aiperf_orch.trial.data.open_dataset import DATASETS
from aiperf_orch.trial.training.torch_trainer import TorchTrainer

Floats = npt.NDArray[np.float64]
Errors = list[tuple[float, float]]  # (validation error, test error) of the epoch that is best on validation
Runs = dict[tuple[str, str], dict[int, tuple[Errors, list[float]]]]  # arm -> seed -> result of `run`

TRIALS, EPOCHS, GROWTH, AGAIN = 24, 6, 4, 3
TRAINING, VALIDATION = 600, 400
SEED_NETWORK = seeds.small_residual(width=6)
LIMITS = MorphismLimits(max_layers=100, max_operations=GROWTH * counts.count(SEED_NETWORK).train)
SETTINGS = SearchSettings(batch_size=[28, 32])
MAX_EDITS = 3
ARMS = [(way, weights) for way in ("search", "random") for weights in ("inherited", "fresh")]


@dataclass(frozen=True)
class Plan:
    """Plan of one trial."""

    parent: int | None
    edits: tuple[Edit, ...]
    graph: Graph
    hyperparameters: Hyperparameters


class StatelessTrainer(TorchTrainer):
    """Trainer that keeps no state for a restart after running out of memory, which does not happen here."""

    def _checkpoint(self, epoch: int) -> bytes:  # noqa: ARG002
        return b""

    def wrong_of(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        """Fraction of wrongly classified images."""
        self._learner.model.eval()
        return float(self._learner.count_errors(images, labels)) / len(labels)


class Strategy(Protocol):
    """Method that chooses the next trial."""

    def next(self, trial: int) -> Plan:
        """Plan of the next trial."""

    def ended(self, trial: int, errors: list[float]) -> None:
        """Record the validation errors of a trial."""


class SearchStrategy:
    """The search, with one concurrent trial."""

    def __init__(self, seed: int) -> None:
        self._search = Search(SEED_NETWORK, SETTINGS, LIMITS, seed=seed, concurrency=1, keep=TRIALS)

    def next(self, trial: int) -> Plan:
        """Plan of the next trial."""
        made = self._search.propose(trial)
        self._search.started(
            trial, made.parent, made.edits, made.hyperparameters, made.graph.hash, counts.count(made.graph).train
        )
        return Plan(made.parent, made.edits, made.graph, made.hyperparameters)

    def ended(self, trial: int, errors: list[float]) -> None:
        """Record the validation errors of a trial."""
        self._search.ended(trial, min(errors), None)


class RandomStrategy:
    """Random morphing with random hyperparameters."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng([seed, 1])
        self.graphs: list[Graph] = []

    def next(self, trial: int) -> Plan:
        """Plan of the next trial."""
        plan = self._edited() if trial else Plan(None, (), SEED_NETWORK, first_point(SETTINGS))
        self.graphs.append(plan.graph)
        return plan

    def ended(self, trial: int, errors: list[float]) -> None:
        """Ignore the errors."""

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


def run(strategy: Strategy, weights: str, seed: int, folder: Path) -> tuple[Errors, list[float]]:
    """Validation and test error of each trial, and test errors of the best network when it is trained again."""
    plans: list[Plan] = []
    found: Errors = []
    for trial in range(TRIALS):
        plans.append(strategy.next(trial))
        parent = plans[-1].parent
        inherited = weights == "inherited" and parent is not None
        source = (folder / f"{parent}.safetensors", plans[parent].graph) if inherited else (None, None)
        errors, test_error = trained(plans[-1], trial, seed, folder, source)
        strategy.ended(trial, errors)
        found.append((min(errors), test_error))
    chosen = plans[min(range(TRIALS), key=lambda trial: found[trial][0])]
    return found, [trained(chosen, TRIALS + again, seed, folder)[1] for again in range(AGAIN)]


def trained(
    plan: Plan, trial: int, seed: int, folder: Path, source: tuple[Path | None, Graph | None] = (None, None)
) -> tuple[list[float], float]:
    """Validation errors of all epochs, and the test error of the best one; `source` has the weights to inherit."""
    seen, final_test = split(seed)
    spec = TrialSpec(
        campaign="bench",
        trial=trial,
        round=trial,
        seed=1000 * seed + trial,
        parent=plan.parent,
        edits=[edit.to_json() for edit in plan.edits],
        network_hash=plan.graph.hash,
        operations=OperationsPerImage.of(counts.count(plan.graph)),
        hyperparameters=plan.hyperparameters,
        epochs=EPOCHS,
        patience=EPOCHS,
        data={"name": "digits"},
        training=TrainingSettings(epochs=EPOCHS, patience=EPOCHS, precision="fp32"),
        network=plan.graph.to_json(),
    )
    trainer = StatelessTrainer(spec, *source)
    with mock.patch.dict(DATASETS, {"digits": lambda _settings, device, _world: InMemory(seen, device)}):
        trainer.prepare()
    errors: list[float] = []
    test_error = 1.0
    for epoch in range(1, EPOCHS + 1):
        result = trainer.run_epoch(epoch, lambda: None)
        errors.append(result.error)
        if errors[-1] < min([1.1, *errors[:-1]]):
            trainer.save_weights(folder / f"{trial}.safetensors")
            test_error = trainer.wrong_of(final_test.val_images, final_test.val_labels)
    return errors, test_error


@cache
def split(seed: int) -> tuple[Arrays, Arrays]:
    """Images for trials and search, and the final test as validation images of a second set; equally normalised."""
    whole = digits()
    images = torch.cat([whole.train_images, whole.val_images])
    labels = torch.cat([whole.train_labels, whole.val_labels])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    train, val, test = torch.split(order, [TRAINING, VALIDATION, len(order) - TRAINING - VALIDATION])
    images = (images - images[train].mean()) / images[train].std()
    seen, final_test = (
        replace(
            whole,
            train_images=images[train],
            train_labels=labels[train],
            val_images=images[part],
            val_labels=labels[part],
        )
        for part in (val, test)
    )
    return seen, final_test


def best_so_far(trials: Errors) -> list[float]:
    """Test error, after each trial, of the trial that is best on validation."""
    return [min(trials[: index + 1], key=lambda each: each[0])[1] for index in range(len(trials))]


MEASURES: dict[str, Callable[[Errors, list[float]], float]] = {
    "best": lambda trials, _: best_so_far(trials)[-1],
    "area": lambda trials, _: float(np.mean(best_so_far(trials))),
    "proposed": lambda trials, _: float(np.mean([test for _, test in trials[TRIALS // 2 :]])),
    "again": lambda _, again: float(np.mean(again)),
}


def read(path: Path) -> Runs:
    """Results of `run` by arm and seed."""
    found: Runs = {arm: {} for arm in ARMS}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        row = json.loads(line)
        found[row["way"], row["weights"]][row["seed"]] = row["trials"], row["again"]
    return found


def missing(path: Path, seeds_wanted: int) -> Iterator[tuple[str, str, int]]:
    done = read(path)
    for seed in range(seeds_wanted):
        for way, weights in ARMS:
            if seed not in done[way, weights]:
                yield way, weights, seed


def half_width(values: Floats) -> Floats:
    """Half the width of the 95 % confidence interval of the mean over the first axis."""
    half: Floats = stats.t.ppf(0.975, len(values) - 1) * values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return half


def interval(values: Floats) -> str:
    """Mean and half the width of its 95 % confidence interval, in percent."""
    return f"{100 * values.mean():6.2f} ±{100 * half_width(values):5.2f}"


def compare(runs: Runs, first: tuple[str, str], second: tuple[str, str]) -> None:
    """Print a row per measure: two arms, and their difference for equal seeds."""
    both = sorted(runs[first].keys() & runs[second].keys())
    if len(both) < 2:
        return
    print(f"{'measure':<12}{'seeds':>5}{' '.join(first):>20}{' '.join(second):>20}{'second - first':>20}")
    for name, measure in MEASURES.items():
        one, other = (np.array([measure(*runs[arm][seed]) for seed in both]) for arm in (first, second))
        print(f"{name:<12}{len(both):>5}" + "".join(f"{interval(each):>20}" for each in (one, other, other - one)))


def report(path: Path) -> None:
    runs = read(path)
    print(f"error on the final test in percent, {TRIALS} trials; mean and 95 % confidence interval")
    for weights in ("inherited", "fresh"):
        compare(runs, ("search", weights), ("random", weights))
    for way in ("search", "random"):
        compare(runs, (way, "inherited"), (way, "fresh"))


def plot(path: Path, picture: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axis, weights in zip(axes, ("inherited", "fresh"), strict=True):
        for way in ("search", "random"):
            runs = 100 * np.array([best_so_far(trials) for trials, _ in read(path)[way, weights].values()])
            mean, half = runs.mean(axis=0), half_width(runs)
            axis.plot(range(TRIALS), mean, label=way)
            axis.fill_between(range(TRIALS), mean - half, mean + half, alpha=0.2)
        axis.set(title=f"{weights} weights", xlabel="trial", yscale="log", xticks=range(0, TRIALS, 4))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:g}")
        axis.legend()
    axes[0].set_ylabel("final test error of the best so far, %")
    figure.savefig(picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="file with the results of ended runs, a JSON object per line")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--plot", type=Path, help="draw the curves into this file (requires matplotlib)")
    arguments = parser.parse_args()
    for way, weights, seed in list(missing(arguments.runs, arguments.seeds)):
        strategy: Strategy = SearchStrategy(seed) if way == "search" else RandomStrategy(seed)
        with tempfile.TemporaryDirectory() as folder:
            trials, again = run(strategy, weights, seed, Path(folder))
        with arguments.runs.open("a") as file:
            row = {"way": way, "weights": weights, "seed": seed, "trials": trials, "again": again}
            print(json.dumps(row), file=file)
    report(arguments.runs)
    if arguments.plot:
        plot(arguments.runs, arguments.plot)


if __name__ == "__main__":
    main()
