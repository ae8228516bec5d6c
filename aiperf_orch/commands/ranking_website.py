"""A ranking as the newest list of a static website: `rank --output`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from aiperf_orch.commands.table_output import render_rows
from aiperf_orch.committee.commitments import Announcement
from aiperf_orch.committee.entries import RankingEntry
from aiperf_orch.committee.ranking_differences import differences, rows_to_compare
from aiperf_orch.committee.ranking_rows import rows_of
from aiperf_orch.committee.repetitions import Repetition
from aiperf_orch.committee.website_folder import CSV, JSON, PAGE, Website, add_list, list_name
from aiperf_orch.committee.website_pages import RankingList, list_page, report_name, system_pages
from aiperf_orch.util.units import now


def add_to_website(
    website: Website,
    entries: Sequence[RankingEntry],
    repetitions: Sequence[Repetition],
    announced: Mapping[str, Announcement] | None,
    reports: Mapping[Path, Path],
) -> Path:
    """Add a ranking to a website, as its newest list.

    Args:
        website: the website, as it was opened.
        entries: in the order of the ranking.
        repetitions: repeated campaigns.
        announced: announced campaigns by commitment; None where it is unknown which were announced.
        reports: path of a package -> its report, rendered from the records; the file is absent where there are none.

    Returns:
        The page of the website.

    Raises:
        AiperfError: A file cannot be written.
    """
    rows = rows_of(entries, repetitions, announced)
    name = list_name(website, now().date())
    found = differences(website.last, rows_to_compare(rows))
    shown = RankingList(name, entries, repetitions, announced, website.lists, found)
    # of a package that contradicts itself no report is shown
    verified = {entry: reports[entry.submission.path] for entry in entries if entry.submission.verified}
    rendered = {entry: path.read_bytes() for entry, path in verified.items() if path.exists()}
    names = {entry: report_name(report) for entry, report in rendered.items()}
    tables = {CSV: render_rows(rows, "csv").encode(), JSON: render_rows(rows, "json").encode()}
    add_list(
        website,
        name,
        files=tables | {PAGE: list_page(shown, is_newest=False)} | system_pages(shown, names),
        newest=tables | {PAGE: list_page(shown, is_newest=True)},
        reports={names[entry]: report for entry, report in rendered.items()},
    )
    return website.path / PAGE
