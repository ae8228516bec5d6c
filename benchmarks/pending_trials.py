"""Concurrent trials on NAS-Bench-201: does it help to condition the Gaussian process on trials that still run?

Networks of running trials are unknown to the Gaussian process of a campaign; they only are not proposed again.

Protocol, fixed before the first run:

- Table, shown trainings, and results of a run are those of `nas_bench_201.py`. The search has 1, 16 or 256 concurrent
  trials, which end in the order in which they began, and is compared in equal numbers of ended trials. With one trial
  at a time no trial runs when another is proposed, so that all treatments are equal.
- Treatments. `unknown` is the search as it is. The others add the 128 newest running trials to the measured networks,
  as TPE does; the length, and the mean and variance of the prior remain those of the measured networks. `believer`
  (kriging believer, fantasies at the mean): a running trial has the posterior mean of its error, so that only the
  standard deviation changes. `liar mean` and `liar worst` (constant liar): it has the mean, or the highest, of the
  measured errors.
- Budgets: 25, 50, 100, 150 and 512 trials with 16 at once; 320, 384, 448 and 512 with 256 at once, of which the first
  256 are random descendants of the first cell whatever the treatment.
- The score is the distance to the table's optimum relative to the mean distance of random cells of equal seeds, the
  mean over data sets and the budgets of a number of concurrent trials; then the mean of 16 and 256 at once.
- Seeds for choosing: 3000 to 3019, with 16 at once to 150 trials and with 256 at once to 512. The treatment with the
  lowest score, `unknown` left aside, is tested.
- Seeds for testing: 4000 to 4039, run once, with `unknown` and the chosen treatment.
- The treatment is adopted if its score of the test is lower than that of `unknown` by more than the 95 % confidence
  interval (Student's t) of the difference of equal seeds, and neither with 16 nor with 256 at once higher by more than
  the interval there.
- Used before for other choices, and not here: seeds 0 to 39, 1000 to 1099 and 5000 to 5009.

The first command prints the scores for choosing; the second one runs the test and writes
docs/research/concurrent-trials.md with its plot:

    OMP_NUM_THREADS=1 python benchmarks/pending_trials.py --choosing
    OMP_NUM_THREADS=1 python benchmarks/pending_trials.py --test TREATMENT
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from unittest import mock

import nas_bench_201
import numpy as np
from cells import Table
from comparison import Floats, difference_cell, half_width, mean_cell, table

from aiperf_orch.network.graph import Graph
from aiperf_orch.search import Search, surrogate
from aiperf_orch.search.gaussian_process import NOISE, GaussianProcess
from aiperf_orch.search.history import MAX_OBSERVATIONS
from aiperf_orch.search.surrogate import Surrogate

BUDGETS = {1: (25, 50, 100, 150, 512), 16: (25, 50, 100, 150, 512), 256: (320, 384, 448, 512)}
EVALUATIONS = 512
CHOOSING, TESTING = range(3000, 3020), range(4000, 4040)
CHOOSING_BUDGETS = {16: BUDGETS[16][:-1], 256: BUDGETS[256]}
UNKNOWN = "unknown"
PLACEHOLDER = 0.5  # in place of the error of a running trial
DOCUMENT = Path(__file__).parents[1] / "docs/research/concurrent-trials.md"
TREATMENTS: dict[str, Callable[[GaussianProcess, Floats, Floats], Floats]] = {
    "believer": lambda process, distances, _: np.array([process.predict(row)[0] for row in distances]),
    "liar mean": lambda _, distances, errors: np.full(len(distances), errors.mean()),
    "liar worst": lambda _, distances, errors: np.full(len(distances), errors.max()),
}
"""Errors (r,) of running trials from the process of the n measured ones, distances (r, n), and measured errors (n,)."""


class ConditionedProcess(GaussianProcess):
    """Gaussian process of measured networks, conditioned on running trials too."""

    def __init__(self, distances: Floats, errors: Floats, treatment: str) -> None:
        """Fit to n measured networks and r running ones.

        Args:
            distances: pairwise distances (n + r, n + r); the measured networks first.
            errors: measured errors (n,).
            treatment: key of `TREATMENTS`.
        """
        measured = errors.size
        super().__init__(distances[:measured, :measured], errors)
        believed = TREATMENTS[treatment](self, distances[measured:, :measured], errors)
        covariance = np.exp(-distances / self._length)
        covariance[np.diag_indices(len(covariance))] += NOISE
        self._inverse = np.linalg.inv(covariance)
        self._weights = self._inverse @ ((np.concatenate([errors, believed]) - self._mean) / self.scale)


class ConditionedSurrogate(Surrogate):
    """Surrogate that is conditioned on running trials."""

    def __init__(self, beta: float, treatment: str, running: Callable[[], list[int]]) -> None:
        """Create a surrogate; `running` lists the running trials."""
        super().__init__(beta)
        self._treatment = treatment
        self._running = running

    def fit(self, errors: Mapping[int, float], graph_of: Callable[[int], Graph]) -> None:
        """Fit to measured and running trials."""

        def process(distances: Floats, values: Floats) -> ConditionedProcess:
            return ConditionedProcess(distances, values[: len(errors)], self._treatment)

        with mock.patch.object(surrogate, "GaussianProcess", process):
            super().fit({**errors, **dict.fromkeys(self._running(), PLACEHOLDER)}, graph_of)


class ConditionedSearch(Search):
    """The search, with the Gaussian process conditioned on running trials."""

    def condition(self, treatment: str) -> None:
        """Condition the surrogate by one of the treatments; before the first trial."""
        self._surrogate = ConditionedSurrogate(self._settings.beta, treatment, self._newest_running)

    def _newest_running(self) -> list[int]:
        return list(islice(reversed(self._history._running), MAX_OBSERVATIONS))


def make(treatment: str, *arguments: object, **settings: object) -> Search:
    """A search with a treatment of running trials."""
    if treatment == UNKNOWN:
        return Search(*arguments, **settings)  # type: ignore[arg-type]
    made = ConditionedSearch(*arguments, **settings)  # type: ignore[arg-type]
    made.condition(treatment)
    return made


def runs(treatment: str, concurrency: int, name: str, seeds: range, evaluations: int) -> Floats:
    """Mean accuracies (seeds, evaluations) of the best cells."""
    return nas_bench_201.runs(
        lambda seed: nas_bench_201.searching(seed, concurrency, partial(make, treatment), evaluations + 1),
        Table(name),
        seeds,
        evaluations,
    )


Found = dict[tuple[int, str], dict[str, Floats]]
"""Concurrent trials and treatment -> data set -> relative distances (seeds, evaluations) to the optimum."""


def relative_distances(arms: dict[tuple[int, str], int], seeds: range) -> Found:
    """Run arms to numbers of evaluations; distances are relative to the mean distance of random cells."""
    found: Found = {arm: {} for arm in arms}
    for name in nas_bench_201.NAMES:
        optimum = Table(name).optimum
        random = nas_bench_201.runs(nas_bench_201.random, Table(name), seeds, EVALUATIONS)
        for (concurrency, treatment), evaluations in arms.items():
            results = runs(treatment, concurrency, name, seeds, evaluations)
            found[concurrency, treatment][name] = (optimum - results) / (optimum - random[:, :evaluations]).mean(axis=0)
            print(name, concurrency, treatment, f"{results[:, -1].mean():.2f}", flush=True)
    return found


def at(results: dict[str, Floats], budgets: tuple[int, ...]) -> Floats:
    """Relative distances (seeds, budgets): means over the data sets."""
    return nas_bench_201.at(np.mean(list(results.values()), axis=0), budgets)


def choose() -> None:
    """Print the scores of the treatments with the seeds for choosing."""
    arms = {
        (concurrency, treatment): budgets[-1]
        for concurrency, budgets in CHOOSING_BUDGETS.items()
        for treatment in (UNKNOWN, *TREATMENTS)
    }
    print(*scores(relative_distances(arms, CHOOSING), CHOOSING_BUDGETS, [UNKNOWN, *TREATMENTS]), sep="\n")


def scores(found: Found, budgets: dict[int, tuple[int, ...]], treatments: list[str]) -> list[str]:
    """Table of the scores, and of their differences to `unknown`."""
    rows = []
    by_treatment = {
        treatment: [at(found[concurrency, treatment], budgets[concurrency]).mean(axis=1) for concurrency in (16, 256)]
        for treatment in treatments
    }
    before = by_treatment[UNKNOWN]
    for treatment, (few, many) in by_treatment.items():
        cells = [mean_cell(each, 3) for each in (few, many, (few + many) / 2)]
        differences = [few - before[0], many - before[1], (few + many - before[0] - before[1]) / 2]
        if treatment != UNKNOWN:
            cells = [f"{cell}; {difference_cell(each, 3)}" for cell, each in zip(cells, differences, strict=True)]
        rows.append([treatment, *cells])
    return table(["treatment", "16 at once", "256 at once", "score"], rows)


def report(found: Found, treatment: str) -> str:
    """The page: distances of each arm by the number of trials, and the scores that decide."""
    lines = [HEAD]
    numbers = sorted({budget for budgets in BUDGETS.values() for budget in budgets})
    rows = []
    for (concurrency, each), results in found.items():
        cells = [
            mean_cell(at(results, (number,))[:, 0]) if number in BUDGETS[concurrency] else "" for number in numbers
        ]
        rows.append([str(concurrency), each, *cells])
    lines += table(["at once", "running trials", *map(str, numbers)], rows)
    return "\n".join([*lines, SCORES, *scores(found, BUDGETS, [UNKNOWN, treatment]), ""])


HEAD = f"""# Concurrent trials

