"""The search on a public table of trained networks, NAS-Bench-201, beside methods without a surrogate.

The table (Dong and Yang 2020) has the validation accuracy of two or three trainings of each of 15,625 cells on three
data sets. The search is the product's own loop; only an edit is another one: it replaces one of the five operations on
one of the six edges of a cell. `cells.py` makes a network of a cell, and its docstring states what the embedding sees.

Protocol, fixed before the first run:

- An evaluation of a cell shows the search one of its trainings, drawn at random. The result of a run after n
  evaluations is the mean accuracy, over all trainings in the table, of the cell whose shown accuracy is the highest.
- Methods. `search`: as a campaign with the default settings, one trial at a time. `mutation`: one random edit of one of
  the five best cells, chosen at random, to a network that was not evaluated (one more edit after each 64 attempts).
  `evolution`: regularised evolution (Real et al. 2019; population 10, of which the first 10 are random, sample 3, one
  random edit; as in the NAS-Bench-201 paper). `local`: local search (White et al. 2020): all edits of a cell in random
  order, then on to the best of them, or to a random cell if none is better. `random`: cells without replacement.
  `search` and `mutation` begin with one random cell, equal for equal seeds.
- Budgets: 25, 50, 100 and 150 evaluations, of the same run.
- Seeds for choosing a design: 0 to 39. At most 16 designs beside the search as it was are run with them, each on all
  data sets and budgets. The score of a design is the mean, over seeds, data sets and budgets, of its distance to the
  table's optimum relative to the mean distance of `random`. A design replaces the present one if its score is lower by
  more than the 95 % confidence interval (Student's t) of the difference of equal seeds.
- Seeds for testing: 1000 to 1099, run once, with the design that was chosen.
- The comparison that decides, for each data set and budget: the difference of `search` to another method of equal
  seeds, with its 95 % confidence interval (Student's t). `search` is not below `mutation` and `evolution` if the
  interval does not end below 0; it is above `random` if the interval begins above 0. The goal at 100 evaluations is a
  mean of 91.45, 73.0 and 46.3 % or better.
- Trials at once: with the seeds for choosing, on all data sets, the search with 1, 16 and 256 concurrent trials, which
  end in the order in which they began, is compared after 512 trials; with 16 also after the budgets above. A change for
  concurrent trials is adopted by the score of these runs, in the same way.

The extra `bench` brings the table. One command runs the test and writes docs/research/nas-bench-201.md with its plot;
`--choosing` runs the search with the seeds for choosing and prints its score:

    python benchmarks/nas_bench_201.py
    python benchmarks/nas_bench_201.py --choosing [--concurrency 16]
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Callable, Generator
from itertools import count
from pathlib import Path

import numpy as np
from cells import CELLS, Cell, CellSpace, Operations, Table, cell
from comparison import Floats, half_width

from aiperf_orch.network import counts
from aiperf_orch.network.morphisms import MorphismLimits
from aiperf_orch.search import Search
from aiperf_orch.settings.models import CampaignSettings, SearchSettings

Method = Callable[[int], Generator[Operations, float, None]]
"""Cells to evaluate, for a seed; each is answered with its error (fraction)."""

BUDGETS = (25, 50, 100, 150)
GOAL_BUDGET, GOAL = 100, {"cifar10": 91.45, "cifar100": 73.0, "imagenet": 46.3}
CHOOSING, TESTING = range(40), range(1000, 1100)
TRIALS_AT_ONCE = 512
NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet": "ImageNet16-120"}
POPULATION, SAMPLE, PARENTS, ATTEMPTS = 10, 3, 5, 64
SPACE = CellSpace()
SETTINGS = SearchSettings(tpe_from_round=1_000_000)  # cells have no hyperparameters
DOCUMENT = Path(__file__).parents[1] / "docs/research/nas-bench-201.md"


def search(seed: int) -> Generator[Operations, float, None]:
    """The product's search, one trial at a time."""
    return searching(seed, 1)


def searching(
    seed: int, concurrency: int, make: Callable[..., Search] = Search, trials: int | None = None
) -> Generator[Operations, float, None]:
    """The product's search with concurrent trials, of which the oldest ends first; yields the cell that ends.

    After a number of trials, if one is given, no more begin; those before do not depend on it.
    """
    product = make(
        cell(first_cell(seed)),
        SETTINGS,
        MorphismLimits(),
        seed=seed,
        concurrency=concurrency,
        keep=CampaignSettings().keep_weights,
        space=SPACE,
    )
    running: deque[tuple[int, Operations]] = deque()
    for trial in count() if trials is None else range(trials):
        made = product.propose(trial)
        train = counts.count(made.graph).train
        product.started(trial, made.parent, made.edits, made.hyperparameters, made.graph.hash, train)
        running.append((trial, made.graph.operations))
        if len(running) == concurrency:
            ended, operations = running.popleft()
            product.ended(ended, (yield operations), None)
    for _, operations in running:
        yield operations


