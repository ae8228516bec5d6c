"""A ranking as text of at most 80 columns, in sections.

A name that a submitter chose stands at the end of its line, and its continuation lines are indented: neither a long
name nor one in a script from right to left changes what the reader sees of other columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from aiperf_orch.committee.commitments import Announcement, not_sent
from aiperf_orch.committee.entries import RankingEntry
from aiperf_orch.committee.ranking_rows import efficiency_of
from aiperf_orch.committee.ranking_sections import divisions_of, other_files, without_place
from aiperf_orch.committee.repetitions import Repetition
from aiperf_orch.util.text import visible, wrap_text
from aiperf_orch.util.units import format_number, format_ops

_WIDTH: Final = 80
_INDENT: Final = " " * 7  # of details
_BULLET: Final = f"{_INDENT}* "


def ranking_text(
    entries: Sequence[RankingEntry],
    repetitions: Sequence[Repetition],
    announced: Mapping[str, Announcement] | None,
) -> str:
    """The ranking as text; the last line ends with a newline.

    Args:
        entries: in the order of the ranking.
        repetitions: repeated campaigns.
        announced: announced campaigns by commitment; None where it is unknown which were announced.
    """
    sections = [[section.title, *_scores(section.entries)] for section in divisions_of(entries)] or [
        ["No result has a place."]
    ]
    sections += [[section.title, *_scores(section.entries)] for section in without_place(entries)]
    sections += [[section.title, *_files(section.entries)] for section in other_files(entries)]
    if repetitions:
        sections.append(["Repeated campaigns: mean score, and its 95 % interval", *_repeated(repetitions)])
    sections.append(_announced(entries, announced))
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _scores(entries: Sequence[RankingEntry]) -> list[str]:
    lines = ["place  score            error    system"]
    for entry in entries:
        row = entry.submission.row
        if row is None:
            continue
        place = "-" if entry.place is None else str(entry.place)
        error = "-" if row.error is None else f"{row.error:.2%}"
        system = row.system + (" (SIMULATED)" if row.simulated == "yes" else "")
        lines += _hanging(f"{place:>5}  {format_ops(entry.score):<15}  {error:<7}  ", system)
        lines += _detail(f"by {row.submitter}")
        signer = [f"signed by {visible(entry.submission.signed_by)}"] if entry.submission.signed_by else []
        lines += _detail("; ".join([*signer, f"campaign {visible(row.campaign)}", entry.name]))
        if efficiency := _efficiency(entry):
            lines += _detail(efficiency)
        records = entry.submission.records
        if records and records.questionnaire is not None:
            lines += _detail(f"questionnaire {100 * records.questionnaire:.3g} %")
        for note in entry.notes:
            lines += _hanging(_BULLET, note)
    return lines


def _efficiency(entry: RankingEntry) -> str:
    """Known quantities by size and energy; may be empty."""
    row, known = entry.submission.row, efficiency_of(entry)
    parts = []
    if known["score_per_node"] is not None:
        parts.append(f"{format_ops(known['score_per_node'])} a node")
    if known["score_per_accelerator"] is not None:
        parts.append(f"{format_ops(known['score_per_accelerator'])} an accelerator")
    if known["share_of_peak"] is not None:
        parts.append(f"{100 * known['share_of_peak']:.3g} % of the peak")
    if known["operations_per_joule"] is not None and row:
        of = f" ({visible(row.energy_of)})" if row.energy_of else ""
        parts.append(f"{format_number(known['operations_per_joule'])} operations a joule{of}")
    return "; ".join(parts)


def _files(entries: Sequence[RankingEntry]) -> list[str]:
    lines = []
    for entry in entries:
        lines += _hanging(f"{entry.status.value:<13}  ", entry.name)
        row = entry.submission.row
        if row:
            lines += _detail(f"{format_ops(entry.score)}; {row.system}")
            lines += _detail(f"by {row.submitter}")
        if entry.submission.signed_by:
            lines += _detail(f"signed by {entry.submission.signed_by}")
        for note in entry.notes:
            lines += _hanging(_BULLET, note)
    return lines


def _repeated(repetitions: Sequence[Repetition]) -> list[str]:
    lines = ["number  mean             interval                           system"]
    for repetition in repetitions:
        interval = f"{format_ops(repetition.low)} to {format_ops(repetition.high)}"
        cells = f"{len(repetition.entries):>6}  {format_ops(repetition.mean):<15}  {interval:<33}  "
        row = repetition.entries[0].submission.row
        lines += _hanging(cells, row.system if row else "-")
    return lines


def _announced(entries: Sequence[RankingEntry], announced: Mapping[str, Announcement] | None) -> list[str]:
    if announced is None:
        return ["Campaigns that were announced and not sent: unknown (--commitments FILE)"]
    sent = [entry.submission.records.commitment if entry.submission.records else None for entry in entries]
    missing = not_sent(announced.values(), sent)
    lines = [f"Campaigns that were announced and not sent: {len(missing)} of {len(announced)}"]
    for announcement in missing:
        lines += _hanging(f"{announcement.date}  {announcement.commitment[:16]}…  ", announcement.site)
    return lines


def _detail(text: str) -> list[str]:
    return _hanging(_INDENT, text)


def _hanging(cells: str, text: str) -> list[str]:
    """Cells and the text behind them, whose further lines are indented to where it begins."""
    first, *rest = wrap_text(visible(text), _WIDTH - len(cells))
    return [f"{cells}{first}".rstrip(), *(" " * len(cells) + line for line in rest)]
