"""Submissions to a committee: packages and result.csv files of unknown origin, read as one checked row."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from aiperf_orch.campaign.safe_reading import read_regular
from aiperf_orch.committee.package_records import PackageRecords, records_of
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.package.unreadable_files import likely_cause, saved_by_a_spreadsheet
from aiperf_orch.records.base import Error, Natural, Sha256, first_error
from aiperf_orch.results.tables import RESULT_COLUMNS
from aiperf_orch.settings.base import CsvText, matching
from aiperf_orch.util.errors import RecordError, UsageError
from aiperf_orch.util.number_cells import is_decimal, is_whole

_MOST_BYTES: Final = 1 << 16
_LONGEST_NUMBER: Final = 60  # characters
_COLUMN: Final = re.compile(r"[a-z][a-z0-9_]{0,59}")
_TOLERANCE: Final = 1e-9  # relative; the division of another machine may differ


def _decimal_cell(value: Any) -> Any:
    if isinstance(value, str) and not (len(value) <= _LONGEST_NUMBER and is_decimal(value)):
        raise ValueError("is not a number as aiperf-orch writes it")
    return value


def _whole_cell(value: Any) -> Any:
    if isinstance(value, str) and not (len(value) <= _LONGEST_NUMBER and is_whole(value)):
        raise ValueError("is not a whole number as aiperf-orch writes it")
    return value


def _empty_to_none(value: Any) -> Any:
    return None if value == "" else value


_Text = Annotated[CsvText | None, BeforeValidator(_empty_to_none)]
_Decimal = BeforeValidator(_decimal_cell)
_Positive = Annotated[float, Field(ge=0), _Decimal]
_Whole = Annotated[Natural, BeforeValidator(_whole_cell)]
_Count = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_whole_cell), BeforeValidator(_empty_to_none)]
_Rate = Annotated[Annotated[float, Field(gt=0)] | None, _Decimal, BeforeValidator(_empty_to_none)]
_Time = Annotated[
    Annotated[str, matching(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z", "a time in UTC")]
    | None,
    BeforeValidator(_empty_to_none),
]
_Word = Annotated[str, matching(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}", "one word of letters, digits and . _ + -")]
_Words = Annotated[
    Annotated[str, matching(r"[a-z0-9_-]{1,40}( [a-z0-9_-]{1,40})*", "words with one space between them")] | None,
    BeforeValidator(_empty_to_none),
]
_YesNo = Literal["yes", "no"]


def _limited_words(text: str | None) -> str | None:
    if text and len(text.split()) > 100:
        raise ValueError("names too many rules")
    return text


class ResultRow(BaseModel):
    """Columns of result.csv that a committee compares; other columns are ignored, so that later versions may add some.

    Units are those of result.csv; empty cells are None.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    system: CsvText
    submitter: CsvText
    campaign: _Word
    score: _Positive
    error: Annotated[Error | None, _Decimal, BeforeValidator(_empty_to_none)]
    regulated_score: Annotated[float | None, _Decimal, BeforeValidator(_empty_to_none)]
    rankable: _YesNo
    missed_rules: Annotated[_Words, AfterValidator(_limited_words)]
    rules: _Word
    simulated: _YesNo
    operations: _Whole
    seconds: _Positive
    started: _Time
    duration_limit: _Positive
    state: _Word
    data: _Word
    precision: _Words
    concurrency: Annotated[int, Field(ge=1), BeforeValidator(_whole_cell)]
    counting: _Word
    aiperf_orch: Annotated[_Word | None, BeforeValidator(_empty_to_none)]
    settings_sha256: Sha256
    number_of_nodes: _Count = None
    accelerators_per_node: _Count = None
    division: Annotated[Literal["closed", "open"] | None, BeforeValidator(_empty_to_none)] = None
    operations_per_joule: _Rate = None
    energy_of: _Text = None

    @property
    def accelerators(self) -> int | None:
        """Number of accelerators of the system; None when it is not stated."""
        if self.number_of_nodes is None or self.accelerators_per_node is None:
            return None
        return self.number_of_nodes * self.accelerators_per_node


@dataclass(frozen=True)
class Submission:
    """One submitted file.

    Attributes:
        path: of the file.
        row: None when the file cannot be read.
        verified: whether its numbers follow from its records; None for a result.csv, which has no records.
        fault: why the file is not trusted; None when it is.
        is_newer: whether a newer version of aiperf-orch wrote it.
        is_unchecked: whether it could not be checked to the end.
        signed_by: principal of its valid signature; None without one, or when no signers were given.
        unsigned: why a package has no signature by a signer; None when it has one, or when no signers were given.
        records: what its records show beside the row; None unless it is a package that can be read.
        remarks: of `verify`: what is unusual or was not checked.
    """

    path: Path
    row: ResultRow | None
    verified: bool | None
    fault: str | None = None
    is_newer: bool = False
    is_unchecked: bool = False
    signed_by: str | None = None
    unsigned: str | None = None
    records: PackageRecords | None = None
    remarks: tuple[str, ...] = ()


