"""A small campaign whose records are all true, its package, and a hand that changes packages and covers its traces."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.network import counts
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit, apply_all
from aiperf_orch.network.seeds import small_residual
from aiperf_orch.package.packing import write_package
from aiperf_orch.records.base import EndReason, OperationsPerImage
from aiperf_orch.records.events import Begin, End, Epoch
from aiperf_orch.records.journal import (
    AttemptEnd,
    AttemptRecord,
    Began,
    BeganRecord,
    Created,
    Ended,
    EventsFile,
    Finished,
    JobRecord,
    Opened,
    ProposalRecord,
    Submitted,
    Submitting,
)
from aiperf_orch.records.trial import Hyperparameters, TrialSpec
from aiperf_orch.results.tables import write_tables
from aiperf_orch.settings import loading
from aiperf_orch.settings.models import SiteSettings

_START = datetime.fromisoformat("2026-01-02T03:00:00+00:00")
_IMAGES = (1437, 360)
_SETTINGS: dict[str, Any] = {
    "system": {
        "name": "a test system",
        "submitter": "testers",
        "id": "test-1",
        "number_of_nodes": 2,
        "accelerators_per_node": 4,
        "accelerator_model_name": "T",
        "accelerator_peak_ops": 1e12,
    },
    "scheduler": {"setup": ["export TOKEN=hunter2hunter2"]},
    "campaign": {"duration": "1h"},
    "network": {"max_layers": 60},
    "training": {"trainer": "simulated", "warmup_epochs": [3], "epochs": 4},
}


class TrueCampaign:
    """A campaign as a controller and its trials would leave it. Times are seconds after its first begin."""

    def __init__(self, path: Path, settings: Mapping[str, Any] = _SETTINGS) -> None:
        origins = {"campaign.duration": "/home/alice/site.yaml:3"}
        self.directory = CampaignDirectory.create(path, SiteSettings.model_validate(settings), origins)
        self._graphs: dict[int, Graph] = {}
        self._errors: dict[int, float | None] = {}
        self._proposals: dict[int, tuple[ProposalRecord, str]] = {}
        self._last, self._number = "0" * 64, 0
        self.write(-5, Created, settings_sha256=self.directory.settings_sha256, version="0.1.0")
        self.write(-4, Opened, host="login1.example.org", pid=4)

    def write(self, at: float, kind: Any, **fields: Any) -> None:
        """Append an entry to the journal, at a time."""
        entry = kind(seq=self._number, time=_at(at), generation=1, prev=self._last, **fields)
        with self.directory.journal.open("a") as file:
            file.write(entry.to_line() + "\n")
        self._last, self._number = hashlib.sha256(entry.to_line().encode()).hexdigest(), self._number + 1

    def attempt(
        self,
        trial: int,
        attempt: int,
        at: float,
        wrong: Mapping[int, int],
        *,
        parent: int | None = None,
        edits: tuple[Edit, ...] = (),
        reason: EndReason = EndReason.COMPLETED,
        before: Mapping[int, int] | None = None,
    ) -> None:
        """A whole attempt: of each epoch how many images it got wrong; `before`, those of the attempts before it."""
        directory, ids = self.directory, {"trial": trial, "attempt": attempt}
        if attempt == 1:
            self._propose(trial, parent, edits)
        proposal, spec = self._proposals[trial]
        record = AttemptRecord(
            **ids,
            name=directory.attempt_name(trial, attempt),
            spec_sha256=spec,
            proposal=proposal if attempt == 1 else None,
        )
        host, job = f"n{1 + trial % 2}.example.org", f"{100 + 10 * trial + attempt}.pbs1.example.org"
        self.write(at - 2, Submitting, attempts=[record])
        self.write(at - 1, Submitted, jobs=[JobRecord(**ids, job=job)])
        begin = Begin(
            **ids, run=0, time=_at(at), hosts=[host], job=job, batch=32, spec_sha256=spec, trainer="simulated",
            device="simulated", precision="bf16", cores=2, inherited=parent is not None, clock_skew=0.01,
            versions={"torch": "2.11.0", "aiperf-orch": "0.1.0"},
        )  # fmt: skip
        epochs = [
            Epoch(
                **ids, run=0, epoch=epoch, start=_at(at + 10 * place + 0.1), end=_at(at + 10 * place + 9.9),
                train_images=_IMAGES[0], val_images=_IMAGES[1], loss=1.5, error=number / _IMAGES[1], batch=32,
                ops=proposal.operations.of_images(trained=_IMAGES[0], validated=_IMAGES[1]),
            )
            for place, (epoch, number) in enumerate(wrong.items())
        ]  # fmt: skip
        every = dict(before or {}) | dict(wrong)
        best = min(every, key=lambda epoch: (every[epoch], epoch))
        after = at + 10 * len(wrong)
        lost = reason is EndReason.LOST
        end = End(
            **ids, run=0, time=_at(after), reason=reason,
            **({} if lost else {"best_error": every[best] / _IMAGES[1], "best_epoch": best}),
            weights_sha256=None if lost else hashlib.sha256(f"{trial}".encode()).hexdigest(),
            message="left the queue, /home/alice/log ends: TOKEN=hunter2hunter2: not found on n1" if lost else "",
        )  # fmt: skip
        data = "".join(line.to_line() + "\n" for line in [begin, *epochs, end]).encode()
        directory.events(trial, attempt, 0).write_bytes(data)
        directory.job_folder(trial, attempt).mkdir()
        script = f"#!/bin/bash\ncd {directory.path}\nexport TOKEN=hunter2hunter2\nexec python\n"
        (directory.job_folder(trial, attempt) / "job.sh").write_text(script)
        (directory.job_folder(trial, attempt) / "log").write_text("TOKEN=hunter2hunter2\n")
        seen = BeganRecord(**ids, run=0, time=_at(at), hosts=[host], job=job)
        self.write(at + 0.5, Began, attempts=[seen])
        files = [EventsFile(run=0, size=len(data), sha256=hashlib.sha256(data).hexdigest())]
        ended = AttemptEnd(
            **ids, reason=reason, message=end.message, final=not lost, epochs=len(every),
            train_images=len(every) * _IMAGES[0], val_images=len(every) * _IMAGES[1],
            ops=len(every) * proposal.operations.of_images(trained=_IMAGES[0], validated=_IMAGES[1]),
            best_error=every[best] / _IMAGES[1], best_epoch=best, first_begin=_at(at),
            last_end=_at(after - 0.1), files=files,
        )  # fmt: skip
        self.write(after + 1, Ended, attempts=[ended])
        self._errors[trial] = None if lost else ended.best_error

    def at(self, seconds: float) -> datetime:
        """A time, in seconds after the first begin."""
        return _at(seconds)

    def propose(self, trial: int) -> None:
        """Propose a trial of the seed network."""
        self._propose(trial, None, ())

    def proposal(self, trial: int) -> tuple[ProposalRecord, str]:
        """What was proposed for a trial, and its specification's SHA-256."""
        return self._proposals[trial]

    def _propose(self, trial: int, parent: int | None, edits: tuple[Edit, ...]) -> None:
        start = small_residual() if parent is None else self._graphs[parent]
        graph = self._graphs[trial] = apply_all(start, edits)
        settings = self.directory.settings
        proposal = ProposalRecord(
            round=trial // settings.campaign.concurrency,
            parent=parent,
            edits=[edit.to_json() for edit in edits],
            network_hash=graph.hash,
            operations=OperationsPerImage.of(counts.count(graph)),
            hyperparameters=Hyperparameters(kernel_size=3, dropout=0.1, batch_size=32),
        )
        spec = TrialSpec(
            campaign=self.directory.config.tag,
            trial=trial,
            seed=7,
            parent_error=None if parent is None else self._errors[parent],
            epochs=settings.training.epochs_of_round(proposal.round),
            patience=settings.training.patience_of_round(proposal.round),
            data=settings.data,
            training=settings.training,
            network=graph.to_json(),
            **dict(proposal),
        )
        self._proposals[trial] = proposal, self.directory.write_spec(spec)


