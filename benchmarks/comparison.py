"""Statistics and table cells of the comparisons of search methods: means of seeds with their confidence intervals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]


def half_width(values: Floats) -> Floats:
    """Half the width of the 95 % confidence interval (Student's t) of the mean over the first axis, the seeds."""
    half: Floats = stats.t.ppf(0.975, len(values) - 1) * values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return half


def mean_cell(values: Floats, digits: int = 2) -> str:
    """Mean of values (seeds,) with its interval."""
    return f"{values.mean():.{digits}f} ± {half_width(values):.{digits}f}"


def difference_cell(differences: Floats, digits: int = 2) -> str:
    """Mean of differences (seeds,) of equal seeds with its interval; bold where 0 is outside."""
    text = mean_cell(differences, digits)
    return f"**{text}**" if abs(differences.mean()) > half_width(differences) else text


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(each)} |" for each in (head, ["---"] * len(head), *rows)]
