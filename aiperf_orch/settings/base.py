"""Base models of the settings' sections, marks of settings, and checked kinds of text and number."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    JsonValue,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from aiperf_orch.util.units import Seconds

PRIVATE: Final[dict[str, JsonValue]] = {"private": True}
"""Marks a setting that never leaves the machine: code, and names of users or paths. Packages show a hash of it."""

HASHED: Final = re.compile(r"sha256:[0-9a-f]{64}")
"""A private value as packages show it."""

HTML_TAG: Final = re.compile(r"<[A-Za-z/!?]")
"""The beginning of a tag in HTML; a `<` before any other character, and any `>`, is text there."""

ADVANCED: Final = "advanced"
"""The part of a section in a site file for settings that few sites need. The models have them at one level."""

_Value = TypeVar("_Value")


class AdvancedMark:
    """Annotation of a setting that belongs to its section's part `advanced`."""


Advanced = Annotated[_Value, AdvancedMark]
"""A setting of this type in its section's part `advanced`: `poll_interval: Advanced[Duration] = 1.0`."""


@dataclass(frozen=True)
class Unit:
    """Annotation of a setting whose values have a unit: its name, as readers see it."""

    name: str


class Settings(BaseModel):
    """Base of all settings: unknown keys are refused, and nothing changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Section(Settings):
    """Base of the sections of a site file, whose part `advanced` may hold any of their keys."""

    @model_validator(mode="before")
    @classmethod
    def _lift_advanced(cls, data: Any) -> Any:
        if not isinstance(data, dict) or ADVANCED not in data:
            return data
        advanced = data[ADVANCED]
        if not isinstance(advanced, dict):
            known = ", ".join(advanced_keys(cls))
            raise ValueError(  # noqa: TRY004  pydantic collects ValueError
                f"{ADVANCED}: a part with keys is expected, not {advanced!r:.60}; for example any of {known}"
            )
        twice = next((key for key in advanced if key in data), None)
        if twice is not None:
            raise ValueError(f"{twice}: is given in the section and in its part {ADVANCED}: give it once")
        return {key: value for key, value in data.items() if key != ADVANCED} | advanced


def advanced_keys(section: type[BaseModel]) -> list[str]:
    """The settings of a section that belong to its part `advanced`."""
    return [name for name, field in section.model_fields.items() if AdvancedMark in field.metadata]


def written_key(section: BaseModel, key: str) -> str:
    """A dotted key of a section as a site file has it: `advanced.poll_interval` for `poll_interval`."""
    return f"{ADVANCED}.{key}" if key.partition(".")[0] in advanced_keys(type(section)) else key


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of printable characters")
    return text


def _no_formula(text: str) -> str:
    if text[0] in "=+-@":
        raise ValueError(f"must not begin with {text[0]}: a spreadsheet would take it for a formula")
    return text


def _normalized_path(text: str) -> str:
    if text[0] != "/" and not HASHED.fullmatch(text):
        raise ValueError(
            f"must be a path that begins with /, not {text!r:.60}: trials have working directories of their own"
        )
    return str(PurePosixPath(text)) if text[0] == "/" else text  # the form in messages, where packages redact it


@dataclass(frozen=True)
class Checked:
    """Annotation of a text that a function checks, and returns, perhaps in another form.

    Attributes:
        check: Raises ValueError for a text that is refused.
        pattern: What a JSON Schema can say of the check: a regular expression that is found in each accepted text.
    """

    check: Callable[[str], str]
    pattern: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The check, after those of the type."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema of the type with the pattern."""
        schema = handler(core)
        if "pattern" in schema:
            return schema | {"allOf": [*schema.get("allOf", []), {"pattern": self.pattern}]}
        return schema | {"pattern": self.pattern}


def matching(pattern: str, words: str) -> Checked:
    """A check that a whole text matches a pattern.

    Args:
        pattern: a regular expression.
        words: what the pattern means, for the message of a refusal; they follow "must be".
    """
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"must be {words}, not {text!r:.60}")
        return text

    return Checked(check, f"^({pattern})$")


def _positive(seconds: float) -> float:
    if not 0 < seconds <= 366 * 86400:
        raise ValueError("must be longer than 0 and at most a year")
    return seconds


Text = Annotated[str, Field(min_length=1, max_length=200), Checked(_one_line, r"^[^\x00-\x1f\x7f-\xa0\xad]*$")]
AbsolutePath = Annotated[Text, Checked(_normalized_path, f"^(/|{HASHED.pattern}$)")]
CsvText = Annotated[Text, Checked(_no_formula, "^[^=+@-]")]
Duration = Annotated[
    Seconds, AfterValidator(_positive), Unit("written with it: 90s, 12h, 1h30m, 1-12:00:00 (days first)")
]
Gpus = Annotated[int, Field(ge=1, le=1024)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Fraction = Annotated[float, Field(ge=0, le=1)]
