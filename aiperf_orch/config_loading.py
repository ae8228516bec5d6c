"""Reads site files and the command line's changes to them, and tells a person exactly what is wrong and where.

YAML is read as YAML 1.2 has it: `12:00:00` and `no` are text, and a key that stands twice is refused.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ValidationError

from aiperf_orch.config import SiteSettings
from aiperf_orch.errors import UsageError

_MAX_BYTES: Final = 1 << 20
Key = tuple[str | int, ...]


@dataclass(frozen=True)
class LoadedSettings:
    """Settings, and for each dotted key that is not a default where it came from (`local.yaml:12`, `--duration`)."""

    settings: SiteSettings
    origins: Mapping[str, str]


@dataclass(frozen=True)
class Override:
    """A setting from the command line: a dotted key, its value as YAML text, and the option that a person typed."""

    key: str
    text: str
    option: str

    @classmethod
    def parse(cls, assignment: str) -> Override:
        """Read `key=value` as given to `--set`."""
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {assignment}: expected key=value, for example campaign.duration=2h")
        return cls(key.strip(), text, f"--set {key.strip()}")


def load_site(path: Path, overrides: Iterable[Override] = ()) -> LoadedSettings:
    """Settings of a site file with the command line's changes.

    Raises:
        UsageError: naming file, line and key of everything that is wrong, each on its own line.
    """
    data, lines = parse_yaml(_read(path), str(path))
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise UsageError(f"{path}: a site file is a mapping of sections ({', '.join(SiteSettings.model_fields)})")
    origins: dict[Key, str] = {key: f"{path}:{line}" for key, line in lines.items()}
    for override in overrides:
        _apply(data, override, origins)
    try:
        settings = SiteSettings.model_validate(data)
    except ValidationError as error:
        raise UsageError("\n".join(_explain(item, origins, str(path)) for item in error.errors())) from None
    leaves = {".".join(map(str, key)): origin for key, origin in origins.items() if _is_leaf(data, key)}
    return LoadedSettings(settings, leaves)


def parse_yaml(text: str, name: str) -> tuple[Any, dict[Key, int]]:
    """The value of a YAML text, and the line (from 1) of each key in it.

    Raises:
        UsageError: for malformed YAML, naming `name`, line and column.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Key, int] = {}
        return (None if node is None else _construct(loader, node, (), lines, name)), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise UsageError(f"{where}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{name}: not valid YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise UsageError(f"{name}: nested too deeply to be a settings file") from None
    finally:
        loader.dispose()


def differences(frozen: SiteSettings, present: SiteSettings) -> list[str]:
    """What differs between two settings, a line a key: `campaign.duration: 12h there, 2h now`."""
    before, after = _flatten(frozen.model_dump(mode="json")), _flatten(present.model_dump(mode="json"))
    return [
        f"{key}: {before.get(key)!r} there, {after.get(key)!r} now"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


class _Loader(yaml.SafeLoader):
    """SafeLoader with the plain scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", "-+0123456789."),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def _construct(loader: _Loader, node: yaml.Node, key: Key, lines: dict[Key, int], name: str) -> Any:
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            child = str(loader.construct_object(key_node, deep=True))
            if child in mapping:
                raise UsageError(f"{name}:{line}: {'.'.join(map(str, (*key, child)))} stands twice")
            lines[*key, child] = line
            mapping[child] = _construct(loader, value_node, (*key, child), lines, name)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_construct(loader, item, (*key, index), lines, name) for index, item in enumerate(node.value)]
    if node.tag.endswith(":int") and not node.value.lower().startswith("0x"):
        try:
            return int(node.value)  # YAML 1.1 would read 010 as eight
        except ValueError:
            raise UsageError(f"{name}:{node.start_mark.line + 1}: a number that is too long") from None
    return loader.construct_object(node, deep=True)


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{path}: larger than a settings file can be ({_MAX_BYTES} bytes)")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(
            f"{path}: there is no such site file; those that come with aiperf-orch:\n{_packaged()}"
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None


def _packaged() -> str:
    from importlib.resources import files

    found = sorted(str(item) for item in files("aiperf_orch.site_configs").iterdir() if item.name.endswith(".yaml"))
    return "\n".join(f"  {item}" for item in found)


def _apply(data: dict[str, Any], override: Override, origins: dict[Key, str]) -> None:
    parts = override.key.split(".")
    value, _ = parse_yaml(override.text, override.option)
    target = data
    for part in parts[:-1]:
        if not isinstance(target.get(part), dict):
            target[part] = {}
        target = target[part]
    target[parts[-1]] = value
    origins[tuple(parts)] = override.option
    for end in range(1, len(parts)):
        origins.setdefault(tuple(parts[:end]), override.option)


def _explain(error: Any, origins: Mapping[Key, str], path: str) -> str:
    location: Key = tuple(error["loc"])
    where = next((origins[location[:end]] for end in range(len(location), 0, -1) if location[:end] in origins), path)
    dotted = ".".join(map(str, location))
    match error["type"]:
        case "extra_forbidden":
            known = _fields_at(location[:-1])
            close = _elsewhere(location[-1]) or difflib.get_close_matches(str(location[-1]), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
            return f"{where}: {dotted}: unknown key; {hint}"
        case "value_error":
            return f"{where}: {dotted}: {error['ctx']['error']}"
        case "model_type":
            return f"{where}: {dotted}: a section with keys is expected, not {error['input']!r:.60}"
        case _:
            message = error["msg"].replace("Input should be", "must be").replace("a valid integer", "a whole number")
            return f"{where}: {dotted}: {message}, not {error['input']!r:.60}"


def _fields_at(location: Sequence[str | int]) -> list[str]:
    model: Any = SiteSettings
    for part in location:
        field = model.model_fields.get(str(part)) if isinstance(model, type) and issubclass(model, BaseModel) else None
        model = field.annotation if field else None
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _elsewhere(name: str | int) -> list[str]:
    """A key of that name in another section."""
    return [key for key in _flatten(SiteSettings().model_dump()) if key.rpartition(".")[2] == name]


def _is_leaf(data: Any, key: Key) -> bool:
    for part in key:
        data = data[part]
    return not isinstance(data, dict) and not any(isinstance(part, int) for part in key)


def _flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
