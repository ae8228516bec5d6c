"""Duration of a proposal and memory of the search, by the number of earlier trials.

Networks are of ResNet-50's size and deeper; times are CPU times of one process on one core:

    python benchmarks/search.py [--history N ...] [--proposals N]
    python benchmarks/search.py --wave 4096 [--history N ...]   # proposals of one wave: no trial ends between them
    python benchmarks/search.py --restart [--history N ...]     # the search is rebuilt from a journal

A history consists of one to three random edits of one of the 128 trials before, or of the seed network if the limits
admit no more edits, with random errors. Each row is measured in its own process.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.journal import Journal, read_journal
from aiperf_orch.campaign.network_limits import seed_network
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.controller.search_adapter import SearchAdapter
from aiperf_orch.network import counts, morphisms
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.morphisms import MorphismLimits
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import AttemptEnd, AttemptRecord, Ended, ProposalRecord, Submitting
from aiperf_orch.records.operations import OperationsPerImage
from aiperf_orch.records.trial import Hyperparameters
from aiperf_orch.search import Search, make_search
from aiperf_orch.settings.models import SiteSettings

AT_ONCE = 64
KEPT = 128
SETTINGS = SiteSettings.model_validate({"campaign": {"concurrency": AT_ONCE}, "network": {"seed": "resnet50"}})

Past = tuple[int, ProposalRecord, float]


def history(trials: int) -> Iterator[Past]:
    """Trials as in a journal, with their errors."""
    generator = np.random.default_rng(0)
    recent: list[tuple[int, Graph]] = []
    for trial in range(trials):
        parent, edits, graph = None, [], seed_network(SETTINGS)
        if recent:
            parent, graph = recent[generator.integers(len(recent))]
            if not MorphismLimits(max_layers=280).admit(graph):
                parent, graph = None, seed_network(SETTINGS)
            for _ in range(generator.integers(1, 4)):
                edit = morphisms.random_edit(graph, int(generator.choice([3, 5, 7])), generator)
                assert edit is not None
                edits.append(edit)
                graph = morphisms.apply(graph, edit)
        recent = [*recent[-KEPT:], (trial, graph)]
        record = ProposalRecord(
            round=trial // AT_ONCE,
            parent=parent,
            edits=[edit.to_json() for edit in edits],
            network_hash=graph.hash,
            operations=OperationsPerImage.of(counts.count(graph)),
            hyperparameters=Hyperparameters(
                kernel_size=3, dropout=generator.uniform(0, 0.2), batch_size=int(generator.integers(32, 128))
            ),
        )
        yield trial, record, float(generator.random())


def record(search: Search, past: Past) -> None:
    """Record the start and end of a trial in a search."""
    trial, made, error = past
    edits = [morphisms.Edit.from_json(edit) for edit in made.edits]
    search.started(trial, made.parent, edits, made.hyperparameters, made.network_hash, made.operations.train)
    search.ended(trial, error, None)


def search_after(trials: int) -> tuple[Search, float]:
    """A search after a history, and its memory in MiB."""
    search = make_search(SETTINGS)
    made = list(history(min(trials, 4)))  # loads modules, which are not part of the memory of the search
    gc.collect()
    before = _resident()
    del made
    for past in history(trials):
        record(search, past)
    search.prepare()  # as after a rebuild
    gc.collect()
    return search, _resident() - before


def proposals(trials: int, number: int) -> None:
    """Print a row: milliseconds of proposals with one ended trial between them, and memory."""
    search, mebibytes = search_after(trials)
    seconds = []
    for trial in range(trials, trials + number):
        begun = time.process_time()
        made = search.propose(trial)
        seconds.append(time.process_time() - begun)
        train = counts.count(made.graph).train
        search.started(trial, made.parent, made.edits, made.hyperparameters, made.graph.hash, train)
        search.ended(trial, 0.5, None)
    first, *others = (1000 * each for each in seconds)
    median, most, longest = np.percentile(others, [50, 99, 100])
    print(f"{trials:>8}{first:>10.1f}{median:>10.1f}{most:>10.1f}{longest:>10.1f}{mebibytes:>10.0f}{_peak():>10.0f}")


def wave(trials: int, number: int) -> None:
    """Print a row: seconds of a wave."""
    search, _ = search_after(trials)
    hashes = set()
    begun = time.process_time()
    for trial in range(trials, trials + number):
        made = search.propose(trial)
        train = counts.count(made.graph).train
        search.started(trial, made.parent, made.edits, made.hyperparameters, made.graph.hash, train)
        hashes.add(made.graph.hash)
    print(f"{trials:>8}{number:>8}{len(hashes):>10}{time.process_time() - begun:>10.1f}")


def restart(trials: int) -> None:
    """Print a row: seconds to read a journal, to rebuild search and state, and for the first proposal."""
    search = make_search(SETTINGS)
    with tempfile.TemporaryDirectory() as scratch:
        directory = CampaignDirectory.create(Path(scratch) / "campaign", SETTINGS, {})
        journal = Journal(directory.journal, lambda: None, 0)
        begun: list[AttemptRecord] = []
        ended: list[AttemptEnd] = []
        for past in history(trials):
            trial, proposal, error = past
            name = directory.attempt_name(trial, 1)
            begun.append(AttemptRecord(trial=trial, attempt=1, name=name, spec_sha256="0" * 64, proposal=proposal))
            ended.append(
                AttemptEnd(
                    trial=trial,
                    attempt=1,
                    reason=EndReason.COMPLETED,
                    message="",
                    final=True,
                    epochs=1,
                    best_error=error,
                    best_epoch=1,
                )
            )
            record(search, past)
            if len(begun) == AT_ONCE or trial == trials - 1:
                journal.append(Submitting, attempts=begun)
                journal.append(Ended, attempts=ended)
                begun, ended = [], []
        journal.close()
        expected = search.propose(trials)
        start = time.process_time()
        entries = read_journal(directory.journal)
        read = time.process_time()
        proposer = SearchAdapter(directory, entries)
        rebuilt = time.process_time()
        state = CampaignState.of(entries)
        known = time.process_time()
        spec, _ = proposer.propose(trials, state)
        proposed = time.process_time()
    same = (spec.network_hash, spec.hyperparameters) == (expected.graph.hash, expected.hyperparameters)
    seconds = f"{read - start:>8.1f}{rebuilt - read:>10.1f}{known - rebuilt:>8.1f}{proposed - known:>10.3f}"
    print(f"{trials:>8}{seconds}{same!s:>10}{_peak():>10.0f}")


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--history", type=int, action="append", help="number of earlier trials; may be repeated")
    parser.add_argument(
        "--proposals", type=int, default=200, help="measured proposals per history (default: %(default)s)"
    )
    parser.add_argument("--wave", type=int, help="instead measure a wave of this size")
    parser.add_argument("--restart", action="store_true", help="instead rebuild the search from a journal")
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row is not None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        if arguments.wave:
            wave(arguments.row, arguments.wave)
        elif arguments.restart:
            restart(arguments.row)
        else:
            proposals(arguments.row, arguments.proposals)
        return
    if arguments.wave:
        print(f"{'history':>8}{'wave':>8}{'distinct':>10}{'seconds':>10}")
    elif arguments.restart:
        print(f"{'':>8}{'CPU seconds':^36}{'':>10}{'MiB of the':>12}")
        print(f"{'trials':>8}{'read':>8}{'rebuilt':>10}{'state':>8}{'proposal':>10}{'the same':>10}{'process':>10}")
    else:
        print(f"{'':>8}{'CPU ms per proposal':^40}{'MiB of the':^20}")
        print(f"{'history':>8}{'first':>10}{'median':>10}{'p99':>10}{'max':>10}{'search':>10}{'process':>10}")
    usual = [0, 10_000] if arguments.wave else [40_000] if arguments.restart else [10, 100, 1000, 10_000, 40_000]
    for size in arguments.history or usual:
        command = [sys.executable, __file__, "--row", str(size), "--proposals", str(arguments.proposals)]
        command += ["--wave", str(arguments.wave)] if arguments.wave else []
        subprocess.run([*command, *(["--restart"] if arguments.restart else [])], check=True)


if __name__ == "__main__":
    main()
