"""Versions of the formats on disk: which version of aiperf-orch reads which, and the message for a file of a newer one.

A format's version is raised with every change that an older reader would not understand, a new key included. A reader
calls `explain_newer` before it validates any field, so that a newer file is reported as newer and not as damaged, and
again for a field that is not understood, since the file may name a newer version as its writer.
docs/development/formats.md explains the table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiperf_orch
from aiperf_orch.records.journal import JOURNAL_FORMAT
from aiperf_orch.records.plan import PLAN_FORMAT
from aiperf_orch.records.trial import SPECIFICATION_FORMAT

_PACKAGE: Final = "aiperf-orch"
_WRITER: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){0,5}[0-9A-Za-z.+_-]{0,40}")
_RELEASE: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){0,5}")
_STAGE: Final = re.compile(r"[._-]?(dev|a|b|rc)[._-]?([0-9]{0,9})")
_STAGES: Final = ("dev", "a", "b", "rc", "release")
_PACKAGE_FORMAT: Final = re.compile(r"aiperf-orch-package-([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Format:
    """One format on disk.

    Attributes:
        name: the name in messages and documents.
        since: for each version of the format, from 1, the first version of aiperf-orch that writes it. All of them are
            read; the last one is written.
    """

    name: str
    since: Mapping[int, str]

    @property
    def version(self) -> int:
        """The version that is written, which is the newest that is read."""
        return max(self.since)

    def written_by(self, writer: object) -> int | None:
        """The version of the format that a version of aiperf-orch writes, at most `version`; None for no such writer.

        A version under development, or a pre-release, writes what its release does.
        """
        if not _is_version(writer):
            return None
        release = _order(str(writer))[0]
        return max((version for version, since in self.since.items() if _order(since)[0] <= release), default=None)


CAMPAIGN: Final = Format("campaign.yaml", {1: "0.1.0", 2: "0.2.0"})
SPECIFICATION: Final = Format("trial specification", {SPECIFICATION_FORMAT: "0.1.0"})
JOURNAL: Final = Format("journal", {1: "0.1.0", JOURNAL_FORMAT: "0.2.0"})
EVENTS: Final = Format("events", {1: "0.1.0"})
PACKAGE: Final = Format("package", {1: "0.1.0", 2: "0.2.0"})
PROBE_REPORT: Final = Format("probe report", {1: "0.1.0"})
PLAN: Final = Format("plan", {PLAN_FORMAT: "0.2.0"})
NEWER_VERSION: Final = "newer.version"
"""Kind of a fault that stands for: written by a newer version of aiperf-orch, which this one cannot read."""

FORMATS: Final = (CAMPAIGN, SPECIFICATION, JOURNAL, EVENTS, PACKAGE, PROBE_REPORT, PLAN)


def package_format(version: int = PACKAGE.version) -> str:
    """The text that a package's manifest has under `format`."""
    return f"aiperf-orch-package-{version}"


def explain_newer(form: Format, stated: object, writer: object, fault: str | None = None) -> str | None:
    """Why this version cannot read a file that a newer version wrote; None where it is not a newer version's.

    Args:
        form: the format that the file should be in.
        stated: what the file states as its format's version; anything but a whole number is left to field validation.
        writer: what it states as the version of aiperf-orch that wrote it; None where it states none.
        fault: the key and what field validation found there; None before field validation.
    """
    this = f"{_PACKAGE} {aiperf_orch.__version__}"
    by = f"written by {_PACKAGE} {writer}" if _is_version(writer) else "written"
    is_credible = newer_writer(writer) or not _is_version(writer)  # no older version writes a newer format
    if type(stated) is int and stated > form.version and is_credible:
        reads = f"this is {this}, which reads formats up to {form.version}"
        return f"{by} in format {stated}; {reads}: use {_instead(writer)}"
    if fault is not None and newer_writer(writer):
        return f"{fault}: not understood by this {this}, as it was {by}: use {_instead(writer)}"
    return None


def newer_writer(writer: object) -> bool:
    """Whether a stated version of aiperf-orch is newer than this one."""
    return _is_version(writer) and _order(str(writer)) > _order(aiperf_orch.__version__)


def writer_in(versions: object) -> object:
    """The version of aiperf-orch among the versions that a record states; None where it states none."""
    return versions.get(_PACKAGE) if isinstance(versions, Mapping) else None


def stated_in_line(line: bytes) -> Mapping[str, Any]:
    """The keys of a line of JSON that could not be validated; none where it is no JSON object."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def format_of_package(stated: object) -> int | None:
    """The version that a manifest's `format` states; None for any other text."""
    found = _PACKAGE_FORMAT.fullmatch(stated) if isinstance(stated, str) else None
    return int(found[1]) if found else None


def _instead(writer: object) -> str:
    return f"{_PACKAGE} {writer} or newer" if newer_writer(writer) else f"a newer {_PACKAGE}"


def _is_version(writer: object) -> bool:
    return isinstance(writer, str) and _WRITER.fullmatch(writer) is not None


def _order(version: str) -> tuple[tuple[int, ...], int, int]:
    """Sort key of a version: the numbers of the release without zeros at the end, then the stage and its number.

    Versions under development and pre-releases come before their release; local and post-release parts do not count.
    """
    found = _RELEASE.match(version)
    text = found[0] if found else ""
    numbers = [int(part) for part in text.split(".")] if text else []
    while numbers and not numbers[-1]:
        numbers.pop()
    stage = _STAGE.match(version, len(text))
    if stage is None:
        return tuple(numbers), _STAGES.index("release"), 0
    return tuple(numbers), _STAGES.index(stage[1]), int(stage[2] or 0)
