"""Slurm's queue and accounting: builders of squeue, sacct and scontrol commands, and parsers of their output.

The module runs nothing. The sets of states are complete as of Slurm 24.11; a state in none of them is not an end.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import AccountedJob, JobEnd, JobState, JobStatus
from aiperf_orch.schedulers.slurm.pending_reasons import STUCK, describe_pending
from aiperf_orch.util.clock_time import format_clock_time, parse_clock_time
from aiperf_orch.util.whole_numbers import parse_whole_number

PENDING: Final = frozenset(
    {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
)
RUNNING: Final = frozenset(
    {
        "RUNNING",
        "COMPLETING",
        "SUSPENDED",
        "STOPPED",
        "RESIZING",
        "SIGNALING",
        "STAGE_OUT",
        "EXPEDITING",
        "POWER_UP_NODE",
        "REVOKED",  # in a federation: another cluster took the job, and ends it
    }
)
ENDED: Final[Mapping[str, EndReason | None]] = {
    "COMPLETED": None,
    "FAILED": None,  # the exit code decides
    "CANCELLED": EndReason.CANCELLED,
    "TIMEOUT": EndReason.TIME_LIMIT,
    "DEADLINE": EndReason.TIME_LIMIT,
    "NODE_FAIL": EndReason.NODE_FAILURE,
    "BOOT_FAIL": EndReason.NODE_FAILURE,
    "LAUNCH_FAILED": EndReason.NODE_FAILURE,
    "PREEMPTED": EndReason.PREEMPTED,
    "OUT_OF_MEMORY": EndReason.OUT_OF_MEMORY,
}
_SUSPENDED: Final = frozenset({"SUSPENDED", "STOPPED"})
_STUCK_STATES: Final = frozenset({"REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
_SQUEUE_FORMAT: Final = "%i|%F|%K|%T|%M|%r|%N|%j"  # the name last: our names contain no bar, others may
_SACCT_FIELDS: Final = "JobID,State,ExitCode,NodeList,JobName"  # the name last, as above
_COMPLETE_LISTS: Final = ("env", "SLURM_BITSTR_LEN=0")
"""Prefix of commands that print an array's pending elements in one record; else Slurm cuts lists at 64 characters."""


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A job as squeue lists it.

    Attributes:
        name: the job's name, `array[index]` for an element of an array.
        job: the id, `array_index` for an element.
        state: Slurm's word for the state.
        seconds: elapsed time; None where it is not shown.
        reason: why it is pending.
        nodes: compressed list of its nodes.
        exit_code: `status:signal`, where it is shown.
    """

    name: str
    job: str
    state: str
    seconds: float | None
    reason: str
    nodes: str
    exit_code: str = ""

    @property
    def end_or_status(self) -> JobStatus | JobEnd:
        """End of the job, or its status if it has not ended."""
        return end_of(self.state, self.exit_code, self.nodes, ()) or self.status

    @property
    def status(self) -> JobStatus:
        """Status of the job."""
        if self.state in ENDED:
            return JobStatus(self.name, self.job, JobState.ENDED, self.state)
        if self.state in PENDING:
            stuck = self.state in _STUCK_STATES or self.reason in STUCK
            why = describe_pending(self.state, self.reason)
            return JobStatus(self.name, self.job, JobState.PENDING, why, stuck=stuck, final=stuck)
        detail = "" if self.state == "RUNNING" else self.state
        suspended = self.state in _SUSPENDED
        return JobStatus(self.name, self.job, JobState.RUNNING, detail, running_for=self.seconds, suspended=suspended)


def squeue_command(uid: int, cluster: str | None) -> list[str]:
    """List all jobs of a user, also recently ended ones and those in hidden partitions."""
    return [
        "squeue",
        "--all",
        "--noheader",
        "--array",
        "--states=all",
        f"--user={uid}",
        f"--format={_SQUEUE_FORMAT}",
        *on_cluster(cluster),
    ]


def parse_squeue(output: str) -> Iterator[QueueRow]:
    """Parse squeue's output; lines of another format (`CLUSTER: name`) are skipped."""
    for line in output.split("\n"):
        fields = line.split("|", 7)
        if len(fields) != 8:
            continue
        job, array, index, state, used, reason, nodes, name = (field.strip() for field in fields)
        if index.isdigit():
            name, job = f"{name}[{index}]", f"{array}_{index}"
        yield QueueRow(name, job, state, parse_elapsed(used), reason, nodes)


def statuses(rows: Collection[QueueRow], names: Collection[str]) -> dict[str, JobStatus]:
    """Return the statuses of jobs with these names; of two jobs with one name the one that has not ended counts."""
    wanted = set(names)
    found: dict[str, JobStatus] = {}
    for row in rows:
        if row.name in wanted:
            known = found.get(row.name)
            if known is None or known.state is JobState.ENDED:
                found[row.name] = row.status
    return found


