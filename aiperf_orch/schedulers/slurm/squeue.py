"""Slurm's queue: builders of squeue, sacct and scontrol commands, and parsers of what they print. Runs nothing.

The sets of states are complete as of Slurm 24.11; a state that is in none of them is no end.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import AccountedJob, JobEnd, JobState, JobStatus
from aiperf_orch.schedulers.slurm.pending_reasons import STUCK, in_words
from aiperf_orch.util.clock_time import format_clock_time, parse_clock_time

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
        "REVOKED",  # of a federation's job: another cluster took it, and ends it
    }
)
ENDED: Final[Mapping[str, EndReason | None]] = {
    "COMPLETED": None,
    "FAILED": None,  # its exit code tells more
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
_SQUEUE_FORMAT: Final = "%i|%F|%K|%T|%M|%r|%N|%j"  # the name last: our names have no bar, others' may
_SACCT_FIELDS: Final = "JobID,State,ExitCode,NodeList,JobName"  # the name last, as above
_WHOLE_LISTS: Final = ("env", "SLURM_BITSTR_LEN=0")
"""Before commands that print an array's waiting elements in one record: else lists of more than 64 characters are cut."""


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A job as squeue shows it, an array's element under the name `array[index]`."""

    name: str
    job: str
    state: str
    seconds: float | None
    reason: str
    nodes: str
    exit_code: str = ""

    @property
    def known(self) -> JobStatus | JobEnd:
        """Its end, or that it has not ended."""
        return end_of(self.state, self.exit_code, self.nodes, ()) or self.status

    @property
    def status(self) -> JobStatus:
        """What it means to us."""
        if self.state in ENDED:
            return JobStatus(self.name, self.job, JobState.ENDED, self.state)
        if self.state in PENDING:
            stuck = self.state in _STUCK_STATES or self.reason in STUCK
            return JobStatus(self.name, self.job, JobState.PENDING, in_words(self.reason), stuck=stuck, final=stuck)
        detail = "" if self.state == "RUNNING" else self.state
        suspended = self.state in _SUSPENDED
        return JobStatus(self.name, self.job, JobState.RUNNING, detail, running_for=self.seconds, suspended=suspended)


def squeue_command(uid: int, cluster: str | None) -> list[str]:
    """Every job of a user in one question: those that ended not long ago, and those in hidden partitions, too."""
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
    """The rows of squeue's output; lines of another form (`CLUSTER: name`) are passed over."""
    for line in output.split("\n"):
        fields = line.split("|", 7)
        if len(fields) != 8:
            continue
        job, array, index, state, used, reason, nodes, name = (field.strip() for field in fields)
        if index.isdigit():
            name, job = f"{name}[{index}]", f"{array}_{index}"
        yield QueueRow(name, job, state, parse_elapsed(used), reason, nodes)


def statuses(rows: Collection[QueueRow], names: Collection[str]) -> dict[str, JobStatus]:
    """What the queue says of jobs with these names; of two with the same name the one that has not ended counts."""
    wanted = set(names)
    found: dict[str, JobStatus] = {}
    for row in rows:
        if row.name in wanted:
            known = found.get(row.name)
            if known is None or known.state is JobState.ENDED:
                found[row.name] = row.status
    return found


def parse_elapsed(text: str) -> float | None:
    """Seconds of a time as squeue prints it: `5:07`, `1:02:03`, `2-03:04:05`; None for anything else."""
    return parse_clock_time(text) if ":" in text else None


def format_limit(seconds: float) -> str:
    """A time limit as sbatch reads it, `D-HH:MM:SS`, not shorter than a minute."""
    return format_clock_time(seconds, days=True)


def sacct_command(jobs: Collection[str], cluster: str | None) -> list[str]:
    """The records of jobs and of their steps: of an out-of-memory job only a step says so.

    Arrays are asked for whole: elements that never ran have one record together, which is not found by theirs.
    """
    ids = dict.fromkeys(job.partition("_")[0] for job in jobs)
    return [
        *_WHOLE_LISTS,
        "sacct",
        "--noheader",
        "--parsable2",
        f"--jobs={','.join(ids)}",
        f"--format={_SACCT_FIELDS}",
        *on_cluster(cluster),
    ]


