"""Models of the section `scheduler`: shared by all schedulers, shared by batch systems, and of each scheduler.

Data (names, numbers, paths) are checked, so that no value can add a line to a script or an option to a directive. Code
(`setup`, `directives`, `container`, `launcher_options`) is inserted as it is.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from aiperf_orch.settings.allocations import AllocationSettings, slots_of_node
from aiperf_orch.settings.base import PRIVATE, Advanced, Count, Duration, Gpus, Section, Text, matching
from aiperf_orch.settings.scheduler_texts import (
    Chunk,
    CodeLine,
    Expression,
    Memory,
    PbsMemory,
    Remark,
    Word,
    Words,
)
from aiperf_orch.util.units import format_duration


class SchedulerSettings(Section):
    """How trials are started and monitored, for all schedulers."""

    kind: str = Field(description="how trials are started")
    python: Text | None = Field(
        None, description="interpreter of the trials; by default the controller's own", json_schema_extra=PRIVATE
    )
    setup: list[str] = Field([], description="shell lines (code) that run before each trial", json_schema_extra=PRIVATE)
    template: Advanced[Text | None] = Field(
        None,
        description="file of a batch script template (code) of the site in place of that of aiperf-orch: begin with a "
        "copy of the one in templates/; `check`, `render` and `run` check the script against the contract "
        "of batch scripts",
        json_schema_extra=PRIVATE,
    )
    workers_per_node: Advanced[Annotated[int, Field(ge=1, le=1024)] | None] = Field(
        None,
        description="training processes of a trial on each node; by default one for each of its accelerators, or 1",
    )
    poll_interval: Advanced[Duration] = Field(1.0, description="interval at which the events of trials are read")
    silent_after: Advanced[Duration] = Field(
        30.0, description="time without an event after which the queue is queried for a trial's job"
    )
    lost_after: Advanced[Duration] = Field(20.0, description="grace for a job that left the queue without an end line")
    begin_within: Advanced[Duration] = Field(
        600.0, description="time without a begin line after which a running job is hung"
    )
    stop_grace: Advanced[Duration] = Field(15.0, description="time that a trial has to end after a request to stop")
    retry_submit_for: Advanced[Duration] = Field(
        1800.0,
        description="how long a submission that was refused, but not for good, is repeated before the campaign pauses",
    )


class LocalSettings(SchedulerSettings):
    """The scheduler `local` runs trials on this machine."""

    kind: Literal["local"] = "local"
    cores_per_trial: Count = Field(1, description="cores of each trial")
    gpus_per_trial: Count | None = Field(
        None, description="NVIDIA GPUs of each trial, which it does not share; by default trials share all of them"
    )
    job_per_trial: Advanced[bool] = Field(
        False, description="start each trial as a process of its own; by default one agent starts all of them"
    )
    wait_for_controller: Advanced[Duration] = Field(
        900.0, description="time without a sign of the controller after which an idle agent ends"
    )


class AgentsSettings(SchedulerSettings):
    """The scheduler `agents` submits nothing: `aiperf-orch agent` is started manually on each node.

    `setup` and `template` are refused.
    """

    kind: Literal["agents"] = "agents"
    nodes: Annotated[int, Field(ge=1, le=100_000)] = Field(
        1, description="nodes of one trial; one on several nodes takes whole nodes of one allocation"
    )
    cores_per_trial: Count = Field(1, description="cores of a trial on each of its nodes")
    gpus_per_trial: Count | None = Field(
        None, description="GPUs of a trial on each of its nodes; by default trials of a node share them"
    )
    interface: Advanced[Word | None] = Field(
        None, description="network interface for the rendezvous of a trial's nodes; by default that of their host names"
    )
    ports: Advanced[Annotated[list[Annotated[int, Field(ge=1024, le=65535)]], Field(min_length=2, max_length=2)]] = (
        Field([29400, 29499], description="first and last port for the rendezvous of a trial's nodes")
    )
    warn_before: Advanced[Duration] = Field(
        120.0, description="time before the end of an agent's allocation at which its trials are warned"
    )
    lookahead: Advanced[Annotated[int, Field(ge=0, le=1000)] | None] = Field(
        None, description="trials that wait on each agent beyond those that run; by default a quarter of its slots"
    )
    wait_for_controller: Advanced[Duration] = Field(
        900.0, description="time without a sign of the controller after which an idle agent ends"
    )
    poll_interval: Advanced[Duration] = Field(5.0, description="interval at which the events of trials are read")
    silent_after: Advanced[Duration] = Field(
        60.0, description="time without a begin line after which an agent's log is read for a trial that it started"
    )
    lost_after: Advanced[Duration] = Field(
        180.0, description="time without a sign of life after which an agent, and its trials, are lost"
    )
    begin_within: Advanced[Duration] = Field(
        900.0, description="time without a begin line after which a running trial is hung"
    )
    stop_grace: Advanced[Duration] = Field(60.0, description="time that a trial has to end after a request to stop")

    @model_validator(mode="after")
    def _of_agents(self) -> AgentsSettings:
        if self.setup:
            raise ValueError(
                "setup: is not run here, as agents are started manually: run these lines in the shell that starts the "
                "agent; for example setup: []"
            )
        if self.template is not None:
            raise ValueError("template: nothing is submitted, so there is no batch script; for example template: null")
        _check_ports(self.ports)
        return self


class ClusterSettings(SchedulerSettings):
    """What all batch systems share: the allocation of a trial, and how the queue is used."""

    nodes: Annotated[int, Field(ge=1, le=100_000)] = Field(1, description="nodes of one trial")
    time_limit: Duration = Field(
        4 * 3600.0, description="time limit of one job; a trial that needs more continues in another"
    )
    warn_before: Advanced[Duration] = Field(
        120.0, description="time before its limit at which a trial is warned, and saves its state"
    )
    interface: Advanced[Word | None] = Field(
        None, description="network interface for the rendezvous of a trial's nodes; by default that of their host names"
    )
    ports: Advanced[Annotated[list[Annotated[int, Field(ge=1024, le=65535)]], Field(min_length=2, max_length=2)]] = (
        Field([29400, 29499], description="first and last port for the rendezvous of a trial's nodes")
    )
    requeue: Advanced[bool] = Field(
        False, description="let the scheduler run a job again by itself, after a preemption"
    )
    modules: list[Word] = Field([], description="environment modules that are loaded")
    container: CodeLine | None = Field(
        None, description="command (code) before the trial's, such as `apptainer exec IMAGE`", json_schema_extra=PRIVATE
    )
    directives: list[CodeLine] = Field(
        [], description="further options (code) of the batch script, a line each", json_schema_extra=PRIVATE
    )
    account: Word | None = Field(None, description="account of the jobs", json_schema_extra=PRIVATE)
    comment: Advanced[Remark | None] = Field(
        None, description="comment of the jobs; PBS has none", json_schema_extra=PRIVATE
    )
    mail_user: Advanced[Word | None] = Field(
        None, description="address that gets mail about the jobs", json_schema_extra=PRIVATE
    )
    lookahead: Advanced[Annotated[int, Field(ge=0, le=10_000)]] = Field(
        1, description="number of trials that wait in the queue beyond those that run"
    )
    poll_interval: Advanced[Duration] = Field(5.0, description="interval at which the events of trials are read")
    query_interval: Advanced[Duration] = Field(30.0, description="minimum interval between two queries of the queue")
    command_timeout: Advanced[Duration] = Field(60.0, description="maximum duration of a command of the scheduler")
    silent_after: Advanced[Duration] = Field(
        60.0, description="time without an event after which the queue is queried for a trial's job"
    )
    lost_after: Advanced[Duration] = Field(60.0, description="grace for a job that left the queue without an end line")
    begin_within: Advanced[Duration] = Field(
        900.0, description="time without a begin line after which a running job is hung"
    )
    stop_grace: Advanced[Duration] = Field(60.0, description="time that a trial has to end after a request to stop")
    allocations: AllocationSettings | None = Field(
        None, description="run all trials in few batch jobs; by default each trial is a batch job"
    )

    @model_validator(mode="after")
    def _warned_in_time(self) -> ClusterSettings:
        if self.warn_before >= self.time_limit:
            raise ValueError(
                "warn_before: must be shorter than time_limit, for example warn_before: 2m and time_limit: 4h"
            )
        _check_ports(self.ports)
        return self

    @model_validator(mode="after")
    def _allocations_hold_a_trial(self) -> ClusterSettings:
        own = self.allocations
        if own is None:
            return self
        if self.nodes > own.nodes:
            raise ValueError(
                f"allocations.nodes: an allocation has {own.nodes} node(s), and a trial wants {self.nodes} "
                f"(scheduler.nodes); for example nodes: {self.nodes}"
            )
        if self.warn_before >= own.time_limit:
            raise ValueError(
                "allocations.time_limit: must be longer than scheduler.warn_before, "
                f"{format_duration(self.warn_before)}; for example time_limit: 12h"
            )
        if self.requeue:
            raise ValueError("requeue: an allocation is not run again; for example requeue: false")
        if own.gpus_per_node is not None and self.trial_gpus is None:
            raise ValueError(
                "allocations.gpus_per_node: a trial requests no GPU, and these would stay idle: "
                "request those of one trial in the section scheduler, too; for example gpus_per_node: null"
            )
        if own.cpus_per_node is not None and self.trial_cores is None and self.trial_gpus is None:
            raise ValueError(
                "allocations.cpus_per_node: the section scheduler does not say how many cores one trial wants, "
                "so that a node would hold a single one; for example cpus_per_node: null"
            )
        _ = self.slots_per_node
        return self

    @property
    def trial_cores(self) -> int | None:
        """Cores of one trial on each of its nodes; None where the settings do not say."""
        raise NotImplementedError

    @property
    def trial_gpus(self) -> int | None:
        """GPUs of one trial on each of its nodes; None where it has none."""
        raise NotImplementedError

    @property
    def slots_per_node(self) -> int:
        """Number of trials that a node of an allocation holds at once; a trial of several nodes takes whole nodes."""
        own = self.allocations
        if own is None or self.nodes > 1:
            return 1
        limits = (
            slots_of_node(self.trial_gpus, own.gpus_per_node, "gpus_per_node", "GPU(s)"),
            slots_of_node(self.trial_cores, own.cpus_per_node, "cpus_per_node", "core(s)"),
        )
        return min((limit for limit in limits if limit is not None), default=1)

    @property
    def node_cores(self) -> int | None:
        """Cores that a job requests on each node of an allocation; None where the settings do not say."""
        own = self.allocations and self.allocations.cpus_per_node
        return own or (self.trial_cores and self.trial_cores * self.slots_per_node)

    @property
    def node_gpus(self) -> int | None:
        """GPUs that a job requests on each node of an allocation; None where trials use none."""
        own = self.allocations and self.allocations.gpus_per_node
        return own or (self.trial_gpus and self.trial_gpus * self.slots_per_node)

    @property
    def slots(self) -> int | None:
        """Number of trials that the allocations that may run at once hold; None where each trial is a job."""
        own = self.allocations
        return own.at_once * (own.nodes // self.nodes) * self.slots_per_node if own else None


def _check_ports(ports: list[int]) -> None:
    if ports[0] > ports[1]:
        raise ValueError(
            f"ports: the first, {ports[0]}, is above the last, {ports[1]}; for example ports: [29400, 29499]"
        )


class SlurmSettings(ClusterSettings):
    """Slurm: options of sbatch and srun."""

    kind: Literal["slurm"] = "slurm"
    partition: Words | None = Field(
        None, description="partition of the jobs; of several, with commas, the first with free nodes is used"
    )
    qos: Word | None = Field(None, description="quality of service of the jobs")
    constraint: Advanced[Expression | None] = Field(None, description="features that the nodes must have, as in Slurm")
    reservation: Advanced[Words | None] = Field(None, description="reservation of the jobs", json_schema_extra=PRIVATE)
    cluster: Advanced[Words | None] = Field(None, description="another cluster than the login node's own (-M)")
    exclude: Advanced[Expression | None] = Field(
        None,
        description="nodes that are never used, such as `gpu[13-14]`: keeps trials off them",
        json_schema_extra=PRIVATE,
    )
    cpus_per_task: Count | None = Field(None, description="cores on each node of a trial; by default Slurm's")
    memory: Memory | None = Field(
        None, description="memory on each node, such as 64G; 0 is all of a node's; by default Slurm's"
    )
    gpus_per_node: Gpus | None = Field(None, description="GPUs on each node of a trial; 0 is none")
    gpu_type: Word | None = Field(None, description="type of these GPUs, as Slurm names it")
    gpu_option: Advanced[Literal["gres", "gpus-per-node"]] = Field(
        "gres", description="option of sbatch that requests GPUs"
    )
    exclusive: bool = Field(False, description="a trial shares its nodes with no other job")
    mail_type: Advanced[Words | None] = Field(None, description="events that send mail, such as FAIL,END")
    launcher: Advanced[Literal["srun", "none"]] = Field(
        "srun", description="program that starts the tasks of a trial; none is for trials on one node"
    )
    launcher_options: Advanced[list[CodeLine]] = Field(
        [], description="further options (code) of srun", json_schema_extra=PRIVATE
    )

    @property
    def trial_cores(self) -> int | None:
        """Cores of one trial on each of its nodes; None where the settings do not say."""
        return self.cpus_per_task

    @property
    def trial_gpus(self) -> int | None:
        """GPUs of one trial on each of its nodes; None where it has none."""
        return self.gpus_per_node

    @model_validator(mode="after")
    def _complete(self) -> SlurmSettings:
        if self.gpu_type and self.gpus_per_node is None:
            raise ValueError(
                "gpu_type: needs gpus_per_node, the number of GPUs of this type; for example gpus_per_node: 1"
            )
        if self.launcher == "none" and self.nodes > 1:
            raise ValueError("launcher: without srun a trial has only one node; for example launcher: srun")
        if self.launcher == "none" and self.allocations and self.allocations.nodes > 1:
            raise ValueError(
                "launcher: without srun only the first node of an allocation would get an agent; "
                "for example launcher: srun"
            )
        if bool(self.mail_user) != bool(self.mail_type):
            given, lacking = ("mail_user", "mail_type") if self.mail_user else ("mail_type", "mail_user")
            raise ValueError(
                f"{given}: without {lacking} nothing is sent; for example mail_user: me@example.org and mail_type: FAIL"
            )
        return self


class PbsSettings(ClusterSettings):
    """PBS Pro and OpenPBS: options of qsub."""

    kind: Literal["pbs"] = "pbs"
    queue: Word | None = Field(None, description="queue of the jobs; by default that of PBS")
    project: Advanced[Word | None] = Field(None, description="project of the jobs", json_schema_extra=PRIVATE)
    cpus: Annotated[int, Field(ge=1, le=100_000)] = Field(1, description="cores (ncpus) on each node of a trial")
    gpus: Gpus | None = Field(None, description="GPUs (ngpus) on each node of a trial; 0 is none")
    memory: PbsMemory | None = Field(None, description="memory on each node of a trial, such as 64gb")
    chunk: Advanced[Chunk | None] = Field(
        None, description="further resources that a node must have, such as model=milan:bigmem=True"
    )
    place: Expression = Field(
        "scatter",
        description="placement of the nodes, such as scatter or scatter:excl; without scatter nodes may share a host",
    )
    resources: Advanced[list[CodeLine]] = Field(
        [],
        description="values (code) of -l in place of select and place, where a site forbids them: nodes=2:ppn=32",
        json_schema_extra=PRIVATE,
    )
    launcher: Advanced[Literal["pbs_tmrsh", "pbsdsh", "mpiexec"]] = Field(
        "pbs_tmrsh", description="program that starts one task on each node of a trial on several nodes"
    )
    launcher_options: Advanced[list[CodeLine]] = Field(
        [], description="options (code) of mpiexec in place of `-n NODES`", json_schema_extra=PRIVATE
    )
    mail_points: Advanced[
        Annotated[
            str, matching(r"n|[abe]{1,3}", "n for no mail, or up to three of a (aborted), b (begun) and e (ended)")
        ]
    ] = Field("a", description="n for no mail, or up to three of a (aborted), b (begun) and e (ended)")
    begin_within: Advanced[Duration] = Field(
        1800.0, description="time without a begin line after which a running job is hung"
    )

    @property
    def trial_cores(self) -> int | None:
        """Cores of one trial on each of its nodes."""
        return self.cpus

    @property
    def trial_gpus(self) -> int | None:
        """GPUs of one trial on each of its nodes; None where it has none."""
        return self.gpus

    @model_validator(mode="after")
    def _nothing_dropped(self) -> PbsSettings:
        replaced = [name for name in ("gpus", "memory", "chunk") if getattr(self, name) is not None]
        if self.resources and replaced:
            raise ValueError(
                f"{replaced[0]}: resources stands in place of {', '.join(replaced)}: request it there; "
                "for example resources: ['nodes=1:ppn=32:gpus=1']"
            )
        if self.launcher_options and self.launcher != "mpiexec":
            raise ValueError(f"launcher_options: {self.launcher} takes none; for example launcher: mpiexec takes them")
        if self.comment is not None:
            raise ValueError("comment: PBS has no comment of a job's owner; for example project: aiperf marks jobs")
        if self.resources and self.allocations:
            raise ValueError(
                "resources: they request the nodes of one trial, and an allocation has others: give nodes, cpus, gpus "
                "and memory; for example resources: []"
            )
        return self
