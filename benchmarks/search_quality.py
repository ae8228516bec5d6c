"""The search in own trainings, beside mutation of the best and random morphing, with equal numbers of trials.

The third protocol, fixed before its first run:

- Data: scikit-learn's digits. Each seed divides the images differently, all arms of a seed equally: 600 for training,
  400 for validation, which is all that the search sees, and 797 for the final test, which neither training nor the
  search sees.
- Methods. `search` proposes as a campaign with one concurrent trial does. `mutation` is the same search without its
  surrogate: a random edit of one of the five best networks, chosen at random, that leads to a network that was not
  tried; hyperparameters are chosen as by `search`. `random` takes a random earlier trial, applies 1 to 3 random edits,
  and draws all hyperparameters at random from the same ranges.
- Arms: each method with weights inherited from the parent (`inherited`), and with new ones (`fresh`), with equal seeds,
  trials, epochs and limits. Trial 0 is the same in all methods: the seed network at the first point.
- A run has 24 trials of 6 epochs. Batches have 28 to 32 images, about the paper's proportion of 12 to 14. Networks may
  have 4 times the operations of the seed network. Each trial trains to the end of its learning rate schedule, so no
  trial is ranked by a forecast.
- Seeds: 100 to 115; up to 123 when the protocol was written, reduced for the duration before a result was read. Nothing
  is chosen by their results; those of the protocols before were 0 to 7.
- The measure is the error on the final test of the trial that is best on validation so far. `best`, the value after the
  last trial, decides: a method is better than another if the difference of equal seeds is beyond its 95 % confidence
  interval (Student's t). Described, not decided by: `area`, its mean over all trials (the area under the best-error
  curve); `proposed`, the mean error on the final test of the trials of the second half, without the luck of the best
  one; `again`, the mean error of the best network, trained three times with new weights. Inherited and new weights are
  compared in the same way.

Earlier protocols and their results are in docs/research/search.md; their runs in `search_quality_first.jsonl` and
`search_quality_second.jsonl`. One command appends missing runs to `search_quality.jsonl` and writes
docs/research/search-in-trainings.md with its plot:

    OMP_NUM_THREADS=1 python benchmarks/search_quality.py
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Protocol
from unittest import mock

import numpy as np
import torch
from comparison import Floats, difference_cell, half_width, mean_cell, table

from aiperf_orch.network import counts, morphisms, seeds
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit, MorphismLimits
from aiperf_orch.records.operations import OperationsPerImage
from aiperf_orch.records.trial import Hyperparameters, TrialSpec
from aiperf_orch.search import Search
from aiperf_orch.search.candidates import Candidate, GraphTest, random_descendant
from aiperf_orch.search.hyperparameters import first_point, random_point
from aiperf_orch.settings.models import SearchSettings, TrainingSettings
from aiperf_orch.trial.data.digits import digits
from aiperf_orch.trial.data.in_memory import Arrays, InMemory
from aiperf_orch.trial.data.open_dataset import DATASETS
from aiperf_orch.trial.training.torch_trainer import TorchTrainer

Errors = list[tuple[float, float]]  # (validation error, test error) of the epoch that is best on validation
Runs = dict[tuple[str, str], dict[int, tuple[Errors, list[float]]]]  # arm -> seed -> result of `run`

TRIALS, EPOCHS, GROWTH, AGAIN = 24, 6, 4, 3
SEEDS = range(100, 116)
TRAINING, VALIDATION = 600, 400
SEED_NETWORK = seeds.small_residual(width=6)
LIMITS = MorphismLimits(max_layers=100, max_operations=GROWTH * counts.count(SEED_NETWORK).train)
SETTINGS = SearchSettings(batch_size=[28, 32])
MAX_EDITS, PARENTS = 3, 5
METHODS, WEIGHTS = ("search", "mutation", "random"), ("inherited", "fresh")
ARMS = [(way, weights) for way in METHODS for weights in WEIGHTS]
RUNS = Path(__file__).with_suffix(".jsonl")
DOCUMENT = Path(__file__).parents[1] / "docs/research/search-in-trainings.md"


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

    def __init__(self, search: Search) -> None:
        self._search = search

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


class Mutation(Search):
    """The search with a random edit of one of the best networks in place of annealing."""

    def _anneal(
        self, starts: Sequence[tuple[float, Callable[[], Candidate]]], admits: GraphTest, generator: np.random.Generator
    ) -> Candidate | None:
        return random_descendant(
            [make_start() for _, make_start in starts],
            is_new=self._history.is_new,
            admits=admits,
            max_edits=1,
            generator=generator,
        )


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


def strategy_of(way: str, seed: int) -> Strategy:
    """A method at its beginning."""
    if way == "random":
        return RandomStrategy(seed)
    if way == "mutation":
        return SearchStrategy(Mutation(SEED_NETWORK, SETTINGS, LIMITS, seed=seed, concurrency=1, keep=PARENTS))
    return SearchStrategy(Search(SEED_NETWORK, SETTINGS, LIMITS, seed=seed, concurrency=1, keep=TRIALS))


def run(strategy: Strategy, weights: str, seed: int, folder: Path) -> tuple[Errors, list[float]]:
    """Validation and test error of each trial, and test errors of the best network when it is trained again."""
    plans: list[Plan] = []
    found: Errors = []
    for trial in range(TRIALS):
        plans.append(strategy.next(trial))
        parent = plans[-1].parent
        source: tuple[Path | None, Graph | None] = (None, None)
        if weights == "inherited" and parent is not None:
            source = folder / f"{parent}.safetensors", plans[parent].graph
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


def read() -> Runs:
    """Results of `run` by arm and seed."""
    found: Runs = {arm: {} for arm in ARMS}
    for line in RUNS.read_text(encoding="utf-8").splitlines() if RUNS.exists() else []:
        row = json.loads(line)
        found[row["way"], row["weights"]][row["seed"]] = row["trials"], row["again"]
    return found


def missing() -> Iterator[tuple[str, str, int]]:
    done = read()
    for seed in SEEDS:
        for way, weights in ARMS:
            if seed not in done[way, weights]:
                yield way, weights, seed


def measured(runs: Runs, measure: str, arm: tuple[str, str]) -> Floats:
    """Values (seeds,) of a measure in percent."""
    return 100 * np.array([MEASURES[measure](*runs[arm][seed]) for seed in SEEDS])


def report(runs: Runs) -> str:
    """The page: errors of the arms, and differences of the methods and of the weights."""
    rows, weights_rows = [], []
    for weights in WEIGHTS:
        for measure in MEASURES:
            errors = {way: measured(runs, measure, (way, weights)) for way in METHODS}
            cells = [mean_cell(each) for each in errors.values()]
            cells += [difference_cell(errors[way] - errors["search"]) for way in METHODS[1:]]
            rows.append([WEIGHTS_NAMES[weights], measure, *cells])
    for measure in MEASURES:
        cells = [
            difference_cell(measured(runs, measure, (way, "fresh")) - measured(runs, measure, (way, "inherited")))
            for way in METHODS
        ]
        weights_rows.append([measure, *cells])
    lines = [HEAD, *table(["weights", "measure", *METHODS, *(f"{way} - search" for way in METHODS[1:])], rows)]
    return "\n".join([*lines, INHERITANCE, *table(["measure", *METHODS], weights_rows), ""])


WEIGHTS_NAMES = {"inherited": "inherited", "fresh": "new"}
HEAD = f"""# Search in own trainings

