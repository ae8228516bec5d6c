"""YAML 1.2 text of settings: parsing with the line of each key, and writing.

Plain scalars are those of YAML 1.2: `12:00:00` and `no` are text. A key that occurs twice in a mapping is refused.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from aiperf_orch.util.errors import UsageError

_MAX_NODES: Final = 10_000  # an alias counts as often as it is used
_MAX_NUMBER: Final = 100  # characters
_TAB: Final = "a tab stands here: use blanks, of which YAML's indentation consists"
Key = tuple[str | int, ...]


def parse_yaml(text: str, name: str, texts: dict[Key, str] | None = None) -> tuple[Any, dict[Key, int]]:
    """Value of a YAML text, and the line of each key, numbered from 1.

    Args:
        text: one YAML document.
        name: name of the text in messages.
        texts: filled with each number and truth value as it was written: `007`, `1e3`, `True`.

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
        problem = _TAB if error.problem and r"'\t'" in error.problem else error.problem
        raise UsageError(f"{where}: not valid YAML: {problem}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{name}: not valid YAML: {error}") from None
    except RecursionError:
        raise UsageError(f"{name}: nested too deeply to be a settings file") from None
    finally:
        loader.dispose()


def dump_yaml(value: Any) -> str:
    """A value as YAML text, which `parse_yaml` reads back unchanged."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Loader(yaml.SafeLoader):
    """SafeLoader with the plain scalars of the core schema of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    nodes = 0


class _Dumper(yaml.SafeDumper):
    """SafeDumper that also quotes text that is a number in YAML 1.2 only, as 1e3 and 08, and escapes unusual breaks."""

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
                raise UsageError(f"{name}:{line}: {'.'.join(map(str, (*key, child)))} occurs twice")
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
    except (ValueError, LookupError, AttributeError):  # PyYAML does not check a value against its tag
        raise UsageError(f"{name}:{line}: {'.'.join(map(str, key))}: {node.value!r:.60} is no {kind}") from None
