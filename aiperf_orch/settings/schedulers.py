"""Settings of the scheduler's section: what all schedulers share, what batch systems share, and each one's own.

Data fields (names, numbers, paths) are checked so that none can add a line to a script or an option to a directive. What
is code (`setup`, `directives`, `container`, `launcher_options`) goes in as it stands.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from aiperf_orch.settings.base import PRIVATE, Count, Duration, Settings, Text, form


def _code_line(line: str) -> str:
    if "\n" in line or "\r" in line or "\0" in line:
        raise ValueError("must be one line")
    return line


_NAME_START: Final = "begins with a letter, a digit or _"

Word = Annotated[
    str,
    Field(max_length=120),
    form(r"[A-Za-z0-9_][A-Za-z0-9_.:@+/-]*", f"one name of letters, digits and _ . : @ + / - that {_NAME_START}"),
]
"""A name that a scheduler knows: no white space, no quotes, no leading dash."""

Words = Annotated[
    str,
    Field(max_length=500),
    form(
        r"[A-Za-z0-9_][A-Za-z0-9_.:@+/,-]*",
        f"names of letters, digits and _ . : @ + / - with commas and no blanks between them; the first {_NAME_START}",
    ),
]
"""Names with commas between them."""

Expression = Annotated[
    str,
    Field(max_length=500),
    form(
        r"[A-Za-z0-9_(\[!][A-Za-z0-9_.:@+/,&|!*()\[\]-]*",
        "names with commas, brackets and the operators & | ! * between them, without blanks and quotes",
    ),
]
"""A constraint, or a list of nodes, in the scheduler's own language."""

Chunk = Annotated[
    str,
    Field(max_length=500),
    form(r"[A-Za-z0-9_][A-Za-z0-9_.:=@+/,-]*", "NAME=VALUE parts with colons and no blanks between them"),
]
"""What a node must be, in PBS's language: `model=milan:bigmem=True`."""

Remark = Annotated[
    str,
    Field(max_length=200),
    AfterValidator(_code_line),
    form(r"""[^'"\\`$]+""", "text without quotes, backslashes, backquotes and dollar signs"),
]
"""Free text in a directive: no quotes, no backslash."""

_AMOUNT: Final = re.compile(r"([1-9][0-9]{0,8}) ?([KMGT])(?:I?B)?", re.IGNORECASE)  # of 1024 bytes, whoever writes GB


def _slurm_memory(text: str) -> str:
    amount = _AMOUNT.fullmatch(text.strip())
    if text.strip() != "0" and not amount:
        raise ValueError(
            "must be a whole number with the unit K, M, G or T, or 0 for all that a node has, "
            f"not {text!r:.60}{_with_units(text, 'G', 'M')}"
        )
    return f"{amount[1]}{amount[2].upper()}" if amount else "0"


def _pbs_memory(text: str) -> str:
    amount = _AMOUNT.fullmatch(text.strip())
    if not amount:
        raise ValueError(
            f"must be a whole number with the unit kb, mb, gb or tb, not {text!r:.60}{_with_units(text, 'gb', 'mb')}"
        )
    return f"{amount[1]}{amount[2].lower()}b"


def _with_units(text: str, *units: str) -> str:
    """What a number without a unit may mean."""
    number = text.strip()
    if not re.fullmatch(r"[1-9][0-9]{0,8}", number):
        return ""
    return f"; did you mean {' or '.join(number + unit for unit in units)}?"


Memory = Annotated[str, AfterValidator(_slurm_memory)]
"""An amount of memory, as 64G; 0 is all that a node has. `64GB`, `64 G` and `64GiB` are the same."""

PbsMemory = Annotated[str, AfterValidator(_pbs_memory)]
"""An amount of memory as PBS writes it: 64gb. `64G`, `64 GB` and `64GiB` are the same."""

CodeLine = Annotated[str, AfterValidator(_code_line), Field(max_length=4000)]


