"""Fuzz tests of the readers of packages: every fault is listed, and no error is raised."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiperf_orch.campaign.public_settings import redacted
from aiperf_orch.package.findings import printable_line
from aiperf_orch.package.redaction import Redactor
from aiperf_orch.package.verify import verify
from aiperf_orch.util import strict_json
from package_fixtures import TamperedPackage

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
_BEGUN = ["00000-1.0.jsonl", "00001-1.0.jsonl", "00002-2.0.jsonl"]
_quick = settings(max_examples=40, deadline=None)


@_quick
@given(st.binary(max_size=3000), st.booleans())
def test_random_bytes_are_not_a_package(tmp_path: Path, data: bytes, compressed: bool) -> None:
    path = tmp_path / "p.tar.gz"
    path.write_bytes(gzip.compress(data, 1) if compressed else data)
    assert not verify(path).verified


@_quick
@given(data=st.data())
def test_a_garbage_file_in_a_package_is_a_fault(tampered: Any, tmp_path: Path, data: st.DataObject) -> None:
    """One file is replaced by bytes, JSON or a damaged copy; the manifest lists the new file."""
    names = sorted(name for name in tampered.files if not name.endswith(("job.sh", "report.html")))
    name = data.draw(st.sampled_from(names))
    before = tampered.files[name]
    place = data.draw(st.integers(0, max(len(before) - 1, 0)))
    tampered.files[name] = data.draw(
        st.one_of(
            st.binary(max_size=200),
            _JSON.map(lambda value: json.dumps(value).encode() + b"\n"),
            st.binary(min_size=1, max_size=3).map(lambda piece: before[:place] + piece + before[place + len(piece) :]),
            st.just(before[:place]),
        )
    )
    changed = tampered.files[name] != before
    found = verify(tampered.write(tmp_path / "p.tar.gz"))
    tampered.files[name] = before
    assert all(str(fault).isprintable() for fault in found.faults)
    if changed and name.startswith(("events/", "trials/", "journal")):
        assert not found.verified


_EXTREME: st.SearchStrategy[Any] = st.sampled_from(
    [
        10**400, 10**59, 2**63, -1, 0, 1, 1e308, -1e308, 5e-324, True, None, "", "x", [], {}, [[]], "0" * 64,
        "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2199-12-31T00:00:00Z", "2000-01-01T00:00:00Z", "LOST",
    ]
)  # fmt: skip


@settings(_quick, max_examples=80)
@given(data=st.data())
def test_extreme_values_in_records_raise_no_error(tampered: Any, tmp_path: Path, data: st.DataObject) -> None:
    """One value of a record is replaced by a value of any type, and the hashes are updated."""
    before = dict(tampered.files)
    change = partial(_change_a_value, data, value=data.draw(_EXTREME))
    with contextlib.suppress(
        TypeError, AttributeError, KeyError, IndexError
    ):  # the hashes of invalid records cannot be updated
        match data.draw(st.sampled_from(["journal", "events", "spec"])):
            case "journal":
                tampered.journal(lambda entries: change(entries[data.draw(st.integers(0, len(entries) - 1))]))
            case "events":
                tampered.events("00001-2.0.jsonl", lambda lines: change(lines[data.draw(st.integers(0, 2))]))
            case "spec":
                tampered.spec(data.draw(st.integers(0, 3)), change)
    for fault in verify(tampered.write(tmp_path / "p.tar.gz")).faults:
        assert str(fault).isprintable()
    tampered.files = before


def _change_a_value(data: st.DataObject, records: Any, *, value: Any) -> None:
    while True:
        keys = sorted(records) if isinstance(records, dict) else range(len(records))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if isinstance(records[key], dict | list) and data.draw(st.integers(0, 3)):
            records = records[key]
            continue
        records[key] = value
        return


@settings(_quick, max_examples=80)
@given(data=st.data())
def test_extreme_values_in_placements_raise_no_error(placed_package: Path, tmp_path: Path, data: st.DataObject) -> None:
    """As above, for entries of allocations and agents, begin lines and accounts."""
    package, value = (
        TamperedPackage(placed_package),
        data.draw(_EXTREME | st.sampled_from(["n1.example.org.2", "n9.1"])),
    )
    change = partial(_change_a_value, data, value=value)
    kinds = ("allocating", "allocated", "joined", "left", "submitted")
    with contextlib.suppress(TypeError, AttributeError, KeyError, IndexError):
        match data.draw(st.sampled_from(["journal", "begin", "accounting"])):
            case "journal":
                entries = [
                    number for number, each in enumerate(package.lines("journal.jsonl")) if each["type"] in kinds
                ]
                number = data.draw(st.sampled_from(entries))
                package.journal(lambda entries: change(entries[number]))
            case "begin":
                package.events(data.draw(st.sampled_from(_BEGUN)), lambda lines: change(lines[0]))
            case "accounting":
                lines = package.lines("accounting.jsonl")
                change(lines)
                package.files["accounting.jsonl"] = "".join(json.dumps(line) + "\n" for line in lines).encode()
    for fault in verify(package.write(tmp_path / "p.tar.gz")).faults:
        assert str(fault).isprintable()


@_quick
@given(data=st.data())
def test_a_damaged_archive_raises_no_error(true_package: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Some bytes of the uncompressed archive are changed, including headers."""
    archive = bytearray(gzip.decompress(true_package.read_bytes()))
    for _ in range(data.draw(st.integers(1, 4))):
        block = data.draw(st.integers(0, len(archive) // 512 - 1))
        archive[block * 512 + data.draw(st.integers(0, 160))] = data.draw(st.integers(0, 255))
    path = tmp_path / "p.tar.gz"
    path.write_bytes(gzip.compress(bytes(archive), 1))
    for fault in verify(path).faults:
        assert str(fault).isprintable()


@given(_JSON)
def test_strict_json_reads_standard_json(value: Any) -> None:
    assert strict_json.loads(json.dumps(value).encode()) == value


@given(st.binary(max_size=200) | st.text("[]{},:\"'a1eN+-.", max_size=60).map(str.encode))
def test_strict_json_raises_only_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        strict_json.loads(data)


@pytest.mark.parametrize(
    "text",
    ["NaN", "-Infinity", '{"a":NaN}', "1e999", "[" * 33 + "]" * 33, '{"a":' * 40 + "1" + "}" * 40, "9" * 5000, ""],
)
def test_strict_json_refuses_invalid_documents(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        strict_json.loads(text.encode())


@given(st.text())
def test_text_of_a_package_is_printable(text: str) -> None:
    assert printable_line(text).isprintable()


@given(st.lists(st.text(min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=4), st.text(max_size=60))
def test_long_secrets_are_removed_from_text(secrets: list[str], text: str) -> None:
    shown = Redactor("salt", secrets).text(text)
    hashes = [redacted(secret, "salt") for secret in secrets]
    for value in hashes:
        shown = shown.replace(value, "\n")
    assert not any(len(secret) >= 8 and secret in piece for secret in secrets for piece in shown.split("\n"))


def test_an_empty_archive_is_a_fault(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz"):
        pass
    (tmp_path / "p.tar.gz").write_bytes(stream.getvalue())
    assert [fault.id for fault in verify(tmp_path / "p.tar.gz").faults] == ["manifest.missing"]
