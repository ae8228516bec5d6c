"""Check of the questionnaire in a package: its form. Its score is recomputed, and no file states it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiperf_orch.campaign.format_versions import NEWER_VERSION, PACKAGE, explain_newer, writer_in
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.package.questionnaire import Questionnaire, parse_questionnaire
from aiperf_orch.package.reading import QUESTIONNAIRE
from aiperf_orch.settings.base import HTML_TAG
from aiperf_orch.util.errors import UsageError


def check_questionnaire(index: PackageIndex, manifest: Mapping[str, Any]) -> None:
    """Add every fault of the questionnaire, if the package has one."""
    try:
        packed_questionnaire(index)
    except UsageError as error:
        newer = explain_newer(PACKAGE, None, writer_in(manifest.get("versions")), str(error).splitlines()[0])
        if newer:
            index.faults.add(NEWER_VERSION, QUESTIONNAIRE, newer)
            return
        for line in str(error).splitlines():
            where, _, why = line.partition(": ")
            index.faults.add("questionnaire.form", where, why)


def questionnaire_score(index: PackageIndex) -> float | None:
    """Score of the questionnaire; None without one, or for one that cannot be read."""
    try:
        found = packed_questionnaire(index)
    except UsageError:
        return None
    return found.score(index.directory.settings.system) if found else None


def packed_questionnaire(index: PackageIndex) -> Questionnaire | None:
    """The questionnaire of a package; None without one.

    Raises:
        UsageError: for one that is not in the form in which aiperf-orch packs it; a line for each reason.
    """
    if QUESTIONNAIRE not in index.package.hashes:
        return None
    try:
        text = (index.package.folder / QUESTIONNAIRE).read_bytes().decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{QUESTIONNAIRE}: not UTF-8 text (byte {error.start})") from None
    for number, line in enumerate(text.split("\n"), start=1):  # comments, which no reader of YAML returns, included
        if not line.isprintable():
            raise UsageError(f"{QUESTIONNAIRE}:{number}: has characters that are not printable")
        if HTML_TAG.search(line):
            raise UsageError(f"{QUESTIONNAIRE}:{number}: contains what a page could interpret as a tag")
    return parse_questionnaire(text, QUESTIONNAIRE)