class SchedulerSettings(Settings):
    """How trials are started and watched, whatever starts them."""

    kind: str
    python: Text | None = Field(
        None, description="the interpreter of the trials; by default the controller's own", json_schema_extra=PRIVATE
    )
    setup: list[str] = Field([], description="shell lines (code) that run before each trial", json_schema_extra=PRIVATE)
    template: Text | None = Field(
        None, description="a site's own batch script template instead of ours", json_schema_extra=PRIVATE
    )
    workers_per_node: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="training processes of a trial on each node; by default one for each of its accelerators"
    )
    poll_interval: Duration = 1.0
    silent_after: Duration = Field(30.0, description="a trial silent for so long is asked after in the queue")
    lost_after: Duration = Field(20.0, description="grace for a job that left the queue without an end line")
    begin_within: Duration = Field(600.0, description="a job that runs so long without a begin line is hung")
    stop_grace: Duration = Field(15.0, description="how long a trial that was told to end may take to end")
    retry_submit_for: Duration = Field(
        1800.0, description="how long a submission that is refused, not known for good, is tried again before a pause"
    )


class LocalSettings(SchedulerSettings):
    """The scheduler `local` runs trials as processes of this machine."""

    kind: Literal["local"] = "local"
    cores_per_trial: Count = 1
    gpus_per_trial: Count | None = Field(
        None, description="NVIDIA GPUs that each trial gets of its own; by default trials share all of them"
    )


class ClusterSettings(SchedulerSettings):
    """What all batch systems share: the allocation of a trial, and how the queue is treated."""

    nodes: Annotated[int, Field(ge=1, le=100_000)] = Field(1, description="nodes of one trial")
    time_limit: Duration = Field(4 * 3600.0, description="of one job; a trial that needs more goes on in another")
    warn_before: Duration = Field(120.0, description="a trial is told so long before its time limit")
    interface: Word | None = Field(
        None, description="network interface that a trial's nodes meet on; by default the one of their host names"
    )
    ports: Annotated[list[Annotated[int, Field(ge=1024, le=65535)]], Field(min_length=2, max_length=2)] = Field(
        [29400, 29499], description="first and last port that a trial's nodes meet on"
    )
    requeue: bool = Field(False, description="the scheduler may run a job again by itself, after a preemption")
    modules: list[Word] = Field([], description="environment modules that are loaded")
    container: CodeLine | None = Field(
        None, description="command (code) before the trial's, as `apptainer exec IMAGE`", json_schema_extra=PRIVATE
    )
    directives: list[CodeLine] = Field(
        [], description="further options (code) of the batch script, a line each", json_schema_extra=PRIVATE
    )
    account: Word | None = Field(None, json_schema_extra=PRIVATE)
    comment: Remark | None = Field(None, json_schema_extra=PRIVATE)
    mail_user: Word | None = Field(None, json_schema_extra=PRIVATE)
    lookahead: Annotated[int, Field(ge=0, le=10_000)] = Field(
        1, description="so many trials wait in the queue beyond those that run"
    )
    poll_interval: Duration = 5.0
    query_interval: Duration = Field(30.0, description="the queue is asked at most so often")
    command_timeout: Duration = Field(60.0, description="how long a command of the scheduler may take")
    silent_after: Duration = Field(60.0, description="a trial silent for so long is asked after in the queue")
    lost_after: Duration = Field(60.0, description="grace for a job that left the queue without an end line")
    begin_within: Duration = Field(900.0, description="a job that runs so long without a begin line is hung")
    stop_grace: Duration = Field(60.0, description="how long a trial that was told to end may take to end")

    @model_validator(mode="after")
    def _warned_in_time(self) -> ClusterSettings:
        if self.warn_before >= self.time_limit:
            raise ValueError(
                "warn_before: must be shorter than time_limit, for example warn_before: 2m and time_limit: 4h"
            )
        if self.ports[0] > self.ports[1]:
            raise ValueError(
                f"ports: the first, {self.ports[0]}, is above the last, {self.ports[1]}; "
                "for example ports: [29400, 29499]"
            )
        return self