<!-- Written by benchmarks/search_quality.py, whose docstring has the protocol. -->

Error in percent on images of scikit-learn's digits that neither training nor search saw, of the network that is best on
validation; {TRIALS} trials of {EPOCHS} epochs, mean of {len(SEEDS)} seeds with the 95 % confidence interval.
Differences are of equal seeds, and bold where they are beyond their interval: above 0 the search is better. Methods,
measures and protocol: `benchmarks/search_quality.py`. What follows from it is in [Search](search.md).

![Mean error by the number of trials](search-in-trainings.svg)
"""
INHERITANCE = """
Error with new weights less that with inherited ones: above 0 inheritance is better.
"""


def plot(runs: Runs, picture: Path) -> None:
    """Draw mean and interval of each method by the number of trials."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "search-in-trainings"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axis, weights in zip(axes, WEIGHTS, strict=True):
        for way in METHODS:
            errors = 100 * np.array([best_so_far(runs[way, weights][seed][0]) for seed in SEEDS])
            mean, half = errors.mean(axis=0), half_width(errors)
            numbers = np.arange(1, TRIALS + 1)
            axis.plot(numbers, mean, label=way)
            axis.fill_between(numbers, mean - half, mean + half, alpha=0.2)
        axis.set(title=f"{WEIGHTS_NAMES[weights]} weights", xlabel="trials", yscale="log", xticks=range(4, 25, 4))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:g}")
        axis.legend()
    axes[0].set_ylabel("error on the final test, %")
    figure.savefig(picture, metadata={"Date": None})


def main() -> None:
    for way, weights, seed in list(missing()):
        with tempfile.TemporaryDirectory() as folder:
            trials, again = run(strategy_of(way, seed), weights, seed, Path(folder))
        with RUNS.open("a", encoding="utf-8") as file:
            row = {"way": way, "weights": weights, "seed": seed, "trials": trials, "again": again}
            print(json.dumps(row), file=file)
    runs = read()
    DOCUMENT.write_text(report(runs), encoding="utf-8")
    plot(runs, DOCUMENT.with_suffix(".svg"))
    print(report(runs))


if __name__ == "__main__":
    main()
