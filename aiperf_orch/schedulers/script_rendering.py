"""Renders batch scripts and drafts of site files from Jinja templates, strictly: what is undefined is an error, data is quoted.

What a batch script must do, and so what a site's own template (`scheduler.template`) must contain, stands in `contract`:
the job's name, its output, the rule of requeueing, the guard against others, the command. `check`, `render` and `run` hold
every script to it before anything is submitted. A template of a site's own begins best as a copy of ours in templates/.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from aiperf_orch.settings.yaml_text import dump_yaml
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.job_files import PICKLE, SCRIPT
from aiperf_orch.util.text import visible


def render_script(template: str, own: str | None, **fields: Any) -> str:
    """A batch script, or another text from a template.

    Args:
        template: name of our template in templates/.
        own: path of a site's own template to be used instead; it may include parts of ours, as `guard.sh.j2`.
        **fields: what the template may use, beside the names of the `pickle` and the `script`; its filter `sh` quotes a
            field for the shell, `yaml` for YAML, `line` makes one line of it, for a comment, and `ranges` writes numbers
            as `0-3,7`.

    Raises:
        UsageError: naming template and line.
    """
    name = own or template
    try:
        source = Path(own).read_text(encoding="utf-8") if own else _ours(template)
    except OSError as error:
        raise UsageError(f"scheduler.template: {name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"scheduler.template: {name}: not UTF-8 text") from None
    try:
        return _compiled(source).render(fields)
    except jinja2.TemplateSyntaxError as error:
        raise UsageError(f"{name}:{error.lineno}: not a valid template: {error.message}") from None
    except jinja2.TemplateError as error:
        raise UsageError(f"{name}: cannot be rendered: {error}") from None


@cache
def _ours(template: str) -> str:
    """The text of one of our templates, which does not change while we run."""
    return (files("aiperf_orch.templates") / template).read_text(encoding="utf-8")


def _part(name: str) -> str | None:
    """The text of one of our templates that another one includes; None where there is none."""
    try:
        return _ours(name)
    except OSError:
        return None


@lru_cache(maxsize=8)
def _compiled(source: str) -> jinja2.Template:
    """A template by its text: to compile one takes longer than sbatch does, and every job of a campaign has the same."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_part),  # for parts that several templates include
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701  shell, not HTML: data goes through the filter `sh`
    )
    environment.globals.update(pickle=PICKLE, script=SCRIPT)
    environment.filters["sh"] = lambda value: shlex.quote(str(value))
    environment.filters["ranges"] = ranges
    environment.filters["yaml"] = lambda value: dump_yaml([value]).removeprefix("- ").rstrip()
    environment.filters["line"] = lambda value: visible(str(value))
    return environment.from_string(source)


def submitit_command(python: str | None, folder: str) -> str:
    """What a batch script runs: submitit, which starts the CommandFunction that lies in the job's folder.

    Args:
        python: the site's interpreter; None is this one.
        folder: the job's folder as a word of the shell.
    """
    # -P: a file in the job's folder is no module
    return f"{shlex.quote(python or sys.executable)} -P -u -m submitit.core._submit {folder}"


def ranges(numbers: Iterable[int]) -> str:
    """Whole numbers as batch systems write them: `0-3,7`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)