def parse_sacct(output: str) -> dict[tuple[str, str], JobEnd]:
    """Why jobs have ended, by name and id; those that have not are left out."""
    jobs: dict[str, tuple[str, str, str, str]] = {}
    steps: dict[str, list[tuple[str, str]]] = {}
    for line in output.split("\n"):
        fields = line.split("|", 4)
        if len(fields) != 5:
            continue
        ident, state, code, nodes, name = (field.strip() for field in fields)
        job, dot, _step = ident.partition(".")
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
    """The records of jobs, of each of their runs, without their steps; times in UTC: sacct drops the zone of a format that asks for it.

    Without --duplicates sacct shows of a job that ran again the last run only. Arrays are asked for whole: elements that
    never ran have one record together, which is not found by theirs.
    """
    ids = dict.fromkeys(job.partition("_")[0] for job in jobs)
    fields = "JobID,State,ExitCode,Start,End,NodeList,JobName"
    command = ["sacct", "--allocations", "--duplicates", "--noheader", "--parsable2", f"--jobs={','.join(ids)}"]
    return ["env", "TZ=UTC", "SLURM_TIME_FORMAT=standard", *command, f"--format={fields}", *on_cluster(cluster)]


def parse_accounting(output: str, names: Mapping[str, str]) -> list[AccountedJob]:
    """The records of those jobs among `names` (by id) of which accounting knows.

    Others had the same ids before: where slurmctld lost its state, it counts from one again.
    """
    records = []
    for line in output.split("\n"):
        fields = [field.strip() for field in line.split("|", 6)]
        if len(fields) != 7:
            continue
        ident, state, code, start, end, nodes, called = fields
        begun, over = (f"{time}Z" if time[:1].isdigit() else None for time in (start, end))
        for _, job in _jobs_of(ident, called):
            name = names.get(job, "")
            if name and name.partition("[")[0] == called:
                records.append(AccountedJob(name, job, state, code, begun, over, tuple(expand_nodes(nodes))))
    return records


def scontrol_command(job: str | None, cluster: str | None) -> list[str]:
    """What the controller still knows of one job, or of all jobs, also in hidden partitions."""
    what = ["jobs"] if job is None else ["job", job]
    return [*_WHOLE_LISTS, "scontrol", *on_cluster(cluster), "--all", "--oneliner", "show", *what]


def parse_scontrol(output: str) -> dict[tuple[str, str], JobStatus | JobEnd]:
    """Whether jobs have ended, and why, by name and id, from `scontrol --oneliner show`."""
    known: dict[tuple[str, str], JobStatus | JobEnd] = {}
    for line in output.split("\n"):
        # the first of each counts: behind them a comment of the user's may say anything
        found = re.findall(
            r"(?:^|\s)(JobId|ArrayJobId|ArrayTaskId|JobName|JobState|Reason|ExitCode|RunTime|NodeList)=(\S+)", line
        )
        fields = dict(reversed(found))
        if not {"JobId", "JobName", "JobState"} <= fields.keys():
            continue
        job = fields["JobId"]
        if "ArrayJobId" in fields and "ArrayTaskId" in fields:
            job = f"{fields['ArrayJobId']}_[{fields['ArrayTaskId']}]"
        for name, ident in _jobs_of(job, fields["JobName"]):
            known[name, ident] = QueueRow(
                name,
                ident,
                fields["JobState"],
                parse_elapsed(fields.get("RunTime", "")),
                fields.get("Reason", ""),
                fields.get("NodeList", ""),
                fields.get("ExitCode", ""),
            ).known
    return known


def is_unknown(said: str) -> bool:
    """Whether scontrol, when it failed, said that there is no such job; anything else is no answer."""
    return re.search(r"^(?:.* error: Invalid job id specified|Job \S+ not found)$", said, re.MULTILINE) is not None


