"""`verify`: check that a package's numbers follow from its records, and whether the result meets the rules."""

from __future__ import annotations

import gc
import json
import re
from dataclasses import asdict
from pathlib import Path

from aiperf_orch.commands.command_output import CommandOutput, ExitStatus
from aiperf_orch.commands.progress_line import progress_line
from aiperf_orch.package.findings import printable_line
from aiperf_orch.package.replay_request import ReplayRequest
from aiperf_orch.package.verify import Verification, verify
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.text import visible
from aiperf_orch.util.units import format_ops, parse_duration


def replay_request(wanted: str | None, draw: int | None, duration: str | None = None) -> ReplayRequest | None:
    """The request of the options `--replay` (`all` or a number), `--draw` and `--replay-time`; None without them.

    Raises:
        UsageError: for any other text, for `--draw` without a number of proposals, or `--replay-time` without replay.
    """
    if wanted is not None and wanted != "all" and not (wanted.isdecimal() and wanted.isascii() and int(wanted)):
        raise UsageError(f"--replay: {wanted} is no number of proposals; give the package before --replay")
    if draw is not None and wanted in (None, "all"):
        raise UsageError("--draw: draws the proposals of --replay N, which is not given")
    if wanted is None:
        if duration is not None:
            raise UsageError("--replay-time: is the time limit of --replay, which is not given")
        return None
    seconds = None if duration is None else _seconds(duration)
    most = None if wanted == "all" else int(wanted)
    return ReplayRequest(most, seconds=seconds) if draw is None else ReplayRequest(most, draw, seconds)


def _seconds(duration: str) -> float:
    try:
        seconds = parse_duration(duration)
    except ValueError as error:
        raise UsageError(f"--replay-time: {error}") from None
    if seconds <= 0:
        raise UsageError(f"--replay-time: {duration} leaves no time for a proposal; for example --replay-time 30m")
    return seconds


def verify_package(
    package: Path,
    signers: Path | None,
    form: str,
    *,
    replay: ReplayRequest | None = None,
    commitment: str | None = None,
    report: Path | None = None,
) -> CommandOutput:
    """Verify a package; returns the findings (`table` or `json`), and the exit status: 0 verified, 1 not verified.

    Args:
        package: The file.
        signers: Signers one of whom must have signed it; None requires no signature.
        form: Format of the output.
        replay: The proposals that are made again, if any.
        commitment: The commitment that was announced for the campaign, if any.
        report: File to write, a report that is rendered from the package's records; None writes none.

    Raises:
        UsageError: for a commitment that is no SHA-256, for a report in place of the package, and as of `verify`.
    """
    if report is not None and report.exists() and package.exists() and report.samefile(package):
        raise UsageError(f"--report: {report} is the package: name another file")
    if commitment is not None and not re.fullmatch(r"[0-9a-f]{64}", commitment):
        raise UsageError(f"--commitment: {commitment} is no commitment: it has 64 digits from 0 to f, in lower case")
    gc.disable()  # many small objects that all stay: the search for cycles among them takes a third of the time
    with progress_line("verify"):
        found = verify(package, signers, replay=replay, commitment=commitment, report=report)
    text = json.dumps(_document(found), indent=2) if form == "json" else _table(package, signers, found, report)
    return CommandOutput(text + "\n", ExitStatus.DONE if found.verified else ExitStatus.FAILED, form)


def _document(found: Verification) -> dict[str, object]:
    return {
        "verified": found.verified,
        "rankable": found.rankable,
        "missed_rules": found.missed_rules,
        "misses": [{"rule": miss.rule.id, "why": miss.why} for miss in found.misses],
        "rules": found.result_row["rules"] if found.result_row else None,
        "questionnaire": found.questionnaire,
        "sha256": found.sha256,
        "signed_by": found.signed_by,
        "faults": [asdict(fault) for fault in found.faults],
        "more_faults": found.more_faults,
        "remarks": [asdict(remark) for remark in found.remarks],
        "result": found.result_row,
    }


def _table(package: Path, signers: Path | None, found: Verification, report: Path | None) -> str:
    number = len(found.faults) + found.more_faults
    verdict = "NEWER VERSION" if found.is_newer else "verified" if found.verified else "NOT VERIFIED"
    lines = [f"{verdict:<16} {visible(str(package))}"]
    lines += [f"  {fault.id}  {fault}" for fault in found.faults]
    if found.more_faults:
        lines.append(f"  and {found.more_faults:,} more")
    lines += [f"{'remark':<16} {remark.id}  {remark}" for remark in found.remarks]
    if number:
        lines[0] += f": {number:,} fault{'s' if number > 1 else ''}"
    row = found.result_row
    if report is not None:
        written = f"{visible(str(report))}, rendered from the records" if row else "not written: no records can be read"
        lines.append(f"{'report':<16} {written}")
    if row is None:
        return "\n".join(lines)
    if found.rankable:
        lines.append(f"{'rankable':<16} by the rules {row['rules']}")
    else:
        lines.append(f"{'not rankable':<16} by the rules {row['rules']}:")
        lines += [f"  {miss.rule.id:<10} {miss.rule.sentence}; {printable_line(miss.why)}" for miss in found.misses]
    mark = " (SIMULATED: no training took place)" if row["simulated"] == "yes" else ""
    questionnaire = "none" if found.questionnaire is None else f"score {100 * found.questionnaire:.3g} %"
    regulated = "none" if row["regulated_score"] is None else format_ops(row["regulated_score"])
    lines += [
        f"{'system':<16} {printable_line(row['system'])}, by {printable_line(row['submitter'])}",
        f"{'score':<16} {format_ops(row['score'])}{mark}",
        f"{'error':<16} {'none measured' if row['error'] is None else format(row['error'], '.2%')}",
        f"{'regulated score':<16} {regulated}",
        f"{'questionnaire':<16} {questionnaire}",
    ]
    if found.signed_by is not None:
        lines.append(f"{'signed by':<16} {printable_line(found.signed_by)}")
    elif signers is None:
        lines.append(f"{'signature':<16} not checked: --signers FILE checks it")
    return "\n".join(lines)