class SlurmSettings(ClusterSettings):
    """Slurm: options of sbatch and srun."""

    kind: Literal["slurm"] = "slurm"
    partition: Words | None = None
    qos: Word | None = None
    constraint: Expression | None = None
    reservation: Words | None = Field(None, json_schema_extra=PRIVATE)
    cluster: Words | None = Field(None, description="another cluster than the login node's own (-M)")
    exclude: Expression | None = Field(None, description="nodes that are never used", json_schema_extra=PRIVATE)
    cpus_per_task: Count | None = None
    memory: Memory | None = Field(None, description="of each node, as 64G; 0 is all of it")
    gpus_per_node: Annotated[int, Field(ge=1, le=1024)] | None = None
    gpu_type: Word | None = None
    gpu_option: Literal["gres", "gpus-per-node"] = Field("gres", description="how sbatch is asked for GPUs")
    exclusive: bool = False
    mail_type: Words | None = Field(None, description="as FAIL,END")
    launcher: Literal["srun", "none"] = "srun"
    launcher_options: list[CodeLine] = Field(
        [], description="further options (code) of srun", json_schema_extra=PRIVATE
    )

    @model_validator(mode="after")
    def _complete(self) -> SlurmSettings:
        if self.gpu_type and self.gpus_per_node is None:
            raise ValueError(
                "gpu_type: says of which type, but gpus_per_node does not say how many; for example gpus_per_node: 1"
            )
        if self.launcher == "none" and self.nodes > 1:
            raise ValueError("launcher: without srun a trial is held to one node; for example launcher: srun")
        if bool(self.mail_user) != bool(self.mail_type):
            given, lacking = ("mail_user", "mail_type") if self.mail_user else ("mail_type", "mail_user")
            raise ValueError(
                f"{given}: without {lacking} nothing is sent; for example mail_user: me@example.org and mail_type: FAIL"
            )
        return self


class PbsSettings(ClusterSettings):
    """PBS Pro and OpenPBS: options of qsub."""

    kind: Literal["pbs"] = "pbs"
    queue: Word | None = None
    project: Word | None = Field(None, json_schema_extra=PRIVATE)
    cpus: Annotated[int, Field(ge=1, le=100_000)] = Field(1, description="ncpus of each node")
    gpus: Annotated[int, Field(ge=1, le=1024)] | None = Field(None, description="ngpus of each node")
    memory: PbsMemory | None = Field(None, description="of each node, as 64gb")
    chunk: Chunk | None = Field(None, description="what else a node must be, as model=milan:bigmem=True")
    place: Expression = Field(
        "scatter", description="as scatter or scatter:excl; without scatter nodes may share a host"
    )
    resources: list[CodeLine] = Field(
        [],
        description="values (code) of -l in place of select and place, where a site forbids them: nodes=2:ppn=32",
        json_schema_extra=PRIVATE,
    )
    launcher: Literal["pbs_tmrsh", "pbsdsh", "mpiexec"] = Field(
        "pbs_tmrsh", description="what starts one task on each node of a trial of several"
    )
    launcher_options: list[CodeLine] = Field(
        [], description="options (code) of mpiexec in place of `-n NODES`", json_schema_extra=PRIVATE
    )
    mail_points: Annotated[
        str, form(r"n|[abe]{1,3}", "n for no mail, or up to three of a (aborted), b (begun) and e (ended)")
    ] = "a"
    begin_within: Duration = Field(1800.0, description="a job that runs so long without a begin line is hung")

    @model_validator(mode="after")
    def _nothing_dropped(self) -> PbsSettings:
        replaced = [name for name in ("gpus", "memory", "chunk") if getattr(self, name) is not None]
        if self.resources and replaced:
            raise ValueError(
                f"{replaced[0]}: resources stands in place of {', '.join(replaced)}: say it there; "
                "for example resources: ['nodes=1:ppn=32:gpus=1']"
            )
        if self.launcher_options and self.launcher != "mpiexec":
            raise ValueError(f"launcher_options: {self.launcher} takes none; for example launcher: mpiexec takes them")
        if self.comment is not None:
            raise ValueError("comment: PBS has none of a job's owner; for example project: aiperf marks jobs there")
        return self