def read_submission(path: Path, signers: Path | None = None, report: Path | None = None) -> Submission:
    """Read and verify a package, or read a result.csv; the first bytes decide which. Its contents raise no error.

    Args:
        path: of the file.
        signers: an `allowed_signers` file: packages should have a valid signature by one of them. None asks for none.
        report: where to write a report, rendered from a package's records, if they can be read; None writes none.

    Raises:
        UsageError: The file does not exist.
        AiperfError: The report cannot be written.
    """
    try:
        is_package = read_regular(path, most=2) == b"\x1f\x8b"  # gzip's first bytes
    except OSError as error:
        why = likely_cause(path) if path.is_dir() else None
        raise UsageError(f"{path}: cannot be read: {f'it {why}' if why else error.strerror}") from None
    if is_package:
        return _read_package(path, signers, report)
    try:
        return Submission(path, read_result_csv(path), None)
    except RecordError as error:
        return Submission(path, None, False, _with_cause(path, str(error).removeprefix(f"{path}: ")))


def _read_package(path: Path, signers: Path | None, report: Path | None) -> Submission:
    from aiperf_orch.package.verify import verify

    shown: list[PackageRecords] = []

    def inspect(index: PackageIndex) -> None:
        shown.append(records_of(index))

    found = verify(path, signers, inspect=inspect, report=report)
    # a package without a signature may be complete and true: only a signature that does not fit is a fault
    unsigned = [fault for fault in found.faults if fault.id in ("signature.missing", "signature.signer")]
    faults = [fault for fault in found.faults if fault not in unsigned]
    fault = str(faults[0]) if faults else None
    known = Submission(
        path,
        None,
        verified=False,
        fault=fault,
        is_newer=found.is_newer,
        signed_by=found.signed_by,
        unsigned=str(unsigned[0]) if unsigned else None,
        records=shown[0] if shown else None,
        remarks=tuple(str(remark) for remark in found.remarks),
    )
    if found.result_row is None:
        return known
    try:
        return replace(known, row=ResultRow.model_validate(found.result_row), verified=not faults)
    except ValidationError as error:  # settings permit texts that tables of committees do not
        return replace(known, fault=fault or first_error(error))


def _with_cause(path: Path, fault: str) -> str:
    """Add the likely cause and advice, if known, to the reason why a file is not a result.csv."""
    cause = likely_cause(path)
    if cause and not cause.startswith("is a result.csv"):
        return f"neither a package nor a result.csv: it {cause}"
    return "; ".join(filter(None, [fault, saved_by_a_spreadsheet(read_regular(path, most=_MOST_BYTES))]))


def read_result_csv(path: Path) -> ResultRow:
    """Read the row of a result.csv.

    Raises:
        RecordError: The file is not a result.csv or contradicts itself; the message names the column.
    """
    try:
        data = read_regular(path, most=_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise RecordError(f"{path}: larger than the limit of a result.csv ({_MOST_BYTES} bytes)")
        lines = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except UnicodeDecodeError:
        raise RecordError(f"{path}: not a result.csv: not UTF-8 text") from None
    except csv.Error as error:
        raise RecordError(f"{path}: not a result.csv: {error}") from None
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from None
    if len(lines) != 2 or len(lines[0]) != len(lines[1]) or len(set(lines[0])) != len(lines[0]):
        raise RecordError(f"{path}: not a result.csv: expected one line of column names and one row with as many cells")
    if fault := _column_fault(lines[0]):
        raise RecordError(f"{path}: not a result.csv: {fault}")
    try:
        row = ResultRow.model_validate(dict(zip(*lines, strict=True)))
    except ValidationError as error:
        raise RecordError(f"{path}: not a result.csv: {first_error(error)}") from None
    fault = _inconsistency(row)
    if fault:
        raise RecordError(f"{path}: contradicts itself: {fault}")
    return row


def _column_fault(header: Sequence[str]) -> str | None:
    """Why these are no columns of a result.csv; None if they may be: later versions may add some."""
    known = [column for column in header if column in RESULT_COLUMNS]
    strange = next((column for column in header if not _COLUMN.fullmatch(column)), None)
    if strange is not None:
        return f"{strange!r:.60} is not the name of a column"
    if known != [column for column in RESULT_COLUMNS if column in known]:
        return "its columns are not in the order in which aiperf-orch writes them"
    return None


def _inconsistency(row: ResultRow) -> str | None:
    """A contradiction between columns of a row; None without one."""
    if not math.isclose(row.score, row.operations / row.seconds if row.seconds else 0.0, rel_tol=_TOLERANCE):
        return "score: is not operations / seconds"
    if row.error and not math.isclose(
        row.regulated_score or 0.0, row.score * math.log(1 / row.error), rel_tol=_TOLERANCE
    ):
        return "regulated_score: is not score x -ln(error)"
    if (row.rankable == "yes") != (row.missed_rules is None):
        return "rankable: does not follow from missed_rules"
    if row.simulated == "yes" and row.rankable == "yes":
        return "rankable: a simulated campaign is not rankable"
    return None
