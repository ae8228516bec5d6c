"""Makes the package of a campaign: one deterministic .tar.gz that a committee can verify.

What leaves is read without what must not leave; tables and report are made in a private folder, from those records
alone, and packed with them. The same records give the same bytes: names are
sorted, times and owners are nothing. Weights, logs, submitit's files and the lock stay where they are.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import aiperf_orch
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import (
    file_exists,
    read_file,
    read_whole_lines,
    replace_file,
    translate_os_errors,
)
from aiperf_orch.campaign.format_versions import package_format
from aiperf_orch.campaign.journal import read_journal
from aiperf_orch.campaign.layout import MEMBERS, Layout
from aiperf_orch.campaign.public_settings import private_values, redacted, redacted_yaml
from aiperf_orch.campaign.safe_reading import RETRY_SECONDS
from aiperf_orch.package.pseudonyms import Pseudonyms
from aiperf_orch.package.reading import MANIFEST, SYSTEM
from aiperf_orch.package.redaction import Redactor, names_of, redact_journal, secrets_of
from aiperf_orch.package.system_json import best_weights, system_description
from aiperf_orch.records.journal import AttemptEnd, EventsFile
from aiperf_orch.results import rules
from aiperf_orch.results.report import write_report
from aiperf_orch.results.result import Result, compute_result
from aiperf_orch.results.tables import write_tables
from aiperf_orch.settings.yaml_text import parse_yaml
from aiperf_orch.util import users
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.temporary_folders import scratch_folder

_LEVEL: Final = 9  # of compression
_NAMING: Final = ("cluster", "partition", "qos", "queue", "constraint", "chunk", "place")
"""Settings of a scheduler, beside private ones, in which the name of a host or of the cluster can stand."""
_TEMPLATE_NOTE: Final = "# Rendered from a site's own template, which stays there. Its salted SHA-256 is"


@dataclass(frozen=True)
class _LeavingCampaign(CampaignDirectory):
    """A folder that stands for a campaign, with what of it may leave. The many files are read where they lie."""

    original: CampaignDirectory
    redactor: Redactor

    def read(self, path: Path, *, offset: int = 0) -> bytes:
        """A specification as it is, events without what must not leave."""
        data = self.original.read(self.original.path / path.relative_to(self.path))
        if path.parent == self.events_folder:
            data = self.redactor.events(data[: data.rfind(b"\n") + 1])  # a torn last line never was one
        return data[offset:]

    def events_on_disk(self) -> list[str]:
        """The campaign's."""
        return sorted(self.original.events_on_disk())


def write_package(
    directory: CampaignDirectory,
    path: Path,
    *,
    with_pseudonyms: bool,
    warn: Callable[[str], None] = lambda _: None,
) -> Result:
    """Write a campaign's package; returns the result that it holds.

    Args:
        directory: a campaign that does not run at present.
        path: where the package goes, a .tar.gz.
        with_pseudonyms: hosts and users get pseudonyms.
        warn: gets messages for people.
    """
    with scratch_folder() as folder:
        with translate_os_errors(folder):
            leaving, notes = _stage(directory, folder, with_pseudonyms=with_pseudonyms, warn=warn)
        result = compute_result(leaving)
        write_derived(result)
        (folder / SYSTEM).write_bytes(_json(system_description(result)))
        top = f"aiperf-{directory.config.tag}"
        with tempfile.TemporaryFile() as archive:
            hashes = _add(archive, top, _contents(leaving, result))
            manifest = {
                "format": package_format(),
                "versions": {"aiperf-orch": aiperf_orch.__version__},
                "campaign": directory.config.tag,
                "rules": {"version": rules.VERSION, "sha256": rules.RULE_SET.sha256},
                **notes,
                "best_weights": best_weights(result),
                "files": hashes,
            }
            replace_file(path, _packed(archive, top, _json(manifest)))
    return replace(result, directory=directory)


def write_derived(result: Result) -> None:
    """Write what is computed from a campaign's records, into its directory."""
    write_tables(result)
    write_report(result)