<!-- Written by benchmarks/pending_trials.py, whose docstring has the protocol. -->

Distance to the optimum of NAS-Bench-201 of the best network after a number of ended trials, relative to that of random
cells: mean over {len(nas_bench_201.NAMES)} data sets and {len(TESTING)} seeds with the 95 % confidence interval, with
1, 16 and 256 trials at once. Treatments of running trials and protocol: `benchmarks/pending_trials.py`. What follows
from it is in [Search](search.md).

![Relative distance to the optimum by the number of ended trials](concurrent-trials.svg)
"""
SCORES = """
Scores, the mean over the budgets; after the semicolon the difference to `unknown` of equal seeds, bold where it is
beyond its interval:
"""


def plot(found: Found, picture: Path) -> None:
    """Draw mean and interval of each arm by the number of ended trials."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "concurrent-trials"
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    numbers = np.arange(1, EVALUATIONS + 1)
    for (concurrency, treatment), results in found.items():
        values = np.mean(list(results.values()), axis=0)
        mean, half = values.mean(axis=0), half_width(values)
        axis.plot(numbers, mean, label=f"{concurrency} at once, {treatment}")
        axis.fill_between(numbers, mean - half, mean + half, alpha=0.2)
    axis.set(xlabel="ended trials", ylabel="distance to the optimum, relative to random", xscale="log")
    axis.set(xlim=(10, EVALUATIONS), ylim=(0, 1.5), xticks=(10, 25, 50, 100, 150, 256, 512))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter("")
    axis.legend()
    figure.savefig(picture, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--choosing", action="store_true", help="run all treatments with the seeds for choosing")
    mode.add_argument("--test", choices=list(TREATMENTS), help="run the test of a treatment")
    arguments = parser.parse_args()
    if arguments.choosing:
        choose()
        return
    arms = [(1, UNKNOWN), (16, UNKNOWN), (16, arguments.test), (256, UNKNOWN), (256, arguments.test)]
    found = relative_distances(dict.fromkeys(arms, EVALUATIONS), TESTING)
    DOCUMENT.write_text(report(found, arguments.test), encoding="utf-8")
    plot(found, DOCUMENT.with_suffix(".svg"))
    print(report(found, arguments.test))


if __name__ == "__main__":
    main()
