"""Loop of `bench-node --tune`: measure alternatives one after another until all are decided or the time is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aiperf_orch.tuning.alternatives import Alternative, Setup, with_values
from aiperf_orch.tuning.comparison import Compared, Step, compare, next_step, steps, winners
from aiperf_orch.tuning.trial_measurement import Failed, Measured

Measure = Callable[[Alternative, str, float], Measured | Failed]


@dataclass
class Tuning:
    """All measurements of a tuning, and what they decide.

    Attributes:
        present: The present settings.
        measure: Measures an alternative with a network within a number of seconds.
        time_left: Seconds until the time limit.
        most_seconds: Time limit of one measurement.
        report: Receives a line about each measurement.
        compared: Comparison of each alternative of which a measurement was begun.
        together: Comparison of the winners together; None where that was not measured.
        is_cut: Whether the time limit ended the measurements.
        present_failure: Why the present settings failed; empty where they did not.
    """

    present: Setup
    measure: Measure
    time_left: Callable[[], float]
    most_seconds: float
    report: Callable[[str], None]
    compared: list[Compared] = field(default_factory=list)
    together: Compared | None = None
    is_cut: bool = False
    present_failure: str = ""
    rates: list[dict[Step, float]] = field(default_factory=list)

    def run(self, blocks: Sequence[Sequence[Alternative]]) -> None:
        """Measure each key's alternatives beside the present settings, then the winners together.

        Args:
            blocks: Alternatives of each key.
        """
        for block in blocks:
            self.compared += self._measure_block(block)
            if self.is_cut or self.present_failure:
                return
        best = winners(self.compared)
        if best:
            values = {key: value for each in best for key, value in each.alternative.values}
            self.together = next(iter(self._measure_block([with_values(self.present, values)])), None)

    def _measure_block(self, block: Sequence[Alternative]) -> list[Compared]:
        present = Alternative(self.present)
        planned = steps(present, block)
        rates: dict[Step, float] = {}
        failed: dict[Alternative, str] = {}
        self.rates.append(rates)
        while (step := next_step(planned, rates, failed)) is not None:
            left = self.time_left()
            if left <= 0:
                self.is_cut = True
                break
            found = self.measure(step.alternative, step.network, min(left, self.most_seconds))
            if isinstance(found, Measured):
                rates[step] = found.images_per_second
                shown = f"{found.images_per_second:,.0f} images/s"
            elif found.is_late and left <= self.most_seconds:
                self.is_cut = True
                break
            else:
                failed[step.alternative] = shown = found.reason
            self.report(f"{step.alternative.name}, {step.network} network: {shown}")
            if present in failed:
                self.present_failure = failed[present]
                break
        measured = {step.alternative for step in rates} | set(failed)
        return [compare(present, each, rates, failed) for each in block if each in measured]
