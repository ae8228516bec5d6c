"""Check of the formats of campaign.yaml and of the journal's first line against the versions that wrote them.

The journal's format decides by which rules a campaign is evaluated: a newer campaign must not state an earlier one.
"""

from __future__ import annotations

from aiperf_orch.campaign.format_versions import CAMPAIGN, JOURNAL, Format
from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.records.journal import Created


def check_formats(index: PackageIndex) -> None:
    """Check the formats and writers of campaign.yaml and of the journal's first line."""
    config, created = index.directory.config, index.entries[0]
    settings, journal = str(MEMBERS.config_file), f"{MEMBERS.journal}:1"
    _check(index, CAMPAIGN, settings, config.version, config.writer)
    has_later_key = "retry_submit_for" in config.settings.scheduler.model_fields_set
    if has_later_key != (config.version > 1):
        has = "has" if has_later_key else "has no"
        why = f"{has} scheduler.retry_submit_for, which campaign.yaml has since format 2, and states format"
        index.faults.add("settings.version", settings, f"{why} {config.version}")
    if not isinstance(created, Created):
        return
    _check(index, JOURNAL, journal, created.format, created.version)
    reads = CAMPAIGN.written_by(created.version)
    if reads is None or config.version > reads:
        why = f"version: {created.version} stated, which cannot read campaign.yaml in format {config.version}"
        index.faults.add("journal.version", journal, why)
    if created.format == 1 and created.search is not None:
        index.faults.add("journal.version", journal, "search: no first line in format 1 names it")
    if created.format == 1 and created.plan is not None:
        index.faults.add("journal.version", journal, "plan: no first line in format 1 has one")


def _check(index: PackageIndex, form: Format, where: str, stated: int, writer: str | None) -> None:
    written = form.written_by(writer)
    if stated != written:
        expected = f"writes format {written}" if written else "has written none"
        why = f"states format {stated}, and aiperf-orch {writer} as its writer, which {expected}"
        kind = "settings.version" if form is CAMPAIGN else "journal.version"
        index.faults.add(kind, where, why)
