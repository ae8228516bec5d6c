"""Layout of the live view: which lines it has on a terminal of any size.

The heading comes first, then the running trials, side by side where they would not fit below each other, then the
trials that wait, in one line. The latest outcomes are in view in any case. A column is as wide as its widest cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.text import Text

_GAP: Final = "  "
_BLOCK_GAP: Final = "    "
_LEAST_OUTCOMES: Final = 5
_MOST_OUTCOMES: Final = 8
_MOST_NODE: Final = 24  # columns
_TITLE_STYLE: Final = "dim"


@dataclass(frozen=True, slots=True)
class RunningTrial:
    """A trial whose attempt has begun.

    Attributes:
        trial: Its number.
        epoch: Its last epoch, of those planned: `3/10`.
        error: The error of that epoch; empty before the first one.
        best: Its best error; empty before the first epoch.
        node: Its node.
        about: Its network and where it comes from, or why it is halted.
        is_halted: Whether it does not run at present.
    """

    trial: int
    epoch: str
    error: str
    best: str
    node: str
    about: str
    is_halted: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """An attempt that has ended.

    Attributes:
        trial: The number of its trial.
        reason: Its end reason.
        error: The best error of its trial; empty where there is none.
        epochs: Number of epochs of its trial.
        node: Its node; empty where it never began.
        job: The id of its job; empty where there was none.
        why: The message of its end.
        style: Style of the row.
    """

    trial: int
    reason: str
    error: str
    epochs: int
    node: str
    job: str
    why: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """What the live view shows, independent of the terminal's size.

    Attributes:
        heading: Summary of the campaign.
        running: Trials that have begun, by number; of thousands only the first ones.
        waiting: What waits, and why, in one line; empty for nothing.
        outcomes: Attempts that have ended, the newest first.
        more_running: Number of running trials that `running` lacks.
    """

    heading: tuple[Text, ...]
    running: tuple[RunningTrial, ...]
    waiting: str
    outcomes: tuple[Outcome, ...]
    more_running: int = 0


def layout(picture: Picture, width: int, height: int) -> list[Text]:
    """The lines of the live view.

    Args:
        picture: What is shown.
        width: Columns of the terminal.
        height: Rows of the terminal; one of them stays free.
    """
    waiting = [Text(picture.waiting)] if picture.waiting else []
    room = max(height - 1 - len(picture.heading) - len(waiting), 0)
    reserved = min(len(picture.outcomes), _LEAST_OUTCOMES, max(room // 3, 1))
    running = _running(picture, width, room - (reserved + 1 if reserved else 0))
    shown = min(room - len(running) - 1, _MOST_OUTCOMES)
    heading = [line.copy() for line in picture.heading]
    lines = [*heading, *running, *waiting, *_outcomes(picture.outcomes[: max(shown, 0)])]
    for line in lines:
        line.rstrip()
        line.truncate(width, overflow="ellipsis")
    return lines[: max(height - 1, 1)]


def _running(picture: Picture, width: int, room: int) -> list[Text]:
    """The running trials in at most `room` lines, 2 at least."""
    trials, total, room = picture.running, len(picture.running) + picture.more_running, max(room, 2)
    if total < room:
        return _table(_running_cells(trials, with_network=True), [_style(trial) for trial in trials])
    block_width = _table(_running_cells(trials, with_network=False), pad=True)[0].cell_len
    most = max((width + len(_BLOCK_GAP)) // (block_width + len(_BLOCK_GAP)), 1)
    rows = min(room - 1, math.ceil(total / most))
    if total > most * rows:
        rows = max(room - 2, 1)  # a line for the number of the others
    shown = trials[: most * rows]
    lines = _table(_running_cells(shown, with_network=False), [_style(trial) for trial in shown], pad=True)
    title, cells = lines[0], lines[1:]
    blocks = [cells[first : first + rows] for first in range(0, len(cells), rows)]
    gap = Text(_BLOCK_GAP)
    joined = [gap.join([title] * len(blocks))]
    joined += [gap.join([block[row] for block in blocks if row < len(block)]) for row in range(len(blocks[0]))]
    if more := total - len(shown):
        joined.append(Text(f"and {more:,} more running", style=_TITLE_STYLE))
    return joined


def _running_cells(trials: Sequence[RunningTrial], *, with_network: bool) -> dict[str, list[str]]:
    columns = {
        "running:": [str(trial.trial) for trial in trials],
        "epoch:": [trial.epoch for trial in trials],
        "error:": [trial.error for trial in trials],
        "best:": [trial.best for trial in trials],
        "node": [_node(trial.node) for trial in trials],
        "network": [trial.about for trial in trials],
    }
    return columns if with_network else {name: columns[name] for name in ("running:", "epoch:", "error:", "node")}


def _outcomes(outcomes: Sequence[Outcome]) -> list[Text]:
    if not outcomes:
        return []
    columns = {
        "ended:": [str(outcome.trial) for outcome in outcomes],
        "outcome": [outcome.reason for outcome in outcomes],
        "error:": [outcome.error for outcome in outcomes],
        "epochs:": [str(outcome.epochs) for outcome in outcomes],
        "node": [_node(outcome.node) for outcome in outcomes],
        "job": [outcome.job for outcome in outcomes],
        "why": [outcome.why for outcome in outcomes],
    }
    return _table({name: cells for name, cells in columns.items() if any(cells)}, [each.style for each in outcomes])


def _table(columns: dict[str, list[str]], styles: Sequence[str] = (), *, pad: bool = False) -> list[Text]:
    """A line of titles, and one for each row.

    Args:
        columns: Title -> cells; a title that ends with a colon is that of a column of numbers, on the right.
        styles: Style of each row; those that are missing have none.
        pad: All lines have the same width.
    """
    if not any(columns.values()):
        return []
    aligned = []
    for title, cells in columns.items():
        name = title.removesuffix(":")
        width = max(map(cell_len, [name, *cells]))
        to_the_right = title.endswith(":")
        aligned.append([_cell(text, width, to_the_right=to_the_right) for text in (name, *cells)])
    lines = [_GAP.join(row) for row in zip(*aligned, strict=True)]
    every = [_TITLE_STYLE, *styles, *[""] * (len(lines) - 1 - len(styles))]
    return [Text(line if pad else line.rstrip(), style=style) for line, style in zip(lines, every, strict=True)]


def _cell(text: str, width: int, *, to_the_right: bool) -> str:
    return " " * (width - cell_len(text)) + text if to_the_right else set_cell_size(text, width)


def _node(name: str) -> str:
    return name if cell_len(name) <= _MOST_NODE else set_cell_size(name, _MOST_NODE - 1) + "…"


def _style(trial: RunningTrial) -> str:
    return "yellow" if trial.is_halted else ""
