"""Seeds of the fuzzing: files that the package's own writers make of built campaigns, and recorded answers.

Answers of Slurm stand in `corpus/slurm`, those of PBS beside the tests of its parsers.
"""

from __future__ import annotations

import atexit
import csv
import hashlib
import io
import json
import shutil
import tempfile
import zlib
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any, Final

from aiperf_orch.campaign.changed_settings import SettingsInForce
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.lock import Holder
from aiperf_orch.package.packing import write_package
from aiperf_orch.package.questionnaire import QUESTIONS, form
from aiperf_orch.records.agents import AgentBegin, AgentEnd, Dismiss, Exited, Heartbeat, Place, Started, Stop
from aiperf_orch.records.base import Record
from aiperf_orch.records.evaluation import Evaluation
from aiperf_orch.records.probe import (
    DiskReport,
    LoadingReport,
    NodeCheck,
    NodeReport,
    PeerReport,
    ProbeStep,
    TrainingReport,
)
from aiperf_orch.records.requests import Answer, DrainRequest, SetRequest
from aiperf_orch.trial.data.listing import Listing
from aiperf_orch.trial.data.packed import PackedHeader, Shard
from committee.result_rows import cells
from package_fixtures import TRUE_SETTINGS, TamperedPackage, add_trials, build_true_campaign
from placed_fixtures import HISTORY, add_history, build_placed_campaign
from plan_example import PLAN

_TESTS: Final = Path(__file__).parents[1]
_TIME: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def slurm(name: str) -> tuple[bytes, ...]:
    """A recorded answer of Slurm, an empty one, and the same with a banner before it."""
    answer = (_TESTS / "fuzz/corpus/slurm" / f"{name}.txt").read_bytes()
    return answer, b"", b"Welcome to lab!\n" + answer


def pbs(name: str) -> tuple[bytes, ...]:
    """Recorded answers of PBS, by a pattern."""
    return tuple(path.read_bytes() for path in sorted((_TESTS / "schedulers").glob(name)))


@cache
def packages() -> tuple[Path, ...]:
    """The packages of a campaign of jobs and of one on agents; they live as long as the process."""
    folder = _folder()
    made = build_true_campaign(folder / "true")
    add_trials(made)
    training = TRUE_SETTINGS["training"] | {"warmup_epochs": [2]}
    placed = build_placed_campaign(folder / "placed", training=training, campaign=HISTORY)
    add_history(placed)
    for directory in (made.directory, placed.directory):
        write_package(directory, folder / f"{directory.path.name}.tar.gz", with_pseudonyms=False)
    return folder / "true.tar.gz", folder / "placed.tar.gz"


@cache
def unpacked() -> tuple[TamperedPackage, ...]:
    """The files of these packages."""
    return tuple(map(TamperedPackage, packages()))


def packed_file(name: str) -> tuple[bytes, ...]:
    """A file of these packages, where they have it."""
    return tuple(each.files[name] for each in unpacked() if name in each.files)


def true_directory() -> CampaignDirectory:
    """The campaign of jobs."""
    return CampaignDirectory.open(packages()[0].with_name("true"))


def campaign_file(name: str) -> tuple[bytes, ...]:
    """A file of the campaign of jobs as its writers left it."""
    return ((true_directory().path / name).read_bytes(),)


def _lines(*records: Record) -> bytes:
    return b"".join(record.to_line().encode() + b"\n" for record in records)


