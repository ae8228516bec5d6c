"""Pictures of the search: family tree over time, learning curves, hyperparameters against the error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

from aiperf_orch.results.pictures import Axis, axes, dot, group, number, path, picture, text

_LEFT: Final = 66.0
_WIDE: Final = (720.0, 270.0)
_NARROW: Final = (360.0, 200.0)
_BELOW: Final = 40.0
"""Room for ticks and the name of the axis."""
_LABEL_ROOM: Final = 24.0
_SHORTEST: Final = 0.001
"""Least length of an axis of time: clocks that were set back give times before the first begin."""
_DASHES: Final = ("", "6 3", "1.5 3")
_DOTS: Final = {"fill": "none", "stroke": "currentColor", "stroke_linecap": "round"}
_SUFFIXES: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def percent(error: float) -> str:
    """An error as text."""
    return f"{100 * error:.3g} %"


def family_tree(trials: Mapping[str, Sequence[Any]], line: Sequence[int], unit: tuple[str, float]) -> Markup:
    """Each trial at the time and height of its lowest error, joined with its nearest ancestor that is drawn.

    Args:
        trials: Columns of `searched`.
        line: Trials of the winner's lineage that are drawn, in order.
        unit: Name of the unit of time, and its length in seconds.
    """
    (width, height), (name, length) = _WIDE, unit
    times = [seconds / length for seconds in trials["seconds"]]
    x = Axis(0, max(1.03 * max(times), _SHORTEST), _LEFT, width - 20)
    y = Axis.of(trials["error"], height - _BELOW, 12, is_log=True)
    at = {
        trial: (x.at(time), y.at(error))
        for trial, time, error in zip(trials["trial"], times, trials["error"], strict=True)
    }
    pairs = [pair for pair in zip(trials["ancestor"], trials["trial"], strict=True) if pair[0] in at]
    edges = "".join(f"M{_point(at[ancestor])}L{_point(at[trial])}" for ancestor, trial in pairs)
    titles = {
        trial: f"trial {trial}: {percent(error)}, {'of the seed' if parent is None else f'from {parent}'}"
        for trial, error, parent in zip(trials["trial"], trials["error"], trials["parent"], strict=True)
    }
    others = [trial for trial in trials["trial"] if trial not in set(line)]
    way = "M" + "L".join(_point(at[trial]) for trial in line)
    parts = [
        axes(x, y, f"{name} since the first trial began", lambda value: f"{value:g}", lambda v: f"{100 * v:g} %"),
        group([path(edges or "M0 0")], fill="none", stroke="currentColor", stroke_opacity=0.22, stroke_width=0.7),
        group([dot(*at[trial], titles[trial]) for trial in others], **_DOTS, stroke_opacity=0.55, stroke_width=4),
        group([path(way)], fill="none", class_="stroke-accent", stroke_width=2, stroke_linejoin="round"),
        group(
            [dot(*at[trial], titles[trial]) for trial in line],
            fill="none", class_="stroke-accent", stroke_linecap="round", stroke_width=7,
        ),
        *_names(line, at),
    ]  # fmt: skip
    return picture(width, height, "Family tree of the trials over time, with the winner's line", parts)


def learning_curves(curves: Sequence[Mapping[str, Any]], best: int) -> Markup:
    """Validation error by epoch; the first `best` curves are marked, by a solid, a dashed and a dotted line."""
    width, height = _NARROW
    x = Axis(1, max(2, *(epoch for curve in curves for epoch in curve["epochs"])), _LEFT, width - 10)
    y = Axis.of([error for curve in curves for error in curve["errors"]], height - _BELOW, 10, is_log=True)
    drawn = [
        path(_way(curve, x, y), f"trial {curve['trial']}: {percent(min(curve['errors']))}",
             **({"stroke_dasharray": _DASHES[rank]} if 0 < rank < best else {}))
        for rank, curve in enumerate(curves)
    ]  # fmt: skip
    look: dict[str, str | float] = {"fill": "none", "stroke_linejoin": "round", "stroke_linecap": "round"}
    parts = [
        axes(x, y, "epoch", lambda value: f"{value:g}" if value == int(value) else "", lambda v: f"{100 * v:g} %"),
        group(drawn[best:], **look, stroke="currentColor", stroke_opacity=0.3, stroke_width=0.9),
        group(drawn[:best], **look, class_="stroke-accent", stroke_width=2),
    ]
    return picture(width, height, "Learning curves: validation error by epoch", parts)


def against_error(points: Sequence[tuple[float, int, float]], name: str, winner: int, *, is_log: bool) -> Markup:
    """A dot for each trial, at its value of a hyperparameter and its error; the winner is marked.

    Args:
        points: Value, trial and error, a fraction.
        name: Of the hyperparameter.
        winner: Number of the trial that is marked.
        is_log: Whether the axis of the hyperparameter is logarithmic.
    """
    width, height = _NARROW
    values, errors = [value for value, _, _ in points], [error for _, _, error in points]
    is_whole = all(value == int(value) for value in values)
    x = Axis.of(values, _LEFT, width - 10, is_log=is_log, is_whole=is_whole)
    y = Axis.of(errors, height - _BELOW, 10, is_log=True)
    dots = {
        trial: dot(x.at(value), y.at(error), f"{trial}: {value:g}, {percent(error)}") for value, trial, error in points
    }
    marked = [dots.pop(winner)] if winner in dots else []
    parts = [
        axes(x, y, name, _short, lambda value: f"{100 * value:g} %"),
        group(dots.values(), **_DOTS, stroke_opacity=0.5, stroke_width=4),
        group(marked, fill="none", class_="stroke-accent", stroke_linecap="round", stroke_width=8),
    ]
    return picture(width, height, f"Error against {name}", parts)


def _names(line: Sequence[int], at: Mapping[int, tuple[float, float]]) -> list[Markup]:
    """Numbers of the winner's line, from the winner back, as far as there is room for them."""
    texts: list[Markup] = []
    taken: list[tuple[float, float]] = []
    for trial in reversed(line):
        x, y = at[trial]
        if all(abs(x - left) > _LABEL_ROOM or abs(y - top) > _LABEL_ROOM / 2 for left, top in taken):
            below = y + 15 < _WIDE[1] - _BELOW
            texts.append(text(min(x, _WIDE[0] - 16), y + 15 if below else y - 8, str(trial), "middle", fill_opacity=1))
            taken.append((x, y))
    return texts


def _way(curve: Mapping[str, Any], x: Axis, y: Axis) -> str:
    points = [(x.at(epoch), y.at(error)) for epoch, error in zip(curve["epochs"], curve["errors"], strict=True)]
    return "M" + "L".join(map(_point, points)) + ("h0" if len(points) == 1 else "")


def _point(at: tuple[float, float]) -> str:
    return f"{number(at[0])} {number(at[1])}"


def _short(value: float) -> str:
    """A number with a suffix: 1.5M."""
    divisor, suffix = next((pair for pair in _SUFFIXES if value >= pair[0]), (1.0, ""))
    return f"{value / divisor:g}{suffix}"
