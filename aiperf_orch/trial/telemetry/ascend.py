"""Huawei's Ascend accelerators, by the tables of `npu-smi info`.

Each chip has two rows, under two rows of titles. Columns: "npu-smi info" in Huawei's documentation (hiascend.com).
There is no counter of energy. The program runs with a bounded time, and less often where it is slow.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aiperf_orch.trial.telemetry.source import AcceleratorState, value_or_none

_TIMEOUT: Final = 5.0  # seconds for an answer
_FAST: Final = 0.1  # seconds of an answer that may be asked for every second
_SLOW_PAUSE: Final = 4.0  # seconds between two slower answers
_TITLES: Final = ("Power(W)", "Temp(C)", "AICore(%)", "Memory-Usage(MB)")
_PAIR: Final = re.compile(r"([0-9]+) */ *[0-9]+")
_MEBIBYTE: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A chip in the table.

    Attributes:
        number: Its number on the node: that after the chip's, or the card's where there is none.
        watts: Power; None where the table has none, as for the second chip of a card.
        state: The rest.
    """

    number: int
    watts: float | None
    state: AcceleratorState


class Ascend:
    """The chips that npu-smi shows.

    Attributes:
        numbers: Their numbers on the node, in the order of the table; empty where it is not known which ones the trial
            has.
        counted: Always true.
        pause: Seconds until npu-smi may be asked again.
    """

    counted: bool = True

    def __init__(self, chips: Sequence[Chip]) -> None:
        self.numbers: Sequence[int] = [chip.number for chip in chips]
        self.pause = 0.0
        self._chips: Sequence[Chip] = chips

    def watts(self) -> Sequence[float | None]:
        """Ask npu-smi for the power of all chips; unknown where they are not those from the start."""
        before = time.monotonic()
        chips = ask_npu_smi()
        self.pause = _SLOW_PAUSE if time.monotonic() - before > _FAST else 0.0
        known = [chip.number for chip in chips] == self.numbers
        self._chips = chips if known else [_unknown(number) for number in self.numbers]
        return [chip.watts for chip in self._chips]

    def joules(self) -> None:
        """There are no counters."""

    def states(self) -> Sequence[AcceleratorState]:
        """As of the last time that npu-smi was asked."""
        return [chip.state for chip in self._chips]

    def close(self) -> None:
        """Do nothing: npu-smi runs for an answer only."""


def find_ascend() -> Ascend | None:
    """The chips of the node; None without npu-smi or a chip."""
    chips = ask_npu_smi() if shutil.which("npu-smi") else []
    if not chips:
        return None
    return Ascend([] if "ASCEND_RT_VISIBLE_DEVICES" in os.environ else chips)


def ask_npu_smi() -> Sequence[Chip]:
    """The chips that npu-smi shows; none if it fails or does not answer in time."""
    answer = value_or_none(
        lambda: subprocess.run(
            ["npu-smi", "info"], capture_output=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT, check=True
        ).stdout.decode(errors="replace")
    )
    return value_or_none(lambda: read_table(answer or "")) or []


def read_table(text: str) -> list[Chip]:
    """Chips of the table that `npu-smi info` prints; none where its titles are others.

    Raises:
        ValueError: if the rows have another form.
    """
    if not all(title in text for title in _TITLES):
        return []
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines() if "|" in line]
    data = [row for row in rows if len(row) == 3 and row[0][:1].isdigit()]
    return [_chip(first, second) for first, second in zip(data[::2], data[1::2], strict=True)]


def _chip(first: Sequence[str], second: Sequence[str]) -> Chip:
    card, chip = first[0].split(), second[0].split()
    watts, temperature = (_number(text) for text in first[2].split()[:2])
    use_text, *_ = second[2].split()
    use = _number(use_text)
    memory = _PAIR.findall(second[2])  # of the memory, and of the fast one (HBM) where there is any
    state = AcceleratorState(
        use=None if use is None else use / 100,
        memory_bytes=int(memory[-1]) * _MEBIBYTE if memory else None,
        temperature_celsius=temperature,
    )
    return Chip(number=int(chip[1] if len(chip) > 1 else card[0]), watts=watts, state=state)


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) else None


def _unknown(number: int) -> Chip:
    return Chip(number=number, watts=None, state=AcceleratorState())
