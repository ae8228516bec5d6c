"""Charts as inline SVG for HTML pages: without ids, styles or external resources.

Colours come from the style sheet of the page: text and axes use `currentColor`, curves have the class `accent`, so that
one chart serves the light theme, the dark theme and print. Charts are drawn by matplotlib, whose import takes long;
import this module where a chart is drawn, not at the top of commands.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Final
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from aiperf_orch.results.report_page import Chart, Curve


@dataclass(frozen=True)
class Palette:
    """Colours of a chart: `ink` for text and axes, `accent` for data."""

    ink: str
    accent: str


PAGE: Final = Palette("#000001", "#000002")  # placeholders that become CSS classes
PAPER: Final = Palette("#1c2024", "#0a5fa8")
_CLASSES: Final = {PAGE.accent: "accent"}
_ATTRIBUTES: Final = frozenset(
    """d fill fill-opacity font-size height opacity points stroke stroke-dasharray stroke-linecap stroke-linejoin
    stroke-opacity stroke-width text-anchor transform viewBox width x y""".split()  # noqa: SIM905
)
_STEPS: Final = [1, 2, 2.5, 5, 10]
_ELEMENTS: Final = frozenset({"g", "path", "text"})


def style(palette: Palette) -> dict[Any, Any]:
    """Settings of matplotlib (rcParams) for a chart; they apply while it is drawn and while it is saved."""
    return {
        "axes.edgecolor": palette.ink,
        "axes.labelcolor": palette.ink,
        "font.size": 8.0,
        "svg.fonttype": "none",  # text stays text: searchable, accessible, in the font of the page
        "svg.hashsalt": "aiperf-orch",
        "text.parse_math": False,
        "text.color": palette.ink,
        "xtick.color": palette.ink,
        "ytick.color": palette.ink,
    }


def draw_chart(chart: Chart) -> Markup:
    """Draw a chart as an `svg` element."""
    with mpl.rc_context(style(PAGE)):
        figure = Figure(figsize=chart.size, layout="constrained")
        axes = figure.add_subplot()
        for curve in chart.curves:
            _draw(axes, curve)
        axes.set_xlabel(chart.x_label, labelpad=7)
        axes.set_xlim(0, 1.02 * max(max(curve.x) for curve in chart.curves))
        axes.set_ylim(0, 1.08 * max(max(curve.y) for curve in chart.curves) or 1)
        if chart.y_format is not None:
            write = chart.y_format
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))
        simplify_axes(axes, PAGE)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
        return embed(figure, chart.label)


def embed(figure: Figure, label: str) -> Markup:
    """Convert a figure to an inline `svg` element; the result is deterministic."""
    figure.patch.set_visible(False)
    with mpl.rc_context(style(PAGE)):
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(text.getvalue())  # noqa: S314  written by matplotlib
    content = "".join(_element(child) for child in root if _name(child) in _ELEMENTS)
    view_box = root.get("viewBox")
    return Markup(f'<svg viewBox="{view_box}" role="img" aria-label="{escape(label)}">{content}</svg>')  # noqa: S704


def _draw(axes: Axes, curve: Curve) -> None:
    match curve.kind:
        case "bars":
            axes.stairs(curve.y, curve.x, fill=True, color=PAGE.accent, alpha=0.35, linewidth=0)
            axes.stairs(curve.y, curve.x, color=PAGE.accent, linewidth=1.2, baseline=None)
        case "level":
            axes.plot(curve.x, curve.y, color=PAGE.ink, linewidth=0.9, linestyle=(0, (4, 3)), alpha=0.6, clip_on=False)
        case _:
            drawn = "steps-post" if curve.kind == "steps" else "default"
            axes.plot(curve.x, curve.y, color=PAGE.accent, linewidth=1.6, drawstyle=drawn, solid_joinstyle="round")
            last = [curve.x[-1]] * 2, [curve.y[-1]] * 2
            axes.plot(*last, color=PAGE.accent, linewidth=5, solid_capstyle="round")  # a line of length zero is a dot


def simplify_axes(axes: Axes, palette: Palette) -> None:
    """Remove frame and ticks of the axes, and draw a faint horizontal grid."""
    axes.patch.set_visible(False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_alpha(0.4)
    axes.tick_params(length=0, pad=7)
    axes.grid(axis="y", color=palette.ink, alpha=0.13, linewidth=0.7)
    axes.set_axisbelow(True)
    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))


def _element(element: ElementTree.Element) -> str:
    """Serialize an element of matplotlib's SVG without ids and references; its style becomes attributes and classes."""
    name = _name(element)
    if name not in _ELEMENTS:
        return ""
    attributes = {key: value for key, value in element.attrib.items() if key in _ATTRIBUTES}
    if attributes.get("transform", "").startswith("rotate(-0 "):
        del attributes["transform"]
    classes = []
    for part in filter(None, (part.strip() for part in element.get("style", "").split(";"))):
        key, _, value = (piece.strip() for piece in part.partition(":"))
        if key == "font":  # written by older versions of matplotlib
            attributes["font-size"] = value.split("px")[0]
        elif value in _CLASSES:
            classes.append(f"{key}-{_CLASSES[value]}")
        elif value == PAGE.ink:
            attributes[key] = "currentColor"
        elif key in _ATTRIBUTES:
            attributes[key] = value
    if name == "text" and not classes:
        attributes.setdefault("fill", "currentColor")
    if classes:
        attributes["class"] = " ".join(classes)
    written = "".join(f' {key}="{escape(value)}"' for key, value in attributes.items())
    content = str(escape((element.text or "").strip())) + "".join(_element(child) for child in element)
    return f"<{name}{written}>{content}</{name}>" if content or name != "g" else ""


def _name(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]
