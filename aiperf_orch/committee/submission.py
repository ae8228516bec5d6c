"""What a committee receives of a campaign, a package or a result.csv, as one checked row; nothing in it is trusted."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from aiperf_orch.campaign.safe_reading import read_regular
from aiperf_orch.package.unreadable_files import likely_cause, saved_by_a_spreadsheet
from aiperf_orch.records.base import Error, Natural, Sha256, first_error
from aiperf_orch.settings.base import CsvText
from aiperf_orch.util.errors import RecordError, UsageError

_MOST_BYTES: Final = 1 << 16
_NUMBER: Final = re.compile(r"[0-9.eE+-]{1,60}")
_TOLERANCE: Final = 1e-9  # of a division that another machine computed


def _bounded(value: Any) -> Any:
    """A number as our tables write it; Python would take 1_0 for one, too, and refuses to read thousands of digits."""
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise ValueError("is not a number of sensible length")
    return value


def _empty(value: Any) -> Any:
    return None if value == "" else value


_Text = Annotated[CsvText | None, BeforeValidator(_empty)]
_Positive = Annotated[float, Field(ge=0), BeforeValidator(_bounded)]
_Whole = Annotated[Natural, BeforeValidator(_bounded)]
_Count = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_bounded), BeforeValidator(_empty)]
_YesNo = Literal["yes", "no"]


def _nothing_more(text: str | None) -> str | None:
    if text and len(text.split()) > 100:
        raise ValueError("names too many rules")
    return text


class Row(BaseModel):
    """The columns of result.csv that a committee compares; others are ignored, so that later versions may add some.

    Units as in result.csv; what is optional there is None.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    system: CsvText
    submitter: CsvText
    campaign: CsvText
    score: _Positive
    error: Annotated[Error | None, BeforeValidator(_bounded), BeforeValidator(_empty)]
    regulated_score: Annotated[float | None, BeforeValidator(_bounded), BeforeValidator(_empty)]
    rankable: _YesNo
    missed_rules: Annotated[_Text, AfterValidator(_nothing_more)]
    rules: CsvText
    simulated: _YesNo
    operations: _Whole
    seconds: _Positive
    started: _Text
    duration_limit: _Positive
    state: CsvText
    data: CsvText
    precision: _Text
    concurrency: Annotated[int, Field(ge=1), BeforeValidator(_bounded)]
    counting: CsvText
    aiperf_orch: _Text
    settings_sha256: Sha256
    number_of_nodes: _Count = None
    accelerators_per_node: _Count = None

    @property
    def accelerators(self) -> int | None:
        """How many the system has, where it names them."""
        if self.number_of_nodes is None or self.accelerators_per_node is None:
            return None
        return self.number_of_nodes * self.accelerators_per_node


@dataclass(frozen=True)
class Submission:
    """One file of a committee. `row` is None when it cannot be read, and `fault` says why it is not to be trusted.

    `verified` is None for a result.csv, which has no records to be held to.
    """

    path: Path
    row: Row | None
    verified: bool | None
    fault: str | None = None
    is_newer: bool = False


def read_submission(path: Path, signers: Path | None = None) -> Submission:
    """A package, verified, or a result.csv, by its first bytes. Never raises for what stands in the file.

    Raises:
        UsageError: when there is no such file.
    """
    try:
        is_package = read_regular(path, most=2) == b"\x1f\x8b"  # gzip's first bytes
    except OSError as error:
        why = likely_cause(path) if path.is_dir() else None
        raise UsageError(f"{path}: cannot be read: {f'it {why}' if why else error.strerror}") from None
    if not is_package:
        try:
            return Submission(path, read_result_csv(path), None)
        except RecordError as error:
            return Submission(path, None, False, _with_cause(path, str(error).removeprefix(f"{path}: ")))
    from aiperf_orch.package.verify import verify

    found = verify(path, signers)
    fault = str(found.faults[0]) if found.faults else None
    if found.result_row is None:
        return Submission(path, None, False, fault, found.is_newer)
    try:
        return Submission(path, Row.model_validate(found.result_row), found.verified, fault)
    except ValidationError as error:  # what its settings allow, and a committee's table does not
        return Submission(path, None, False, fault or first_error(error))


def _with_cause(path: Path, fault: str) -> str:
    """Why a file is no result.csv, with the likely cause and what to do where they are known."""
    cause = likely_cause(path)
    if cause and not cause.startswith("is a result.csv"):
        return f"neither a package nor a result.csv: it {cause}"
    return "; ".join(filter(None, [fault, saved_by_a_spreadsheet(read_regular(path, most=_MOST_BYTES))]))


def read_result_csv(path: Path) -> Row:
    """The one row of a result.csv.

    Raises:
        RecordError: naming what is wrong with it, and in which column.
    """
    try:
        data = read_regular(path, most=_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise RecordError(f"{path}: larger than a result.csv can be ({_MOST_BYTES} bytes)")
        lines = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except UnicodeDecodeError:
        raise RecordError(f"{path}: not a result.csv: not UTF-8 text") from None
    except csv.Error as error:
        raise RecordError(f"{path}: not a result.csv: {error}") from None
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from None
    if len(lines) != 2 or len(lines[0]) != len(lines[1]) or len(set(lines[0])) != len(lines[0]):
        raise RecordError(f"{path}: not a result.csv: it has one line of column names, and one row of as many cells")
    try:
        row = Row.model_validate(dict(zip(*lines, strict=True)))
    except ValidationError as error:
        raise RecordError(f"{path}: not a result.csv: {first_error(error)}") from None
    fault = _inconsistent(row)
    if fault:
        raise RecordError(f"{path}: contradicts itself: {fault}")
    return row


def _inconsistent(row: Row) -> str | None:
    """What in a row cannot be true, whatever the records say."""
    if not math.isclose(row.score, row.operations / row.seconds if row.seconds else 0.0, rel_tol=_TOLERANCE):
        return "score: is not operations / seconds"
    if row.error and not math.isclose(
        row.regulated_score or 0.0, row.score * math.log(1 / row.error), rel_tol=_TOLERANCE
    ):
        return "regulated_score: is not score x -ln(error)"
    if (row.rankable == "yes") != (row.missed_rules is None):
        return "rankable: does not follow from missed_rules"
    if row.simulated == "yes" and row.rankable == "yes":
        return "rankable: what is simulated never is"
    return None
