"""Makes the package of a campaign: one deterministic .tar.gz that a committee can verify.

What leaves is first copied to a private folder, without what must not leave; tables and report are made there, from
the copied records alone, and from that folder the package is packed. The same records give the same bytes: names are
sorted, times and owners are nothing. Weights, logs, submitit's files and the lock stay where they are.
"""

from __future__ import annotations

import getpass
import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.disclosure import private_values, public_text, redacted
from aiperf_orch.campaign.events import best_epoch
from aiperf_orch.campaign.files import explained, read_whole_lines, replace_file
from aiperf_orch.campaign.journal import read_journal
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.campaign.reading import read_regular
from aiperf_orch.config_loading import parse_yaml
from aiperf_orch.errors import UsageError
from aiperf_orch.records import AttemptEnd, EventsFile
from aiperf_orch.results import rules
from aiperf_orch.results.package_reading import FORMAT, MANIFEST
from aiperf_orch.results.redaction import Redactor, pseudonyms, redact_journal, secrets_of
from aiperf_orch.results.report import write_report
from aiperf_orch.results.result import Result, compute
from aiperf_orch.results.tables import write_tables

_TEMPLATE_NOTE: Final = "# Rendered from a site's own template, which stays there. Its salted SHA-256 is"


def write_package(directory: CampaignDirectory, path: Path, *, with_pseudonyms: bool) -> Result:
    """Write a campaign's package; returns the result that it holds.

    Args:
        directory: a campaign that does not run at present.
        path: where the package goes, a .tar.gz.
        with_pseudonyms: hosts and users get pseudonyms.
    """
    with tempfile.TemporaryDirectory(prefix="aiperf-orch-") as scratch:
        folder = Path(scratch)
        with explained(folder):
            notes = _stage(directory, Layout(folder), with_pseudonyms=with_pseudonyms)
        result = compute(CampaignDirectory.open(folder))
        write_derived(result)
        _write(folder / "system.json", _json(system_description(result)))
        names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
        manifest = {
            "format": FORMAT,
            "campaign": directory.frozen.tag,
            "rules": {"version": rules.VERSION, "sha256": rules.RULE_SET.sha256},
            **notes,
            "best_weights": _best_weights(result),
            "files": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names},
        }
        _write(folder / MANIFEST, _json(manifest))
        replace_file(path, _packed(folder, [MANIFEST, *names], f"aiperf-{directory.frozen.tag}"))
    return replace(result, directory=directory)


def write_derived(result: Result) -> None:
    """Write what is computed from a campaign's records, into its directory."""
    write_tables(result)
    write_report(result)


def system_description(result: Result) -> dict[str, Any]:
    """The system as MLPerf's description names its fields, with what the trials said of their software."""
    system = result.directory.settings.system
    begins = [begin for trial in result.collected.trials for begin in trial.begins]
    described = system.model_dump(exclude={"id", "name"}, exclude_none=True)
    frameworks = sorted({f"PyTorch {begin.versions['torch']}" for begin in begins if "torch" in begin.versions})
    return {"system_name": system.name, "system_id": system.id, **described, "framework": ", ".join(frameworks)}


def _stage(directory: CampaignDirectory, there: Layout, *, with_pseudonyms: bool) -> dict[str, Any]:
    """Copy what of the campaign may leave; returns what the manifest says of how it was made."""
    entries, salt = read_journal(directory.journal), directory.frozen.salt
    if salt is None:
        raise UsageError(f"{directory.path}: was unpacked from a package; only the campaign itself can be packed")
    names: dict[str, str] = {}
    if with_pseudonyms:
        begins = (begin for trial in compute(directory).collected.trials for begin in trial.begins)
        names = pseudonyms(entries, begins, _users(directory))
    redactor = Redactor(salt, secrets_of(private_values(directory.settings)), names)
    frozen = parse_yaml(directory.frozen_settings.read_text(), str(directory.frozen_settings))[0]
    _write(there.frozen_settings, public_text(frozen).encode())
    for spec in _sorted(directory, "trials/[0-9]*.json"):
        _write(there.path / "trials" / spec.name, read_regular(spec))
    for events in _sorted(directory, "events/[0-9]*.jsonl"):
        _write(there.path / "events" / events.name, redactor.events(read_whole_lines(events)[0]))
    for script in _sorted(directory, "jobs/*/job.sh"):
        _write(there.path / "jobs" / script.parent.name / script.name, _script(script, directory, redactor))
    journal = read_whole_lines(directory.journal)[0]
    changed = redact_journal(entries, redactor, partial(_redacted_part, directory, there))
    rewritten = b"".join(entry.to_line().encode() + b"\n" for entry in changed or ())
    _write(there.journal, rewritten or journal)
    accounting = directory.accounting.exists()
    if accounting:
        text = read_whole_lines(directory.accounting)[0].decode(errors="replace")
        _write(there.accounting, redactor.text(text).encode())
    return {
        "pseudonyms": with_pseudonyms,
        "journal": "written anew, chain and all, without what stays at the site" if rewritten else "as it was written",
        "original_journal": redacted(hashlib.sha256(journal).hexdigest(), salt) if rewritten else None,
        "accounting": there.accounting.name if accounting else None,
    }


def _redacted_part(directory: CampaignDirectory, there: Layout, end: AttemptEnd, file: EventsFile) -> EventsFile:
    """What the part of an events file that counts is now: as many lines of the redacted one."""
    named = (end.trial, end.attempt, file.run)
    try:
        before, after = read_regular(directory.events(*named))[: file.size], read_regular(there.events(*named))
    except FileNotFoundError:
        return file  # it stays missing
    if after.startswith(before):
        return file
    part = b"".join(after.splitlines(keepends=True)[: before.count(b"\n")])
    return EventsFile(run=file.run, size=len(part), sha256=hashlib.sha256(part).hexdigest())


def _sorted(directory: CampaignDirectory, pattern: str) -> list[Path]:
    return sorted(directory.path.glob(pattern))


def _script(script: Path, directory: CampaignDirectory, redactor: Redactor) -> bytes:
    if directory.settings.scheduler.template:
        text = read_regular(script).decode(errors="replace")
        return f"{_TEMPLATE_NOTE} {redacted(text, redactor.salt)}.\n".encode()
    return redactor.text(read_regular(script).decode(errors="replace")).encode()


def _users(directory: CampaignDirectory) -> list[str]:
    """Names of whoever packs, and of the directory's owner."""
    found = [Path.home().name]
    for name in (getpass.getuser, directory.path.owner):
        with suppress(KeyError, OSError):  # an id that the system has no name for
            found.append(name())
    return [name for name in found if name]


def _best_weights(result: Result) -> dict[str, Any] | None:
    """The trial of the least error, and the hash of its weights as its end line states it."""
    best = best_epoch(result.collected.epochs)
    if best is None:
        return None
    ends = next(trial.ends for trial in result.collected.trials if trial.trial.trial == best.trial)
    hashes = [end.weights_sha256 for end in ends if end.weights_sha256]
    return {"trial": best.trial, "sha256": hashes[-1] if hashes else None}


def _packed(folder: Path, names: list[str], top: str) -> bytes:
    compressed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=compressed, mode="wb", compresslevel=9, filename="", mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name in names:
            data = (folder / name).read_bytes()
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size, info.mode = len(data), 0o644
            archive.addfile(info, io.BytesIO(data))
    return compressed.getvalue()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(data)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
