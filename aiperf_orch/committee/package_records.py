"""What a ranking takes from a package's records beside the row of its result."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from aiperf_orch.campaign.commitment import commitment_of
from aiperf_orch.committee.measurements import Measurements, measurements_of
from aiperf_orch.package.check_questionnaire import questionnaire_score
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.records.journal import Created
from aiperf_orch.settings.models import SiteSettings, private_keys


@dataclass(frozen=True, eq=False)
class PackageRecords:
    """Records of one package.

    Attributes:
        sha256: hash of the package.
        commitment: of the campaign; None when its records do not begin as a campaign does.
        epochs: measurements of the epochs that count.
        repetition: equal for campaigns that repeat one another: a hash of the public settings without the seed.
        peak_ops: peak operations per second of one accelerator, as the settings state it; None where they do not.
        questionnaire: score of the questionnaire of reproducibility, from 0 to 1; None without one.
    """

    sha256: str
    commitment: str | None
    epochs: Measurements
    repetition: str
    peak_ops: float | None
    questionnaire: float | None = None


def records_of(index: PackageIndex) -> PackageRecords:
    """The records of a package that a ranking needs."""
    directory, result, first = index.directory, index.result, index.entries[0]
    return PackageRecords(
        sha256=index.package.sha256,
        commitment=commitment_of(directory, first) if isinstance(first, Created) else None,
        epochs=measurements_of(result.collected.epochs, result.started, simulated=result.simulated),
        repetition=_settings_without_seed(directory.settings),
        peak_ops=directory.settings.system.accelerator_peak_ops,
        questionnaire=questionnaire_score(index),
    )


def _settings_without_seed(settings: SiteSettings) -> str:
    """SHA-256 of the settings without the seed, and without private values, whose hashes differ by campaign."""
    shown = settings.model_dump(mode="json")
    for section, key in [*private_keys(), ("campaign", "seed")]:
        shown.get(section, {}).pop(key, None)
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()