def scancel_command(jobs: Collection[str], cluster: str | None, *options: str) -> list[str]:
    """Send a signal to jobs, or cancel them; without a word of those that have ended."""
    return ["scancel", "--quiet", *options, *on_cluster(cluster), *jobs]


def parse_scancel(said: str) -> dict[str, str]:
    """Why jobs were not told, by id, from what scancel said when it failed."""
    return dict(re.findall(r"Kill job error on job id (\S+): (.+)", said))


GONE: Final = frozenset(
    {"Invalid job id specified", "Job/step already completing or completed", "Job has already finished"}
)
"""What scancel says of jobs that need not be told any more."""


def _jobs_of(ident: str, name: str) -> list[tuple[str, str]]:
    """Names and ids of all that a record is of: of one job, or of elements of an array that never ran, `13_[5-9%2]`."""
    jobs = []
    for job in expand_nodes(re.sub(r"%\d+(?=\]$)", "", ident)) or [ident]:
        index = job.partition("_")[2]
        jobs.append((f"{name}[{index}]" if index.isdigit() else name, job))
    return jobs


def end_of(state: str, exit_code: str, nodes: str, steps: Sequence[tuple[str, str]]) -> JobEnd | None:
    """The typed end of a job.

    Args:
        state: as sacct or scontrol print it, `CANCELLED by 1000` too.
        exit_code: `status:signal`.
        nodes: its list of nodes, compressed.
        steps: state and exit code of each of its steps.

    Returns:
        None when the job has not ended.
    """
    word = state.split()[0] if state.split() else ""
    if word not in ENDED:
        return None
    reason = ENDED[word]
    said = [state if word == "CANCELLED" else word]
    if any(step == "OUT_OF_MEMORY" or code == "0:125" for step, code in [(word, exit_code), *steps]):
        reason, said = EndReason.OUT_OF_MEMORY, ["a step ran out of memory"]
    elif word == "FAILED":
        status = exit_code.partition(":")[0]
        killed = _signal_of(exit_code)
        if any(str(_signal_of(code)) == status != "0" for _, code in steps):
            killed = int(status)  # sacct's status of a script that ended with 128 + a signal has lost the 128
        if 0 < killed < 65:
            said.append(f"ended by signal {killed}")
        else:
            reason = EndReason.TRIAL_ERROR
            said.append(f"exit status {status}")
    return JobEnd(reason, ", ".join(said), tuple(expand_nodes(nodes)))


def _signal_of(exit_code: str) -> int:
    """The signal that ended a job or a step, by its `status:signal`, of which a shell makes the status 128 + it; or 0."""
    status, _, signal = exit_code.partition(":")
    if signal.isdecimal() and int(signal):
        return int(signal)
    return max(int(status) - 128, 0) if status.isdecimal() else 0


def expand_nodes(nodes: str) -> list[str]:
    """The names in a compressed list of nodes, `n[1-3,07],m5`; of one that cannot be read, none."""
    from submitit.slurm import slurm as submitit_slurm

    if nodes in ("", "(null)", "None assigned"):
        return []
    try:
        return list(submitit_slurm._parse_node_list(nodes))
    except submitit_slurm.SlurmParseException:
        return []


def config_command(cluster: str | None) -> list[str]:
    """How Slurm is configured."""
    return ["scontrol", *on_cluster(cluster), "show", "config"]


def parse_config(output: str) -> dict[str, str]:
    """`scontrol show config` as a mapping."""
    pairs = (line.partition("=") for line in output.split("\n") if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def is_accounted(config: Mapping[str, str]) -> bool:
    """Whether a cluster of this configuration accounts jobs, so that sacct knows of their ends."""
    return config.get("AccountingStorageType", "").rpartition("/")[2] not in ("", "none", "(null)")


def on_cluster(cluster: str | None) -> list[str]:
    """The option that leads a command of Slurm to another cluster."""
    return [f"--clusters={cluster}"] if cluster else []
