"""Reads site files and the command line's changes to them, and tells a person exactly what is wrong and where.

YAML is read and written as YAML 1.2 has it: `12:00:00` and `no` are text. A key that stands twice is refused.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ValidationError

from aiperf_orch.settings.base import HTML_TAG
from aiperf_orch.settings.models import SCHEDULERS, SiteSettings
from aiperf_orch.util.errors import UsageError

_MAX_BYTES: Final = 1 << 16
_MAX_NODES: Final = 10_000  # an alias counts as often as it is used
_MAX_NUMBER: Final = 100  # characters
_MAX_FAULTS: Final = 20
_WHOLE: Final = re.compile(r"[-+]?[0-9]{1,40}(?:_[0-9]{1,40}){0,9}")  # in quotes, or as 1_000
_DECIMAL: Final = re.compile(r"[-+]?[0-9]{0,20}\.?[0-9]{1,20}(?:[eE][-+]?[0-9]{1,3})?")
_LEAST_PEAK: Final = 1e9  # operations per second
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
    texts: dict[Key, str] = {}
    data, lines = parse_yaml(_read(path), str(path), texts)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise UsageError(f"{path}: a site file is a mapping of sections ({', '.join(SiteSettings.model_fields)})")
    origins: dict[Key, str] = {key: f"{path}:{line}" for key, line in lines.items()}
    for override in overrides:
        _apply(data, override, origins, texts)
    try:
        settings = _validated(data, texts)
    except ValidationError as error:
        faults = [_explain(item, origins, str(path)) for item in error.errors()[:_MAX_FAULTS]]
        more = [f"and {error.error_count() - _MAX_FAULTS} more"] if error.error_count() > _MAX_FAULTS else []
        raise UsageError("\n".join([*faults, *more])) from None
    found = [f"{origins.get(key, path)}: {'.'.join(key)}: {why}" for key, why in _never_packed(settings)]
    if found:
        raise UsageError("\n".join(found))
    leaves = {".".join(map(str, key)): origin for key, origin in origins.items() if _is_leaf(data, key)}
    return LoadedSettings(settings, leaves)


def _never_packed(settings: SiteSettings) -> Iterator[tuple[tuple[str, str], str]]:
    """Settings of which `verify` would say, after the whole campaign, that its package cannot be trusted: key, and why.

    Not part of the models: what earlier versions froze must be read.
    """
    system, scheduler = settings.system, settings.scheduler
    for key, value in system.model_dump(exclude_none=True).items():
        tag = HTML_TAG.search(str(value))
        if tag:
            hint = f"{tag[0]!r} would begin a tag in a web page; put a space behind <, as in '< 2 us'"
            yield ("system", key), f"{str(value)!r:.60}: {hint}"
    nodes = getattr(scheduler, "nodes", 1)
    if system.number_of_nodes is not None and system.number_of_nodes < nodes:
        yield (
            ("system", "number_of_nodes"),
            f"{system.number_of_nodes}, but scheduler.nodes gives each trial {nodes}: say how many nodes the system has",
        )
    if system.accelerator_peak_ops is not None and system.accelerator_peak_ops < _LEAST_PEAK:
        yield (
            ("system", "accelerator_peak_ops"),
            f"{system.accelerator_peak_ops:g}: operations per second, of which every accelerator reaches 1e9, "
            "for example 312e12 for 312 Tera-OPS",
        )


def parse_yaml(text: str, name: str, texts: dict[Key, str] | None = None) -> tuple[Any, dict[Key, int]]:
    """The value of a YAML text, and the line (from 1) of each key in it.

    Args:
        text: one YAML document.
        name: what it is called in messages.
        texts: gets, for each number and truth value, how it is written there: `007`, `1e3`, `True`.

    Raises:
        UsageError: for malformed YAML, naming `name`, line and column.
    """
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UsageError(f"{name}:{line}: not valid YAML: the character {error.character:#x} is not allowed") from None
    try:
        node = loader.get_single_node()
        lines: dict[Key, int] = {}
        return (None if node is None else _construct(loader, node, (), lines, name, texts)), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise UsageError(f"{where}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{name}: not valid YAML: {error}") from None
    except RecursionError:
        raise UsageError(f"{name}: nested too deeply to be a settings file") from None
    finally:
        loader.dispose()


def dump_yaml(value: Any) -> str:
    """A value as YAML text that `parse_yaml` reads back as it was."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def differences(frozen: SiteSettings, present: SiteSettings) -> list[str]:
    """What differs between two settings, a line a key: `campaign.duration: 12h there, 2h now`."""
    before, after = flatten(frozen.model_dump(mode="json")), flatten(present.model_dump(mode="json"))
    return [
        f"{key}: {before.get(key)!r} there, {after.get(key)!r} now"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


class _Loader(yaml.SafeLoader):
    """SafeLoader with the plain scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    nodes = 0


class _Dumper(yaml.SafeDumper):
    """SafeDumper that also quotes text which only YAML 1.2 takes for a number, as 1e3 and 08, and escapes odd breaks."""

    def text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.text)

for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", "-+0123456789."),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def _construct(
    loader: _Loader, node: yaml.Node, key: Key, lines: dict[Key, int], name: str, texts: dict[Key, str] | None
) -> Any:
    line = node.start_mark.line + 1
    loader.nodes += 1
    if loader.nodes > _MAX_NODES:
        raise UsageError(f"{name}:{line}: more than {_MAX_NODES} values, which is too much for a settings file")
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise UsageError(f"{name}:{line}: a key must be a word, not a list or a mapping")
            child = key_node.value
            if child in mapping:
                raise UsageError(f"{name}:{line}: {'.'.join(map(str, (*key, child)))} stands twice")
            lines[*key, child] = line
            mapping[child] = _construct(loader, value_node, (*key, child), lines, name, texts)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_construct(loader, item, (*key, index), lines, name, texts) for index, item in enumerate(node.value)]
    kind = node.tag.rpartition(":")[2]
    if kind in ("int", "float") and len(node.value) > _MAX_NUMBER:
        raise UsageError(f"{name}:{line}: {'.'.join(map(str, key))}: a number that is too long")
    if texts is not None and kind in ("int", "float", "bool"):
        texts[key] = node.value
    try:
        if kind == "int":
            return int(node.value, 16 if node.value.startswith("0x") else 10)  # YAML 1.1 would read 010 as eight
        return loader.construct_object(node, deep=True)
    except (ValueError, LookupError, AttributeError):  # PyYAML trusts a tag that a person wrote
        raise UsageError(f"{name}:{line}: {'.'.join(map(str, key))}: {node.value!r:.60} is no {kind}") from None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise UsageError(f"{path}: larger than a settings file can be ({_MAX_BYTES} bytes)")
        return data.decode()
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


def _apply(data: dict[str, Any], override: Override, origins: dict[Key, str], texts: dict[Key, str]) -> None:
    parts = tuple(override.key.split("."))
    written: dict[Key, str] = {}
    value, keys = parse_yaml(override.text, override.option, written)
    target = data
    for part in parts[:-1]:
        if not isinstance(target.get(part), dict):
            target[part] = {}
        target = target[part]
    target[parts[-1]] = value
    for end in range(1, len(parts)):
        origins.setdefault(parts[:end], override.option)
    for known in (origins, texts):
        for key in [key for key in known if key[: len(parts)] == parts]:
            del known[key]  # of what was replaced
    texts.update({(*parts, *key): text for key, text in written.items()})
    origins.update(dict.fromkeys([parts, *((*parts, *key) for key in keys)], override.option))


def _validated(data: dict[str, Any], texts: Mapping[Key, str]) -> SiteSettings:
    """The settings in this data. What is of another type than its setting, and yet clear, is read as it is meant."""
    for _ in range(2):  # once a scheduler's kind is clear, its keys are looked at
        try:
            return SiteSettings.model_validate(data)
        except ValidationError as error:
            changed = [
                _read_as_meant(data, texts, item) for item in error.errors()
            ]  # each of them, not up to the first
            if not any(changed):
                raise
    return SiteSettings.model_validate(data)


def _read_as_meant(data: dict[str, Any], texts: Mapping[Key, str], error: Any) -> bool:
    """Replace a value of the wrong type by the one that is meant: a number for a name is its text as written."""
    key, _ = _place_of(error)
    if error["type"] == "union_tag_invalid":
        key = (*key, "kind")
    meant = _meant(error, texts.get(key))
    if meant is None:
        return False
    target: Any = data
    for part in key[:-1]:
        target = target[part]
    target[key[-1]] = meant
    return True


def _meant(error: Any, text: str | None) -> Any:
    """What is meant by a value of the wrong type; None where that is not clear."""
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
            return {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}.get(value.lower())
        case "literal_error" if isinstance(value, str) and f"'{value.lower()}'" in error["ctx"]["expected"]:
            return value.lower()
        case "union_tag_invalid" if (kind := error["ctx"]["tag"].lower()) in SCHEDULERS:
            return kind
    return None


def _place_of(error: Any) -> tuple[Key, str | None]:
    """The key that an error is of, and of which scheduler that is, which pydantic names among the keys."""
    location: Key = tuple(error["loc"])
    kind = str(location[1]) if location[:1] == ("scheduler",) and location[1:2] and location[1] in SCHEDULERS else None
    return ((location[0], *location[2:]) if kind else location), kind


def _explain(error: Any, origins: Mapping[Key, str], path: str) -> str:
    location, kind = _place_of(error)
    if not location:  # of the whole file: the message begins with the key
        dotted, _, message = str(error["ctx"]["error"]).partition(": ")
        return f"{origins.get(tuple(dotted.split('.'))[:1], path)}: {dotted}: {message}"
    said = _wrong(error)
    if error["type"] == "union_tag_invalid":
        location = (*location, "kind")
    elif error["type"] == "value_error" and (contradiction := said.partition(": "))[0] in _fields_at(location, kind):
        location, said = (*location, contradiction[0]), contradiction[2]  # of the section: it begins with the key
    where = next((origins[location[:end]] for end in range(len(location), 0, -1) if location[:end] in origins), path)
    dotted = ".".join(map(str, location))
    if error["type"] == "extra_forbidden":
        known = _fields_at(location[:-1], kind)
        close = _elsewhere(location[-1]) or difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
        return f"{where}: {dotted}: unknown key; {hint}"
    said = f"{where}: {dotted}: {said}"
    return said if "for example " in said else f"{said}; for example {_example(location, kind, error['input'], where)}"


def _wrong(error: Any) -> str:
    """What is wrong with a value."""
    match error["type"]:
        case "union_tag_invalid":
            return f"must be one of {', '.join(SCHEDULERS)}, not {error['input'].get('kind')!r:.60}"
        case "union_tag_not_found":
            return f"a section with keys is expected, its kind one of {', '.join(SCHEDULERS)}"
        case "value_error":
            return str(error["ctx"]["error"])
        case "model_type":
            return f"a section with keys is expected, not {error['input']!r:.60}"
    message = error["msg"].replace("Input should be", "must be").replace("a valid integer", "a whole number")
    message = message.replace("a valid boolean", "true or false").replace("a valid string", "text")
    message = message.replace("a valid list", "a list").replace("List should have", "must have")
    message = message.replace("String should have", "must have").replace(" after validation", "")
    return f"{message}, not {error['input']!r:.60}"


def _example(location: Key, kind: str | None, value: Any, where: str) -> str:
    """A setting that would pass, as it is written where the wrong one stands: in a file, or with its option."""
    from aiperf_orch.settings.examples import example

    key = ".".join(part for part in location if isinstance(part, str))
    text = example(location, kind, value)
    if where.startswith("--set "):
        return f"--set {shlex.quote(f'{key}={text}')}"
    return f"{where} {text}" if where.startswith("--") else f"{key.rpartition('.')[2]}: {text}"


def _fields_at(location: Sequence[str | int], kind: str | None) -> list[str]:
    """The keys of a section; `kind` chooses the scheduler's."""
    if kind:
        return list(SCHEDULERS[kind].model_fields)
    model: Any = SiteSettings
    for part in location:
        field = model.model_fields.get(str(part)) if isinstance(model, type) and issubclass(model, BaseModel) else None
        model = field.annotation if field else None
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _elsewhere(name: str | int) -> list[str]:
    """A key of that name in another section, or of another scheduler."""
    found = [key for key in flatten(SiteSettings().model_dump()) if key.rpartition(".")[2] == name]
    kinds = [kind for kind, model in SCHEDULERS.items() if name in model.model_fields]
    return found or [f"scheduler.{name} (of {' or '.join(kinds)})" for _ in kinds[:1]]


def _is_leaf(data: Any, key: Key) -> bool:
    for part in key:
        data = data[part]
    return not isinstance(data, dict) and not any(isinstance(part, int) for part in key)


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
