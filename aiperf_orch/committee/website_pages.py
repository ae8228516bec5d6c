"""Pages of a ranking's static website: the list, and one page for each verified package.

Every text of a submission is escaped. Names of pages follow from hashes that this program computed. A page loads no
resource; its one script sorts the tables of the list, which read without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiperf_orch
from aiperf_orch.committee.commitments import Announcement, not_sent
from aiperf_orch.committee.entries import RankingEntry
from aiperf_orch.committee.ranking import division
from aiperf_orch.committee.ranking_differences import Difference
from aiperf_orch.committee.ranking_rows import efficiency_of
from aiperf_orch.committee.ranking_sections import Section, divisions_of, other_files, without_place
from aiperf_orch.committee.repetitions import Repetition
from aiperf_orch.committee.website_folder import CSV, HISTORY, JSON, PAGE, REPORTS
from aiperf_orch.results.html import render_page
from aiperf_orch.util.units import format_duration, format_number, format_ops

_LIST: Final = "ranking.html.j2"
_SYSTEM: Final = "ranking_system.html.j2"
_STYLES: Final = ("ranking.css",)
_LIST_STYLES: Final = (*_STYLES, "ranking_list.css")
_SCRIPT: Final = "sort_tables.js"
_SYSTEMS: Final = "systems"
_DIGITS: Final = 16  # of a package's hash, in the name of its page
_FORMATS: Final[dict[str, Any]] = {"ops": format_ops, "number": format_number, "duration": format_duration}


@dataclass(frozen=True, eq=False)
class RankingList:
    """A ranking, as one list of a website shows it.

    Attributes:
        name: of the list: its date in UTC, with a number if it is not the first one of its day.
        entries: in the order of the ranking.
        repetitions: repeated campaigns.
        announced: announced campaigns by commitment; None where it is unknown which were announced.
        earlier: names of the earlier lists, from the first one to the last one.
        differences: to the last one of them.
    """

    name: str
    entries: Sequence[RankingEntry]
    repetitions: Sequence[Repetition]
    announced: Mapping[str, Announcement] | None
    earlier: Sequence[str] = ()
    differences: Sequence[Difference] = ()


def list_page(shown: RankingList, *, is_newest: bool) -> bytes:
    """The page of a list.

    Args:
        shown: the list.
        is_newest: whether the page is that of the website, and not that in the list's folder in the history.
    """
    names = page_names(shown.entries)
    here, root = (f"{HISTORY}/{shown.name}/", "") if is_newest else ("", "../../")

    def table(section: Section) -> dict[str, Any]:
        return {"title": section.title, "rows": [_cells(entry, names, here) for entry in section.entries]}

    missing = None
    if shown.announced is not None:
        records = [entry.submission.records for entry in shown.entries]
        missing = not_sent(shown.announced.values(), [each.commitment if each else None for each in records])
    page = render_page(
        _LIST,
        styles=_LIST_STYLES,
        script=_SCRIPT,
        name=shown.name,
        is_newest=is_newest,
        simulated=False,
        divisions=[table(section) for section in divisions_of(shown.entries)],
        without_place=[table(section) for section in without_place(shown.entries)],
        other_files=[table(section) for section in other_files(shown.entries)],
        repetitions=[_repeated(repetition, names, here) for repetition in shown.repetitions],
        announced=shown.announced,
        missing=missing,
        differences=shown.differences,
        earlier=[(name, f"{root}{HISTORY}/{name}/{PAGE}") for name in reversed(shown.earlier)],
        newest=f"{root}{PAGE}",
        downloads=[(name, f"{here}{name}") for name in (CSV, JSON)],
        version=aiperf_orch.__version__,
        **_FORMATS,
    )
    return page.encode()


def system_pages(shown: RankingList, reports: Mapping[RankingEntry, str]) -> dict[str, bytes]:
    """A page for each verified package.

    Args:
        shown: the list.
        reports: entry -> name of the file of its report.

    Returns:
        Path in the list's folder -> page.
    """
    pages = {}
    for entry, path in page_names(shown.entries).items():
        row, report = entry.submission.row, reports.get(entry)
        page = render_page(
            _SYSTEM,
            styles=_STYLES,
            simulated=row is not None and row.simulated == "yes",
            name=shown.name,
            entry=_cells(entry, {}, ""),
            facts=_facts(entry),
            remarks=entry.submission.remarks,
            report=f"../../../{REPORTS}/{report}" if report else None,
            this_list=f"../{PAGE}",
            newest=f"../../../{PAGE}",
            version=aiperf_orch.__version__,
            **_FORMATS,
        )
        pages[path] = page.encode()
    return pages


def page_names(entries: Sequence[RankingEntry]) -> dict[RankingEntry, str]:
    """Verified package -> path of its page in the list's folder, which follows from the package's hash."""
    names: dict[RankingEntry, str] = {}
    used: set[str] = set()
    for entry in entries:
        records = entry.submission.records
        if not entry.submission.verified or records is None:
            continue
        digits, number = records.sha256[:_DIGITS], 1
        name = digits
        while name in used:  # the same package under several file names
            number += 1
            name = f"{digits}-{number}"
        used.add(name)
        names[entry] = f"{_SYSTEMS}/{name}.html"
    return names


def report_name(report: bytes) -> str:
    """Name of the file of a report, by which equal reports of several lists are one file."""
    return f"{hashlib.sha256(report).hexdigest()[:32]}.html"


def _cells(entry: RankingEntry, names: Mapping[RankingEntry, str], here: str) -> dict[str, Any]:
    """What a row of a table shows of an entry; None where it is unknown."""
    row = entry.submission.row
    known = row.model_dump() if row else {}
    columns = ("system", "submitter", "campaign", "score", "error", "regulated_score", "number_of_nodes", "energy_of")
    return {
        **{column: known.get(column) for column in columns},
        **efficiency_of(entry),
        "place": entry.place,
        "division": str(division(entry)) if row else None,
        "status": entry.status.value,
        "accelerators": row.accelerators if row else None,
        "simulated": known.get("simulated") == "yes",
        "started": (known.get("started") or "")[:10] or None,
        "signed_by": entry.submission.signed_by,
        "notes": entry.notes,
        "file": entry.name,
        "page": f"{here}{names[entry]}" if entry in names else None,
    }


def _repeated(repetition: Repetition, names: Mapping[RankingEntry, str], here: str) -> dict[str, Any]:
    first = _cells(repetition.entries[0], names, here)
    return first | {
        "number": len(repetition.entries),
        "mean": repetition.mean,
        "low": repetition.low,
        "high": repetition.high,
    }


def _facts(entry: RankingEntry) -> list[tuple[str, list[tuple[str, str | None]]]]:
    """Groups of names and values on the page of a package; None where a value is unknown."""
    row, records, known = entry.submission.row, entry.submission.records, efficiency_of(entry)
    if row is None or records is None:
        return []
    share, joule = known["share_of_peak"], known["operations_per_joule"]
    joules = None if joule is None else f"{format_number(joule)} ({row.energy_of or 'components unknown'})"
    return [
        (
            "Campaign",
            [
                ("Campaign", row.campaign),
                ("Signed by", entry.submission.signed_by),
                ("Began", row.started),
                ("Measured over", format_duration(row.seconds)),
                ("Operations", f"{row.operations:,}"),
                ("Data set", row.data),
                ("Precision", row.precision),
                ("Rules missed", row.missed_rules or "none"),
            ],
        ),
        (
            "Size and efficiency",
            [
                ("Nodes", _number(row.number_of_nodes)),
                ("Accelerators", _number(row.accelerators)),
                ("Concurrent trials", _number(row.concurrency)),
                ("Score per node", _ops(known["score_per_node"])),
                ("Score per accelerator", _ops(known["score_per_accelerator"])),
                ("Share of the peak", None if share is None else f"{100 * share:.3g} %"),
                ("Operations per joule", joules),
            ],
        ),
        (
            "Versions and hashes",
            [
                ("aiperf-orch", row.aiperf_orch),
                ("Rules", row.rules),
                ("Counting convention", row.counting),
                ("Package SHA-256", records.sha256),
                ("Settings SHA-256", row.settings_sha256),
                ("Epochs SHA-256", records.epochs.sha256),
                ("Commitment", records.commitment),
            ],
        ),
    ]


def _number(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"


def _ops(value: float | None) -> str | None:
    return None if value is None else format_ops(value)
