"""HTML pages that stand alone: one file that loads nothing and runs nothing, whatever stands in its text."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any, Final

import jinja2
from markupsafe import Markup

from aiperf_orch.util.text import visible

_STYLE: Final = "report.css"


def render_page(template: str, **fields: Any) -> str:
    """A page from its template, with our style sheet inside it.

    Everything is escaped but `Markup`, and characters that cannot be seen, or that turn the direction of a text, are
    shown as their codes. The page's content policy allows nothing but this one style sheet.

    Args:
        template: its name in templates/.
        **fields: what the template shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (files("aiperf_orch.templates") / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown,
    )
    style = (files("aiperf_orch.templates") / _STYLE).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return environment.get_template(template).render(fields, style=Markup(style), policy=policy)  # noqa: S704


def _shown(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
