"""Wrong values whose meaning is clear: a number where a name belongs is its text as it was written, 0 GPUs are none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from aiperf_orch.settings.models import SCHEDULERS, SiteSettings
from aiperf_orch.settings.yaml_text import Key

_WHOLE: Final = re.compile(r"[-+]?[0-9]{1,40}(?:_[0-9]{1,40}){0,9}")  # in quotes, or as 1_000
_DECIMAL: Final = re.compile(r"[-+]?[0-9]{0,20}\.?[0-9]{1,20}(?:[eE][-+]?[0-9]{1,3})?")
_GPUS: Final = (("scheduler", "gpus_per_node"), ("scheduler", "gpus"))
_GPUS_OF_NODE: Final = ("scheduler", "allocations", "gpus_per_node")
_TRUTH: Final = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}


def validated(data: dict[str, Any], texts: Mapping[Key, str]) -> SiteSettings:
    """The settings in `data`, whose values of the wrong type are replaced where their meaning is clear.

    Args:
        data: the values by section and key.
        texts: how numbers and truth values were written.

    Raises:
        ValidationError: for all that is wrong and whose meaning is not clear.
    """
    for _ in range(
        3
    ):  # a text in place of a number is 0, and the keys of a scheduler are validated only when its kind is understood
        try:
            return SiteSettings.model_validate(data)
        except ValidationError as error:
            changed = [_replace(data, texts, item) for item in error.errors()]
            if not any(changed):
                raise
    return SiteSettings.model_validate(data)


def key_of(error: Any) -> tuple[Key, str | None]:
    """The key that a validation error is about, and the kind of scheduler that pydantic names among the keys."""
    location: Key = tuple(error["loc"])
    kind = str(location[1]) if location[:1] == ("scheduler",) and location[1:2] and location[1] in SCHEDULERS else None
    return ((location[0], *location[2:]) if kind else location), kind


def _replace(data: dict[str, Any], texts: Mapping[Key, str], error: Any) -> bool:
    """Replace a value of the wrong type by the one that is meant; returns whether it is clear."""
    key, _ = key_of(error)
    if error["type"] == "union_tag_invalid":
        key = (*key, "kind")
    meant = _meant(error, texts.get(key))
    if meant is None and not _is_none(data, key, error):
        return False
    target: Any = data
    for part in key[:-1]:
        target = target[part]
    target[key[-1]] = meant
    return True


def _is_none(data: dict[str, Any], key: Key, error: Any) -> bool:
    """Whether a value is 0 GPUs. Those of an allocation's node are none only where its trials have none, too."""
    if error["type"] != "greater_than_equal" or error["input"] != 0:
        return False
    return key in _GPUS or (key == _GPUS_OF_NODE and not any(data["scheduler"].get(own) for _, own in _GPUS))


def _meant(error: Any, text: str | None) -> Any:
    """The meaning of a value of the wrong type; None where it is not clear."""
    value = error["input"]
    match error["type"]:
        case "string_type":
            return text
        case "int_type" if isinstance(value, float) and value.is_integer():
            return int(value)
        case "int_from_float" if value.is_integer():
            return int(value)
        case "int_type" if isinstance(value, str) and _WHOLE.fullmatch(value):
            return int(value)
        case "float_type" if isinstance(value, str) and (_WHOLE.fullmatch(value) or _DECIMAL.fullmatch(value)):
            return float(value)
        case "bool_type" if isinstance(value, str):
            return _TRUTH.get(value.lower())
        case "literal_error" if isinstance(value, str) and f"'{value.lower()}'" in error["ctx"]["expected"]:
            return value.lower()
        case "union_tag_invalid" if (kind := error["ctx"]["tag"].lower()) in SCHEDULERS:
            return kind
    return None
