"""`rank`: ranking of the packages and result.csv files that a committee has received."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.progress_line import progress_line
from aiperf_orch.commands.ranking_table import ranking_text
from aiperf_orch.commands.ranking_website import add_to_website
from aiperf_orch.commands.table_output import render_rows
from aiperf_orch.committee.commitments import read_commitments
from aiperf_orch.committee.entries import Status
from aiperf_orch.committee.isolated_reading import read_isolated
from aiperf_orch.committee.ranking import rank
from aiperf_orch.committee.ranking_rows import rows_of
from aiperf_orch.committee.repetitions import repetitions_of
from aiperf_orch.committee.website_folder import open_website
from aiperf_orch.committee.withdrawals import read_withdrawals
from aiperf_orch.package.signature import check_signers
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.progress import tracked
from aiperf_orch.util.temporary_folders import scratch_folder
from aiperf_orch.util.text import visible
from aiperf_orch.util.units import parse_duration

_log: Final = logging.getLogger(__name__)
_UNKNOWN: Final = (Status.FAULTY, Status.UNREADABLE, Status.NEWER_VERSION, Status.NOT_CHECKED)


def rank_results(
    paths: Sequence[Path],
    form: str,
    *,
    withdrawn: Path | None,
    signers: Path | None,
    commitments: Path | None,
    timeout: str,
    output: Path | None = None,
) -> CommandOutput:
    """Rank results. Faults of files go to standard error too.

    Args:
        paths: Packages and result.csv files, in the order in which they were received.
        form: `table`, `csv` or `json`.
        withdrawn: File with a list of withdrawn campaigns.
        signers: File of allowed signers: only packages that one of them signed have a place.
        commitments: File with a list of announced campaigns.
        timeout: Maximum time for the check of one file, a duration with its unit.
        output: Folder of a static website, of which the ranking becomes the newest list; None writes none.

    Raises:
        UsageError: when a file or list does not exist, the time is not a duration, or the folder has other files.
        AiperfError: when the website cannot be read or written.
    """
    try:
        seconds = parse_duration(timeout)
    except ValueError as error:
        raise UsageError(f"--timeout: {error}") from None
    reasons = read_withdrawals(withdrawn) if withdrawn else {}
    announced = read_commitments(commitments) if commitments else None
    if signers:
        check_signers(signers)
    for path in paths:
        try:
            path.stat()
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    website = open_website(output) if output else None
    with scratch_folder() as scratch:
        reports = {path: scratch / f"{number}.html" for number, path in enumerate(paths)} if website else {}
        with progress_line("rank"):
            submissions = [
                read_isolated(path, signers, seconds, reports.get(path)) for path in tracked(paths, "checking results")
            ]
        entries = rank(submissions, reasons, announced)
        for entry in entries:
            if entry.status in _UNKNOWN:
                _log.warning("%s: %s", entry.name, entry.note)
        repetitions = repetitions_of(entries)
        if website:
            page = add_to_website(website, entries, repetitions, announced, reports)
            _log.info("%s: written", visible(str(page)))
    if form == "table":
        return CommandOutput(ranking_text(entries, repetitions, announced))
    return CommandOutput(render_rows(rows_of(entries, repetitions, announced), form), form=form)
