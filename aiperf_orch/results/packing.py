"""Makes the package of a campaign: one deterministic .tar.gz that a committee can verify.

The same records give the same bytes, whoever packs them and when: names are sorted, times and owners are nothing.
Weights, logs and submitit's files stay where they are.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.files import read_whole_lines, replace_file
from aiperf_orch.campaign.reading import read_regular
from aiperf_orch.results import rules
from aiperf_orch.results.package_reading import FORMAT, MANIFEST
from aiperf_orch.results.result import Result


def write_package(result: Result, path: Path) -> str:
    """Write a campaign's package; returns its SHA-256."""
    data = pack(result)
    replace_file(path, data)
    return hashlib.sha256(data).hexdigest()


def pack(result: Result) -> bytes:
    """The package's bytes. The tables in the campaign's directory must be those of this result."""
    directory = result.directory
    files = dict(_files(directory))
    files["system.json"] = _json(system_description(result))
    manifest = {
        "format": FORMAT,
        "campaign": directory.frozen.tag,
        "rules": rules.VERSION,
        "files": {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)},
    }
    compressed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=compressed, mode="wb", compresslevel=9, filename="", mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, data in [(MANIFEST, _json(manifest)), *sorted(files.items())]:
            info = tarfile.TarInfo(f"aiperf-{directory.frozen.tag}/{name}")
            info.size, info.mode = len(data), 0o644
            archive.addfile(info, io.BytesIO(data))
    return compressed.getvalue()


def system_description(result: Result) -> dict[str, Any]:
    """The system as MLPerf's description names its fields, with what the trials said of their software."""
    system = result.directory.settings.system
    begins = [begin for trial in result.collected.trials for begin in trial.begins]
    described = system.model_dump(exclude={"id", "name"}, exclude_none=True)
    frameworks = sorted({f"PyTorch {begin.versions['torch']}" for begin in begins if "torch" in begin.versions})
    return {"system_name": system.name, "system_id": system.id, **described, "framework": ", ".join(frameworks)}


def _files(directory: CampaignDirectory) -> Iterator[tuple[str, bytes]]:
    for path in (directory.frozen_settings, directory.leaderboard, directory.result, directory.series):
        yield path.name, read_regular(path)
    for path in [
        directory.journal,
        *(directory.path / "events").glob("*.jsonl"),
    ]:
        yield str(path.relative_to(directory.path)), read_whole_lines(path)[0]
    for path in [
        *(directory.path / "trials").glob("[0-9]*.json"),
        *(directory.path / "jobs").glob("*/job.sh"),
    ]:
        yield str(path.relative_to(directory.path)), read_regular(path)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
