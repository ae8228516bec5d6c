"""Readers of packages: of the file, of the archive in it, and of each of its files.

Where one file is changed, the manifest lists its new hash, as a forger would.
"""

from __future__ import annotations

import copy
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.durable_files import read_file
from aiperf_orch.committee.submission import read_submission
from aiperf_orch.network.graph import Graph
from aiperf_orch.network.tensors import state_tensors
from aiperf_orch.package.findings import Faults
from aiperf_orch.package.page_syntax import PageError, read_page
from aiperf_orch.package.signature import check_signature
from aiperf_orch.package.weights_header import header_fault
from fuzz import corpus
from fuzz.reader import Reader, of_file
from fuzz.record_readers import rechained
from package_fixtures import weights_file

_SLOW: Final = 400
_QUICK: Final = 4
_SIGNATURE: Final = b"-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n"


def _verify(path: Path) -> object:
    found = read_submission(path)
    assert found.fault is None or found.fault.isprintable(), found.fault
    assert all(remark.isprintable() for remark in found.remarks)
    return found


_verified: Final = of_file("package.tar.gz", _verify)


def _archive(data: bytes) -> object:
    return _verified(gzip.compress(data, 1))


def _file_of(package: int, name: str) -> Callable[[bytes], object]:
    """A reader of a package in which one file has other bytes."""

    def read(data: bytes) -> object:
        original = corpus.unpacked()[package]
        changed = copy.copy(original)
        changed.files = {**original.files, name: data}
        changed.manifest = {**original.manifest}
        path = corpus.scratch("inputs") / "changed.tar.gz"
        return _verify(changed.write(path))

    return read


def _entries(package: int) -> Callable[[bytes], object]:
    """A reader of a package with another journal, whose lines are chained again."""
    read = _file_of(package, "journal.jsonl")
    return lambda data: read(rechained(data))


def _events(data: bytes) -> object:
    """A reader of a package with other events, whose hash and size the journal has."""
    original = corpus.unpacked()[0]
    changed = copy.copy(original)
    changed.files, changed.manifest = dict(original.files), dict(original.manifest)
    changed.raw_events("00000-1.0.jsonl", data)
    return _verify(changed.write(corpus.scratch("inputs") / "changed.tar.gz"))


def _weights(data: bytes) -> object:
    expected = state_tensors(_network())
    return header_fault(data, len(data), expected)


def _network() -> Graph:
    import json

    return Graph.from_json(json.loads(corpus.packed_file("trials/00000.json")[0])["network"])


def _signature(path: Path) -> object:
    signers, package = path.with_name("signers"), path.with_suffix("")
    signers.write_text("a@example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGl7\n")
    package.write_bytes(b"a package")
    return check_signature(package, signers, Faults())


def _page(data: bytes) -> object:
    return read_page(data.decode(errors="replace"))


def _in_package(name: str, package: int = 0) -> Reader:
    def seeds() -> tuple[bytes, ...]:
        return (corpus.unpacked()[package].files[name],)

    return Reader(f"package, {name}", _file_of(package, name), seeds, (), _SLOW, _QUICK)


READERS: Final = (
    Reader("package", _verified, lambda: tuple(map(read_file, corpus.packages())), (), _SLOW, _QUICK),
    Reader(
        "package, archive",
        _archive,
        lambda: tuple(gzip.decompress(read_file(path)) for path in corpus.packages()),
        (),
        _SLOW,
        _QUICK,
    ),
    Reader(
        "package, journal chained again",
        _entries(0),
        lambda: corpus.packed_file("journal.jsonl")[:1],
        (),
        _SLOW,
        _QUICK,
    ),
    Reader(
        "package of agents, journal chained again",
        _entries(1),
        lambda: corpus.packed_file("journal.jsonl")[1:],
        (),
        _SLOW,
        _QUICK,
    ),
    Reader(
        "package, events with hash",
        _events,
        lambda: corpus.packed_file("events/00000-1.0.jsonl")[:1],
        (),
        _SLOW,
        _QUICK,
    ),
    _in_package("campaign.yaml"),
    _in_package("trials/00001.json"),
    _in_package("result.csv"),
    _in_package("leaderboard.csv"),
    _in_package("report.html"),
    _in_package("accounting.jsonl", 1),
    _in_package("jobs/00000-1/job.sh"),
    Reader("weights, header", _weights, lambda: (weights_file(state_tensors(_network()))[:20000],), ()),
    Reader("report.html, syntax", _page, lambda: corpus.packed_file("report.html"), (PageError,), 1000, 5),
)
SIGNATURE: Final = Reader(
    "signature", of_file("package.tar.gz.sig", _signature), lambda: (_SIGNATURE,), runs=_SLOW
)  # fmt: skip
"""It starts ssh-keygen for each input, so that no unit test reads it."""
