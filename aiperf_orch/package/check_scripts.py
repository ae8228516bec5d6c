"""Check of batch scripts: each is of a job in the journal, and is the one that our templates give.

A script is rendered again where the controllers that may have submitted it had this version of aiperf-orch and these
templates, which the journal records. Text that redaction has replaced may stand for any text. Python, the campaign's
path, time limits, dependencies, excluded nodes, and cores and GPUs of a local job are those of the script itself.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiperf_orch
from aiperf_orch.campaign.layout import MEMBERS, Layout
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.package.pseudonyms import PSEUDONYM
from aiperf_orch.package.redaction import TEMPLATE_NOTE
from aiperf_orch.records.journal import Allocating, Began, Ended, Joined, Opened, SettingsChanged, Submitting
from aiperf_orch.schedulers.base import JobRequest, array_element
from aiperf_orch.schedulers.batch_scripts import local_script, pbs_script, slurm_script
from aiperf_orch.schedulers.script_rendering import scripts_sha256
from aiperf_orch.settings.allocation_job import allocation_job
from aiperf_orch.settings.schedulers import LocalSettings, PbsSettings, SchedulerSettings, SlurmSettings
from aiperf_orch.util.job_files import SUBMIT_MODULE

_SCRIPT: Final = re.compile(rf"{MEMBERS.jobs_folder}/([^/]+)/job\.sh")
_HASH: Final = r"'?sha256:[0-9a-f]{64}'?"
_AFTER_PYTHON: Final = f" -P -u -m {SUBMIT_MODULE}"
_LONGEST_PATH: Final = 8192  # characters, with quotes
_FOLDER: Final = re.compile(r"^(?:folder=|cd -- )(?!\"\$)(.+)$", re.MULTILINE)
_CAMPAIGN: Final = re.compile(r"^campaign=(.+)$", re.MULTILINE)
_ELEMENT: Final = re.compile(r"^    \[([0-9]{1,7})\]=(.+)$", re.MULTILINE)
_SETUP: Final = "the lines of scheduler.setup"
_VARIABLE: Final = tuple(
    (re.compile(pattern, re.MULTILINE), kept)
    for pattern, kept in (
        (r"^(#SBATCH --time=)(?:[0-9]+-)?[0-9]+:[0-9]{2}:[0-9]{2}$", r"\1"),
        (r"^#SBATCH --dependency=afterany:[^\s'\"]+\n", ""),
        (r"^#SBATCH --exclude=[^\s'\"]+\n", ""),
        (r"^(#PBS -l walltime=)[0-9]+:[0-9]{2}:[0-9]{2}$", r"\1"),
        (r"^#PBS -W depend=afterany:[^\s'\"]+\n", ""),
        (r"(\$\(date \+%s\) \+ )[0-9]+( \)\))", r"\1\2"),
        (r"( bound to )[0-9]+( core\(s\)\.)$", r"\1\2"),
        (r"^(export OMP_NUM_THREADS=)[0-9]+( MKL_NUM_THREADS=)[0-9]+$", r"\1\2"),
        (r"^(export (?:AIPERF_ORCH_ACCELERATORS=)?)(?:[0-9]+ )?(CUDA_VISIBLE_DEVICES=)[^\s'\"]+$", r"\1\2"),
        (r"^(exec taskset --cpu-list )[0-9]+(?:,[0-9]+)*", r"\1"),
    )
)
"""What differs between the jobs of one campaign, each with the part that is compared."""


@dataclass
class _Job:
    """A job that the journal has.

    Attributes:
        name: of the job, or of the array.
        is_allocation: whether it is an allocation.
        attempts: index in the array, or None, -> trial and attempt.
        writers: version and templates of each controller that may have submitted it.
        settings: settings of the scheduler with which it may have been submitted, without repetitions.
        waiting: attempts that have neither begun nor ended, or the allocation; a later controller may submit them.
        has_begun: whether any of it began, so that there was a script.
    """

    name: str
    is_allocation: bool = False
    attempts: dict[int | None, tuple[int, int]] = field(default_factory=dict)
    writers: set[tuple[str | None, str | None]] = field(default_factory=set)
    settings: list[SchedulerSettings] = field(default_factory=list)
    waiting: set[tuple[int, int] | str] = field(default_factory=set)
    has_begun: bool = False

    def add_settings(self, settings: SchedulerSettings) -> None:
        """It may have been submitted with these settings."""
        if settings not in self.settings:
            self.settings.append(settings)

    def begin(self, what: tuple[int, int] | str) -> None:
        """An attempt, or an agent of the allocation, has begun."""
        self.waiting.discard(what)
        self.has_begun = True


class _ScriptError(Exception):
    """The script is not the one that our templates give."""


def check_scripts(index: PackageIndex, manifest: Mapping[str, Any]) -> None:
    """Compare the scripts of a package with what our templates give.

    Args:
        index: of the package.
        manifest: of the package; empty when it cannot be read.
    """
    jobs = _jobs(index)
    scripts = {found[1]: name for name in index.package.hashes if (found := _SCRIPT.fullmatch(name))}
    ours = (aiperf_orch.__version__, scripts_sha256())
    known = {name for name, job in jobs.items() if job.writers == {ours}}
    mask = re.compile(f"{_HASH}|{PSEUDONYM}" if manifest.get("pseudonyms") else _HASH)
    masked = 0
    passed: dict[tuple[bool, tuple[int, ...], str], bool] = {}  # scripts that were compared, without names of jobs
    for name, file in sorted(scripts.items()):
        if name not in jobs:
            index.faults.add("script.unknown", file, "is the script of no job in the journal")
        elif name in known:
            text, job = index.package.read(file).decode(errors="replace"), jobs[name]
            form = (job.is_allocation, tuple(map(id, job.settings)), _without_names(text, name, job))
            try:
                if form not in passed:
                    passed[form] = _compare_with_any(text, name, job, mask)
                masked += passed[form]
            except _ScriptError as error:
                index.faults.add("script.text", file, str(error))
    where, remark = str(MEMBERS.jobs_folder), index.faults.remark
    if unchecked := len(scripts.keys() & jobs.keys() - known):
        why = "were not compared: another version of aiperf-orch, or one with other templates, may have rendered them"
        remark("script.unchecked", where, f"{unchecked} of {len(scripts)} scripts {why}")
    if masked:
        remark("script.masked", where, f"in {masked} scripts, redaction has replaced text of our templates")
    if missing := [name for name in known - scripts.keys() if jobs[name].has_begun]:
        remark("script.missing", where, f"the scripts of {len(missing)} jobs that began are not in the package")


def _jobs(index: PackageIndex) -> dict[str, _Job]:
    """The jobs of the journal, by the names of their folders."""
    jobs: dict[str, _Job] = {}
    of_attempt: dict[tuple[int, int], _Job] = {}
    writer: tuple[str | None, str | None] = (None, None)
    settings = index.directory.config.settings.scheduler

    def add(folder: str, job: _Job, what: tuple[int, int] | str) -> _Job:
        job = jobs.setdefault(folder, job)
        job.writers.add(writer)
        job.add_settings(settings)
        job.waiting.add(what)
        return job

    for entry in index.entries:
        match entry:
            case Opened():
                writer = (entry.version, entry.templates)
                for job in jobs.values():
                    if job.waiting:
                        job.writers.add(writer)
            case SettingsChanged():
                settings = index.settings_at(entry.seq + 1).scheduler
                for job in jobs.values():
                    if job.waiting:
                        job.add_settings(settings)
            case Submitting() if index.placement is None:
                for record in entry.attempts:
                    key, element = (record.trial, record.attempt), array_element(record.name)
                    folder = element[0] if element else MEMBERS.job_folder(*key).name
                    of_attempt[key] = add(folder, _Job(element[0] if element else record.name), key)
                    of_attempt[key].attempts[element[1] if element else None] = key
            case Allocating():
                for allocation in entry.allocations:
                    add(allocation.name, _Job(allocation.name, is_allocation=True), allocation.name)
            case Began():
                for began in entry.attempts:
                    if (began.trial, began.attempt) in of_attempt:
                        of_attempt[began.trial, began.attempt].begin((began.trial, began.attempt))
            case Ended():
                for ended in entry.attempts:
                    if (ended.trial, ended.attempt) in of_attempt:
                        of_attempt[ended.trial, ended.attempt].waiting.discard((ended.trial, ended.attempt))
            case Joined():
                for agent in entry.agents:
                    if agent.allocation in jobs:
                        jobs[agent.allocation].begin(agent.allocation)
    return jobs


def _compare_with_any(text: str, folder: str, job: _Job, mask: re.Pattern[str]) -> bool:
    """As `_compare`, with any of the settings with which a job may have been submitted."""
    for settings in job.settings[:-1]:
        with suppress(_ScriptError):
            return _compare(text, folder, job, settings, mask)
    return _compare(text, folder, job, job.settings[-1], mask)


def _compare(text: str, folder: str, job: _Job, settings: SchedulerSettings, mask: re.Pattern[str]) -> bool:
    """Compare a script with the one that is rendered again; returns whether redaction hides a part of the latter.

    Raises:
        _ScriptError: The script is not the one that our templates give.
    """
    if settings.template is not None:
        if not re.fullmatch(rf"{re.escape(TEMPLATE_NOTE)} sha256:[0-9a-f]{{64}}\.\n", text):
            raise _ScriptError("the settings have a template of the site, and this is not the note in its place")
        return False
    theirs = _without_variable_parts(text).split("\n")
    ours = _without_variable_parts(_rendered(text, folder, job, settings)).split("\n")
    hidden = False
    for their, own in _aligned(theirs, ours, mask):
        if their == own:
            continue
        # redaction may also have replaced what surrounds a variable number
        if not _may_be([_without_digits(piece) for piece in mask.split(their)], _without_digits(own)):
            raise _ScriptError(f"{their[:120]!r} stated; the template gives {own[:120]!r}")
        hidden = True
    return hidden


def _without_names(text: str, folder: str, job: _Job) -> str:
    """A script without what differs between jobs that are in no array, so that of many equal ones one is rendered."""
    if "\0" in text or not (None in job.attempts or job.is_allocation):
        return text
    return _without_variable_parts(text).replace(job.name, "\0name").replace(f"/{folder}", "\0folder")


def _rendered(text: str, folder: str, job: _Job, settings: SchedulerSettings) -> str:
    """The script that our templates give for a job; path and Python are those of the packed script."""
    before = text.partition(_AFTER_PYTHON)[0].rpartition("\n")[2]
    words = _words(before)
    changed: dict[str, Any] = {"python": words[-1] if words else None}
    if settings.setup:
        changed["setup"] = [_SETUP]
    settings = settings.model_copy(update=changed)
    requests = list(_requests(text, folder, job))
    match settings:
        case SlurmSettings() if job.is_allocation:
            return slurm_script(allocation_job(settings), "slurm_allocation.sh.j2", requests)
        case SlurmSettings():
            return slurm_script(settings, "slurm.sh.j2", requests)
        case PbsSettings() if job.is_allocation:
            return pbs_script(allocation_job(settings), "pbs_allocation.sh.j2", requests[0])
        case PbsSettings():
            return pbs_script(settings, "pbs.sh.j2", requests[0])
        case LocalSettings():
            template = "local_allocation.sh.j2" if job.is_allocation else "local.sh.j2"
            return local_script(settings, template, requests[0], ["0"], ["0"] if settings.gpus_per_trial else [])
        case _:
            raise _ScriptError("the scheduler of the settings runs no script")


def _requests(text: str, folder: str, job: _Job) -> Iterator[JobRequest]:
    """The requests of the script's job, or of the elements of its array, in the order of the script."""
    if None in job.attempts or job.is_allocation:
        yield _request(job.name, folder, _first(_FOLDER, text), text)
        return
    elements = _ELEMENT.findall(text)
    if not 0 < len(elements) <= len(job.attempts):
        raise _ScriptError(f"names {len(elements)} elements of its array, which has {len(job.attempts)}")
    for number, path in elements:
        if int(number) not in job.attempts:
            raise _ScriptError(f"element {number} of the array {job.name} is not in the journal")
        yield _request(f"{job.name}[{number}]", MEMBERS.job_folder(*job.attempts[int(number)]).name, path, text)


