"""Fixtures of packages: a small campaign with true records, its package, and packages that were tampered with."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit
from aiperf_orch.network.seeds import small_residual
from aiperf_orch.network.tensors import TensorType, state_tensors
from aiperf_orch.package.packing import write_package
from aiperf_orch.records.journal import Finished, Opened
from aiperf_orch.results.report_data import report_data
from aiperf_orch.results.report_page import Chart, report_page
from aiperf_orch.results.result import compute_result
from aiperf_orch.results.tables import write_tables
from aiperf_orch.settings import loading
from aiperf_orch.settings.models import SiteSettings
from campaign_builder import CampaignBuilder

TRUE_SETTINGS: dict[str, Any] = {
    "system": {
        "name": "a test system",
        "submitter": "testers",
        "id": "test-1",
        "number_of_nodes": 2,
        "accelerators_per_node": 4,
        "accelerator_model_name": "T",
        "accelerator_peak_ops": 1e12,
    },
    "scheduler": {"setup": ["export TOKEN=hunter2hunter2"], "job_per_trial": True},
    "campaign": {"duration": "1h"},
    "network": {"max_layers": 60},
    "training": {"trainer": "simulated", "warmup_epochs": [3], "epochs": 3, "patience": 1, "patience_per_round": 0},
}


def build_true_campaign(path: Path, settings: Mapping[str, Any] = TRUE_SETTINGS) -> CampaignBuilder:
    """A campaign without trials, opened by a controller; its settings and records contain private values."""
    origins = {"campaign.duration": "/home/alice/site.yaml:3"}
    builder = CampaignBuilder(path, SiteSettings.model_validate(settings), origins=origins)
    builder.write(Opened, at=-4, host="login1.example.org", pid=4)
    return builder


def add_attempt(
    builder: CampaignBuilder,
    trial: int,
    attempt: int,
    at: float,
    wrong_images: Mapping[int, int],
    *,
    reason: str = "COMPLETED",
    with_weights: bool = False,
    **proposal: Any,
) -> None:
    """Add an attempt with epochs of 10 s each, on a host of its own, with a job script and a log.

    Args:
        builder: of the campaign.
        trial: number of the trial.
        attempt: number of the attempt.
        at: time of the begin line.
        wrong_images: epoch -> number of validation images that the network misclassified.
        reason: the end reason; after LOST the attempt is retried.
        with_weights: write the weights of the trial, zeros, whose hash the end line states.
        **proposal: parent and edits of a first attempt.
    """
    host, job = f"n{1 + trial % 2}.example.org", f"{100 + 10 * trial + attempt}.pbs1.example.org"
    builder.submit(trial, attempt, at=at - 2, job=job, **proposal)
    begin = builder.begin(
        at,
        trial,
        attempt,
        hosts=[host],
        precision="bf16",
        cores=2,
        clock_skew=0.01,
        versions={"torch": "2.11.0", "aiperf-orch": "0.1.0"},
    )
    validation_images = builder.images[1]
    epochs = [
        builder.epoch(
            epoch,
            at + 10 * index + 9.9,
            wrong / validation_images,
            trial,
            attempt,
            start=at + 10 * index + 0.1,
        )
        for index, (epoch, wrong) in enumerate(wrong_images.items())
    ]
    lost = reason == "LOST"
    weights = f"{trial}".encode()
    if with_weights:
        network = json.loads(builder.directory.spec(trial).read_bytes())["network"]
        weights = weights_file(state_tensors(Graph.from_json(network)))
        builder.directory.weights(trial).write_bytes(weights)
    builder.run(
        begin,
        epochs,
        at + 10 * len(epochs),
        reason=reason,
        final=not lost,
        weights_sha256=None if lost else hashlib.sha256(weights).hexdigest(),
        message="left the queue, /home/alice/log ends: TOKEN=hunter2hunter2: not found on n1" if lost else "",
    )
    script = f"#!/bin/bash\ncd {builder.path}\nexport TOKEN=hunter2hunter2\nexec python\n"
    builder.write_job(trial, attempt, script=script, log="TOKEN=hunter2hunter2\n")


def weights_file(tensors: Mapping[str, TensorType], **changes: Any) -> bytes:
    """A file of weights, all of them 0; `changes` are entries of its header by name, None leaves one out."""
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [end, end + tensor.size]}
        end += tensor.size
    header = {name: entry for name, entry in (header | changes).items() if entry is not None}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(end)


def add_trials(builder: CampaignBuilder, *, with_weights: bool = False) -> None:
    """Add four trials and the end: the seed network, a lost and retried trial, a child, and a child of that child.

    Args:
        builder: of the campaign.
        with_weights: write the weights of the best trial, the last one.
    """
    relu = next(layer.id for layer in small_residual().layers if layer.kind == "relu")
    add_attempt(builder, 0, 1, 0, {1: 72, 2: 36, 3: 18})
    add_attempt(builder, 1, 1, 40, {1: 60, 2: 50}, edits=[Edit("deeper", relu, kernel=5)], reason="LOST")
    add_attempt(builder, 1, 2, 80, {3: 30})
    add_attempt(builder, 2, 1, 120, {1: 9, 2: 40}, parent=0, edits=[Edit("wider", 1)], reason="EARLY_STOPPED")
    edits = [Edit("deeper", relu, kernel=3)]
    add_attempt(builder, 3, 1, 160, {1: 12, 2: 8, 3: 7}, parent=2, edits=edits, with_weights=with_weights)
    builder.write(Finished, at=3601, reason="its 1h are over", by_deadline=True)


class TamperedPackage:
    """The files of a package, for changes. `write` packs them again, with a manifest of the changed files.

    `journal`, `spec` and `events` change records and update what depends on them: the hash chain, and the hashes of
    events files and specifications. `restate` updates the tables.
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
        """Change the entries of the journal, then number and chain them again."""
        entries = self.lines("journal.jsonl")
        change(entries)
        last, lines = "0" * 64, []
        for number, entry in enumerate(entries):
            line = _line(entry | {"seq": number, "prev": last})
            last = hashlib.sha256(line).hexdigest()
            lines.append(line)
        self.files["journal.jsonl"] = b"\n".join(lines) + b"\n"

    def each(self, kind: str, change: Callable[[dict[str, Any]], Any]) -> None:
        """Change every attempt in the journal entries of a type."""

        def through(entries: list[dict[str, Any]]) -> None:
            for entry in entries:
                if entry["type"] == kind:
                    for item in entry.get("attempts", []):
                        change(item)

        self.journal(through)

    def events(self, name: str, change: Callable[[list[dict[str, Any]]], Any]) -> None:
        """Change the lines of an events file, and its size and hash in the journal."""
        lines = self.lines(f"events/{name}")
        change(lines)
        self.raw_events(name, b"".join(_line(line) + b"\n" for line in lines))

    def raw_events(self, name: str, data: bytes) -> None:
        """Replace an events file, and its size and hash in the journal."""
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
        """Replace the tables and the report by those that follow from the changed records."""
        folder.mkdir(mode=0o700)
        for name, data in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        result = compute_result(CampaignDirectory.open(folder))
        write_tables(result)
        for name in ("result.csv", "leaderboard.csv", "series.csv", "nodes.csv"):
            self.files[name] = (folder / name).read_bytes()
        self.files["report.html"] = report_page(report_data(result), _sketch).encode()

    def write(self, path: Path, *extra: tuple[tarfile.TarInfo, bytes]) -> Path:
        """Pack the files, followed by `extra` members."""
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