def parse_elapsed(text: str) -> float | None:
    """Parse a time as squeue prints it, `5:07`, `1:02:03`, `2-03:04:05`, into seconds; None for other text."""
    return parse_clock_time(text) if ":" in text else None


def format_limit(seconds: float) -> str:
    """Write a time limit for sbatch, `D-HH:MM:SS`: whole seconds rounded up, at least one minute."""
    return format_clock_time(seconds, days=True)


def sacct_command(jobs: Collection[str], cluster: str | None) -> list[str]:
    """Read the records of jobs and of their steps: only a step shows that a job ran out of memory.

    Whole arrays are requested, since elements that never ran share one record, which is not found by their own ids.
    """
    ids = dict.fromkeys(job.partition("_")[0] for job in jobs)
    return [
        *_COMPLETE_LISTS,
        "sacct",
        "--noheader",
        "--parsable2",
        f"--jobs={','.join(ids)}",
        f"--format={_SACCT_FIELDS}",
        *on_cluster(cluster),
    ]


def parse_sacct(output: str) -> dict[tuple[str, str], JobEnd]:
    """Parse sacct's output into ends by name and id; jobs that have not ended are left out."""
    jobs: dict[str, tuple[str, str, str, str]] = {}
    steps: dict[str, list[tuple[str, str]]] = {}
    for line in output.split("\n"):
        fields = line.split("|", 4)
        if len(fields) != 5:
            continue
        job_id, state, code, nodes, name = (field.strip() for field in fields)
        job, dot, _step = job_id.partition(".")
        if dot:
            steps.setdefault(job, []).append((state, code))
        else:
            jobs[job] = (state, code, nodes, name)
    ends: dict[tuple[str, str], JobEnd] = {}
    for job, (state, code, nodes, name) in jobs.items():
        end = end_of(state, code, nodes, steps.get(job, ()))
        if end is not None:
            ends |= dict.fromkeys(_jobs_of(job, name), end)
    return ends


def accounting_command(jobs: Collection[str], cluster: str | None) -> list[str]:
    """Read the records of each run of jobs, without their steps, in UTC.

    TZ is set because sacct ignores the zone of a time format. Without --duplicates sacct shows only the last run of a
    requeued job. Whole arrays are requested, since elements that never ran share one record, which is not found by
    their own ids.
    """
    ids = dict.fromkeys(job.partition("_")[0] for job in jobs)
    fields = "JobID,State,ExitCode,Start,End,NodeList,JobName"
    command = ["sacct", "--allocations", "--duplicates", "--noheader", "--parsable2", f"--jobs={','.join(ids)}"]
    return ["env", "TZ=UTC", "SLURM_TIME_FORMAT=standard", *command, f"--format={fields}", *on_cluster(cluster)]


def parse_accounting(output: str, names: Mapping[str, str]) -> list[AccountedJob]:
    """Parse sacct's output into the records of those jobs among `names` that accounting knows.

    Args:
        output: sacct's output.
        names: names by id. A record with another name is an older job's: slurmctld restarts its ids when it loses its
            state.
    """
    records = []
    for line in output.split("\n"):
        fields = [field.strip() for field in line.split("|", 6)]
        if len(fields) != 7:
            continue
        job_id, state, code, start, end, nodes, job_name = fields
        started, ended = (f"{time}Z" if time[:1].isdigit() else None for time in (start, end))
        for _, job in _jobs_of(job_id, job_name):
            name = names.get(job, "")
            if name and name.partition("[")[0] == job_name:
                records.append(AccountedJob(name, job, state, code, started, ended, tuple(expand_nodes(nodes))))
    return records


def scontrol_command(job: str | None, cluster: str | None) -> list[str]:
    """Show one job, or all jobs for None, that slurmctld still knows, also in hidden partitions."""
    target = ["jobs"] if job is None else ["job", job]
    return [*_COMPLETE_LISTS, "scontrol", *on_cluster(cluster), "--all", "--oneliner", "show", *target]


def parse_scontrol(output: str) -> dict[tuple[str, str], JobStatus | JobEnd]:
    """Parse `scontrol --oneliner show` into ends, or statuses of live jobs, by name and id."""
    known: dict[tuple[str, str], JobStatus | JobEnd] = {}
    for line in output.split("\n"):
        # the first of each counts: a user's comment after them may contain any text
        found = re.findall(
            r"(?:^|\s)(JobId|ArrayJobId|ArrayTaskId|JobName|JobState|Reason|ExitCode|RunTime|NodeList)=(\S+)", line
        )
        fields = dict(reversed(found))
        if not {"JobId", "JobName", "JobState"} <= fields.keys():
            continue
        job = fields["JobId"]
        if "ArrayJobId" in fields and "ArrayTaskId" in fields:
            job = f"{fields['ArrayJobId']}_[{fields['ArrayTaskId']}]"
        for name, job_id in _jobs_of(job, fields["JobName"]):
            known[name, job_id] = QueueRow(
                name,
                job_id,
                fields["JobState"],
                parse_elapsed(fields.get("RunTime", "")),
                fields.get("Reason", ""),
                fields.get("NodeList", ""),
                fields.get("ExitCode", ""),
            ).end_or_status
    return known