def _request(name: str, folder: str, written: str, text: str) -> JobRequest:
    """The request of a job whose script names this folder; the path of the campaign is that of the script."""
    inside = f"/{MEMBERS.jobs_folder}/{folder}"
    # redaction may have replaced `folder`, where a host has that name, or a part of the path
    paths = (_word(written) or "", f"{_word(_first(_CAMPAIGN, text)) or ''}{inside}")
    path = next(path for path in paths if path.endswith(inside))
    layout = Layout(Path(path.removesuffix(inside)))
    own = layout.jobs_folder / folder
    return JobRequest(name=name, folder=own, submit_folder=own, campaign=layout.path, command=())


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""


def _word(text: str) -> str | None:
    """The word of a shell's text; None if it is not one word."""
    words = _words(text)
    return words[0] if len(words) == 1 else None


def _words(text: str) -> list[str]:
    """The words of a shell's text; none if it has another form, or is longer than any path."""
    try:
        return shlex.split(text) if len(text) <= _LONGEST_PATH else []
    except ValueError:
        return []


def _without_digits(text: str) -> str:
    return re.sub(r"[0-9]+", "", text)


def _without_variable_parts(text: str) -> str:
    for pattern, kept in _VARIABLE:
        text = pattern.sub(kept, text, count=1)
    return text


def _aligned(theirs: Sequence[str], ours: Sequence[str], mask: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Pairs of lines; those of `setup` are left out, where redaction must have replaced each, however many they are.

    Raises:
        _ScriptError: There are other lines for them, or another number of lines.
    """
    places = ours.count(_SETUP)
    number, rest = divmod(len(theirs) - (len(ours) - places), places) if places else (0, len(theirs) - len(ours))
    if rest or number < 0:
        raise _ScriptError(f"has {len(theirs)} lines, and that of the template {len(ours)}")
    lines = iter(theirs)
    for own in ours:
        if own != _SETUP:
            yield next(lines), own
            continue
        for _ in range(number):
            line = next(lines).strip()
            if line and not mask.fullmatch(line):
                raise _ScriptError(f"{line[:120]!r}: a line of scheduler.setup that redaction has not replaced")


def _may_be(pieces: Sequence[str], text: str) -> bool:
    """Whether a text begins and ends with the first and the last piece, and has the others between them in order."""
    first, *middle = pieces
    if not middle or not text.startswith(first):
        return False
    *between, last = middle
    end = len(text) - len(last)
    position = len(first)
    for piece in between:
        found = text.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return position <= end and text.endswith(last)