def _sketch(chart: Chart) -> Markup:
    """A chart without a curve, which takes no time to draw."""
    width, height = (f"{72 * inches:g}" for inches in chart.size)
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}"></svg>').format(width, height, chart.label)


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@pytest.fixture(scope="session")
def true_campaign(tmp_path_factory: pytest.TempPathFactory) -> CampaignDirectory:
    """A campaign with true records."""
    builder = build_true_campaign(tmp_path_factory.mktemp("true") / "campaign")
    add_trials(builder)
    return builder.directory


@pytest.fixture
def make_true(tmp_path: Path) -> Callable[..., CampaignBuilder]:
    """Builds campaigns with true records; `system__name="a"` changes a setting, `empty` omits the trials."""

    def build(name: str = "campaign", *, empty: bool = False, **changes: Any) -> CampaignBuilder:
        settings = {section: dict(keys) for section, keys in TRUE_SETTINGS.items()}
        for key, value in changes.items():
            section, _, field = key.partition("__")
            settings.setdefault(section, {})[field] = value
        if settings["scheduler"].get("kind", "local") != "local":
            settings["scheduler"].pop("job_per_trial", None)
        builder = build_true_campaign(tmp_path / name, settings)
        if not empty:
            add_trials(builder)
        return builder

    return build


@pytest.fixture(scope="session")
def true_package(true_campaign: CampaignDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of `true_campaign`."""
    path = tmp_path_factory.mktemp("packed") / "true.tar.gz"
    write_package(true_campaign, path, with_pseudonyms=False)
    return path


@pytest.fixture
def tampered(true_package: Path) -> TamperedPackage:
    """The files of `true_package`, for changes."""
    return TamperedPackage(true_package)


@pytest.fixture(scope="session")
def trained_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of a campaign as `true_campaign`, whose trials were trained."""
    folder = tmp_path_factory.mktemp("trained")
    settings = {**TRUE_SETTINGS, "training": {**TRUE_SETTINGS["training"], "trainer": "torch"}}
    builder = build_true_campaign(folder / "campaign", settings)
    add_trials(builder)
    write_package(builder.directory, folder / "trained.tar.gz", with_pseudonyms=False)
    return folder / "trained.tar.gz"


@pytest.fixture
def weighted_campaign(tmp_path: Path) -> CampaignDirectory:
    """A campaign as `true_campaign`, whose trials were trained, with the weights of the best one."""
    settings = {**TRUE_SETTINGS, "training": {**TRUE_SETTINGS["training"], "trainer": "torch"}}
    builder = build_true_campaign(tmp_path / "campaign", settings)
    add_trials(builder, with_weights=True)
    return builder.directory


@pytest.fixture
def weighted(weighted_campaign: CampaignDirectory, tmp_path: Path) -> TamperedPackage:
    """The files of the package of `weighted_campaign`, for changes."""
    write_package(weighted_campaign, tmp_path / "weighted.tar.gz", with_pseudonyms=False, with_weights=True)
    return TamperedPackage(tmp_path / "weighted.tar.gz")


@pytest.fixture
def trained(trained_package: Path) -> TamperedPackage:
    """The files of `trained_package`, for changes."""
    return TamperedPackage(trained_package)


@pytest.fixture
def earlier_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepts notes with HTML tags, which current site files refuse, and campaigns of earlier versions have."""
    monkeypatch.setattr(loading, "_unverifiable", lambda _settings: iter(()))
