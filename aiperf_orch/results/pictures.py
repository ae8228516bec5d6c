"""Parts of pictures as inline SVG in pure Python.

The same data give the same characters on every machine, so `verify` compares a picture as it does the text of a page.
Colours come from the style sheet of the page, as those of `plots`: `currentColor`, and the classes of the accent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from aiperf_orch.util.text import visible

TEXT_SIZE: Final = 10.0
"""Size of texts in units of the picture."""
_LOG_STEPS: Final = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8))
_LINEAR_STEPS: Final = (1, 2, 2.5, 5, 10)
_MOST_TICKS: Final = 6


def number(value: float) -> str:
    """A coordinate with one decimal at most."""
    return f"{value + 0.0:.1f}".removesuffix(".0")


def picture(width: float, height: float, label: str, parts: Iterable[Markup]) -> Markup:
    """An `svg` element; `label` describes it to screen readers."""
    start = Markup('<svg class="picture" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        number(width), number(height), visible(label)
    )
    return start + Markup("").join(parts) + Markup("</svg>")


def path(data: str, title: str | None = None, **attributes: str | float) -> Markup:
    """A path; its title is shown while the pointer is on it."""
    inside = Markup("<title>{}</title>").format(visible(title)) if title else Markup("")
    return Markup('<path d="{}"{}>{}</path>').format(data, _written(attributes), inside)


def dot(x: float, y: float, title: str | None = None, **attributes: str | float) -> Markup:
    """A dot, which is a line of length zero: the group around it states its width and a round cap."""
    return path(f"M{number(x)} {number(y)}h0", title, **attributes)


def text(x: float, y: float, words: str, anchor: str = "start", **attributes: str | float) -> Markup:
    """A text with its baseline at y."""
    known: dict[str, str | float] = {"x": number(x), "y": number(y), "font_size": TEXT_SIZE, "text_anchor": anchor}
    return Markup("<text{}>{}</text>").format(
        _written(known | {"fill": "currentColor", "fill_opacity": 0.8} | attributes), visible(words)
    )


def group(parts: Iterable[Markup], **attributes: str | float) -> Markup:
    """Parts with common attributes; an underscore in a name is a hyphen."""
    return Markup("<g{}>{}</g>").format(_written(attributes), Markup("").join(parts))


def _written(attributes: dict[str, str | float]) -> Markup:
    """Attributes as text; `class_` is `class`."""
    return Markup("").join(
        Markup(' {}="{}"').format(
            key.rstrip("_").replace("_", "-"), escape(value) if isinstance(value, str) else f"{value:g}"
        )
        for key, value in attributes.items()
    )


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`, drawn between two coordinates.

    Attributes:
        low: The smallest value that is drawn.
        high: The largest one.
        start: Coordinate of `low`.
        end: Coordinate of `high`.
        is_log: Whether it is logarithmic; `low` is then above 0.
        is_whole: Whether only whole numbers are marked on a linear axis.
    """

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False
    is_whole: bool = False

    @classmethod
    def of(
        cls, values: Iterable[float], start: float, end: float, *, is_log: bool = False, is_whole: bool = False
    ) -> Axis:
        """An axis of these values. A logarithmic one shows a value of 0 at half of the smallest other one."""
        shown = list(values)
        if is_log:
            above = [value for value in shown if value > 0]
            low, high = (min(above), max(above)) if above else (0.1, 1.0)
            low = low / 2 if len(above) < len(shown) else low
            return cls(low / 1.1, high * 1.1, start, end, is_log=True)
        low, high = min(shown), max(shown)
        margin = (high - low) / 20 or abs(high) / 10 or 1.0
        return cls(low - margin, high + margin, start, end, is_whole=is_whole)

    def at(self, value: float) -> float:
        """Coordinate of a value, of one outside the axis that of its end."""
        value = min(max(value, self.low), self.high)
        if self.is_log:
            share = math.log10(value / self.low) / math.log10(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """At most six round values within the axis."""
        if self.is_log and len(ticks := self._log_ticks()) > 1:
            return ticks
        span = self.high - self.low
        scale = 10.0 ** math.floor(math.log10(span / _MOST_TICKS))
        step = next((step * scale for step in _LINEAR_STEPS if span / (step * scale) < _MOST_TICKS), 20 * scale)
        step = max(round(step), 1) if self.is_whole else step
        return [index * step for index in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]

    def _log_ticks(self) -> list[float]:
        """The ticks of the densest steps that are at most six; of many decades, every second one or fewer."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        found = [
            [value for decade in decades for step in steps if self.low <= (value := step * 10.0**decade) <= self.high]
            for steps in _LOG_STEPS
        ]
        few = [ticks for ticks in found if len(ticks) <= _MOST_TICKS]
        return few[-1] if few else found[0][:: math.ceil(len(found[0]) / _MOST_TICKS)]


def axes(x: Axis, y: Axis, x_label: str, x_format: Callable[[float], str], y_format: Callable[[float], str]) -> Markup:
    """Grid, ticks and the name of the horizontal axis; `start` of y is the bottom."""
    rules = [
        path(f"M{number(x.start)} {number(y.at(tick))}H{number(x.end)}", stroke_opacity=0.13) for tick in y.ticks()
    ]
    rules.append(path(f"M{number(x.start)} {number(y.start)}H{number(x.end)}", stroke_opacity=0.4))
    texts = [text(x.start - 5, y.at(tick) + 3.5, y_format(tick), "end") for tick in y.ticks()]
    texts += [text(x.at(tick), y.start + 16, x_format(tick), "middle") for tick in x.ticks()]
    texts.append(text((x.start + x.end) / 2, y.start + 34, x_label, "middle"))
    return group(rules, fill="none", stroke="currentColor", stroke_width=0.7) + Markup("").join(texts)
