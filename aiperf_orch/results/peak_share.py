"""Share of the accelerators' peak that a campaign reached, where the settings state the peak of one accelerator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiperf_orch.results.result import Result


@dataclass(frozen=True, slots=True)
class PeakShare:
    """Operations of the epochs that count, divided by those of the accelerators' peak in the time of all slots.

    Attributes:
        share: With the operations of the score.
        utilisation: With the operations of matrix products alone, as utilisation is stated in MLPerf; None where a
            proposal does not state them.
    """

    share: float
    utilisation: float | None


def peak_share_of(result: Result) -> PeakShare | None:
    """Compute the share of the peak; None without an epoch or where the peak is not known.

    The peak is `system.accelerator_peak_ops` x workers of a trial x time of all slots from the first begin to the end
    of the last epoch that counts.
    """
    peak, seconds = result.directory.settings.system.accelerator_peak_ops, result.score.seconds
    workers = max((begin.workers for trial in result.collected.trials for begin in trial.begins), default=0)
    if peak is None or not workers or seconds <= 0:
        return None
    most = peak * workers * result.slot_seconds(seconds)
    tensor = _tensor_operations(result)
    return PeakShare(result.score.operations / most, None if tensor is None else tensor / most)


def _tensor_operations(result: Result) -> int | None:
    """Operations of matrix products in the epochs that count; None where a proposal does not state them."""
    total = 0
    for records in result.collected.trials:
        per_image = records.trial.proposal.tensor_operations
        if not records.epochs:
            continue
        if per_image is None:
            return None
        total += per_image.of_images(
            trained=sum(epoch.train_images for epoch in records.epochs),
            validated=sum(epoch.val_images for epoch in records.epochs),
        )
    return total


def format_peak_share(share: float, utilisation: float | None) -> str:
    """Format as `41.0% of the accelerators' peak, 38.2% by matrix products alone`."""
    alone = "" if utilisation is None else f", {utilisation:.1%} by matrix products alone"
    return f"{share:.1%} of the accelerators' peak{alone}"
