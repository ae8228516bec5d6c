"""`package`: pack a campaign's results into one file, and verify it."""

from __future__ import annotations

import gc
import json
import logging
import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import replace_file
from aiperf_orch.campaign.snapshot import CampaignSnapshot, read_snapshot
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.commands.command_output import CommandOutput, ExitStatus
from aiperf_orch.commands.progress_line import progress_line
from aiperf_orch.commands.score import summary
from aiperf_orch.schedulers.base import AccountedJob, Scheduler
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.settings.placement import placement_settings
from aiperf_orch.util.errors import NotFinishedError, SchedulerUnreachableError, UsageError
from aiperf_orch.util.progress import begin_part
from aiperf_orch.util.text import visible

_log: Final = logging.getLogger(__name__)
_ACCOUNTING_LAG: Final = 60.0  # seconds; slurmdbd records starts and ends of jobs some seconds late
_QUERY_INTERVAL: Final = 2.0  # seconds


def package_campaign(
    campaign_dir: Path,
    output: Path,
    key: Path | None,
    *,
    pseudonyms: bool,
    weights: bool = False,
    questionnaire: Path | None = None,
) -> CommandOutput:
    """Make a campaign's package and verify it.

    Args:
        campaign_dir: The campaign.
        output: File to write, which must end with .tar.gz and lie outside the campaign directory.
        key: SSH key that signs the package; None signs nothing.
        pseudonyms: Replace names of hosts, users and accounts.
        weights: Add the weights of the lowest error.
        questionnaire: Add this questionnaire of reproducibility; None adds none.

    Returns:
        Summary of the result and the package, and the exit status: 0 verified, 1 not verified.

    Raises:
        NotFinishedError: while the campaign runs.
        UsageError: when the output path is not acceptable, the key does not sign, the questionnaire is wrong, or the
            weights are wanted and are not those of the lowest error.
    """
    from aiperf_orch.package.packing import write_package
    from aiperf_orch.package.questionnaire import read_questionnaire
    from aiperf_orch.package.signature import sign, signature_of
    from aiperf_orch.package.verify import verify

    if not output.name.endswith(".tar.gz") or output.is_dir():
        raise UsageError(f"{output}: --output must name a file that ends with .tar.gz")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"{output}: its directory does not exist")
    directory = CampaignDirectory.open(campaign_dir)
    answers = read_questionnaire(questionnaire) if questionnaire else None
    if output.absolute().resolve().is_relative_to(directory.path.resolve()):
        raise UsageError(f"{output}: lies in the campaign's directory; give a path outside of it")
    with progress_line("package"):
        snapshot = check_not_running(directory)
        begin_part("waiting for the accounting")
        _keep_accounting(directory, snapshot.state)
        signature_of(output).unlink(missing_ok=True)  # the signature of an earlier package
        gc.disable()  # many small objects that all stay: the search for cycles among them takes a third of the time
        result = write_package(
            directory,
            output,
            with_pseudonyms=pseudonyms,
            with_weights=weights,
            questionnaire=answers,
            snapshot=snapshot,
            warn=_warn,
        )
        found = verify(output)
    lines = [summary(result)]
    lines += [
        f"package          {visible(str(output))}: {output.stat().st_size:,} bytes",
        f"                 SHA-256 {found.sha256}",
    ]
    if answers is not None and found.questionnaire is not None:
        missing = answers.unanswered(directory.settings.system)
        lines.append(f"questionnaire    score {100 * found.questionnaire:.3g} %")
        lines += [f"  no answer to {key}" for key in missing]
    if key is not None:
        lines.append(f"signature        {visible(str(sign(output, key)))}")
    if found.verified:
        lines.append("verified         every number in it follows from its records")
    else:
        faults = [f"  {fault.id}  {fault}" for fault in found.faults[:20]]
        lines += [f"NOT VERIFIED     {len(found.faults) + found.more_faults} fault(s)", *faults]
    status = ExitStatus.DONE if found.verified else ExitStatus.FAILED
    return CommandOutput("\n".join(lines) + "\n", status)


