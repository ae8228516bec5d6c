"""Packing of a campaign: one deterministic .tar.gz that a committee can verify.

Records are redacted when they are read; tables and report are computed in a private folder from the redacted records
only. The same records give the same bytes: members are sorted by name, without times and owners. The weights of the
lowest error are packed on request, unchanged, and a questionnaire, redacted; logs, other weights, files of submitit and
the lock are not packed.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import aiperf_orch
from aiperf_orch.campaign.commitment import SETTINGS_WITH_NAMES
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import file_exists, read_file, read_whole_lines, replace_file
from aiperf_orch.campaign.file_errors import translate_os_errors
from aiperf_orch.campaign.format_versions import package_format
from aiperf_orch.campaign.layout import MEMBERS, Layout
from aiperf_orch.campaign.public_settings import private_values, redacted, redacted_yaml
from aiperf_orch.campaign.safe_reading import RETRY_SECONDS
from aiperf_orch.campaign.snapshot import CampaignSnapshot, read_snapshot
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.package.pseudonyms import Pseudonyms
from aiperf_orch.package.questionnaire import Questionnaire
from aiperf_orch.package.reading import MANIFEST, MOST_WEIGHTS, QUESTIONNAIRE, SYSTEM
from aiperf_orch.package.recorded_error import recorded_error
from aiperf_orch.package.redaction import TEMPLATE_NOTE, Redactor, names_of, redact_journal, secrets_of
from aiperf_orch.package.system_json import best_weights, system_description
from aiperf_orch.records.journal import AttemptEnd, EventsFile
from aiperf_orch.records.meter import MeterFacts
from aiperf_orch.results.metered import read_meter
from aiperf_orch.results.report import write_report
from aiperf_orch.results.result import Result, result_of
from aiperf_orch.results.rules import rules_of
from aiperf_orch.results.tables import write_tables
from aiperf_orch.settings.yaml_text import parse_yaml
from aiperf_orch.util import users
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.progress import tracked
from aiperf_orch.util.temporary_folders import scratch_folder

_LEVEL: Final = 9  # of compression
_PIECE: Final = 1 << 20  # bytes


@dataclass(frozen=True)
class _RedactedCampaign(CampaignDirectory):
    """A folder with the redacted settings and journal of a campaign; other records are redacted when they are read."""

    original: CampaignDirectory
    redactor: Redactor

    def read(self, path: Path, *, offset: int = 0) -> bytes:
        """Read a specification unchanged, and an events file redacted."""
        data = self.original.read(self.original.path / path.relative_to(self.path))
        if path.parent == self.events_folder:
            data = self.redactor.events(data[: data.rfind(b"\n") + 1])  # without a torn last line
        return data[offset:]

    def events_on_disk(self) -> list[str]:
        """Names of the events files of the original campaign."""
        return sorted(self.original.events_on_disk())


def write_package(
    directory: CampaignDirectory,
    path: Path,
    *,
    with_pseudonyms: bool,
    with_weights: bool = False,
    questionnaire: Questionnaire | None = None,
    snapshot: CampaignSnapshot | None = None,
    warn: Callable[[str], None] = lambda _: None,
) -> Result:
    """Write the package of a campaign; returns the result that it contains.

    Args:
        directory: a campaign that is not running.
        path: of the package to write, a .tar.gz.
        with_pseudonyms: replace names of hosts and users by pseudonyms.
        with_weights: pack the weights of the lowest error, with which it can be measured again.
        questionnaire: the site's answers, which are packed, redacted; None packs none.
        snapshot: of the campaign's journal, if the caller has read it; None reads the journal.
        warn: receives warnings for the user.

    Raises:
        UsageError: when the weights are wanted, and are not those whose hash the records state, or when the
            questionnaire cannot be redacted.
    """
    if snapshot is None:
        snapshot = read_snapshot(directory)
    with scratch_folder() as folder:
        with translate_os_errors(folder):
            redacted_campaign, state, notes = _stage(
                directory, snapshot, folder, questionnaire, with_pseudonyms=with_pseudonyms, warn=warn
            )
        result = result_of(redacted_campaign, state)
        rules = rules_of(result)
        write_derived(result)
        (folder / SYSTEM).write_bytes(_json(system_description(result)))
        top = f"aiperf-{directory.config.tag}"
        with tempfile.TemporaryFile() as archive, tempfile.TemporaryFile() as packed:
            hashes = _add(archive, top, _contents(redacted_campaign, result))
            if with_weights:
                hashes |= _add_weights(archive, top, directory, result)
            manifest = {
                "format": package_format(),
                "versions": {"aiperf-orch": aiperf_orch.__version__},
                "campaign": directory.config.tag,
                "rules": {"version": rules.version, "sha256": rules.sha256},
                **notes,
                "best_weights": best_weights(result),
                "files": hashes,
            }
            _compress(archive, top, _json(manifest), packed)
            replace_file(path, packed)
    return replace(result, directory=directory)


def write_derived(result: Result) -> None:
    """Write tables and report into the directory of the result."""
    write_tables(result)
    write_report(result)


def _stage(
    directory: CampaignDirectory,
    snapshot: CampaignSnapshot,
    folder: Path,
    questionnaire: Questionnaire | None,
    *,
    with_pseudonyms: bool,
    warn: Callable[[str], None],
) -> tuple[_RedactedCampaign, CampaignState, dict[str, Any]]:
    """Write the redacted settings, journal, accounting and questionnaire into a folder.

    Returns:
        The redacted campaign, its state, and the entries of the manifest that describe the redaction.
    """
    salt = directory.config.salt
    if salt is None:
        raise UsageError(f"{directory.path}: was unpacked from a package; only the original campaign can be packed")
    names = _pseudonyms(directory, snapshot) if with_pseudonyms else None
    history = snapshot.state.settings_history(directory.config.settings)
    redactor = Redactor(salt, secrets_of(text for each in history for text in private_values(each)), names)
    layout = Layout(folder)
    frozen = parse_yaml(read_file(directory.config_file).decode(), str(directory.config_file))[0]
    if names:
        frozen = _with_pseudonyms(frozen, names)
        for key, value in directory.settings.system.model_dump(exclude_none=True).items():
            if names.text(str(value)) != str(value):
                warn(f"system.{key}: contains the name of a host, a domain or a user, and is packed unchanged: {value}")
    layout.config_file.write_bytes(redacted_yaml(frozen).encode())
    opened = CampaignDirectory.open(folder)
    campaign = _RedactedCampaign(
        opened.path,
        opened.config,
        opened.settings_sha256,
        opened.config.settings,
        original=directory,
        redactor=redactor,
    )
    journal = read_whole_lines(directory.journal)[0]
    entries = redact_journal(
        snapshot.journal.entries, redactor, partial(_redacted_part, campaign), opened.settings_sha256
    )
    rewritten = b"".join(entry.to_line().encode() + b"\n" for entry in entries or ())
    layout.journal.write_bytes(rewritten or journal)
    accounting = file_exists(directory.accounting, retry_for=RETRY_SECONDS)
    if accounting:
        text = read_whole_lines(directory.accounting)[0].decode(errors="replace")
        lines = [redactor.accounting_line(line) for line in text.split("\n")[:-1]]
        layout.accounting.write_bytes("".join(f"{line}\n" for line in lines).encode())
    meter = read_meter(directory)
    if meter:
        _stage_meter(meter[0], directory, layout, redactor, warn)
    if questionnaire:
        (folder / QUESTIONNAIRE).write_bytes(_redacted_answers(questionnaire, redactor, warn).to_yaml())
    state = snapshot.state if entries is None else CampaignState.of(entries)
    return (
        campaign,
        state,
        {
            "pseudonyms": with_pseudonyms,
            "journal": "rewritten with a new hash chain, without private values" if rewritten else "as it was written",
            "original_journal": redacted(hashlib.sha256(journal).hexdigest(), salt) if rewritten else None,
            "accounting": layout.accounting.name if accounting else None,
        },
    )


def _pseudonyms(directory: CampaignDirectory, snapshot: CampaignSnapshot) -> Pseudonyms:
    """Pseudonyms for all names in the records and settings of a campaign."""
    begins = (begin for trial in result_of(directory, snapshot.state).collected.trials for begin in trial.begins)
    history = snapshot.state.settings_history(directory.config.settings)
    return names_of(snapshot.journal.entries, begins, _users(directory), [each.scheduler for each in history])


def _with_pseudonyms(frozen: Mapping[str, Any], names: Pseudonyms) -> dict[str, Any]:
    """Replace names in the settings of the scheduler; the `system` section is published unchanged."""
    settings = dict(frozen["settings"])
    scheduler = dict(settings.get("scheduler") or {})
    scheduler |= {key: names.text(scheduler[key]) for key in SETTINGS_WITH_NAMES if isinstance(scheduler.get(key), str)}
    origins = {key: names.text(origin) for key, origin in frozen["origins"].items()}
    return dict(frozen) | {"settings": settings | {"scheduler": scheduler}, "origins": origins}


def _redacted_answers(questionnaire: Questionnaire, redactor: Redactor, warn: Callable[[str], None]) -> Questionnaire:
    shown = questionnaire.changed(redactor.text)
    for key, answer in shown.answers.items():
        if answer != questionnaire.answers[key]:
            warn(
                f"questionnaire, line {questionnaire.lines[key]}: {key}: contains a private setting, a secret, "
                f"or a name that has a pseudonym; it is packed as: {answer}"
            )
    return shown


def _stage_meter(
    facts: MeterFacts, directory: CampaignDirectory, layout: Layout, redactor: Redactor, warn: Callable[[str], None]
) -> None:
    """Write the readings of the meter, which have no names, and what the site states of it, redacted."""
    instrument = redactor.text(facts.instrument)
    if instrument != facts.instrument:
        warn(f"meter: the instrument contains a private setting, a secret, or a name; it is packed as: {instrument}")
    shown = facts.model_copy(update={"instrument": instrument})
    layout.meter_series.write_bytes(read_file(directory.meter_series))
    layout.meter_facts.write_bytes((shown.model_dump_json(indent=1) + "\n").encode())


def _redacted_part(campaign: _RedactedCampaign, end: AttemptEnd, file: EventsFile) -> EventsFile:
    """Size and SHA-256 of the redacted part of an events file that counts; it has as many lines as the original."""
    key = (end.trial, end.attempt, file.run)
    try:
        before = campaign.original.read(campaign.original.events(*key))[: file.size]
        after = campaign.read(campaign.events(*key))
    except FileNotFoundError:
        return file  # it is missing in the package, too
    if after.startswith(before):
        return file
    part = b"".join(line + b"\n" for line in after.split(b"\n")[: before.count(b"\n")])
    return EventsFile(run=file.run, size=len(part), sha256=hashlib.sha256(part).hexdigest())


def _contents(campaign: _RedactedCampaign, result: Result) -> Iterator[tuple[str, bytes]]:
    """Name and contents of every file of the package except the manifest, sorted by name."""
    names = {file.name for file in campaign.path.iterdir()}
    names |= {str(MEMBERS.events_folder / name) for name in campaign.events_on_disk()}
    names |= {str(MEMBERS.spec(trial)) for trial in result.state.trials}  # only of submitted trials
    scripts = {
        str(MEMBERS.jobs_folder / script.parent.name / script.name): script for script in campaign.original.scripts()
    }
    for name in tracked(sorted(names | scripts.keys()), "packing files"):
        if name in scripts:
            yield name, _script(scripts[name], campaign.original, campaign.redactor)
        elif "/" in name:
            yield name, campaign.read(campaign.path / name)
        else:
            yield name, (campaign.path / name).read_bytes()


def _script(script: Path, directory: CampaignDirectory, redactor: Redactor) -> bytes:
    if directory.settings.scheduler.template:
        text = read_file(script).decode(errors="replace")
        return f"{TEMPLATE_NOTE} {redacted(text, redactor.salt)}.\n".encode()
    return redactor.text(read_file(script).decode(errors="replace")).encode()


def _users(directory: CampaignDirectory) -> list[str]:
    """Names of the current user and of the owner of the campaign directory."""
    owner = users.user_name(directory.path.stat().st_uid)
    return [*users.user_identifiers(), *([owner] if owner else [])]


def _add(archive: IO[bytes], top: str, contents: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """Append files to an uncompressed archive, without its end marker; returns the SHA-256 of each."""
    hashes = {}
    for name, data in contents:
        archive.write(_header(top, name, len(data)) + data + bytes(-len(data) % tarfile.BLOCKSIZE))
        hashes[name] = hashlib.sha256(data).hexdigest()
    return hashes


def _header(top: str, name: str, size: int) -> bytes:
    info = tarfile.TarInfo(f"{top}/{name}")
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


def _add_weights(archive: IO[bytes], top: str, directory: CampaignDirectory, result: Result) -> dict[str, str]:
    """Append the weights of the lowest error, piece by piece; returns their SHA-256 by their name.

    Raises:
        UsageError: when there are none, or not those whose hash the end line of their trial states.
    """
    recorded = None if result.simulated else recorded_error(result)
    if recorded is None:
        raise UsageError(f"--weights: {directory.path} has no trained network; package it without --weights")
    path, sha256 = directory.weights(recorded.epoch.trial), recorded.weights_sha256
    lowest = f"the lowest error is of epoch {recorded.epoch.epoch} of trial {recorded.epoch.trial}"
    if sha256 is None:
        raise UsageError(f"--weights: {lowest}, and no end line states the hash of its weights; package without them")
    try:
        with translate_os_errors(path, passing=FileNotFoundError, action="read"):
            file = path.open("rb")
    except FileNotFoundError:
        raise UsageError(f"{path}: does not exist, and {lowest}; restore it, or package without --weights") from None
    digest = hashlib.sha256()
    with file:
        size = os.fstat(file.fileno()).st_size
        if size > MOST_WEIGHTS:
            raise UsageError(f"{path}: has {size} bytes; a package has at most {MOST_WEIGHTS} of weights")
        archive.write(_header(top, recorded.weights_name, size))
        for piece in iter(partial(file.read, _PIECE), b""):
            digest.update(piece)
            archive.write(piece)
    if digest.hexdigest() != sha256:
        raise UsageError(f"{path}: is not the file whose SHA-256 the end line of its trial states, and {lowest}")
    archive.write(bytes(-size % tarfile.BLOCKSIZE))
    return {recorded.weights_name: sha256}


def _compress(archive: IO[bytes], top: str, manifest: bytes, packed: IO[bytes]) -> None:
    """Compress the archive with the manifest as its first file, so that a reader can check the files in one pass."""
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=_LEVEL, filename="", mtime=0) as stream:
        first = io.BytesIO()
        _add(first, top, [(MANIFEST, manifest)])
        archive.seek(0)
        for part in (first.getvalue(), *iter(partial(archive.read, _PIECE), b""), bytes(2 * tarfile.BLOCKSIZE)):
            stream.write(part)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