def is_unknown_job(message: str) -> bool:
    """Whether a failed scontrol stated that the job does not exist; any other failure is no answer."""
    return re.search(r"^(?:.* error: Invalid job id specified|Job \S+ not found)$", message, re.MULTILINE) is not None


def scancel_command(jobs: Collection[str], cluster: str | None, *options: str) -> list[str]:
    """Send a signal to jobs, or cancel them; --quiet suppresses messages about ended jobs."""
    return ["scancel", "--quiet", *options, *on_cluster(cluster), *jobs]


def parse_scancel(message: str) -> dict[str, str]:
    """Parse the message of a failed scancel into reasons by id."""
    return dict(re.findall(r"Kill job error on job id (\S+): (.+)", message))


HAS_ENDED: Final = frozenset(
    {"Invalid job id specified", "Job/step already completing or completed", "Job has already finished"}
)
"""Reasons of scancel that mean that the job has ended."""


def _jobs_of(job_id: str, name: str) -> list[tuple[str, str]]:
    """Return names and ids of the jobs of a record: one, or elements of an array that never ran, `13_[5-9%2]`."""
    jobs = []
    for job in expand_nodes(re.sub(r"%\d+(?=\]$)", "", job_id)) or [job_id]:
        index = job.partition("_")[2]
        jobs.append((f"{name}[{index}]" if index.isdigit() else name, job))
    return jobs


def end_of(state: str, exit_code: str, nodes: str, steps: Sequence[tuple[str, str]]) -> JobEnd | None:
    """Determine the end of a job.

    Args:
        state: the state as sacct or scontrol print it, also `CANCELLED by 1000`.
        exit_code: `status:signal`.
        nodes: compressed list of its nodes.
        steps: state and exit code of each step.

    Returns:
        The end; None when the job has not ended.
    """
    word = state.split()[0] if state.split() else ""
    if word not in ENDED:
        return None
    reason = ENDED[word]
    details = [state if word == "CANCELLED" else word]
    if any(step == "OUT_OF_MEMORY" or code == "0:125" for step, code in [(word, exit_code), *steps]):
        reason, details = EndReason.OUT_OF_MEMORY, ["a step ran out of memory"]
    elif word == "FAILED":
        status = exit_code.partition(":")[0]
        signal = _signal_of(exit_code)
        if any(str(_signal_of(code)) == status != "0" for _, code in steps):
            signal = int(status)  # of a script that ended with 128 + a signal sacct shows the status without the 128
        if 0 < signal < 65:
            details.append(f"ended by signal {signal}")
        else:
            reason = EndReason.TRIAL_ERROR
            details.append(f"exit status {status}")
    return JobEnd(reason, ", ".join(details), tuple(expand_nodes(nodes)))


def _signal_of(exit_code: str) -> int:
    """Return the signal in `status:signal`, or in a shell's status 128 + signal; 0 without one."""
    status, _, signal = exit_code.partition(":")
    return parse_whole_number(signal) or max((parse_whole_number(status) or 0) - 128, 0)


def expand_nodes(nodes: str) -> list[str]:
    """Expand a compressed list of nodes, `n[1-3,07],m5`; returns an empty list for a malformed one."""
    from aiperf_orch.schedulers.submitit_adapter import parse_node_list  # imports submitit

    return [] if nodes in ("", "(null)", "None assigned") else parse_node_list(nodes)


def config_command(cluster: str | None) -> list[str]:
    """Show Slurm's configuration."""
    return ["scontrol", *on_cluster(cluster), "show", "config"]


def parse_config(output: str) -> dict[str, str]:
    """Parse `scontrol show config` into a mapping."""
    pairs = (line.partition("=") for line in output.split("\n") if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def is_accounted(config: Mapping[str, str]) -> bool:
    """Whether a cluster with this configuration accounts jobs, so that sacct knows their ends."""
    return config.get("AccountingStorageType", "").rpartition("/")[2] not in ("", "none", "(null)")


def on_cluster(cluster: str | None) -> list[str]:
    """Return the option that directs a command of Slurm to another cluster; none for None."""
    return [f"--clusters={cluster}"] if cluster else []
