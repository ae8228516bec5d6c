"""Inputs at which fuzzing found a reader to fail, by its name: each is read, or refused, at once."""

from __future__ import annotations

import json
import zlib

import pytest

from fuzz import corpus
from fuzz.readers import READERS

pytestmark = pytest.mark.unit
_LISTING_HEAD, _, _LISTING_BODY = corpus.LISTING.partition(b"\n")
_HEADER = json.loads(_LISTING_HEAD)


def _listing(**changes: object) -> bytes:
    return json.dumps(_HEADER | changes).encode() + b"\n" + _LISTING_BODY


def _changed(answer: str, old: bytes, new: bytes) -> bytes:
    recorded = corpus.slurm(answer)[0]
    assert old in recorded
    return recorded.replace(old, new)


@pytest.mark.parametrize(
    ("reader", "data"),
    [
        ("sacct, accounting", b"9_0|RUNNING|0:0|2026-11-30T10:06:00|Unknown|n[1-99999999999]|qk3f9-w00002\n"),
        ("sacct", b"13_[0-999999999999]|CANCELLED by 0|0:0|None assigned|qk3f9-w00001\n"),
        ("sacct", b"13|NODE_FAIL|0:0|n[1-9999][1-9999][1-9999]|w\n"),
        ("sacct", b"14|FAILED|" + b"9" * 5000 + b":0|n1|w\n"),
        ("sacctmgr, qos", _changed("sacctmgr_qos", b"node=1", b"d" * 400_000)),
        ("sacctmgr, qos", _changed("sacctmgr_qos", b"|1|3|", b"|" + b"9" * 5000 + b"|3|")),
        ("sacctmgr, accounts", _changed("sacctmgr_accounts", b"|7|", "|²|".encode())),
        ("sinfo", "main|idle|²|4|16000|gpu:fake:²|(null)\n".encode()),
        ("sinfo", b"main|idle|1|" + b"9" * 5000 + b"|16000|gpu:fake:4|(null)\n"),
        ("scontrol show partition", b"PartitionName=main MaxNodes=" + b"9" * 5000 + b"\n"),
        ("qstat -f", "Job Id: 7.vm\n    job_state = R\n    resources_used.walltime = ²:00:00\n".encode()),
        ("qstat -f", b"Job Id: 7.vm\n    job_state = R\n    resources_used.walltime = " + b"9" * 5000 + b":00:00\n"),
        ("listing of images", _listing(counts={"train": [1]})),
        ("listing of images", _listing(counts={"train": [9], "val": [1]})),
        ("listing of images", _listing(counts=[])),
        ("listing of images", b"[" * 100_000 + b"\n" + zlib.compress(b"")),
    ],
)
def test_an_input_that_was_found_is_read_or_refused(reader: str, data: bytes) -> None:
    READERS[reader].check_in_time(data)
