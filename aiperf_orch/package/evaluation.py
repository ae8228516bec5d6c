"""Evaluation of a package: what is measured again, and whether the recorded error comes out.

The measurement itself loads torch, and is made by a process of `trial.evaluate`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.format_versions import NEWER_VERSION
from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.package.findings import Faults
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.package.reading import open_package
from aiperf_orch.package.recorded_error import RecordedError, recorded_error
from aiperf_orch.package.verify import check_package
from aiperf_orch.records.evaluation import Evaluation, EvaluationRequest
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.temporary_folders import scratch_folder

_SAME_DEVICE_IMAGES: Final = 1
"""Images by which the numbers of misclassified ones may differ, on the recorded kind of device and precision."""
_OTHER_SHARE: Final = 200
"""Of this number of images one may differ on another device or in another precision (docs/research/packages.md)."""


@dataclass(frozen=True)
class Judgement:
    """Comparison of the recorded and the measured error.

    Attributes:
        difference: images by which the numbers of misclassified ones differ.
        tolerance: images by which they may differ.
        same_conditions: whether device and precision are the recorded ones.
    """

    difference: int
    tolerance: int
    same_conditions: bool

    @property
    def comes_out(self) -> bool:
        """Whether the recorded error comes out."""
        return self.difference <= self.tolerance


def judge(recorded: RecordedError, measured: Evaluation) -> Judgement:
    """Compare the recorded error with the measured one, by numbers of misclassified images."""
    same = (measured.device, measured.precision) == (recorded.begin.device, recorded.begin.precision)
    others = max(measured.images // _OTHER_SHARE, _SAME_DEVICE_IMAGES)
    tolerance = _SAME_DEVICE_IMAGES if same else others
    return Judgement(abs(measured.wrong_images - recorded.wrong_images), tolerance, same)


@contextmanager
def evaluation_input(package: Path, data: Path | None) -> Iterator[tuple[RecordedError, EvaluationRequest]]:
    """Context manager: the recorded error of a package, and what has to be measured, whose files exist meanwhile.

    Args:
        package: The file.
        data: Folder of the data set; None for a data set that needs none.

    Raises:
        UsageError: The package does not exist, has faults, or has no weights, or `data` is missing or not needed.
        AiperfError: There is no space to unpack the package.
    """
    faults = Faults()
    with scratch_folder() as scratch:
        weights = scratch / "weights.safetensors"
        with open_package(package, faults, weights) as opened:
            index = None if opened is None else check_package(opened, faults)
            if faults or index is None:
                newer = [fault for fault in faults.listed if fault.id == NEWER_VERSION]
                first, number = [*newer, *faults.listed][0], len(faults.listed) + faults.unlisted
                more = "" if number == 1 else f" ({number:,} faults in all: `aiperf-orch verify` lists them)"
                raise UsageError(f"{package}: not verified, so not evaluated: {first.id}  {first}{more}")
            recorded = _recorded(package, index)
            spec = scratch / "spec.json"
            spec.write_bytes(index.package.read(str(MEMBERS.spec(recorded.epoch.trial))))
        _check_data(index, data)
        request = EvaluationRequest(
            spec=str(spec),
            weights=str(weights),
            data=None if data is None else str(data.absolute()),
            data_sha256=recorded.begin.data_sha256,
            precision=recorded.begin.precision,
            batch=recorded.epoch.batch,
            workers=recorded.begin.workers,
        )
        yield recorded, request


def _recorded(package: Path, index: PackageIndex) -> RecordedError:
    """The recorded error of a package that has its weights."""
    recorded = None if index.result.simulated else recorded_error(index.result)
    if recorded is None:
        raise UsageError(f"{package}: nothing to evaluate: no network was trained")
    if index.package.weights is None:
        known = f" (recorded SHA-256: {recorded.weights_sha256})" if recorded.weights_sha256 else ""
        advice = "request a package made with `aiperf-orch package --weights`"
        raise UsageError(f"{package}: has no weights of the lowest error{known}; {advice}")
    return recorded


def _check_data(index: PackageIndex, data: Path | None) -> None:
    settings = index.directory.settings.data
    if settings.needs_path and data is None:
        raise UsageError(f"--data: is required: the data set {settings.name} lies in a folder")
    if data is not None and not settings.needs_path:
        raise UsageError(f"--data: the data set {settings.name} lies in no folder; evaluate without --data")
