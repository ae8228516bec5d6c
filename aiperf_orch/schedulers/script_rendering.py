"""Strict rendering of batch scripts and drafted site files from Jinja templates.

An undefined name is an error, and data is quoted. `aiperf_orch.schedulers.script_contract` describes what a batch
script, and so a site's own template (`scheduler.template`), must contain; `check`, `render` and `run` check every
script before anything is submitted. The best start for a site's own template is a copy of ours in templates/.
"""

from __future__ import annotations

import hashlib
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
from aiperf_orch.util.job_files import PICKLE, SCRIPT, SUBMIT_MODULE
from aiperf_orch.util.text import visible


def render_script(template: str, own: str | None, **fields: Any) -> str:
    """Render a batch script, or another text, from a template.

    Args:
        template: name of our template in templates/.
        own: path of a site's own template, used instead; it may include parts of ours, such as `guard.sh.j2`.
        **fields: names that the template may use, besides `pickle` and `script`. The filter `sh` quotes a field for the
            shell, `yaml` for YAML, `line` makes it one line for a comment, and `ranges` writes numbers as `0-3,7`.

    Raises:
        UsageError: with template and line, when it cannot be read or rendered.
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
def scripts_sha256() -> str:
    """SHA-256 of our templates of batch scripts, and of the module that these run.

    Controllers record it, so that `verify` renders scripts again only where it gives the same ones.
    """
    digest = hashlib.sha256(f"{SUBMIT_MODULE}\n".encode())
    for name in sorted(file.name for file in files("aiperf_orch.templates").iterdir()):
        if name.endswith(".sh.j2"):
            digest.update(f"{name} {hashlib.sha256(_ours(name).encode()).hexdigest()}\n".encode())
    return digest.hexdigest()


@cache
def _ours(template: str) -> str:
    """Read one of our templates; they do not change while the program runs."""
    return (files("aiperf_orch.templates") / template).read_text(encoding="utf-8")


def _part(name: str) -> str | None:
    """Read one of our templates for an include; None where it does not exist."""
    try:
        return _ours(name)
    except OSError:
        return None


@lru_cache(maxsize=8)
def _compiled(source: str) -> jinja2.Template:
    """Compile a template; compilation takes longer than sbatch, and all jobs of a campaign share one template."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_part),  # parts that several templates include
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
    """Return the command of a batch script: submitit, which runs the pickled CommandFunction in the job's folder.

    Args:
        python: the site's interpreter; None is the running one.
        folder: the job's folder as a shell word.
    """
    # -P: Python does not import modules from the job's folder
    return f"{shlex.quote(python or sys.executable)} -P -u -m {SUBMIT_MODULE} {folder}"


def ranges(numbers: Iterable[int]) -> str:
    """Write whole numbers as batch systems do: `0-3,7`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)