def _stage(
    directory: CampaignDirectory, folder: Path, *, with_pseudonyms: bool, warn: Callable[[str], None]
) -> tuple[_LeavingCampaign, dict[str, Any]]:
    """A campaign with what may leave, and what the manifest says of how it was made."""
    entries, salt = read_journal(directory.journal), directory.config.salt
    if salt is None:
        raise UsageError(f"{directory.path}: was unpacked from a package; only the campaign itself can be packed")
    names: Pseudonyms | None = None
    if with_pseudonyms:
        begins = (begin for trial in compute_result(directory).collected.trials for begin in trial.begins)
        names = names_of(entries, begins, _users(directory), directory.settings.scheduler)
    redactor = Redactor(salt, secrets_of(private_values(directory.settings)), names)
    there = Layout(folder)
    frozen = parse_yaml(read_file(directory.config_file).decode(), str(directory.config_file))[0]
    if names:
        frozen = _with_pseudonyms(frozen, names)
        for key, value in directory.settings.system.model_dump(exclude_none=True).items():
            if names.text(str(value)) != str(value):
                warn(f"system.{key}: names a host, a domain or a user, and is shown as it is: {value}")
    there.config_file.write_bytes(redacted_yaml(frozen).encode())
    opened = CampaignDirectory.open(folder)
    leaving = _LeavingCampaign(opened.path, opened.config, opened.settings_sha256, directory, redactor)
    journal = read_whole_lines(directory.journal)[0]
    changed = redact_journal(entries, redactor, partial(_redacted_part, leaving), opened.settings_sha256)
    rewritten = b"".join(entry.to_line().encode() + b"\n" for entry in changed or ())
    there.journal.write_bytes(rewritten or journal)
    accounting = file_exists(directory.accounting, retry_for=RETRY_SECONDS)
    if accounting:
        text = read_whole_lines(directory.accounting)[0].decode(errors="replace")
        there.accounting.write_bytes(
            "".join(f"{redactor.accounted(line)}\n" for line in text.split("\n")[:-1]).encode()
        )
    return leaving, {
        "pseudonyms": with_pseudonyms,
        "journal": "written anew, chain and all, without what stays at the site" if rewritten else "as it was written",
        "original_journal": redacted(hashlib.sha256(journal).hexdigest(), salt) if rewritten else None,
        "accounting": there.accounting.name if accounting else None,
    }


def _with_pseudonyms(frozen: Mapping[str, Any], names: Pseudonyms) -> dict[str, Any]:
    """The frozen settings with pseudonyms in those of the scheduler; what `system` says is meant to be read."""
    settings = dict(frozen["settings"])
    scheduler = dict(settings.get("scheduler") or {})
    scheduler |= {key: names.text(scheduler[key]) for key in _NAMING if isinstance(scheduler.get(key), str)}
    origins = {key: names.text(origin) for key, origin in frozen["origins"].items()}
    return dict(frozen) | {"settings": settings | {"scheduler": scheduler}, "origins": origins}


def _redacted_part(leaving: _LeavingCampaign, end: AttemptEnd, file: EventsFile) -> EventsFile:
    """What the part of an events file that counts is now: as many lines of the redacted one."""
    named = (end.trial, end.attempt, file.run)
    try:
        before = leaving.original.read(leaving.original.events(*named))[: file.size]
        after = leaving.read(leaving.events(*named))
    except FileNotFoundError:
        return file  # it stays missing
    if after.startswith(before):
        return file
    part = b"".join(line + b"\n" for line in after.split(b"\n")[: before.count(b"\n")])
    return EventsFile(run=file.run, size=len(part), sha256=hashlib.sha256(part).hexdigest())


def _contents(leaving: _LeavingCampaign, result: Result) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every file of the package but the manifest, in the order of their names."""
    names = {file.name for file in leaving.path.iterdir()}
    names |= {str(MEMBERS.events_folder / name) for name in leaving.events_on_disk()}
    names |= {str(MEMBERS.spec(trial)) for trial in result.state.trials}  # what was never submitted is none
    scripts = {
        str(MEMBERS.jobs_folder / script.parent.name / script.name): script for script in leaving.original.scripts()
    }
    for name in sorted(names | scripts.keys()):
        if name in scripts:
            yield name, _script(scripts[name], leaving.original, leaving.redactor)
        else:
            yield name, leaving.read(leaving.path / name) if "/" in name else (leaving.path / name).read_bytes()


def _script(script: Path, directory: CampaignDirectory, redactor: Redactor) -> bytes:
    if directory.settings.scheduler.template:
        text = read_file(script).decode(errors="replace")
        return f"{_TEMPLATE_NOTE} {redacted(text, redactor.salt)}.\n".encode()
    return redactor.text(read_file(script).decode(errors="replace")).encode()


def _users(directory: CampaignDirectory) -> list[str]:
    """Names of whoever packs, and of the directory's owner."""
    owner = users.user_name(directory.path.stat().st_uid)
    return [*users.user_identifiers(), *([owner] if owner else [])]


def _add(archive: IO[bytes], top: str, contents: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """Write files into an uncompressed archive, without its end; returns the SHA-256 of each."""
    hashes = {}
    for name, data in contents:
        info = tarfile.TarInfo(f"{top}/{name}")
        info.size, info.mode = len(data), 0o644
        archive.write(info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE))
        hashes[name] = hashlib.sha256(data).hexdigest()
    return hashes


def _packed(archive: IO[bytes], top: str, manifest: bytes) -> bytes:
    """The compressed archive with the manifest first: whoever reads it can check each file as it comes."""
    compressed = io.BytesIO()
    with gzip.GzipFile(fileobj=compressed, mode="wb", compresslevel=_LEVEL, filename="", mtime=0) as stream:
        first = io.BytesIO()
        _add(first, top, [(MANIFEST, manifest)])
        archive.seek(0)
        for part in (first.getvalue(), *iter(partial(archive.read, 1 << 20), b""), bytes(2 * tarfile.BLOCKSIZE)):
            stream.write(part)
    return compressed.getvalue()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
