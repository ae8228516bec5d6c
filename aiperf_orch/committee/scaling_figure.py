"""Figure of weak scaling as in the paper: score against size with the ideal line, and efficiency against size."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

import aiperf_orch
from aiperf_orch.campaign.durable_files import replace_file
from aiperf_orch.committee.scaling import Scaling, rows_of
from aiperf_orch.results.html import render_page
from aiperf_orch.results.plots import PAGE, PAPER, Palette, embed, simplify_axes, style
from aiperf_orch.util.units import format_ops, ops_scale

_SIZE: Final = (9.4, 3.4)  # inches


def write_figure(found: Scaling, output: Path) -> None:
    """Write the figure in the format of the suffix, one of `FIGURE_SUFFIXES`; an HTML page includes the table."""
    if output.suffix == ".html":
        data = _page(found).encode()
    else:
        picture = io.BytesIO()
        with mpl.rc_context(style(PAPER)):
            figure = draw(found, PAPER)
            figure.savefig(picture, format=output.suffix[1:], dpi=200, metadata=_metadata(output.suffix))
        data = picture.getvalue()
    replace_file(output, data)


def draw(found: Scaling, palette: Palette) -> Figure:
    """Draw the figure; both axes of the score are logarithmic, so that ideal scaling is a straight line."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = [point.size for point in found.points]
    scores = [point.measured.row.score for point in found.points]
    ideal = [point.ideal for point in found.points]
    scale, unit = ops_scale(max(scores))
    left.plot(sizes, ideal, color=palette.ink, linewidth=1.0, linestyle=(0, (4, 3)), alpha=0.6)
    left.plot(sizes, scores, color=palette.accent, linewidth=1.6)
    _dots(left, sizes, scores, palette)
    left.set_yscale("log")
    left.yaxis.set_major_locator(FixedLocator(_round_steps(min(scores), max(*scores, *ideal))))
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / scale:g}"))
    left.set_ylabel(unit)
    right.plot(sizes, [1.0] * len(sizes), color=palette.ink, linewidth=1.0, linestyle=(0, (4, 3)), alpha=0.6)
    efficiency = [point.efficiency for point in found.points]
    right.plot(sizes, efficiency, color=palette.accent, linewidth=1.6)
    _dots(right, sizes, efficiency, palette)
    for size, value in zip(sizes, efficiency, strict=True):
        right.annotate(f"{100 * value:.1f} %", (size, value), (0, -13), textcoords="offset points", ha="center")
    right.set_ylim(0, 1.2 * max(1.0, *efficiency))
    right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    right.set_ylabel("efficiency")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xlabel(found.unit)
        simplify_axes(axes, palette)
        axes.xaxis.set_major_locator(FixedLocator(sorted(set(sizes))))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.margins(x=0.12)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
    if found.simulated:
        figure.suptitle("SIMULATED: no training took place", color=palette.ink)
    return figure


def _dots(axes: Axes, x: list[int], y: list[float], palette: Palette) -> None:
    if palette is not PAGE:
        axes.plot(x, y, color=palette.accent, linestyle="none", marker="o", markersize=5)
        return
    for dot_x, dot_y in zip(
        x, y, strict=True
    ):  # SVG markers are references; a line of length zero is a dot without one
        axes.plot([dot_x, dot_x], [dot_y, dot_y], color=palette.accent, linewidth=6, solid_capstyle="round")


def _round_steps(low: float, high: float) -> list[float]:
    """Ticks at 1, 2 and 5 times powers of ten, one more than needed on either side."""
    steps = [digit * 10.0**power for power in range(-3, 40) for digit in (1, 2, 5)]
    return [step for step, after in zip(steps, [*steps[1:], steps[-1]], strict=True) if after > low and step < 2 * high]


def _metadata(suffix: str) -> dict[str, None]:
    """Metadata that removes the date, so that the same figure has the same bytes."""
    return {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix, {})


def _page(found: Scaling) -> str:
    with mpl.rc_context(style(PAGE)):
        picture: Markup = embed(draw(found, PAGE), f"Score and efficiency against {found.unit}")
    return render_page(
        "scaling.html.j2",
        found=found,
        rows=rows_of(found),
        picture=picture,
        simulated=found.simulated,
        rules=found.points[0].measured.row.rules,
        data=found.points[0].measured.row.data,
        software=aiperf_orch.__version__,
        ops=format_ops,
    )
