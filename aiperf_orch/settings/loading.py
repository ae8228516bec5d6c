"""Loading of a site file with the command line's changes into validated settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from aiperf_orch.settings.base import HTML_TAG
from aiperf_orch.settings.coercion import validated
from aiperf_orch.settings.explanations import refusal
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.schedulers import ClusterSettings
from aiperf_orch.settings.site_document import Document, Override
from aiperf_orch.util.errors import UsageError

_LEAST_PEAK: Final = 1e9  # operations per second


@dataclass(frozen=True)
class LoadedSettings:
    """Settings, and the origin of each dotted key that is not a default: `local.yaml:12`, `--duration`."""

    settings: SiteSettings
    origins: Mapping[str, str]


def load_site(path: Path, overrides: Iterable[Override] = ()) -> LoadedSettings:
    """Load the settings of a site file.

    Args:
        path: the site file.
        overrides: changes of the command line; the last one of a key is applied.

    Raises:
        UsageError: naming file, line and key of everything that is wrong, each on its own line.
    """
    document = Document.read(path, overrides)
    try:
        settings = validated(document.data, document.texts)
    except ValidationError as error:
        raise refusal(error, document) from None
    found = [
        f"{document.origin(key)}: {'.'.join(map(str, document.as_written(key)))}: {why}"
        for key, why in _unverifiable(settings)
    ]
    if found:
        raise UsageError("\n".join(found))
    return LoadedSettings(settings, document.leaf_origins())


def _unverifiable(settings: SiteSettings) -> Iterator[tuple[tuple[str, str], str]]:
    """Key and reason of settings with which `verify` would refuse the package after the whole campaign.

    These checks are not part of the models, which also read what earlier versions froze.
    """
    system, scheduler = settings.system, settings.scheduler
    for key, value in system.model_dump(exclude_none=True).items():
        tag = HTML_TAG.search(str(value))
        if tag:
            hint = f"{tag[0]!r} would begin a tag in a web page; put a space behind <, as in '< 2 us'"
            yield ("system", key), f"{str(value)!r:.60}: {hint}"
    nodes, what = getattr(scheduler, "nodes", 1), "scheduler.nodes gives each trial"
    if isinstance(scheduler, ClusterSettings) and scheduler.allocations:
        nodes, what = scheduler.allocations.nodes, "scheduler.allocations.nodes gives each allocation"
    if system.number_of_nodes is not None and system.number_of_nodes < nodes:
        yield (
            ("system", "number_of_nodes"),
            f"{system.number_of_nodes}, but {what} {nodes}: set it to the number of nodes of the system",
        )
    if system.accelerator_peak_ops is not None and system.accelerator_peak_ops < _LEAST_PEAK:
        yield (
            ("system", "accelerator_peak_ops"),
            f"{system.accelerator_peak_ops:g}: operations per second, of which every accelerator reaches 1e9, "
            "for example 312e12 for 312 Tera-OPS",
        )
