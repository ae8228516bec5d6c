"""Readers of a campaign's files, of a site's and a committee's files, and of reports of nodes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from aiperf_orch.campaign import changed_settings, requests
from aiperf_orch.campaign.agent_files import GrowingFile, HeartbeatReader
from aiperf_orch.campaign.config import parse_config
from aiperf_orch.campaign.directory import read_spec
from aiperf_orch.campaign.events import RunEvents, TrialPlan, best_epoch, count_epochs
from aiperf_orch.campaign.journal import read_contents, read_journal
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.campaign.lock import read_holder
from aiperf_orch.campaign.plan_file import read_plan
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.commands import ops
from aiperf_orch.committee import smtp, website_folder
from aiperf_orch.committee.commitments import read_commitments
from aiperf_orch.committee.submission import read_submission
from aiperf_orch.committee.withdrawals import read_withdrawals
from aiperf_orch.doctor.node_findings import evaluate_nodes
from aiperf_orch.doctor.node_jobs import NodeResult
from aiperf_orch.doctor.probe_findings import evaluate_probe
from aiperf_orch.doctor.probe_job import ProbeOutcome
from aiperf_orch.network import counts
from aiperf_orch.package.questionnaire import read_questionnaire
from aiperf_orch.package.unreadable_files import likely_cause
from aiperf_orch.planning.bench_sample import read_bench, sample_of_bench
from aiperf_orch.records.agents import agent_line_adapter, order_adapter
from aiperf_orch.records.probe import NodeCheck, NodeReport
from aiperf_orch.settings.changes import parse_changes
from aiperf_orch.settings.loading import load_site
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.trial.data import packed
from aiperf_orch.trial.data.image_files import ImageFiles, Place
from aiperf_orch.trial.data.listing import Listing, list_tree
from aiperf_orch.trial.data.packed_check import verify_packed
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.util.errors import AiperfError
from fuzz import corpus
from fuzz.reader import Reader, of_file

_SITE: Final = SiteSettings.model_validate({})
_PLANNED_SITE: Final = SiteSettings.model_validate(
    {
        "scheduler": {"kind": "slurm", "gpus_per_node": 4, "nodes": 2},
        "data": {"name": "imagenet", "path": "/data"},
        "network": {"seed": "resnet50"},
    }
)


def rechained(data: bytes) -> bytes:
    """A journal whose lines that are JSON objects are numbered and chained again, as a forger would."""
    last = "0" * 64
    lines: list[bytes] = []
    for line in data.split(b"\n"):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            line = json.dumps(entry | {"seq": len(lines), "prev": last}).encode()
            last = hashlib.sha256(line).hexdigest()
            lines.append(line)
    return b"".join(line + b"\n" for line in lines)


def _state(path: Path) -> object:
    path.write_bytes(rechained(path.read_bytes()))
    state = CampaignState.of(read_journal(path))
    return state.phase, state.trials, state.live, state.ends


def _events(path: Path) -> object:
    directory = corpus.true_directory()
    spec, sha256 = read_spec(directory.spec(0))
    found = RunEvents(path, 0, 1, 0, TrialPlan(spec.operations, spec.epochs, sha256))
    found.poll()
    return best_epoch(count_epochs(found.epochs).values()), found.recorded()


def _in_campaign(place: Callable[[Layout], Path], read: Callable[[Layout], object]) -> Callable[[bytes], object]:
    """A reader of a file in a campaign directory."""
    layout = Layout(corpus.scratch("inputs") / "campaign")
    return of_file(str(place(layout)), lambda _: read(layout))


def _take_answer(layout: Layout) -> object:
    return requests.take_answer(layout, "0" * 16)


def _changed(layout: Layout) -> object:
    return changed_settings.settings_in_force(layout, _SITE)


def _assignments(data: bytes) -> object:
    return parse_changes(_SITE, data.decode(errors="replace").split("\n"), Path("/c"))


def _bench(path: Path) -> object:
    return sample_of_bench(path, read_bench(path), _PLANNED_SITE, slots=2, workers=4)


def _network(path: Path) -> object:
    return counts.count(ops.load(str(path)))


def _submission(path: Path) -> object:
    return read_submission(path), likely_cause(path)


def _website(path: Path) -> object:
    newest = path.parent / "history/2026-11-30/ranking.json"
    newest.parent.mkdir(parents=True, exist_ok=True)
    newest.write_bytes(corpus.ranking())
    return website_folder.open_website(path.parent).last


def _probe(data: bytes) -> object:
    report = NodeReport.model_validate_json(data.decode(errors="replace"), strict=True)
    return list(evaluate_probe(_PLANNED_SITE, ProbeOutcome("7", "hello", 1, 1.5, {0: report})))


def _node_check(data: bytes) -> object:
    check = NodeCheck.model_validate_json(data.decode(errors="replace"), strict=True)
    results = [NodeResult(f"n{number}", check) for number in range(4)]
    return list(evaluate_nodes(results, _PLANNED_SITE))


def _listing(data: bytes) -> object:
    listing = Listing.from_bytes(data)
    return list(listing.files()), listing.paths("train", np.arange(listing.images("train"))), listing.labels("val")


def _tree(data: bytes) -> object:
    """A tree of images with the paths of the lines of the input, which has the two folders of splits."""
    root = corpus.scratch("tree") / "images"
    shutil.rmtree(root, ignore_errors=True)
    for split in ("train", "val"):
        (root / split).mkdir(parents=True)
    for line in data.replace(b"\0", b"").split(b"\n")[:20]:
        parts = [part[:200] for part in line.split(b"/") if part not in (b"", b".", b"..")]
        path = Path(os.fsdecode(b"/".join([bytes(root), *parts[:3]])))
        with suppress(OSError):  # a file of the same name as a folder
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(line)
    return list(list_tree(root, 2).files())


def _image(path: Path) -> object:
    from aiperf_orch.trial.data.decoding import Decoder, DecodeRequest

    decoder = Decoder(bytes(path.parent), 8)
    indices, name = np.arange(1), path.name.encode()
    return [decoder[DecodeRequest([name], [Place(name)], indices, indices, seed)] for seed in (None, 7)]


def _packed(data: bytes) -> object:
    """A packed folder with this header: all images are read, and all is verified."""
    root = corpus.scratch("packed")
    (root / packed.HEADER).write_bytes(data)
    (root / packed.LISTING).write_bytes(corpus.LISTING)
    (root / packed.CRCS).write_bytes(corpus.PACKED_CRCS)
    for number, content in enumerate(corpus.SHARDS):
        (root / packed.shard_name(number)).write_bytes(content)
    folder = packed.open_packed(root)
    files = ImageFiles(bytes(root))
    for split in ("train", "val"):
        for place in folder.places(split, np.arange(folder.listing.images(split))):
            files.read(place)
    files.close()
    return verify_packed(root)


def _follow(adapter: Any) -> Callable[[Path], object]:
    return lambda path: GrowingFile(path, adapter).read_on()


_REFUSED: Final = (AiperfError, ValidationError)
"""What a caller of these readers catches."""

READERS: Final = (
    Reader("journal", of_file("journal.jsonl", read_contents), lambda: corpus.campaign_file("journal.jsonl")),
    Reader("journal, chained again", of_file("journal.jsonl", _state), lambda: corpus.packed_file("journal.jsonl")),
    Reader(
        "campaign.yaml",
        lambda data: parse_config(data, Path("campaign.yaml")),
        lambda: corpus.campaign_file("campaign.yaml"),
    ),
    Reader(
        "specification of a trial", of_file("00000.json", read_spec), lambda: corpus.campaign_file("trials/00000.json")
    ),
    Reader("events", of_file("00000-1.0.jsonl", _events), lambda: corpus.campaign_file("events/00000-1.0.jsonl")),
    Reader("log of an agent", of_file("agent.jsonl", _follow(agent_line_adapter)), lambda: (corpus.AGENT_LOG,)),
    Reader("orders for an agent", of_file("orders.jsonl", _follow(order_adapter)), lambda: (corpus.ORDERS,)),
    Reader("heartbeat", of_file("heartbeat", lambda path: HeartbeatReader(path).read()), lambda: (corpus.HEARTBEAT,)),
    Reader("lock", of_file("lock", read_holder), lambda: (corpus.LOCK,)),
    Reader(
        "request",
        _in_campaign(lambda layout: layout.request("0" * 16), requests.pending_requests),
        lambda: corpus.REQUESTS,
    ),
    Reader("answer", _in_campaign(lambda layout: layout.answer("0" * 16), _take_answer), lambda: (corpus.ANSWER,)),
    Reader(
        "changed settings", _in_campaign(lambda layout: layout.changed_settings, _changed), lambda: (corpus.CHANGED,)
    ),
    Reader("assignments of set", _assignments, lambda: (b"concurrency=3", b"campaign.max_trials=9\nduration=2h")),
    Reader("site file", of_file("site.yaml", load_site), corpus.sites),
    Reader("plan", of_file("plan.json", read_plan), lambda: (corpus.PLAN_FILE,)),
    Reader("output of bench-node", of_file("bench.json", _bench), lambda: (corpus.BENCH,)),
    Reader("network", of_file("network.json", _network), corpus.networks),
    Reader("questionnaire", of_file("questionnaire.yaml", read_questionnaire), lambda: (corpus.questionnaire(),)),
    Reader(
        "result.csv",
        of_file("result.csv", _submission),
        lambda: (corpus.result_csv(), *corpus.packed_file("result.csv")),
    ),
    Reader("list of withdrawals", of_file("withdrawals", read_withdrawals), lambda: (corpus.WITHDRAWALS,)),
    Reader("list of announcements", of_file("announced", read_commitments), lambda: (corpus.COMMITMENTS,)),
    Reader("state of a website", of_file("website/website.json", _website), lambda: (corpus.WEBSITE,)),
    Reader("ranking.json", of_file("ranking.json", website_folder._rows), lambda: (corpus.ranking(),)),
    Reader("login file", of_file("login", smtp._read_login), lambda: (corpus.LOGIN,)),
    Reader("report of the probe job", _probe, lambda: (corpus.PROBE,), _REFUSED),
    Reader("report of a node", _node_check, lambda: (corpus.NODE_CHECK,), _REFUSED),
    Reader("listing of images", _listing, lambda: (corpus.LISTING,), (ValueError,)),
    Reader("packed images", _packed, lambda: (corpus.PACKED,), (TrialFailedError,)),
    Reader(
        "tree of images",
        _tree,
        lambda: (b"train/ant/0.JPEG\nval/ant/1.png\ntrain/bee/2.JPEG\nval/bee/3.JPEG",),
        (TrialFailedError,),
        quick_runs=30,
    ),
    Reader(
        "image",
        of_file("image.JPEG", _image),
        lambda: (corpus.image("JPEG"), corpus.image("PNG")),
        (),
        loads_torch=True,
    ),
)
