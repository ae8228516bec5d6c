"""`package`: makes the one file that leaves the machine, and verifies it before anyone else does."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.consistency import JournalSnapshot, read_snapshot
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import replace_file
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.commands.score import summary
from aiperf_orch.schedulers.base import AccountedJob, Scheduler
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.util.errors import NotFinishedError, SchedulerUnreachableError, UsageError
from aiperf_orch.util.text import visible

_LAG: Final = 60.0  # seconds; Slurm's database learns of a job's start and end by turns of some seconds
_ASK_AGAIN: Final = 2.0  # seconds


def package(campaign_dir: Path, output: Path, key: Path | None, *, pseudonyms: bool) -> tuple[str, int]:
    """Make a campaign's package; returns what it holds, in words, and the exit status: 0 verified, 1 not.

    Raises:
        NotFinishedError: while the campaign runs.
        UsageError: when the output is no place for a package, or the key does not sign.
    """
    from aiperf_orch.package.packing import write_package
    from aiperf_orch.package.signature import sign, signature_of
    from aiperf_orch.package.verify import verify

    if not output.name.endswith(".tar.gz") or output.is_dir():
        raise UsageError(f"{output}: --output must name a file that ends with .tar.gz")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"{output}: there is no such directory")
    directory = CampaignDirectory.open(campaign_dir)
    if output.absolute().resolve().is_relative_to(directory.path.resolve()):
        raise UsageError(f"{output}: lies in the campaign's directory; give a place outside")
    snapshot = check_over(directory)
    _keep_accounting(directory, snapshot.state)
    signature_of(output).unlink(missing_ok=True)  # a signature of what was there before
    gc.disable()  # many small objects that all stay: looking for cycles among them takes a third of the time
    result = write_package(directory, output, with_pseudonyms=pseudonyms, snapshot=snapshot, warn=_say_warning)
    lines = [summary(result)]
    found = verify(output)
    lines += [
        f"package          {visible(str(output))}: {output.stat().st_size:,} bytes",
        f"                 SHA-256 {found.sha256}",
    ]
    if key is not None:
        lines.append(f"signature        {visible(str(sign(output, key)))}")
    if found.verified:
        lines.append("verified         every number in it follows from its records")
    else:
        faults = [f"  {fault.id}  {fault}" for fault in found.faults[:20]]
        lines += [f"NOT VERIFIED     {len(found.faults) + found.more_faults} fault(s)", *faults]
    return "\n".join(lines) + "\n", 0 if found.verified else 1


def check_over(directory: CampaignDirectory) -> JournalSnapshot:
    """Read the journal; a campaign that is still running raises NotFinishedError, since a package is final."""
    snapshot = read_snapshot(directory)
    state = snapshot.state
    if state.phase is Phase.RUNNING or state.live:
        raise NotFinishedError(
            f"{directory.path}: the campaign still runs: `aiperf-orch stop` ends it, or wait for its end"
        )
    return snapshot


def _keep_accounting(directory: CampaignDirectory, state: CampaignState) -> None:
    """Write down what the queue's own accounting says of the campaign's jobs, as long as it still knows all of them."""
    attempts = [attempt for trial in state.trials.values() for attempt in trial.attempts]
    jobs = {attempt.name: attempt.job for attempt in attempts if attempt.job}
    # Slurm has no account of array elements cancelled while pending; verify needs none of jobs that never began
    began = {attempt.name for attempt in attempts if attempt.began or (attempt.end and attempt.end.first_begin)}
    began &= jobs.keys()
    try:
        scheduler = make_scheduler(directory.settings.scheduler)
        accounted = _accounted(scheduler, jobs, began, _lag_left(directory)) if jobs else None
    except SchedulerUnreachableError as error:
        _warn(directory, str(error))
        return
    if accounted is None:
        return
    known = {job.name for job in accounted} & began
    if len(known) < len(began):  # half of an account would accuse the rest
        _warn(directory, f"the queue's accounting knows {len(known)} of the campaign's {len(began)} jobs that ran")
        return
    lines = [json.dumps({key: value for key, value in asdict(job).items() if value is not None}) for job in accounted]
    replace_file(directory.accounting, "".join(f"{line}\n" for line in lines).encode())


def _warn(directory: CampaignDirectory, why: str) -> None:
    held = "what it said when it was last asked" if directory.accounting.exists() else "none of the queue's accounting"
    print(f"warning: {why}: the package holds {held}; package again when it answers for all", file=sys.stderr)


def _say_warning(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr, flush=True)


def _lag_left(directory: CampaignDirectory) -> float:
    """Seconds that accounting may still need to learn of the campaign's last job; none when that ended long ago."""
    ended = time.time() - directory.journal.stat().st_mtime
    return min(max(_LAG - ended, 0.0), _LAG)


def _accounted(
    scheduler: Scheduler, jobs: Mapping[str, str], began: AbstractSet[str], lag: float
) -> list[AccountedJob] | None:
    """What accounting knows of jobs, as soon as that is the end of each that began, or at most `lag` seconds later."""
    deadline = time.monotonic() + lag
    told = False
    while (known := scheduler.accounting(jobs)) is not None and time.monotonic() < deadline:
        ended = len(began & {job.name for job in known} - {job.name for job in known if not job.has_ended})
        if ended == len(began):
            break
        if not told:
            print(
                f"waiting for the queue's accounting: it knows the end of {ended} of {len(began)} jobs", file=sys.stderr
            )
            told = True
        time.sleep(_ASK_AGAIN)
    return known
