"""Picture of a network: blocks as bars to scale of their channels, skip connections as arcs below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup

from aiperf_orch.results.pictures import group, number, path, picture, text

_WIDTH: Final = 720.0
_LEFT: Final = 48.0
_RIGHT: Final = 8.0
_TOP: Final = 44.0
_BARS: Final = 116.0
"""Height of the widest block."""
_ARCS: Final = 64.0
_WIDEST_STEP: Final = 76.0
_NAMED_STEP: Final = 46.0
"""Distance of blocks from which on each one has its kind below it, a convolution its kernel."""
_CHANNEL_ROOM: Final = 36.0  # for three digits in the size of a phone
_SIDE_ROOM: Final = 72.0
_FILLED: Final = frozenset({"conv", "dense"})
_MERGES: Final = frozenset({"add", "concat"})
_TALLER_NEAR: Final = 13.0
"""Half the width of a number above a bar: no taller bar may be nearer."""
_SHORT: Final = {"max_pool": "pool", "global_avg_pool": "avg pool"}
Blocks = Sequence[Mapping[str, Any]]


def network_picture(blocks: Blocks, label: str) -> Markup:
    """Draw a network.

    Args:
        blocks: Of `searched`, at least one.
        label: Description for screen readers.
    """
    step = min((_WIDTH - _LEFT - _RIGHT) / len(blocks), _WIDEST_STEP)
    centres = [_LEFT + step * (index + 0.5) for index in range(len(blocks))]
    widest = max(block["channels"] for block in blocks)
    base = _TOP + _BARS
    is_named = step >= _NAMED_STEP
    skips = [
        (source, index)
        for index, block in enumerate(blocks)
        for source in block["inputs"]
        if source != index - 1 or block["kind"] in _MERGES
    ]
    arcs_from = base + (20 if is_named else 5)
    parts = [
        _scale(widest, base),
        _sides(blocks, step, base),
        path(f"M{number(centres[0])} {number(base)}H{number(centres[-1])}", stroke="currentColor", stroke_opacity=0.5),
        group(_arcs(skips, centres, arcs_from), fill="none", stroke="currentColor", stroke_opacity=0.75),
        *_bars(blocks, centres, 0.66 * step, widest, base),
        *_channels(blocks, centres, widest, base),
    ]
    if is_named:
        names = [_SHORT.get(block["kind"], block["name"].partition(",")[0].removeprefix("conv ")) for block in blocks]
        below = [text(x, base + 13, name, "middle") for x, name in zip(centres, names, strict=True)]
        parts.append(group(below, class_="names"))
    return picture(_WIDTH, arcs_from + (_ARCS + 4 if skips else 2), label, parts)


def _scale(widest: int, base: float) -> Markup:
    """The number of channels of the widest block, and half of it, as lines."""
    lines, texts = [], []
    for share in (0.5, 1.0):
        y = base - share * _BARS
        lines.append(path(f"M{number(_LEFT)} {number(y)}H{number(_WIDTH - _RIGHT)}"))
        texts.append(text(_LEFT - 4, y + 3.5, f"{share * widest:g}", "end"))
    return group(lines, stroke="currentColor", stroke_opacity=0.15, stroke_width=0.7) + Markup("").join(texts)


def _sides(blocks: Blocks, step: float, base: float) -> Markup:
    """A line wherever the size of the maps changes, and the size as far as there is room for it."""
    lines, texts, last, free = [], [], None, 0.0
    for index, block in enumerate(blocks):
        x = _LEFT + step * index
        if block["side"] != last:
            lines.append(path(f"M{number(x)} {number(_TOP - 40)}V{number(base)}"))
            if x >= free:
                texts.append(text(x + 3, _TOP - 24, f"{block['side']}×{block['side']}"))  # noqa: RUF001
                free = x + _SIDE_ROOM
        last = block["side"]
    dashed = group(lines, stroke="currentColor", stroke_opacity=0.4, stroke_width=0.7, stroke_dasharray="2 3")
    return dashed + Markup("").join(texts)


def _arcs(skips: Sequence[tuple[int, int]], centres: Sequence[float], y: float) -> list[Markup]:
    """Half ellipses; the depth grows with the root of the distance."""
    longest = max((target - source for source, target in skips), default=1)
    arcs = []
    for source, target in sorted(skips):
        half = (centres[target] - centres[source]) / 2
        depth = _ARCS * ((target - source) / longest) ** 0.5
        start, end = (f"{number(centres[index])} {number(y)}" for index in (source, target))
        way = f"M{start}A{number(half)} {number(depth)} 0 0 0 {end}"
        arcs.append(path(way, f"skip from block {source} to block {target}"))
    return arcs


def _bars(blocks: Blocks, centres: Sequence[float], width: float, widest: int, base: float) -> list[Markup]:
    """A bar for each block: convolutions filled with the accent, dense layers with ink, all others as an outline."""
    bars = []
    for index, (x, block) in enumerate(zip(centres, blocks, strict=True)):
        height = max(_BARS * block["channels"] / widest, 1)
        half = max(width if block["kind"] in _FILLED else 0.5 * width, 1) / 2
        shape = f"M{number(x - half)} {number(base)}v{number(-height)}h{number(2 * half)}v{number(height)}z"
        title = f"block {index}: {', '.join(block['layers'])}; {block['channels']} channels, side {block['side']}"
        look: dict[str, Any] = {"class_": "fill-accent"} if block["kind"] == "conv" else {"fill": "currentColor"}
        if block["kind"] not in _FILLED:
            look |= {"fill_opacity": 0.12, "stroke": "currentColor", "stroke_width": 0.8}
        bars.append(path(shape, title, **look))
    return bars


def _channels(blocks: Blocks, centres: Sequence[float], widest: int, base: float) -> list[Markup]:
    """Numbers of channels above the bars where they change, as far as there is room for them."""
    texts, last, free = [], None, 0.0
    for x, block in zip(centres, blocks, strict=True):
        near = [other["channels"] for at, other in zip(centres, blocks, strict=True) if abs(at - x) < _TALLER_NEAR]
        if block["channels"] != last and x >= free and block["channels"] == max(near):
            y = base - _BARS * block["channels"] / widest - 3
            texts.append(text(x, y, str(block["channels"]), "middle"))
            free = x + _CHANNEL_ROOM
        last = block["channels"]
    return texts