def _at(seconds: float) -> datetime:
    return _START + timedelta(seconds=seconds)


def fill(made: TrueCampaign) -> None:
    """Four trials: the seed network; one that was lost once; two children, of which the first has a child."""
    relu = next(layer.id for layer in small_residual().layers if layer.kind == "relu")
    made.attempt(0, 1, 0, {1: 72, 2: 36, 3: 18})
    made.attempt(1, 1, 40, {1: 60, 2: 50}, edits=(Edit("deeper", relu, kernel=5),), reason=EndReason.LOST)
    made.attempt(1, 2, 80, {3: 30}, before={1: 60, 2: 50})
    made.attempt(2, 1, 120, {1: 40, 2: 9}, parent=0, edits=(Edit("wider", 1),), reason=EndReason.EARLY_STOPPED)
    made.attempt(3, 1, 160, {1: 8, 2: 12, 3: 7}, parent=2, edits=(Edit("deeper", relu, kernel=3),))
    made.write(3601, Finished, reason="its 1h are over", by_deadline=True)


class Tampered:
    """The files of a package, to be changed. `write` packs them again, with a manifest that lists them as they are.

    Whoever changes records through `journal`, `spec` and `events` makes right what hangs on them: the chain, the hashes
    of events and specifications. `restate` makes the tables right, too.
    """

    def __init__(self, package: Path) -> None:
        with tarfile.open(package) as archive:
            members = [(info.name, archive.extractfile(info)) for info in archive]
            files = {name: file.read() for name, file in members if file is not None}
        self.top = next(iter(files)).partition("/")[0]
        self.files = {name.partition("/")[2]: data for name, data in files.items()}
        self.manifest: dict[str, Any] = json.loads(self.files.pop("manifest.json"))
        self.hashed = True

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The objects in a file of JSON lines."""
        return [json.loads(line) for line in self.files[name].splitlines()]

    def journal(self, change: Callable[[list[dict[str, Any]]], Any]) -> None:
        """Change the journal's lines; they are numbered and chained anew."""
        entries = self.lines("journal.jsonl")
        change(entries)
        last, lines = "0" * 64, []
        for number, entry in enumerate(entries):
            line = _line(entry | {"seq": number, "prev": last})
            last = hashlib.sha256(line).hexdigest()
            lines.append(line)
        self.files["journal.jsonl"] = b"\n".join(lines) + b"\n"

    def each(self, kind: str, change: Callable[[dict[str, Any]], Any]) -> None:
        """Change every object of the lists (attempts, jobs) in the journal's lines of a kind."""

        def through(entries: list[dict[str, Any]]) -> None:
            for entry in entries:
                if entry["type"] == kind:
                    for item in entry.get("attempts", []):
                        change(item)

        self.journal(through)

    def events(self, name: str, change: Callable[[list[dict[str, Any]]], Any]) -> None:
        """Change an events file's lines, and what the journal recorded of it."""
        lines = self.lines(f"events/{name}")
        change(lines)
        self.raw_events(name, b"".join(_line(line) + b"\n" for line in lines))

    def raw_events(self, name: str, data: bytes) -> None:
        """Replace an events file, and what the journal recorded of it."""
        self.files[f"events/{name}"] = data
        trial, attempt = int(name[:5]), int(name[6:].partition(".")[0])

        def record(item: dict[str, Any]) -> None:
            if (item["trial"], item["attempt"]) == (trial, attempt):
                item["files"] = [{"run": 0, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}]

        self.each("ended", record)

    def spec(self, trial: int, change: Callable[[dict[str, Any]], Any]) -> None:
        """Change a specification, and its hash in the journal and in the events."""
        name = f"trials/{trial:05d}.json"
        spec = json.loads(self.files[name])
        change(spec)
        self.files[name] = _line(spec) + b"\n"
        sha256 = hashlib.sha256(self.files[name]).hexdigest()
        self.each("submitting", lambda item: item.update(spec_sha256=sha256) if item["trial"] == trial else None)
        for events in [name for name in self.files if name.startswith(f"events/{trial:05d}-")]:
            self.events(events.removeprefix("events/"), lambda lines: lines[0].update(spec_sha256=sha256))

    def settings(self, was: str, now: str) -> None:
        """Change campaign.yaml, and its hash in the journal."""
        assert was in self.files["campaign.yaml"].decode()
        self.files["campaign.yaml"] = self.files["campaign.yaml"].decode().replace(was, now).encode()
        sha256 = hashlib.sha256(self.files["campaign.yaml"]).hexdigest()
        self.journal(lambda entries: entries[0].update(settings_sha256=sha256))

    def restate(self, folder: Path) -> None:
        """Make the tables right again: those that the changed records give."""
        from aiperf_orch.results.result import compute_result

        folder.mkdir(mode=0o700)
        for name, data in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        write_tables(compute_result(CampaignDirectory.open(folder)))
        for name in ("result.csv", "leaderboard.csv", "series.csv"):
            self.files[name] = (folder / name).read_bytes()

    def write(self, path: Path, *extra: tuple[tarfile.TarInfo, bytes]) -> Path:
        """Pack the files, and after them whatever else is given."""
        if self.hashed:
            self.manifest["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in self.files.items()}
        items = {"manifest.json": json.dumps(self.manifest).encode(), **self.files}
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for name, data in items.items():
                info = tarfile.TarInfo(f"{self.top}/{name}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            for info, data in extra:
                archive.addfile(info, io.BytesIO(data))
        path.write_bytes(gzip.compress(stream.getvalue(), compresslevel=1))
        return path


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@pytest.fixture(scope="session")
def true_settings() -> dict[str, Any]:
    """The settings of campaigns whose records are all true."""
    return {section: dict(keys) for section, keys in _SETTINGS.items()}


@pytest.fixture(scope="session")
def true_campaign_class() -> type[TrueCampaign]:
    """Makes such campaigns, without any trial yet."""
    return TrueCampaign


@pytest.fixture(scope="session")
def tampered_class() -> type[Tampered]:
    """Opens packages, to be changed."""
    return Tampered


@pytest.fixture(scope="session")
def true_campaign(tmp_path_factory: pytest.TempPathFactory) -> CampaignDirectory:
    """A campaign whose records are all true."""
    made = TrueCampaign(tmp_path_factory.mktemp("true") / "campaign")
    fill(made)
    return made.directory


@pytest.fixture
def make_true(tmp_path: Path) -> Callable[..., TrueCampaign]:
    """Makes campaigns whose records are all true; `system__name="a"` changes a setting, `empty` leaves the trials out."""

    def make(name: str = "campaign", *, empty: bool = False, **changes: Any) -> TrueCampaign:
        settings = {section: dict(keys) for section, keys in _SETTINGS.items()}
        for key, value in changes.items():
            section, _, field = key.partition("__")
            settings.setdefault(section, {})[field] = value
        made = TrueCampaign(tmp_path / name, settings)
        if not empty:
            fill(made)
        return made

    return make


@pytest.fixture(scope="session")
def true_package(true_campaign: CampaignDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its package."""
    path = tmp_path_factory.mktemp("packed") / "true.tar.gz"
    write_package(true_campaign, path, with_pseudonyms=False)
    return path


@pytest.fixture
def tampered(true_package: Path) -> Tampered:
    """Its files, to be changed."""
    return Tampered(true_package)


@pytest.fixture
def earlier_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Site files whose notes hold tags are refused today, but earlier campaigns have them."""
    monkeypatch.setattr(loading, "_unverifiable", lambda _settings: iter(()))
