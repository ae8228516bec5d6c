"""Changes of values in the text of a site file. Comments and all other lines stay as they are."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from aiperf_orch.settings.base import ADVANCED, written_key
from aiperf_orch.settings.loading import load_site
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.site_document import Override
from aiperf_orch.util.errors import UsageError


def change_values(path: Path, text: str, values: Mapping[str, Any]) -> str:
    """Return the text of a site file with other values.

    Args:
        path: The site file.
        text: Its present text.
        values: Dotted key without `advanced` -> a number, a truth value or a word.

    Raises:
        UsageError: The text cannot be changed without changing other settings, for example because of an alias.
    """
    overrides = [Override(key, _written(value), "--write") for key, value in values.items()]
    settings = load_site(path, overrides).settings
    changed = text
    for key, value in values.items():
        section, _, name = key.partition(".")
        written = written_key(getattr(settings, section), name)
        changed = _with_value(changed, section, name, written.startswith(f"{ADVANCED}."), _written(value))
    if _settings_of(path, changed) != settings:
        wanted = ", ".join(f"{key}: {_written(value)}" for key, value in values.items())
        raise UsageError(f"{path}: cannot be changed without changing other settings: set there yourself {wanted}")
    return changed


def difference(path: Path, before: str, after: str, reasons: Mapping[str, str]) -> str:
    """Unified difference of two texts of a site file, after a comment line for each changed key.

    Args:
        path: The site file.
        before: Its text.
        after: Its text with other values.
        reasons: Key -> why it is changed.
    """
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), str(path), str(path), n=1, lineterm="")
    return "".join(f"# {key}: {why}\n" for key, why in reasons.items()) + "".join(f"{line}\n" for line in lines)


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _settings_of(path: Path, text: str) -> SiteSettings | None:
    """Settings of a text; None where it is not a valid site file."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_text(text, encoding="utf-8")
        try:
            return load_site(copy).settings
        except UsageError:
            return None


def _with_value(text: str, section: str, name: str, is_advanced: bool, value: str) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    part = _child(root, section)
    advanced = _child(part, ADVANCED)
    for mapping in (part, advanced):
        present = _child(mapping, name)
        if present is not None:
            return _replaced(text, present, value)
    if is_advanced and isinstance(advanced, yaml.MappingNode):
        return _with_item(text, advanced, name, value)
    if isinstance(part, yaml.MappingNode) and part.flow_style:
        return _with_item(text, part, name, value)
    lines = [f"{ADVANCED}:", f"  {name}: {value}"] if is_advanced else [f"{name}: {value}"]
    if isinstance(part, yaml.MappingNode):
        return _after(text, _last_line(part), part.start_mark.column, lines)
    if part is not None:  # a section without a value
        return _after(text, part.start_mark.line, 2, lines)
    return _after(text, text.rstrip("\n").count("\n"), 0, ["", f"{section}:", *(f"  {line}" for line in lines)])


def _child(node: yaml.Node | None, name: str) -> Any:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if key.value == name), None)


def _replaced(text: str, node: yaml.Node, value: str) -> str:
    """Replace a value; a comment after it keeps its column where there is room."""
    start, end = node.start_mark.index, node.end_mark.index
    before, rest = text[:start], text[end:]
    if start == end and not before.endswith(" "):
        before += " "
    line = rest.partition("\n")[0]
    spaces = len(line) - len(line.lstrip(" "))
    if line.lstrip(" ").startswith("#"):
        rest = " " * max(1, spaces + (end - start) - len(value)) + rest[spaces:]
    return before + value + rest


def _with_item(text: str, mapping: yaml.MappingNode, key: str, value: str) -> str:
    """Add an item to a mapping that has its items in braces, or else one line each."""
    if not mapping.flow_style:
        return _after(text, _last_line(mapping), mapping.start_mark.column, [f"{key}: {value}"])
    start = mapping.start_mark.index + 1
    return f"{text[:start]}{key}: {value}{', ' if mapping.value else ''}{text[start:]}"


def _last_line(node: yaml.Node) -> int:
    """Line, from 0, on which the last value of a mapping ends; comments may follow."""
    while isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    is_block_text = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
    return node.end_mark.line - is_block_text


def _after(text: str, line: int, indent: int, added: list[str]) -> str:
    lines = text.splitlines()
    new = [f"{' ' * indent}{each}".rstrip() for each in added]
    return "\n".join([*lines[: line + 1], *new, *lines[line + 1 :]]) + "\n"
