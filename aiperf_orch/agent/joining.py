"""Checks before an agent begins, and its begin line: what is refused is refused in one line, before anything starts."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

import aiperf_orch
from aiperf_orch.agent.environment import AgentAllocation, available_accelerators, own_cores
from aiperf_orch.agent.former_agents import FormerAgent, former_agents, kill_leftovers
from aiperf_orch.agent.log_file import LogFile
from aiperf_orch.agent.slots import Slot, divide
from aiperf_orch.campaign.agent_files import claim_folder
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import read_file
from aiperf_orch.campaign.format_versions import newer_writer, stated_in_line
from aiperf_orch.campaign.safe_reading import LONG_RETRY_SECONDS, retry_transient
from aiperf_orch.records.agents import AgentBegin
from aiperf_orch.settings.placement import PlacementSettings, placement_settings
from aiperf_orch.util.errors import RecordError, UsageError
from aiperf_orch.util.process_identity import boot_id, pid_namespace, process_start
from aiperf_orch.util.units import clock_ahead, format_duration, now

_log: Final = logging.getLogger(__name__)
_JOURNAL_END: Final = 1 << 20  # bytes at the journal's end in which its last phase is looked for
_MAX_CLOCK_SKEW: Final = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class JoinOptions:
    """What the command line requests of an agent.

    Attributes:
        campaign_dir: The campaign directory.
        allocation: Name of the allocation that the controller submitted; None for an agent that is started by hand.
        slots: Number of slots; None for that of the settings, or as many as fit.
        ends_at: End of the allocation in seconds since 1970; None where it is not given.
    """

    campaign_dir: Path
    allocation: str | None = None
    slots: int | None = None
    ends_at: float | None = None


@dataclass(frozen=True, slots=True)
class Membership:
    """An agent that may begin: its campaign, its name, its slots and its log."""

    directory: CampaignDirectory
    settings: PlacementSettings
    begin: AgentBegin
    slots: list[Slot]
    log: LogFile
    ends_at: float | None


def join(options: JoinOptions, environment: Mapping[str, str]) -> Membership:
    """Check everything that an agent needs, and write its begin line.

    Raises:
        UsageError: When the agent must not begin, with the reason and what to do.
        TransientError: When the campaign cannot be read for now.
    """
    directory = _open(options)
    settings = placement_settings(directory.settings.scheduler, directory.settings.campaign.concurrency)
    if settings is None:
        raise UsageError(
            f"{directory.path}: each trial of this campaign is a job of its own, so that it has no work for agents: "
            "set scheduler.allocations, or scheduler.kind to agents, for a new campaign"
        )
    own = AgentAllocation.from_environment(environment, options.ends_at)
    if own.ends_at is not None and own.ends_at - 2 * settings.warn_before <= time.time():
        left, warning = max(own.ends_at - time.time(), 0.0), settings.warn_before
        raise UsageError(
            f"the allocation ends too soon to start a trial, in {format_duration(left)}: trials are warned "
            f"{format_duration(warning)} before (scheduler.warn_before), and an agent needs more than "
            f"{format_duration(2 * warning)}"
        )
    patience = _patience(options)
    name, earlier = retry_transient(lambda: claim_folder(directory, own.host), patience)
    try:
        former = former_agents(directory, earlier, name)
        accelerators = available_accelerators(environment)
        slots = _slots(directory, settings, options, _beside(former, own.job, settings), accelerators)
        predecessor = kill_leftovers(directory, former)
    except BaseException:
        with contextlib.suppress(OSError):
            directory.agent_folder(name).rmdir()  # it leaves no trace
        raise
    before = time.time()
    log = retry_transient(lambda: LogFile(directory.agent_log(name)), patience)
    skew = clock_ahead(before, log.modified, time.time())
    if abs(skew) > _MAX_CLOCK_SKEW:
        _log.warning("the clock of %s differs by %.1f s from that of the file server: set it right", own.host, skew)
    used = sorted({core for slot in slots for core in slot.cores})
    used_gpus = sorted({index for slot in slots for index in slot.gpus or ()})
    begin = AgentBegin(
        time=now(),
        agent=name,
        allocation=options.allocation,
        job=own.job,
        host=own.host,
        boot=boot_id(),
        namespace=pid_namespace(),
        pid=os.getpid(),
        started=process_start(os.getpid()) or 0,
        slots=len(slots),
        cores=len(used),
        gpus=len(used_gpus),
        core_ids=used,
        gpu_ids=[accelerators[index] for index in used_gpus],
        ends_at=None if own.ends_at is None else datetime.fromtimestamp(own.ends_at, timezone.utc),
        clock_skew=skew,
        version=aiperf_orch.__version__,
        predecessor=predecessor,
    )
    log.add(begin)
    retry_transient(log.write, patience)
    return Membership(directory, settings, begin, slots, log, own.ends_at)


def _open(options: JoinOptions) -> CampaignDirectory:
    """Open a campaign that needs agents."""

    def read() -> CampaignDirectory:
        directory = CampaignDirectory.open(options.campaign_dir)
        _check_goes_on(directory)
        return directory

    try:
        return retry_transient(read, _patience(options))
    except RecordError as error:
        raise UsageError(str(error)) from None


def _patience(options: JoinOptions) -> float:
    """Seconds for which an agent waits for a file system that is away.

    A job that begins in that time may have waited in the queue for hours: its agents wait, too.
    """
    return LONG_RETRY_SECONDS if options.allocation else 0.0


def _check_goes_on(directory: CampaignDirectory) -> None:
    """Refuse a campaign that has finished, or that a newer version continues.

    Only the end of the journal is read: many agents may begin at once.
    """
    try:
        size = directory.journal.stat().st_size
        data = read_file(directory.journal, offset=max(size - _JOURNAL_END, 0))
    except OSError:
        return  # no controller has begun it yet
    phase = None
    for line in data.split(b"\n"):
        stated = stated_in_line(line)
        kind = stated.get("type")
        if kind == "opened" and newer_writer(stated.get("version")):
            version = stated["version"]
            raise UsageError(
                f"{directory.path}: aiperf-orch {version} runs this campaign, and this is aiperf-orch "
                f"{aiperf_orch.__version__}: start the agent with the same version"
            )
        if kind in ("finished", "resumed", "stopped"):
            phase = kind
    if phase == "finished":
        raise UsageError(f"{directory.path}: this campaign has finished, and needs no agents")
    if phase == "stopped":
        _log.warning("%s: this campaign is stopped: trials start when `aiperf-orch run` resumes it", directory.path)


def _beside(former: Sequence[FormerAgent], job: str, settings: PlacementSettings) -> list[AgentBegin]:
    """Agents that run and may use the same resources.

    Where jobs share a node, the batch system has divided it between them: the same numbers of cores and accelerators
    may then mean different ones, or, without affinity, the same ones of which each job has a part.
    """
    return [agent.begin for agent in former if agent.alive and (settings.share_cores or agent.begin.job == job)]


def _slots(
    directory: CampaignDirectory,
    settings: PlacementSettings,
    options: JoinOptions,
    alive: Sequence[AgentBegin],
    accelerators: list[str],
) -> list[Slot]:
    """Slots of the resources that no other agent holds.

    Raises:
        UsageError: When they are not enough.
    """
    simulated = directory.settings.simulated
    others = ", ".join(begin.agent for begin in alive)
    if alive and settings.share_cores:
        raise UsageError(f"{others}: this agent already runs here, and a second one would use the same cores")
    taken = set() if simulated else {core for begin in alive for core in begin.core_ids}
    taken_gpus = {gpu for begin in alive for gpu in begin.gpu_ids}
    cores = [core for core in own_cores() if core not in taken]
    free_gpus = [index for index, gpu in enumerate(accelerators) if gpu not in taken_gpus]
    try:
        return divide(cores, free_gpus, settings, asked=options.slots, simulated=simulated)
    except UsageError as error:
        raise UsageError(
            f"{error}; {others} already runs here for the same campaign" if alive else str(error)
        ) from None
