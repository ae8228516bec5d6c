"""`init`: draft of a site file from the scheduler's inventory, or of the questionnaire of reproducibility."""

from __future__ import annotations

import logging
import os
import shutil
import socket
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.durable_files import write_once
from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.self_invocation import command_line
from aiperf_orch.util.errors import SchedulerUnreachableError, UsageError

_log: Final = logging.getLogger(__name__)
_PROGRAMS: Final = {"slurm": "sbatch", "pbs": "qsub"}
"""Program whose presence on PATH shows that a scheduler is installed."""

_TIMEOUT: Final = 60.0  # seconds for one scheduler command
_DURATION: Final = 12 * 3600.0  # seconds, the duration of the drafted campaign


def draft_site_file(scheduler: str | None, output: Path | None) -> CommandOutput:
    """Draft a site file.

    Args:
        scheduler: `slurm`, `pbs` or `local`; None is the one that is installed.
        output: The file to write, which must not exist; None returns the text.

    Raises:
        AiperfError: when the file cannot be written; no part of it is left.
        SchedulerUnreachableError: when the scheduler does not answer.
        UsageError: when the file exists.
    """
    _check_new(output)
    installed = [kind for kind, program in _PROGRAMS.items() if shutil.which(program)]
    kind, text = _first_draft([scheduler] if scheduler else installed or ["local"], str(output or "site.yaml"))
    if output is None:
        return CommandOutput(text)
    write_once(output, text.encode())
    _log.info("%s: drafted for %s; read it, then: %s", output, kind, command_line(["check", str(output)]))
    return CommandOutput()


def draft_questionnaire(output: Path | None) -> CommandOutput:
    """Write the questionnaire of reproducibility without answers.

    Args:
        output: The file to write, which must not exist; None returns the text.

    Raises:
        AiperfError: when the file cannot be written; no part of it is left.
        UsageError: when the file exists.
    """
    from aiperf_orch.package.questionnaire import form

    _check_new(output)
    if output is None:
        return CommandOutput(form())
    write_once(output, form().encode())
    following = command_line(["package", "CAMPAIGN_DIR", "--questionnaire", str(output), "--output", "FILE.tar.gz"])
    _log.info("%s: fill it in, then: %s", output, following)
    return CommandOutput()


def _check_new(output: Path | None) -> None:
    if output and os.path.lexists(output):
        raise UsageError(f"{output}: exists already and is never overwritten: give another name")


def _first_draft(kinds: list[str], file: str) -> tuple[str, str]:
    """The first of these schedulers that answers, and its draft: programs of an unused one may be installed too."""
    silent: list[SchedulerUnreachableError] = []
    for kind in kinds:
        try:
            return kind, _draft(kind, file)
        except SchedulerUnreachableError as error:
            silent.append(error)
    raise silent[0] if len(silent) == 1 else SchedulerUnreachableError("; ".join(map(str, silent)))


def _draft(kind: str, file: str) -> str:
    if kind == "slurm":
        from aiperf_orch.doctor import slurm_job_classes
        from aiperf_orch.schedulers.slurm.site_draft import draft
        from aiperf_orch.schedulers.slurm.survey import survey

        cluster = survey(None, timeout=_TIMEOUT)
        return draft(cluster, file, partial(slurm_job_classes.draft_part, duration=_DURATION, cluster=cluster))
    if kind == "pbs":
        from aiperf_orch.doctor import pbs_job_classes
        from aiperf_orch.schedulers.pbs.access_lists import Submitter
        from aiperf_orch.schedulers.pbs.site_draft import draft as draft_pbs
        from aiperf_orch.schedulers.pbs.survey import survey as survey_pbs

        found, who = survey_pbs(timeout=_TIMEOUT), Submitter.current()
        part = partial(pbs_job_classes.draft_part, duration=_DURATION, found=found, submitter=who)
        return draft_pbs(found, file, who, part)
    text = (files("aiperf_orch.site_configs") / "local.yaml").read_text(encoding="utf-8")
    cores = len(os.sched_getaffinity(0))
    text = text.replace("name: local machine", f"name: {socket.gethostname()}")
    return text.replace("concurrency: 2   ", f"concurrency: {cores:<4}")
