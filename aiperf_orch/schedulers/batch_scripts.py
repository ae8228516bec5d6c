"""Batch scripts of jobs, as text: the fields of each scheduler's template.

`verify` renders the scripts of a package again with these functions, which need neither submitit nor psutil.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from aiperf_orch.schedulers.base import JobRequest, array_element
from aiperf_orch.schedulers.script_rendering import render_script, submitit_command
from aiperf_orch.settings.schedulers import LocalSettings, PbsSettings, SlurmSettings
from aiperf_orch.util.clock_time import format_clock_time
from aiperf_orch.util.job_files import LOG

PBS_EARLY_LOG: Final = "pbs.log"
"""The file of a PBS job's output before its script opens the log."""


def slurm_script(settings: SlurmSettings, template: str, requests: Sequence[JobRequest]) -> str:
    """Render the script of one Slurm job, or of elements of one array.

    Args:
        settings: settings of the jobs.
        template: name of our template, in place of which the settings may name the site's.
        requests: one job, or elements of one array.
    """
    first = requests[0]
    element = array_element(first.name)
    elements = {found[1]: each.folder for each in requests if (found := array_element(each.name))}
    limit = first.time_limit or settings.time_limit
    return render_script(
        template,
        settings.template,
        name=element[0] if element else first.name,
        campaign=first.campaign,
        folder=first.folder,
        elements=elements,
        time_limit=format_clock_time(limit, days=True),
        seconds=int(limit),
        exclude=",".join([*([settings.exclude] if settings.exclude else []), *first.drained, *first.exclude]),
        after=first.after,
        site=settings,
        warn_before=int(settings.warn_before),
        command=submitit_command(settings.python, '"$folder"'),
    )


def pbs_script(settings: PbsSettings, template: str, request: JobRequest) -> str:
    """Render the script of one PBS job; the arguments are as of `slurm_script`."""
    limit = request.time_limit or settings.time_limit
    return render_script(
        template,
        settings.template,
        name=request.name,
        job=settings,
        tasks_per_node=1,
        walltime=format_clock_time(limit, days=False),
        after=request.after,
        campaign=request.campaign,
        folder=request.folder,
        log=LOG,
        output=PBS_EARLY_LOG,
        warn_after=max(int(limit - settings.warn_before), 1),
        seconds=int(limit),
        command=submitit_command(settings.python, '"$folder"'),
    )


def local_script(
    settings: LocalSettings, template: str, request: JobRequest, cpus: Sequence[str], gpus: Sequence[str]
) -> str:
    """Render the script of one job on this machine.

    Args:
        settings: settings of the jobs.
        template: name of our template, in place of which the settings may name the site's.
        request: the job.
        cpus: numbers of the cores to which it is bound.
        gpus: its GPUs as in CUDA_VISIBLE_DEVICES; empty where jobs share all of them.
    """
    return render_script(
        template,
        settings.template,
        name=request.name,
        campaign=request.campaign,
        folder=request.folder,
        cpus=cpus,
        gpus=gpus,
        workers=settings.workers_per_node,
        setup=settings.setup,
        command=submitit_command(settings.python, shlex.quote(str(request.folder))),
    )
