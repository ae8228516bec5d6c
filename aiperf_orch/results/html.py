"""Self-contained HTML pages: one file that loads no resource, and runs no script but one of ours where a page has it.

This holds for any text in the page, including text from untrusted records.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

import jinja2
from markupsafe import Markup

from aiperf_orch.util.text import visible

_BASE: Final = "page.html.j2"
_STYLE: Final = "report.css"


def templates_sha256(template: str) -> str:
    """SHA-256 of the templates of a page: its own, the one that it extends, and the style sheet."""
    digest = hashlib.sha256()
    for name in (template, _BASE, _STYLE):
        digest.update(hashlib.sha256(_source(name).encode()).digest())
    return digest.hexdigest()


def policy(style: str, script: str | None = None) -> str:
    """The content security policy of a page with this style sheet and script, which it allows, and nothing else.

    Args:
        style: text of the style sheet.
        script: text of the one inline script; None allows none.
    """
    scripts = f"script-src {_source_hash(script)}; " if script is not None else ""
    return f"default-src 'none'; {scripts}style-src {_source_hash(style)}; base-uri 'none'; form-action 'none'"


def render_page(template: str, *, styles: Sequence[str] = (), script: str | None = None, **fields: Any) -> str:
    """Render a page from its template, with the style sheet inlined.

    Values are escaped unless they are `Markup`; invisible characters and those that change the direction of text are
    shown as their codes. The content security policy of the page allows only the inlined style sheet and script.

    Args:
        template: the file name of a template in templates/.
        styles: file names of further style sheets in templates/, which follow the one of all pages.
        script: the file name of a script in templates/, which the template inlines as its variable `script`.
        **fields: further variables of the template.
    """
    style = "".join(_source(name) for name in (_STYLE, *styles))
    fields |= {"style": Markup(style), "policy": policy(style)}  # noqa: S704  our own files
    if script is not None:
        text = _source(script)
        fields |= {"script": Markup(text), "policy": policy(style, text)}  # noqa: S704
    return _environment().get_template(template).render(fields)


@cache
def _environment() -> jinja2.Environment:
    """The environment of all pages, which compiles each template once."""
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_visible_value,
    )


def _source_hash(text: str) -> str:
    """The hash of an inline style sheet or script as a content security policy states it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _source(template: str) -> str:
    return (files("aiperf_orch.templates") / template).read_text(encoding="utf-8")


def _visible_value(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
