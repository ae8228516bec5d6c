"""What every section of the settings is made of: the strict base model, and checked kinds of text and number."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from aiperf_orch.util.units import Seconds

PRIVATE: Final[dict[str, JsonValue]] = {"private": True}
"""Marks a setting that never leaves the machine: code, and what names people or places. Packages show a hash of it."""


HASHED: Final = re.compile(r"sha256:[0-9a-f]{64}")
"""A private value as packages show it."""


HTML_TAG: Final = re.compile(r"<[A-Za-z/!?]")
"""What HTML takes for the beginning of a tag; a `<` before anything else, and any `>`, it takes for text."""


class Settings(BaseModel):
    """Base of every section: unknown keys are refused, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of printable characters")
    return text


def _no_formula(text: str) -> str:
    if text[0] in "=+-@":
        raise ValueError(f"must not begin with {text[0]}: a spreadsheet would take it for a formula")
    return text


def _place(text: str) -> str:
    if text[0] != "/" and not HASHED.fullmatch(text):
        raise ValueError(
            f"must be a path that begins with /, not {text!r:.60}: trials have working directories of their own"
        )
    return str(PurePosixPath(text)) if text[0] == "/" else text  # as messages have it, from which packages take it


def form(pattern: str, words: str) -> AfterValidator:
    """A check that the whole of a text has this form. A refusal says it in `words`, which follow "must be"."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"must be {words}, not {text!r:.60}")
        return text

    return AfterValidator(check)


def _positive(seconds: float) -> float:
    if not 0 < seconds <= 366 * 86400:
        raise ValueError("must be longer than 0 and at most a year")
    return seconds


Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_one_line)]
Place = Annotated[Text, AfterValidator(_place)]
CsvText = Annotated[Text, AfterValidator(_no_formula)]
Duration = Annotated[Seconds, AfterValidator(_positive)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Fraction = Annotated[float, Field(ge=0, le=1, strict=False)]
