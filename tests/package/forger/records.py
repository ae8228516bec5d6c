"""The records of a package in parsed form, for changes, and the sealing of changed records.

Sealing makes hashes, the chain of the journal and the manifest right. Tables, system.json and the report are computed
again by `restate`, which takes a second and is only needed where nothing else gives a forgery away.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.public_settings import redacted_yaml
from aiperf_orch.package.packing import write_derived
from aiperf_orch.package.system_json import best_weights, system_description
from aiperf_orch.results.result import compute_result
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import AiperfError
from package_fixtures import TamperedPackage

Line = dict[str, Any]
_DERIVED = ("result.csv", "leaderboard.csv", "series.csv", "nodes.csv", "report.html")
ITEMS = ("attempts", "jobs", "agents", "allocations", "changes")
"""Keys of journal entries that hold lists of records."""


@dataclass
class Records:
    """Records of a package, which changes may edit in place.

    Attributes:
        config: content of campaign.yaml.
        journal: entries of the journal.
        events: lines of each events file, by its name without the folder.
        specs: specification of each trial.
        accounting: lines of accounting.jsonl; None where there is none.
        uncounted: number of lines of each events file that were written after the end of the attempt in the journal.
        top: name of the package's folder.
        manifest: content of manifest.json.
        files: all files of the package, as they were.
    """

    config: dict[str, Any]
    journal: list[Line]
    events: dict[str, list[Line]]
    specs: dict[int, Line]
    accounting: list[Line] | None
    uncounted: dict[str, int]
    top: str
    manifest: dict[str, Any]
    files: dict[str, bytes]

    @classmethod
    def read(cls, package: TamperedPackage) -> Self:
        """Parse the files of a package."""
        journal = package.lines("journal.jsonl")
        events = {
            name.removeprefix("events/"): package.lines(name) for name in package.files if name.startswith("events/")
        }
        records = cls(
            config=yaml.safe_load(package.files["campaign.yaml"]),
            journal=journal,
            events=events,
            specs={
                int(name[7:12]): json.loads(data) for name, data in package.files.items() if name.startswith("trials/")
            },
            accounting=package.lines("accounting.jsonl") if "accounting.jsonl" in package.files else None,
            uncounted={},
            top=package.top,
            manifest=package.manifest,
            files=package.files,
        )
        for end in records.items("ended"):
            for file in end["files"]:
                name = events_name(end["trial"], end["attempt"], file["run"])
                counted = package.files[f"events/{name}"][: file["size"]].count(b"\n")
                records.uncounted[name] = len(events[name]) - counted
        return records

    def copy(self) -> Records:
        """An independent copy."""
        copied: Records = pickle.loads(pickle.dumps(self))
        return copied

    def items(self, kind: str) -> Iterator[Line]:
        """The records in the journal entries of a type."""
        for entry in self.journal:
            if entry["type"] == kind:
                for key in ITEMS:
                    yield from entry.get(key, ())

    def begins(self) -> Iterator[Line]:
        """All begin lines."""
        for lines in self.events.values():
            yield from (line for line in lines if line["type"] == "begin")

    def epochs(self) -> Iterator[Line]:
        """All epoch lines."""
        for lines in self.events.values():
            yield from (line for line in lines if line["type"] == "epoch")

    def settings(self) -> SiteSettings | None:
        """The settings; None where they are not valid."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            (path / "campaign.yaml").write_bytes(self._config())
            try:
                return CampaignDirectory.open(path).config.settings
            except AiperfError:
                return None

    def _config(self) -> bytes:
        return redacted_yaml({**self.config, "salt": ""}).encode()

    # sealing

    def seal(self) -> TamperedPackage:
        """The package of these records, with its hashes, but with the tables that it had."""
        files = dict(self.files)
        for name in [name for name in files if name.startswith(("events/", "trials/"))]:
            del files[name]
        files["campaign.yaml"] = self._config()
        self.journal[0]["settings_sha256"] = hashlib.sha256(files["campaign.yaml"]).hexdigest()
        self._seal_specs(files)
        self._seal_events(files)
        files["journal.jsonl"] = self._chained()
        files.pop("accounting.jsonl", None)
        if self.accounting is not None:
            files["accounting.jsonl"] = b"".join(_line(line) + b"\n" for line in self.accounting)
        package = TamperedPackage.__new__(TamperedPackage)
        package.top, package.files, package.hashed = self.top, files, True
        package.manifest = {**self.manifest, "accounting": "accounting.jsonl" if self.accounting is not None else None}
        return package

    def _seal_specs(self, files: dict[str, bytes]) -> None:
        hashes = {}
        for trial, spec in self.specs.items():
            data = _line(spec) + b"\n"
            files[f"trials/{trial:05d}.json"] = data
            hashes[trial] = hashlib.sha256(data).hexdigest()
        for item in [*self.items("submitting"), *self.begins()]:
            item["spec_sha256"] = hashes.get(item["trial"], item["spec_sha256"])

    def _seal_events(self, files: dict[str, bytes]) -> None:
        for name, lines in self.events.items():
            files[f"events/{name}"] = b"".join(_line(line) + b"\n" for line in lines)
        for end in self.items("ended"):
            for file in end["files"] if isinstance(end["files"], list) else ():
                name = events_name(end["trial"], end["attempt"], file["run"])
                lines = self.events.get(name, [])
                counted = lines[: len(lines) - self.uncounted.get(name, 0)]
                data = b"".join(_line(line) + b"\n" for line in counted)
                file.update(size=len(data), sha256=hashlib.sha256(data).hexdigest())

    def _chained(self) -> bytes:
        last, lines = "0" * 64, []
        for number, entry in enumerate(self.journal):
            entry.update(seq=number, prev=last)
            line = _line(entry)
            last = hashlib.sha256(line).hexdigest()
            lines.append(line)
        return b"\n".join(lines) + b"\n"


def restate(package: TamperedPackage) -> None:
    """Replace tables, report, system.json and the manifest's contents by those that follow from the records."""
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "campaign"
        folder.mkdir(mode=0o700)
        for name, data in package.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        result = compute_result(CampaignDirectory.open(folder))
        write_derived(result)
        for name in _DERIVED:
            package.files[name] = (folder / name).read_bytes()
        package.files["system.json"] = json.dumps(system_description(result)).encode()
        package.manifest["best_weights"] = best_weights(result)


def events_name(trial: int, attempt: int, run: int) -> str:
    """Name of an events file."""
    return f"{trial:05d}-{attempt}.{run}.jsonl"


def _line(value: Line) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