def check_not_running(directory: CampaignDirectory) -> CampaignSnapshot:
    """Read the journal; a running campaign, whose records still change, is refused with a NotFinishedError."""
    snapshot = read_snapshot(directory)
    state = snapshot.state
    if state.phase is Phase.RUNNING or state.live:
        raise NotFinishedError(
            f"{directory.path}: the campaign still runs: `aiperf-orch stop` ends it, or wait for its end"
        )
    return snapshot


def _keep_accounting(directory: CampaignDirectory, state: CampaignState) -> None:
    """Write the scheduler's accounting of the campaign's jobs, as long as it still has all of them."""
    settings = directory.settings
    placed = placement_settings(settings.scheduler, settings.campaign.concurrency) is not None
    jobs, began = _allocations(state) if placed else _attempts(state)
    if not jobs:
        return
    try:
        scheduler = make_scheduler(settings.scheduler)
        accounted = _accounted(scheduler, jobs, began, _remaining_lag(directory))
    except SchedulerUnreachableError as error:
        _warn_of_accounting(directory, str(error))
        return
    if accounted is None:
        return
    known = {job.name for job in accounted} & began
    if len(known) < len(began):  # with a part of the accounting the rest would count as faults
        _warn_of_accounting(
            directory, f"the accounting has records of {len(known)} of the campaign's {len(began)} jobs that ran"
        )
        return
    lines = [json.dumps({key: value for key, value in asdict(job).items() if value is not None}) for job in accounted]
    replace_file(directory.accounting, "".join(f"{line}\n" for line in lines).encode())


def _attempts(state: CampaignState) -> tuple[dict[str, str], set[str]]:
    """Job ids of all attempts by name, and the names of those that began."""
    attempts = [attempt for trial in state.trials.values() for attempt in trial.attempts]
    jobs = {attempt.name: attempt.job for attempt in attempts if attempt.job}
    # Slurm has no record of an array element that was cancelled while pending, and verify requires none of it
    began = {attempt.name for attempt in attempts if attempt.began or (attempt.end and attempt.end.first_begin)}
    return jobs, began & jobs.keys()


def _allocations(state: CampaignState) -> tuple[dict[str, str], set[str]]:
    """Job ids of all allocations by name, and the names of those on whose nodes an agent began."""
    jobs = {name: allocation.job for name, allocation in state.workforce.allocations.items() if allocation.job}
    began = {agent.record.allocation for agent in state.workforce.agents.values() if agent.record.allocation}
    return jobs, began & jobs.keys()


def _warn_of_accounting(directory: CampaignDirectory, reason: str) -> None:
    held = "the accounting of the last query" if directory.accounting.exists() else "no accounting"
    _warn(f"{reason}: the package holds {held}; package again when the scheduler has all of it")


def _warn(message: str) -> None:
    _log.warning("%s", message)


def _remaining_lag(directory: CampaignDirectory) -> float:
    """Seconds that the accounting may still need to record the campaign's last job."""
    ended = time.time() - directory.journal.stat().st_mtime
    return min(max(_ACCOUNTING_LAG - ended, 0.0), _ACCOUNTING_LAG)


def _accounted(
    scheduler: Scheduler, jobs: Mapping[str, str], began: AbstractSet[str], lag: float
) -> list[AccountedJob] | None:
    """Accounting of jobs, queried until it has the end of each job that began, for at most `lag` seconds."""
    deadline = time.monotonic() + lag
    reported = False
    while (known := scheduler.accounting(jobs)) is not None and time.monotonic() < deadline:
        ended = len(began & {job.name for job in known} - {job.name for job in known if not job.has_ended})
        if ended == len(began):
            break
        if not reported:
            _log.info("waiting for the accounting: it has the end of %d of %d jobs", ended, len(began))
            reported = True
        time.sleep(_QUERY_INTERVAL)
    return known
