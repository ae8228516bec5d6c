"""A site file's content before validation: values, where each came from, and the changes of the command line.

Within a document every key stands at its flat path: `scheduler.advanced.poll_interval` of a site file becomes
`scheduler.poll_interval`, and `written` has the path as the user wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiperf_orch.settings.base import ADVANCED
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.yaml_text import Key, parse_yaml
from aiperf_orch.util.errors import UsageError

_MAX_BYTES: Final = 1 << 16
_FIRST_LINES: Final = (
    "give at least the scheduler, for example scheduler: {kind: slurm}; `aiperf-orch init` drafts a site file"
)


@dataclass(frozen=True)
class Override:
    """A setting from the command line: a dotted key, its value as YAML text, and the option that the user gave."""

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


@dataclass
class Document:
    """Content of a site file with overrides.

    Attributes:
        path: the site file, for messages.
        data: the values by section and key.
        origins: flat key -> where it came from, as `local.yaml:12` or `--duration`.
        texts: flat key -> a number or truth value as it was written: `007`, `1e3`, `True`.
        written: flat key -> the key as the user wrote it, where that is another one.
    """

    path: Path
    data: dict[str, Any]
    origins: dict[Key, str] = field(default_factory=dict)
    texts: dict[Key, str] = field(default_factory=dict)
    written: dict[Key, Key] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, overrides: Iterable[Override]) -> Document:
        """Read a site file and apply overrides.

        Raises:
            UsageError: when it cannot be read, is not a mapping of sections, or sets a key twice.
        """
        texts: dict[Key, str] = {}
        data, lines = parse_yaml(_text_of(path), str(path), texts)
        if data is None:
            raise UsageError(f"{path}: is empty, or has only comments: {_FIRST_LINES}")
        if not isinstance(data, dict):
            raise UsageError(f"{path}: a site file is a mapping of sections ({', '.join(SiteSettings.model_fields)})")
        document = cls(path, data, {key: f"{path}:{line}" for key, line in lines.items()}, texts)
        document._lift_advanced()
        for override in overrides:
            document.apply(override)
        return document

    def apply(self, override: Override) -> None:
        """Set a value from the command line, in place of any value that the key had."""
        given = tuple(override.key.split("."))
        if given[1:3] == (ADVANCED, ADVANCED):
            raise UsageError(f"{override.option}: {override.key}: unknown key: `{ADVANCED}` has no part `{ADVANCED}`")
        parts = (given[0], *given[2:]) if given[1:2] == (ADVANCED,) and len(given) > 2 else given
        texts: dict[Key, str] = {}
        value, keys = parse_yaml(override.text, override.option, texts)
        target = self.data
        if parts[1:] == (ADVANCED,) and isinstance(value, dict) and isinstance(target.get(parts[0]), dict):
            for key in value:
                target[parts[0]].pop(key, None)
                self._forget((parts[0], key))
        for part in parts[:-1]:
            if not isinstance(target.get(part), dict):
                target[part] = {}
            target = target[part]
        target[parts[-1]] = value
        for end in range(1, len(parts)):
            self.origins.setdefault(parts[:end], override.option)
        self._forget(parts)
        self.texts.update({(*parts, *key): text for key, text in texts.items()})
        self.origins.update(dict.fromkeys([parts, *((*parts, *key) for key in keys)], override.option))
        if parts != given:
            self.written[parts] = given
        self._lift_advanced()  # of a whole section that was given

    def _forget(self, parts: Key) -> None:
        """Drop what is known of a value that is replaced."""
        for known in (self.origins, self.texts, self.written):
            for key in [key for key in known if key[: len(parts)] == parts]:
                del known[key]

    def as_written(self, key: Key) -> Key:
        """A flat key as the user wrote it."""
        for end in range(len(key), 0, -1):
            if key[:end] in self.written:
                return (*self.written[key[:end]], *key[end:])
        return key

    def origin(self, key: Key) -> str:
        """Where a flat key came from, or else the part that it belongs to."""
        return next(
            (self.origins[key[:end]] for end in range(len(key), 0, -1) if key[:end] in self.origins), str(self.path)
        )

    def leaf_origins(self) -> dict[str, str]:
        """Dotted flat key -> origin, of every key that holds a value."""
        return {".".join(map(str, key)): origin for key, origin in self.origins.items() if self._is_leaf(key)}

    def _lift_advanced(self) -> None:
        for section, keys in self.data.items():
            lifted = keys.get(ADVANCED) if isinstance(keys, dict) else None
            if not isinstance(lifted, dict):
                continue  # validation refuses anything else
            if ADVANCED in lifted:
                where = self.origins.get((section, ADVANCED, ADVANCED), str(self.path))
                raise UsageError(f"{where}: {section}.{ADVANCED}.{ADVANCED}: unknown key")
            twice = next((key for key in lifted if key in keys), None)
            if twice is not None:
                where = self.origins.get((section, ADVANCED, twice), str(self.path))
                raise UsageError(
                    f"{where}: {section}.{ADVANCED}.{twice}: {section}.{twice} is set, too "
                    f"({self.origins.get((section, twice), self.path)}): remove one of them"
                )
            self.data[section] = {key: value for key, value in keys.items() if key != ADVANCED} | lifted
            self.origins, self.texts = (
                {_flat(key, section): value for key, value in known.items() if key != (section, ADVANCED)}
                for known in (self.origins, self.texts)
            )
            self.written.update({(section, key): (section, ADVANCED, key) for key in lifted})

    def _is_leaf(self, key: Key) -> bool:
        value: Any = self.data
        for part in key:
            value = value[part]
        return not isinstance(value, dict) and not any(isinstance(part, int) for part in key)


def _flat(key: Key, section: str) -> Key:
    return (section, *key[2:]) if key[:2] == (section, ADVANCED) else key


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise UsageError(f"{path}: larger than a settings file can be ({_MAX_BYTES} bytes)")
        return data.decode()
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such site file; aiperf-orch comes with these:\n{_packaged()}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None


def _packaged() -> str:
    from importlib.resources import files

    found = sorted(str(item) for item in files("aiperf_orch.site_configs").iterdir() if item.name.endswith(".yaml"))
    return "\n".join(f"  {item}" for item in found)
