"""Builder of campaigns: the files that a controller and its trials would have left.

Every test that needs a campaign without running one builds it here. By default the records are true: networks are those
that the edits make, operations are counted, sums are those of the epochs, and a package of the campaign verifies.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiperf_orch
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.events import best_epoch, count_epochs
from aiperf_orch.campaign.training_rules import trial_seed
from aiperf_orch.network import counts
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import Edit, apply_all
from aiperf_orch.network.seeds import SEEDS, small_residual
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import Begin, End, Epoch
from aiperf_orch.records.journal import (
    JOURNAL_FORMAT,
    AttemptEnd,
    AttemptRecord,
    Began,
    BeganRecord,
    Created,
    Ended,
    EventsFile,
    JobRecord,
    ProposalRecord,
    Submitted,
    Submitting,
)
from aiperf_orch.records.operations import OperationsPerImage
from aiperf_orch.records.trial import Hyperparameters, TrialSpec
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.dataset_catalogue import known_digest

START = datetime.fromisoformat("2026-01-02T03:00:00+00:00")
DIGITS_IMAGES = (1437, 360)
SMALL_IMAGES = (4, 10)
SMALL_OPERATIONS = OperationsPerImage(forward=10, train=30)
"""Numbers for manual arithmetic: with `SMALL_IMAGES`, an epoch has 4 x 30 + 10 x 10 = 220 operations."""
NO_SPECIFICATION = "0" * 64


class CampaignBuilder:
    """Writes a campaign's records, one call a record or one call an attempt. Times are seconds after `start`.

    A call that states no time uses that of the latest record.

    Args:
        path: the campaign directory to create.
        settings: of the site.
        origins: where each setting was given, by its key.
        start: the time of the first begin line.
        images: training and validation images of an epoch.
        operations: per image, of every network. By default they are counted, and specifications are written; with a
            value there are neither networks nor specifications.
    """

    def __init__(
        self,
        path: Path,
        settings: SiteSettings,
        *,
        origins: Mapping[str, str] | None = None,
        start: datetime = START,
        images: tuple[int, int] = DIGITS_IMAGES,
        operations: OperationsPerImage | None = None,
    ) -> None:
        self.directory = CampaignDirectory.create(path, settings, origins or {})
        self.path = self.directory.path
        self.site: Path | None = None  # the site file, if the settings are of one
        self.start = start
        self.images = images
        self.operations = operations
        self._trainer = settings.training.trainer
        self._latest = start - timedelta(seconds=5)
        self._written = 0, 0, "0" * 64  # size of the journal, its entries, and the hash of the last one
        self._graphs: dict[int, Graph] = {}
        self._proposals: dict[int, ProposalRecord] = {}
        self._specifications: dict[int, str] = {}
        self._jobs: dict[tuple[int, int], str] = {}
        self._hosts: dict[tuple[int, int], list[str]] = {}
        self._epochs: defaultdict[int, list[Epoch]] = defaultdict(list)
        self._begins: defaultdict[int, list[Begin]] = defaultdict(list)
        self._best_errors: dict[int, float | None] = {}
        self.write(
            Created,
            settings_sha256=self.directory.settings_sha256,
            version=aiperf_orch.__version__,
            format=JOURNAL_FORMAT,
        )

    def at(self, seconds: float) -> datetime:
        return self.start + timedelta(seconds=seconds)

    # the journal

    def write(self, kind: Any, *, at: float | None = None, **fields: Any) -> None:
        """Append an entry to the journal, chained to the one before it."""
        time = self._latest if at is None else self.at(at)
        self._latest = max(self._latest, time)
        journal = self.directory.journal
        size = journal.stat().st_size if journal.exists() else 0
        if size != self._written[0]:  # a controller or a test has written to the journal
            lines = journal.read_bytes().splitlines()
            self._written = size, len(lines), hashlib.sha256(lines[-1]).hexdigest()
        _, seq, last = self._written
        line = kind(seq=seq, time=time, generation=1, prev=last, **fields).to_line().encode()
        with journal.open("ab") as file:
            file.write(line + b"\n")
            self._written = file.tell(), seq + 1, hashlib.sha256(line).hexdigest()

    def journal_lines(self) -> list[str]:
        return self.directory.journal.read_text().splitlines()

    def submit(
        self, trial: int = 0, attempt: int = 1, *, at: float | None = None, job: str = "123", **proposal: Any
    ) -> None:
        """Journal an attempt as submitted; a first attempt with its proposal, which `propose` explains."""
        record = self.attempt_record(trial, attempt, **proposal)
        self.write(Submitting, at=at, attempts=[record])
        self._jobs[trial, attempt] = job
        self.write(Submitted, jobs=[JobRecord(trial=trial, attempt=attempt, job=job)])

    def attempt_record(self, trial: int, attempt: int = 1, **proposal: Any) -> AttemptRecord:
        """The record of an attempt in the journal's entry `submitting`."""
        if attempt == 1 and (trial not in self._proposals or proposal):
            self.propose(trial, **proposal)
        return AttemptRecord(
            trial=trial,
            attempt=attempt,
            name=self.directory.attempt_name(trial, attempt),
            spec_sha256=self.specification(trial),
            proposal=self._proposals[trial] if attempt == 1 else None,
        )

    def began(self, at: float = 0, trial: int = 0, attempt: int = 1, run: int = 0) -> None:
        """Journal an attempt as begun, half a second after its begin line."""
        record = self.began_record(at, trial, attempt, run)
        self._latest = max(self._latest, self.at(at + 0.5))
        self.write(Began, attempts=[record])

    def began_record(self, at: float, trial: int, attempt: int = 1, run: int = 0) -> BeganRecord:
        """The record of an attempt in the journal's entry `began`."""
        key = (trial, attempt)
        return BeganRecord(
            trial=trial,
            attempt=attempt,
            run=run,
            time=self.at(at),
            hosts=self._hosts.get(key, ["n1"]),
            job=self.job(*key),
        )

    def ended(
        self,
        trial: int = 0,
        attempt: int = 1,
        runs: int = 1,
        reason: str = "COMPLETED",
        *,
        at: float | None = None,
        **fields: Any,
    ) -> None:
        """Journal an attempt's end, with its events files as they are and the sums of the trial's epochs."""
        self.write(Ended, at=at, attempts=[self.end_record(trial, attempt, runs, reason, **fields)])

    def end_record(
        self, trial: int, attempt: int = 1, runs: int = 1, reason: str = "COMPLETED", **fields: Any
    ) -> AttemptEnd:
        """The record of an attempt in the journal's entry `ended`."""
        files = []
        for run in range(runs):
            path = self.directory.events(trial, attempt, run)
            data = path.read_bytes() if path.exists() else b""
            data = data[: data.rfind(b"\n") + 1]  # a torn line is not read
            files.append(EventsFile(run=run, size=len(data), sha256=hashlib.sha256(data).hexdigest()))
        begins = [begin for begin in self._begins[trial] if begin.attempt == attempt]
        epochs = [epoch for epoch in self._epochs[trial] if epoch.attempt <= attempt]
        earlier = {epoch.epoch for epoch in epochs if epoch.attempt < attempt}
        known: dict[str, Any] = {
            "message": "",
            "final": True,
            "files": files,
            "hosts": begins[-1].hosts if begins else [],
            "first_begin": min((begin.time for begin in begins), default=None),
            "progressed": bool({epoch.epoch for epoch in self._counted(epochs)} - earlier),
        }
        fields = known | self._sums(epochs) | fields
        end = AttemptEnd(trial=trial, attempt=attempt, reason=EndReason(reason), **fields)
        self._best_errors[trial] = end.best_error if end.final else None
        return end

    # proposals and specifications

    def propose(
        self,
        trial: int,
        *,
        parent: int | None = None,
        edits: Sequence[Any] = (),
        network: Graph | None = None,
        **changes: Any,
    ) -> None:
        """Propose a trial, and write its specification.

        Args:
            trial: its number.
            parent: the trial whose network the edits change; None is the seed network.
            edits: `Edit` objects, or JSON objects for the record. Without any, a descendant of the seed network has
                edits that no other trial has.
            network: the edited network, if the caller has it; it is not kept for children. None applies the edits.
            **changes: other fields of the proposal.
        """
        size: dict[str, Any] = {}
        if self.operations is None:
            if network is None:
                edits = edits or _edits_of(trial if parent is None else 0)
                network = apply_all(self._seed() if parent is None else self._graphs[parent], list(edits))
                self._graphs[trial] = network
            operations, network_hash = OperationsPerImage.of(counts.count(network)), network.hash
            size = {"layers": network.depth, "parameters": network.parameters}
            size["tensor_operations"] = OperationsPerImage.of(counts.count_tensor(network))
        else:
            operations, network_hash = self.operations, hashlib.sha256(str(trial).encode()).hexdigest()
        fields: dict[str, Any] = {
            "round": trial // self.directory.settings.campaign.concurrency,
            "parent": parent,
            "edits": [edit.to_json() if isinstance(edit, Edit) else edit for edit in edits],
            "network_hash": network_hash,
            "operations": operations,
            "hyperparameters": Hyperparameters(kernel_size=3, dropout=0.0, batch_size=32),
        }
        proposal = ProposalRecord(**fields | size | changes)
        self._proposals[trial] = proposal
        if network is not None:
            self._specifications[trial] = self.directory.write_spec(self._specify(trial, proposal, network))

    def proposal(self, trial: int) -> ProposalRecord:
        return self._proposals[trial]

    def specification(self, trial: int) -> str:
        """The SHA-256 of a trial's specification."""
        return self._specifications.get(trial, NO_SPECIFICATION)

    # events

    def begin(self, at: float = 0, trial: int = 0, attempt: int = 1, run: int = 0, **changes: Any) -> Begin:
        proposal = self._proposals.get(trial)
        fields: dict[str, Any] = {
            "trial": trial,
            "attempt": attempt,
            "run": run,
            "time": self.at(at),
            "hosts": ["n1"],
            "job": self.job(trial, attempt),
            "batch": 32,
            "spec_sha256": self.specification(trial),
            "trainer": self._trainer,
            "device": "simulated" if self._trainer == "simulated" else "an accelerator",
            "precision": "fp32",
            "cores": 1,
            "inherited": proposal is not None and proposal.parent is not None,
            "clock_skew": 0.0,
            "data_sha256": None if self._trainer == "simulated" else known_digest("digits", (8, 8, 1), 10),
            "versions": {} if self._trainer == "simulated" else {"aiperf-orch": "0.2.0", "torch": "2.11.0"},
        }
        begin = Begin(**fields | changes)
        self._hosts[trial, attempt] = list(begin.hosts)
        return begin

    def epoch(
        self,
        number: int,
        end: float,
        error: float = 0.5,
        trial: int = 0,
        attempt: int = 1,
        run: int = 0,
        start: float | None = None,
        train_images: int | None = None,
        val_images: int | None = None,
        operations: OperationsPerImage | None = None,
        batch: int = 32,
    ) -> Epoch:
        proposal = self._proposals.get(trial)
        operations = operations or (proposal.operations if proposal else self.operations)
        assert operations is not None, f"trial {trial} has no network: call `propose` first"
        train_images = self.images[0] if train_images is None else train_images
        val_images = self.images[1] if val_images is None else val_images
        return Epoch(
            trial=trial,
            attempt=attempt,
            run=run,
            epoch=number,
            start=self.at(end - 0.001 if start is None else start),
            end=self.at(end),
            train_images=train_images,
            val_images=val_images,
            loss=1.0 if self._trainer == "simulated" else 1.0 + trial + number / 64,  # no two trials have equal ones
            error=error,
            ops=operations.of_images(trained=train_images, validated=val_images),
            batch=batch,
        )

    def end(
        self, at: float, trial: int = 0, attempt: int = 1, run: int = 0, reason: str = "COMPLETED", **fields: Any
    ) -> End:
        return End(trial=trial, attempt=attempt, run=run, time=self.at(at), reason=EndReason(reason), **fields)

    def events(self, *lines: Any, trial: int = 0, attempt: int = 1, run: int = 0) -> Path:
        """Write an events file: events, texts (a newline is added) or bytes (unchanged)."""
        path = self.directory.events(trial, attempt, run)
        path.write_bytes(b"".join(_encode(line) for line in lines))
        self._epochs[trial] += [line for line in lines if isinstance(line, Epoch)]
        self._begins[trial] += [line for line in lines if isinstance(line, Begin)]
        times = [
            line.end if isinstance(line, Epoch) else line.time for line in lines if not isinstance(line, str | bytes)
        ]
        self._latest = max([self._latest, *times])
        return path

    def epochs(self, trial: int) -> list[Epoch]:
        """The epochs of a trial in the events files that were written."""
        return self._epochs[trial]

    # a whole attempt

    def trial(
        self,
        trial: int,
        ends: Sequence[tuple[float, float]],
        *,
        at: float = 0,
        reason: str = "COMPLETED",
        **begin: Any,
    ) -> None:
        """A trial of one attempt: for each epoch its end and its error; `begin` changes fields of the begin line."""
        self.submit(trial)
        epochs = [self.epoch(number, end, error, trial) for number, (end, error) in enumerate(ends, start=1)]
        self.run(self.begin(at, trial, **begin), epochs, ends[-1][0] if ends else at, reason=reason)

    def run(
        self,
        begin: Begin,
        epochs: Sequence[Epoch],
        end: float,
        *,
        reason: str = "COMPLETED",
        final: bool = True,
        **end_fields: Any,
    ) -> None:
        """The only run of a submitted attempt, from its begin line to its end in the journal one second after `end`."""
        trial, attempt = begin.trial, begin.attempt
        sums = self._sums([*self._epochs[trial], *epochs])
        best = {"best_error": sums["best_error"], "best_epoch": sums["best_epoch"]}
        line = self.end(end, trial, attempt, reason=reason, **best | end_fields)
        self.began((begin.time - self.start).total_seconds(), trial, attempt)
        self.events(begin, *epochs, line, trial=trial, attempt=attempt)
        self._latest = max(self._latest, self.at(end + 1))
        self.ended(trial, attempt, reason=reason, message=line.message, final=final, first_begin=begin.time)

    def job(self, trial: int, attempt: int) -> str:
        return self._jobs.get((trial, attempt), "123")

    def write_job(self, trial: int, attempt: int, *, script: str, log: str) -> None:
        """Write the folder of an attempt's job."""
        folder = self.directory.job_folder(trial, attempt)
        folder.mkdir()
        (folder / "job.sh").write_text(script)
        (folder / "log").write_text(log)

    def write_accounting(self, jobs: Iterable[Mapping[str, Any]]) -> None:
        """Write what the scheduler's accounting reports of the campaign's jobs."""
        self.directory.accounting.write_text("".join(json.dumps(job) + "\n" for job in jobs))

    def _seed(self) -> Graph:
        settings = self.directory.settings
        return SEEDS[settings.network.seed](settings.data.input_shape, settings.data.outputs)

    def _specify(self, trial: int, proposal: ProposalRecord, network: Graph) -> TrialSpec:
        settings = self.directory.settings
        return TrialSpec(
            campaign=self.directory.config.tag,
            trial=trial,
            seed=trial_seed(settings.campaign.seed, trial),
            parent_error=None if proposal.parent is None else self._best_errors[proposal.parent],
            epochs=settings.training.epochs_of_round(proposal.round),
            patience=settings.training.patience_of_round(proposal.round),
            data=settings.data.without_paths(),
            training=settings.training,
            network=network.to_json(),
            **{key: value for key, value in proposal if key in TrialSpec.model_fields},
        )

    def _sums(self, trained: Iterable[Epoch]) -> dict[str, Any]:
        """The sums of a trial's epochs that count, as the end of an attempt states them."""
        epochs = self._counted(trained)
        best = best_epoch(epochs)
        return {
            "epochs": len(epochs),
            "train_images": sum(epoch.train_images for epoch in epochs),
            "val_images": sum(epoch.val_images for epoch in epochs),
            "ops": sum(epoch.ops for epoch in epochs),
            "best_error": best.error if best else None,
            "best_epoch": best.epoch if best else None,
            "last_end": max((epoch.end for epoch in epochs), default=None),
        }

    def _counted(self, trained: Iterable[Epoch]) -> list[Epoch]:
        deadline = self.start + timedelta(seconds=self.directory.settings.campaign.duration)
        return list(count_epochs(trained, deadline).values())


def _edits_of(number: int) -> list[Edit]:
    """Edits of the seed network that depend on a number: none for 0."""
    relu = next(layer.id for layer in small_residual().layers if layer.kind == "relu")
    kernels: list[int] = []
    while number:
        number, digit = divmod(number - 1, 3)
        kernels.append((3, 5, 7)[digit])
    return [Edit("deeper", relu, kernel=kernel) for kernel in kernels]


def _encode(line: Any) -> bytes:
    if isinstance(line, bytes):
        return line
    return (line if isinstance(line, str) else line.to_line()).encode() + b"\n"