def mutation(seed: int) -> Generator[Operations, float, None]:
    """Random edits of the best cells."""
    generator = np.random.default_rng([seed, 2])
    known, ranked = set(), []
    child = cell(first_cell(seed))
    while True:
        known.add(child.hash)
        ranked.append(((yield child.operations), child))
        ranked.sort(key=lambda each: each[0])
        attempts = 0
        while child.hash in known:
            child = ranked[generator.integers(min(len(ranked), PARENTS))][1]
            for _ in range(1 + attempts // ATTEMPTS):
                child = random_child(child, generator)
            attempts += 1


def evolution(seed: int) -> Generator[Operations, float, None]:
    """Regularised evolution."""
    generator = np.random.default_rng([seed, 3])
    population: deque[tuple[float, Operations]] = deque(maxlen=POPULATION)
    while True:
        if len(population) < POPULATION:
            operations = CELLS[generator.integers(len(CELLS))]
        else:
            sample = [population[index] for index in generator.choice(POPULATION, SAMPLE, replace=False)]
            operations = random_child(cell(min(sample)[1]), generator).operations
        population.append(((yield operations), operations))


def local(seed: int) -> Generator[Operations, float, None]:
    """Local search, from another random cell after each local optimum."""
    generator = np.random.default_rng([seed, 4])
    errors: dict[Operations, float] = {}
    while len(errors) < len(CELLS):
        present = CELLS[generator.integers(len(CELLS))]
        if present in errors:
            continue
        errors[present] = yield present
        while True:
            edits = SPACE.all_edits(cell(present), ())
            near = [SPACE.apply(cell(present), edits[index]).operations for index in generator.permutation(len(edits))]
            for each in near:
                if each not in errors:
                    errors[each] = yield each
            best = min(near, key=errors.__getitem__)
            if errors[best] >= errors[present]:
                break
            present = best


def random(seed: int) -> Generator[Operations, float, None]:
    """All cells in random order."""
    for index in np.random.default_rng([seed, 5]).permutation(len(CELLS)):
        yield CELLS[index]


METHODS: dict[str, Method] = {each.__name__: each for each in (search, mutation, evolution, local, random)}


def first_cell(seed: int) -> Operations:
    """The random cell with which a run begins."""
    return CELLS[np.random.default_rng([seed, 1]).integers(len(CELLS))]


def random_child(parent: Cell, generator: np.random.Generator) -> Cell:
    edit = SPACE.random_edit(parent, 0, generator)
    return SPACE.apply(parent, edit)


def run(method: Method, table: Table, seed: int, evaluations: int) -> Floats:
    """Mean accuracy (evaluations,), in percent, of the best cell after each evaluation."""
    generator = np.random.default_rng([seed, 0])
    proposed, results, lowest, best = method(seed), [], np.inf, 0.0
    operations = next(proposed)
    for _ in range(evaluations):
        error = table.training(operations, generator)
        if error < lowest:
            lowest, best = error, table.mean(operations)
        results.append(best)
        operations = proposed.send(error)
    return np.array(results)


def runs(method: Method, table: Table, seeds: range, evaluations: int = BUDGETS[-1]) -> Floats:
    """Results (seeds, evaluations) of `run`."""
    return np.array([run(method, table, seed, evaluations) for seed in seeds])


def at(results: Floats, budgets: tuple[int, ...] = BUDGETS) -> Floats:
    """Results (seeds, budgets) after these numbers of evaluations."""
    return results[:, [budget - 1 for budget in budgets]]


def choose(concurrency: int, evaluations: int) -> None:
    """Print results and score of the search with the seeds for choosing; the score of each seed on the last line."""
    budgets = tuple(budget for budget in (*BUDGETS, TRIALS_AT_ONCE) if budget <= evaluations)
    budgets = budgets if concurrency <= BUDGETS[0] else budgets[-1:]
    scores = []
    for name, title in NAMES.items():
        table = Table(name)
        found = at(runs(lambda seed: searching(seed, concurrency), table, CHOOSING, evaluations), budgets)
        blind = at(runs(random, table, CHOOSING, evaluations), budgets)
        scores.append((table.optimum - found) / (table.optimum - blind.mean(axis=0)))
        print(f"{title:<16}" + "".join(f"{mean:8.2f} ±{half:.2f}" for mean, half in means(found)), flush=True)
    score = np.mean(scores, axis=(0, 2))
    print(
        f"score {score.mean():.4f} ±{half_width(score):.4f}, by budget {np.mean(scores, axis=(0, 1)).round(3).tolist()}"
    )
    print(*score.round(4))


def means(results: Floats) -> list[tuple[float, float]]:
    return list(zip(results.mean(axis=0), half_width(results), strict=True))


def report(found: dict[str, dict[str, Floats]]) -> str:
    """The page: accuracies, and differences of the search to each other method."""
    lines = [HEAD, "| data set | method | " + " | ".join(map(str, BUDGETS)) + " |", "| --- " * (len(BUDGETS) + 2) + "|"]
    for name, title in NAMES.items():
        for method, results in found[name].items():
            cells = [f"{mean:.2f} ± {half:.2f}" for mean, half in means(at(results))]
            lines.append(f"| {title} | {method} | " + " | ".join(cells) + " |")
        lines.append(f"| {title} | *optimum* |" + f" {Table(name).optimum:.2f} |" * len(BUDGETS))
    lines += [DIFFERENCES, "| data set | search - | " + " | ".join(map(str, BUDGETS)) + " |"]
    lines.append("| --- " * (len(BUDGETS) + 2) + "|")
    for name, title in NAMES.items():
        for method in list(METHODS)[1:]:
            difference = means(at(found[name]["search"]) - at(found[name][method]))
            cells = [bold(f"{mean:.2f} ± {half:.2f}", abs(mean) > half) for mean, half in difference]
            lines.append(f"| {title} | {method} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *verdict(found), ""])


def bold(text: str, is_bold: bool) -> str:
    return f"**{text}**" if is_bold else text


def verdict(found: dict[str, dict[str, Floats]]) -> list[str]:
    """Whether each part of the goal is reached."""
    below, not_above, missed = [], [], []
    for name, title in NAMES.items():
        results = found[name]
        for method in ("mutation", "evolution", "random"):
            differences = means(at(results["search"]) - at(results[method]))
            for budget, (mean, half) in zip(BUDGETS, differences, strict=True):
                if method == "random" and mean <= half:
                    not_above.append(f"{title} at {budget}")
                elif method != "random" and mean < -half:
                    below.append(f"{title} at {budget} ({method})")
        reached = at(results["search"], (GOAL_BUDGET,)).mean()
        if reached < GOAL[name]:
            missed.append(f"{title} {reached:.2f} % instead of {GOAL[name]} %")
    return [
        f"- Below `mutation` or `evolution`, beyond the interval: {'; '.join(below) or 'nowhere'}.",
        f"- Not above `random`, beyond the interval: {'; '.join(not_above) or 'nowhere'}.",
        f"- Below the goal for {GOAL_BUDGET} evaluations: {'; '.join(missed) or 'nowhere'}.",
    ]


HEAD = f"""# Search on NAS-Bench-201

<!-- Written by benchmarks/nas_bench_201.py, whose docstring has the protocol. -->

Validation accuracy in percent of the best network after a number of evaluations; mean of {len(TESTING)} seeds with the
95 % confidence interval. Methods and protocol: `benchmarks/nas_bench_201.py`. What follows from it is in
[Search](search.md).

![Mean accuracy by the number of evaluations](nas-bench-201.svg)
"""
DIFFERENCES = """
Difference of the search to the other methods, of equal seeds; bold where it is beyond its interval:
"""


def plot(found: dict[str, dict[str, Floats]], picture: Path) -> None:
    """Draw mean and interval of each method by the number of evaluations."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "nas-bench-201"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(NAMES), figsize=(12, 4), layout="constrained")
    for axis, (name, title) in zip(axes, NAMES.items(), strict=True):
        optimum = Table(name).optimum
        for method, results in found[name].items():
            gap, half = (optimum - results).mean(axis=0), half_width(results)
            numbers = np.arange(1, results.shape[1] + 1)
            axis.plot(numbers, gap, label=method)
            axis.fill_between(numbers, np.maximum(gap - half, 1e-3), gap + half, alpha=0.2)
        axis.set(title=title, xlabel="evaluations", yscale="log", xlim=(10, BUDGETS[-1]), ylim=(0.05, 10))
        axis.yaxis.set_major_formatter("{x:g}")
    axes[0].set_ylabel("accuracy below the optimum, % points")
    axes[0].legend()
    figure.savefig(picture, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--choosing", action="store_true", help="run the search with the seeds for choosing")
    parser.add_argument("--concurrency", type=int, default=1, help="concurrent trials (default: %(default)s)")
    parser.add_argument("--evaluations", type=int, default=BUDGETS[-1], help="with --choosing (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.choosing:
        choose(arguments.concurrency, arguments.evaluations)
        return
    found = {name: {key: runs(method, Table(name), TESTING) for key, method in METHODS.items()} for name in NAMES}
    DOCUMENT.write_text(report(found), encoding="utf-8")
    plot(found, DOCUMENT.with_suffix(".svg"))
    print(report(found))


if __name__ == "__main__":
    main()
