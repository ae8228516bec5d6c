"""`init`: a first site file, from what the scheduler here says that it has."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from importlib.resources import files
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.durable_files import write_once
from aiperf_orch.commands.own_command import command_line
from aiperf_orch.util.errors import SchedulerUnreachableError, UsageError

_PROGRAMS: Final = {"slurm": "sbatch", "pbs": "qsub"}  # where there is the program, there is the scheduler
_TIMEOUT: Final = 60.0  # seconds for one question to a scheduler


def init(scheduler: str | None, output: Path | None) -> str:
    """Draft a site file; returns its text, empty when it was written to a file.

    Args:
        scheduler: `slurm`, `pbs` or `local`; None is the one that is here.
        output: the file, which must not be there yet; None writes none.

    Raises:
        AiperfError: when it cannot be written; then nothing of it is left.
        SchedulerUnreachableError: when the scheduler does not answer.
        UsageError: when the file is there already.
    """
    if output and os.path.lexists(output):
        raise UsageError(f"{output}: is there already, and is never overwritten: give another name")
    here = [kind for kind, program in _PROGRAMS.items() if shutil.which(program)]
    kind, text = _first_draft([scheduler] if scheduler else here or ["local"], str(output or "site.yaml"))
    if output is None:
        return text
    write_once(output, text.encode())
    print(f"{output}: drafted for {kind}; read it, then: {command_line(['check', str(output)])}", file=sys.stderr)
    return ""


def _first_draft(kinds: list[str], file: str) -> tuple[str, str]:
    """The first of these schedulers that answers, and its draft: the programs of another may lie here unused."""
    silent: list[SchedulerUnreachableError] = []
    for kind in kinds:
        try:
            return kind, _draft(kind, file)
        except SchedulerUnreachableError as error:
            silent.append(error)
    raise silent[0] if len(silent) == 1 else SchedulerUnreachableError("; ".join(map(str, silent)))


def _draft(kind: str, file: str) -> str:
    if kind == "slurm":
        from aiperf_orch.schedulers.slurm.site_draft import draft
        from aiperf_orch.schedulers.slurm.survey import survey

        return draft(survey(None, timeout=_TIMEOUT), file)
    if kind == "pbs":
        from aiperf_orch.schedulers.pbs.access_lists import Submitter
        from aiperf_orch.schedulers.pbs.site_draft import draft as draft_pbs
        from aiperf_orch.schedulers.pbs.survey import survey as survey_pbs

        return draft_pbs(survey_pbs(timeout=_TIMEOUT), file, Submitter.current())
    text = (files("aiperf_orch.site_configs") / "local.yaml").read_text(encoding="utf-8")
    cores = len(os.sched_getaffinity(0))
    text = text.replace("name: local machine", f"name: {socket.gethostname()}")
    return text.replace("concurrency: 2   ", f"concurrency: {cores:<4}")
