"""Readers of what commands of Slurm and PBS print."""

from __future__ import annotations

from typing import Final

from aiperf_orch.doctor.site_nodes import parse_pbs_nodes, parse_slurm_nodes
from aiperf_orch.schedulers.command import CommandResult
from aiperf_orch.schedulers.pbs import error_messages as pbs_errors
from aiperf_orch.schedulers.pbs import inventory as pbs_inventory
from aiperf_orch.schedulers.pbs import job_status, qstat
from aiperf_orch.schedulers.pbs import script_contract as pbs_script
from aiperf_orch.schedulers.script_contract import Expected
from aiperf_orch.schedulers.slurm import accounting_limits, inventory, squeue
from aiperf_orch.schedulers.slurm import error_messages as slurm_errors
from aiperf_orch.schedulers.slurm import script_contract as slurm_script
from aiperf_orch.settings.schedulers import PbsSettings
from fuzz.corpus import pbs, slurm
from fuzz.reader import Reader, of_text

_NAMES: Final = {"7": "qk3f9-00001-1", **{f"9_{index}": f"qk3f9-w00002[{index}]" for index in range(5)}}
_EXPECTED: Final = Expected("qk3f9-w00001", "/c/jobs/log", nodes=2, elements="0-3,7")


def _queue(text: str) -> object:
    rows = list(squeue.parse_squeue(text))
    return squeue.statuses(rows, [row.name for row in rows]), [row.end_or_status for row in rows]


def _jobs(text: str) -> object:
    jobs = list(qstat.parse_jobs(text))
    facts = [(job.hosts, job.elapsed, job.predecessors, job.start_count, job.never_ran) for job in jobs]
    states = [(job_status.status_of(job), job_status.end_of(job), job_status.accounted_job(job, "x")) for job in jobs]
    return qstat.is_complete(text), qstat.is_listed(text, "7"), facts, states


def _queues(text: str) -> object:
    queues = pbs_inventory.parse_queues(text)
    server = pbs_inventory.QueueOrServer("s", {})
    complex_ = pbs_inventory.Complex(server, queues, ())
    return [
        (complex_.execution_queues(name), queue.walltime("max"), queue.minimum("ncpus"), queue.maximum("mem"))
        for name, queue in queues.items()
    ]


def _pbs_nodes(text: str) -> object:
    nodes = list(pbs_inventory.parse_nodes(text))
    settings = PbsSettings(kind="pbs")
    return [(pbs_inventory.shortfalls(settings, node), pbs_inventory.trials_per_node(settings, node)) for node in nodes]


def _pbs_error(text: str) -> object:
    answer = CommandResult(1, "", text)
    return [str(pbs_errors.make_error(program, answer)) for program in ("qsub", "qdel")]


def _slurm_error(text: str) -> object:
    return slurm_errors.classify(text), slurm_errors.is_retrying(text)


READERS: Final = (
    Reader("squeue", of_text(_queue), lambda: slurm("squeue")),
    Reader("sacct", of_text(squeue.parse_sacct), lambda: slurm("sacct")),
    Reader(
        "sacct, accounting", of_text(lambda text: squeue.parse_accounting(text, _NAMES)), lambda: slurm("accounting")
    ),
    Reader("scontrol show job", of_text(squeue.parse_scontrol), lambda: slurm("scontrol_job")),
    Reader("scontrol show config", of_text(squeue.parse_config), lambda: slurm("scontrol_config")),
    Reader("scontrol show partition", of_text(inventory.parse_partitions), lambda: slurm("scontrol_partition")),
    Reader("scancel", of_text(squeue.parse_scancel), lambda: slurm("scancel")),
    Reader("sinfo", of_text(inventory.parse_nodes), lambda: slurm("sinfo")),
    Reader("sinfo, names", of_text(inventory.parse_node_names), lambda: slurm("sinfo_names")),
    Reader("sinfo, nodes", of_text(lambda text: parse_slurm_nodes(text, None, ["n4"])), lambda: slurm("sinfo_nodes")),
    Reader(
        "sacctmgr, associations", of_text(accounting_limits.parse_associations), lambda: slurm("sacctmgr_associations")
    ),
    Reader("sacctmgr, accounts", of_text(accounting_limits.parse_accounts), lambda: slurm("sacctmgr_accounts")),
    Reader("sacctmgr, qos", of_text(accounting_limits.parse_qos), lambda: slurm("sacctmgr_qos")),
    Reader("sbatch, refusal", of_text(_slurm_error), lambda: slurm("sbatch_refused")),
    Reader(
        "script of Slurm", of_text(lambda text: slurm_script.violations(text, _EXPECTED)), lambda: pbs("golden/slurm-*")
    ),
    Reader("qstat -f", of_text(_jobs), lambda: pbs("pbs/*.txt")),
    Reader(
        "qstat -Bf",
        of_text(lambda text: (qstat.parse_server(text), pbs_inventory.parse_server(text))),
        lambda: pbs("pbs_site/qstat_Bf.txt"),
    ),
    Reader("qstat -Qf", of_text(_queues), lambda: pbs("pbs_site/qstat_Qf.txt")),
    Reader("qstat, unknown jobs", of_text(qstat.parse_unknown), lambda: (b"qstat: Unknown Job Id 7.vm\n",)),
    Reader("pbsnodes", of_text(_pbs_nodes), lambda: pbs("pbs_site/pbsnodes_av.txt")),
    Reader(
        "pbsnodes, nodes", of_text(lambda text: parse_pbs_nodes(text, "workq")), lambda: pbs("pbs_site/pbsnodes_av.txt")
    ),
    Reader("qsub, job id", of_text(qstat.parse_submitted_id), lambda: (b"12.vm\n", b"banner\n12[].vm\n")),
    Reader(
        "qsub, refusal", of_text(_pbs_error), lambda: (b"qsub: Unknown queue\n", b"qdel: Unauthorized Request 171.vm\n")
    ),
    Reader("script of PBS", of_text(lambda text: pbs_script.violations(text, _EXPECTED)), lambda: pbs("golden/pbs-*")),
)
