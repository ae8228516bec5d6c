"""Renders batch scripts from their Jinja templates, strictly: what is undefined is an error, data is quoted."""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from aiperf_orch.errors import UsageError


def render_script(template: str, own: str | None, **fields: Any) -> str:
    """A batch script.

    Args:
        template: name of our template in templates/.
        own: path of a site's own template to be used instead.
        **fields: what the template may use; its filter `sh` quotes a field for the shell.

    Raises:
        UsageError: naming template and line.
    """
    name = own or template
    try:
        source = Path(own).read_text() if own else (files("aiperf_orch.templates") / template).read_text()
    except OSError as error:
        raise UsageError(f"scheduler.template: {name}: cannot be read: {error.strerror}") from None
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701  shell, not HTML: data goes through the filter `sh`
    )
    environment.filters["sh"] = lambda value: shlex.quote(str(value))
    try:
        return environment.from_string(source).render(fields)
    except jinja2.TemplateSyntaxError as error:
        raise UsageError(f"{name}:{error.lineno}: not a valid template: {error.message}") from None
    except jinja2.TemplateError as error:
        raise UsageError(f"{name}: cannot be rendered: {error}") from None
