"""Plan of a campaign as text of at most 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from aiperf_orch.records.plan import Plan, Quantity, RankableFrom, TimeShare
from aiperf_orch.results.plan_quantities import PARTS, WRITTEN
from aiperf_orch.util.text import wrap_text
from aiperf_orch.util.units import count, format_duration

_WIDTH: Final = 80
_LABEL: Final = 22
_NUMBER: Final = 18


def plan_text(plan: Plan) -> str:
    """A plan as text."""
    duration = format_duration(plan.duration)
    lines = [f"{count(plan.nodes, 'node')}, {plan.slots:,} trials at once, {duration}", *_sources(plan), ""]
    head = _columns("", "expected", f"{plan.level:.0%} interval")
    lines += [
        head,
        *(line for name in WRITTEN for line in _quantity(name, getattr(plan.quantities, name))),
        "",
        "Time of the slots",
    ]
    lines += [line for part in PARTS for line in _share(part, getattr(plan.shares, part))]
    lines += ["", "Rankable", *_rankable("smallest size", plan.smallest)]
    if plan.this_size.nodes != plan.smallest.nodes or plan.this_size.slots != plan.smallest.slots:
        lines += _rankable("this size", plan.this_size)
    if plan.missed_rules:
        lines += [line for each in plan.missed_rules for line in _row("missed rule", each)]
    if plan.notes:
        lines += ["", "Assumptions", *(line for note in plan.notes for line in _bullet(note))]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _sources(plan: Plan) -> Iterator[str]:
    for each in plan.sources:
        if each.kind == "bench":
            yield "from a measured node"
        else:
            used = f"{count(each.trials, 'trial')}, {count(each.epochs, 'epoch')}"
            yield f"from campaign {each.name}: {each.slots:,} at once, {used}"


def _quantity(name: str, quantity: Quantity) -> Iterator[str]:
    label, write = WRITTEN[name]
    if quantity.expected is None:
        yield from _row(label, f"- {quantity.missing}")
        return
    bounds = "" if quantity.low is None or quantity.high is None else f"{write(quantity.low)} to {write(quantity.high)}"
    yield _columns(label, write(quantity.expected), bounds)


def _share(part: str, share: TimeShare) -> Iterator[str]:
    yield from _row(PARTS[part], f"{share.share:.1%}" if share.share is not None else f"- {share.missing}")


def _rankable(label: str, found: RankableFrom) -> Iterator[str]:
    size = f"{count(found.nodes, 'node')}, {found.slots:,} at once"
    rest = found.missing if found.duration is None else f"from {format_duration(found.duration)} on"
    yield from _row(label, f"{size}: {rest}")


def _columns(label: str, number: str, bounds: str) -> str:
    return f"{label:{_LABEL}}  {number:>{_NUMBER}}  {bounds}"


def _row(label: str, text: str) -> Iterator[str]:
    for number, line in enumerate(wrap_text(text, _WIDTH - _LABEL - 2)):
        yield f"{'' if number else label:{_LABEL}}  {line}"


def _bullet(text: str) -> Iterator[str]:
    for number, line in enumerate(wrap_text(text, _WIDTH - 2)):
        yield f"{' ' if number else '-'} {line}"