AGENT_LOG: Final = _lines(
    AgentBegin(agent="n1.1", allocation="qk3f9-a00001", job="7", host="n1", boot="b", pid=7, started=1, slots=2,
               cores=4, gpus=0, core_ids=[0, 1], ends_at=_TIME, time=_TIME, version="0.2.0", predecessor="n1.2"),
    Started(name="qk3f9-00000-01", slot=0, pid=8, time=_TIME),
    Exited(name="qk3f9-00000-01", status=1, message="died", time=_TIME),
    AgentEnd(reason="time limit", time=_TIME),
)  # fmt: skip
ORDERS: Final = _lines(
    Place(seq=0, generation=1, time=_TIME, name="qk3f9-00000-01", command=["python"], folder="/c/jobs/0",
          spec="/c/trials/0.json", spec_sha256="0" * 64, agents=["n1.1"], hosts=["n1"], at_once=2),
    Stop(seq=1, generation=1, time=_TIME, name="qk3f9-00000-01", force=True),
    Dismiss(seq=2, generation=1, time=_TIME, reason="over"),
)  # fmt: skip
HEARTBEAT: Final = _lines(Heartbeat(count=7, time=_TIME, generation=1))
LOCK: Final = _lines(Holder(host="login1", boot="b", pid=7, started=1, generation=1, time=_TIME))
REQUESTS: Final = (
    _lines(DrainRequest(id="0" * 16, user="me", host="login1", time=_TIME, nodes=["n1"], now=True)),
    _lines(SetRequest(id="0" * 16, user="me", host="login1", time=_TIME, changes={"campaign.concurrency": 3})),
)
ANSWER: Final = _lines(Answer(id="0" * 16, accepted=True, message="done", time=_TIME))
CHANGED: Final = _lines(SettingsInForce(changes={"campaign.concurrency": 3, "campaign.max_trials": 9}))
PLAN_FILE: Final = PLAN.to_line().encode()
EVALUATION: Final = _lines(Evaluation(images=10, wrong_images=3, device="cpu", precision="fp32"))
BENCH: Final = json.dumps(
    {
        "host": "n1",
        "device": "an accelerator",
        "data": {"name": "imagenet", "image_size": 224, "images_per_second": 4000.0},
        "training": {"image_size": 224, "precision": "bf16", "batch": 448, "images_per_second": 2e3, "ops": 1e13},
        "missing": {},
        "limit": "training",
    }
).encode()
_REPORT: Final = NodeReport(
    rank=0, host="n1", job="7", greeting="hello", answered=0.1, clock_skew=0.0, cores=4, python="3.11.7",
    versions={"torch": "2.11"}, package=ProbeStep(seconds=0.4), visible_gpus="0,1", driver_gpus=["GPU 0"],
    loading=LoadingReport(torch=ProbeStep(seconds=3.0), data=ProbeStep(seconds=0.1), gpus=["Big GPU"]),
)  # fmt: skip
PROBE: Final = _REPORT.to_line().encode()
NODE_CHECK: Final = (
    NodeCheck(
        host="n1",
        report=_REPORT,
        disk=DiskReport(path="/tmp", free=2**31),
        products_per_second=5000.0,
        training=TrainingReport(first_step=9.0, steps_per_second=2.0),
        peers=[PeerReport(host="n9", seconds=0.1)],
    )
    .to_line()
    .encode()
)
LISTING: Final = Listing(b"train/ant/0.JPEG 10\nval/ant/0.JPEG 12\n", ["ant"], {"train": [1], "val": [1]}).to_bytes()
SHARDS: Final = (b"0123456789", b"0123456789ab")
PACKED_CRCS: Final = b"".join(zlib.crc32(image).to_bytes(4, "little") for image in SHARDS)
PACKED: Final = (
    PackedHeader(
        listing_sha256=Listing.from_bytes(LISTING).digest,
        crc32_sha256=hashlib.sha256(PACKED_CRCS).hexdigest(),
        shards=[Shard(images=1, bytes=len(image), sha256=hashlib.sha256(image).hexdigest()) for image in SHARDS],
    )
    .model_dump_json()
    .encode()
)
COMMITMENTS: Final = f"# of 2026\n{'0' * 64}, A Site, Town , 2026-11-30\n{'1' * 64},x,2026-12-01\n".encode()
WITHDRAWALS: Final = f"# of 2026\nabcde copied from another site\n{'0' * 64}, wrong machine\n".encode()
WEBSITE: Final = b'{"format": 1, "version": "0.2.0", "lists": ["2026-11-30"]}\n'
LOGIN: Final = b"me\nhunter2hunter2\n"


def result_csv() -> bytes:
    """A result.csv that can be ranked."""
    row, text = cells(), io.StringIO()
    writer = csv.DictWriter(text, list(row), lineterminator="\n")
    writer.writeheader()
    writer.writerow(row)
    return text.getvalue().encode()


def ranking() -> bytes:
    """A list of a website."""
    row: dict[str, Any] = dict.fromkeys(("division", "signed_by", "commitment"))
    row |= {"place": 1, "status": "ranked", "system": "a", "submitter": "b", "score": 1e12, "file": "a.tar.gz"}
    return json.dumps([row | {"settings_sha256": "0" * 64, "package_sha256": "1" * 64}]).encode()


def questionnaire() -> bytes:
    """A questionnaire in which every question has an answer."""
    answers, text = {str: "none", bool: "yes", int: "0"}, form()
    for question in QUESTIONS:
        line = f"({question.weight})\n  {question.key.partition('.')[2]}:"
        text = text.replace(f"{question.text} {line}", f"{question.text} {line} {answers[question.kind]}")
    return text.encode()


def sites() -> tuple[bytes, ...]:
    """The site files that `init` offers."""
    return tuple(path.read_bytes() for path in sorted((_TESTS.parent / "site_configs").glob("*.yaml")))


def networks() -> tuple[bytes, ...]:
    """Networks of AIPerf v1.0 and of ours."""
    return (
        *(path.read_bytes() for path in sorted((_TESTS / "network/data").glob("v1_*.json"))),
        *packed_file("trials/00000.json"),
    )


def image(kind: str) -> bytes:
    """A small image."""
    import numpy as np
    from PIL import Image

    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((24, 18)).save(stream, kind)
    return stream.getvalue()


@cache
def _folder() -> Path:
    return scratch("seeds")


@cache
def scratch(name: str) -> Path:
    """A temporary folder, which is removed with the process."""
    folder = Path(tempfile.mkdtemp(prefix=f"aiperf-fuzz-{name}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
