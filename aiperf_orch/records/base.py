"""Field types and the base class of all records."""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Error = Annotated[float, Field(ge=0, le=1)]
# larger numbers cannot be true, and are refused before arithmetic overflows
Natural = Annotated[int, Field(ge=0, lt=10**60)]
Positive = Annotated[int, Field(ge=1, lt=10**60)]
Operations = Annotated[int, Field(ge=0, lt=10**60)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
JobName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{2,14}(\[[0-9]{1,7}\])?$")]
EnergyOf = Literal["accelerators", "processors", "accelerators+processors"]
"""Parts whose energy was measured; of a processor it is that of its package."""
Version = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+_-]{0,79}$")]


class Record(BaseModel):
    """Base of all records, which are immutable; unknown fields, infinities and NaN are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def model_post_init(self, _context: object) -> None:
        """Replace the set of the given fields, which pydantic keeps for each record, by one for the class.

        It has up to 2 KB and is used by nothing; a journal of 10,000 trials has 120,000 records.
        """
        object.__setattr__(self, "__pydantic_fields_set__", _names_of_fields(type(self)))

    def to_line(self) -> str:
        """The record as one line of JSON, without its newline."""
        return self.model_dump_json()


@cache
def _names_of_fields(record: type[Record]) -> set[str]:
    return set(record.model_fields)


def first_error(error: ValidationError) -> str:
    """First error of a validation, as `key: message`."""
    first: Any = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    return f"{key}: {first['msg']}" if key else str(first["msg"])


class EndReason(str, Enum):
    """Why an attempt ended."""

    COMPLETED = "COMPLETED"
    EARLY_STOPPED = "EARLY_STOPPED"
    CAMPAIGN_ENDED = "CAMPAIGN_ENDED"
    STOPPED = "STOPPED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    TIME_LIMIT = "TIME_LIMIT"
    NODE_FAILURE = "NODE_FAILURE"
    PREEMPTED = "PREEMPTED"
    CANCELLED = "CANCELLED"
    HELD = "HELD"
    LOST = "LOST"
    HUNG = "HUNG"
    BAD_DATA = "BAD_DATA"
    TRAINING_DIVERGED = "TRAINING_DIVERGED"
    SUBMIT_REFUSED = "SUBMIT_REFUSED"
    TRIAL_ERROR = "TRIAL_ERROR"
    RESUBMITTED = "RESUBMITTED"
