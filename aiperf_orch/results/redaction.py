"""What of the settings leaves the machine: code a site wrote stays there, and its hash tells whether it changed."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

CODE: Final = frozenset({"setup", "template", "python"})


def redacted(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings, section by section, with every code field that is set replaced by the SHA-256 of its JSON."""
    return {
        section: {key: _hash(value) if key in CODE and value else value for key, value in keys.items()}
        for section, keys in settings.items()
    }


def _hash(value: Any) -> str:
    return "sha256:" + hashlib.sha256(json.dumps(value).encode()).hexdigest()
