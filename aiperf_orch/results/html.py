"""Self-contained HTML pages: one file that loads no resource and runs no script.

This holds for any text in the page, including text from untrusted records.
"""

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
    """Render a page from its template, with the style sheet inlined.

    Values are escaped unless they are `Markup`; invisible characters and those that change the direction of text are
    shown as their codes. The content security policy of the page allows only the inlined style sheet.

    Args:
        template: the file name of a template in templates/.
        **fields: variables of the template.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (files("aiperf_orch.templates") / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_visible_value,
    )
    style = (files("aiperf_orch.templates") / _STYLE).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return environment.get_template(template).render(fields, style=Markup(style), policy=policy)  # noqa: S704


def _visible_value(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
