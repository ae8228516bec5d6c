"""`aiperf-orch ops`: what a network takes, from a seed's name or from files of every kind."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.commands.ops import count_operations, load
from aiperf_orch.network import counts, v1_import
from aiperf_orch.network.seeds import resnet50, small_residual
from aiperf_orch.util.errors import NetworkError, UsageError

_V1 = Path(__file__).parent.parent / "network" / "data"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], str]:
    def write(content: Any) -> str:
        path = tmp_path / "network.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return str(path)

    return write


def test_resnet_50_to_the_last_operation() -> None:
    document = json.loads(count_operations("resnet50", "json", by_layer=False).text)
    assert document == {
        "forward": 7_806_583_495,
        "backward": 15_246_874_820,
        "train": 23_053_458_315,
        "convention": "aiperf-1.0",
        "network": resnet50().hash,
    }


def test_resnet_50_by_layer() -> None:
    document = json.loads(count_operations("resnet50", "json", by_layer=True).text)
    layers = document["layers"]
    for key in ("forward", "backward", "train"):
        assert sum(row[key] for row in layers) == document[key]
    by_kind: dict[str, tuple[int, int, int]] = {}
    for row in layers:
        number, forward, backward = by_kind.get(row["kind"], (0, 0, 0))
        by_kind[row["kind"]] = (number + 1, forward + row["forward"], backward + row["backward"])
    assert by_kind == {
        "conv": (53, 7_711_850_496, 15_234_582_912),
        "batch_norm": (53, 74_109_952, 1_908),
        "relu": (49, 9_081_856, 0),
        "add": (16, 5_519_360, 0),
        "max_pool": (1, 1_806_336, 0),
        "global_avg_pool": (1, 106_496, 0),
        "dense": (1, 4_096_000, 12_290_000),
        "softmax": (1, 12_999, 0),
    }
    assert layers[0]["output"] == "112x112x64"


def test_as_a_table_and_as_csv() -> None:
    assert count_operations("resnet50", "table", by_layer=False).text.splitlines()[1].split() == [
        "7,806,583,495", "15,246,874,820", "23,053,458,315",
    ]  # fmt: skip
    assert count_operations("resnet50", "csv", by_layer=False).text == (
        "forward,backward,train\n7806583495,15246874820,23053458315\n"
    )


def test_by_layer_the_last_row_is_the_sum() -> None:
    rows = list(csv.DictReader(io.StringIO(count_operations("small_residual", "csv", by_layer=True).text)))
    assert rows[-1]["kind"] == "all"
    assert int(rows[-1]["train"]) == sum(int(row["train"]) for row in rows[:-1])
    assert count_operations("small_residual", "table", by_layer=True).text.splitlines()[-1].split()[:2] == ["-", "all"]


def test_our_own_format(write: Callable[[Any], str]) -> None:
    path = write(small_residual((32, 32, 3), 10).to_json())
    assert load(path) == small_residual((32, 32, 3), 10)
    expected = counts.count(small_residual((32, 32, 3), 10))
    assert json.loads(count_operations(path, "json", by_layer=False).text)["train"] == expected.train


@pytest.mark.parametrize("name", ["v1_residual.json", "v1_morphed.json"])
def test_a_file_of_version_1(name: str) -> None:
    document = json.loads(count_operations(str(_V1 / name), "json", by_layer=True).text)
    expected = counts.count(v1_import.from_v1(json.loads((_V1 / name).read_text())))
    assert (document["forward"], document["train"]) == (expected.forward, expected.train)
    assert sum(row["train"] for row in document["layers"]) == expected.train


def test_a_trials_specification(write: Callable[[Any], str]) -> None:
    path = write({"trial": 3, "network_hash": "0" * 64, "network": resnet50().to_json()})
    assert load(path) == resnet50()


def test_a_network_beyond_64_bits_is_exact(write: Callable[[Any], str]) -> None:
    side, filters = 2**16, 2**16
    network = {
        "format": small_residual().to_json()["format"],
        "input_shape": [side, side, filters],
        "layers": [
            {"id": 0, "kind": "input", "inputs": []},
            {"id": 1, "kind": "conv", "inputs": [0], "kernel": 3, "filters": filters, "stride": 1},
        ],
    }
    document = json.loads(count_operations(write(network), "json", by_layer=False).text)
    assert document["forward"] == 2 * 9 * 2**64
    assert document["backward"] == 9 * 2**32 * (2 * 2**32 + 2)


def test_a_file_of_a_seeds_name_goes_before_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "resnet50").write_text(json.dumps(small_residual().to_json()))
    monkeypatch.chdir(tmp_path)
    assert load("resnet50") == small_residual()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON: "),
        (b"{", "not JSON: "),
        (b"\xff\xfe\xfd", "not JSON: "),
        (b"[" * 100_000, "not JSON: "),
        (b"9" * 10_000, "not JSON: "),
        ([], "not a network: "),
        ("resnet50", "not a network: "),
        (None, "not a network: "),
        ({}, "not a network: "),
        ({"network_hash": "0" * 64}, "not a network: "),
        ({"network_hash": "0" * 64, "network": 3}, "not a network: "),
        (small_residual().to_json() | {"input_shape": [0, 8, 1]}, "input shape"),
        (small_residual().to_json() | {"input_shape": [8, 8]}, r"input_shape must be \[height, width, channels\]"),
        (small_residual().to_json() | {"layers": []}, "a network's first layer must be its input"),
        (small_residual().to_json() | {"layers": [{"id": 0, "kind": "input", "inputs": []}, 3]}, "a layer must be"),
        ({"layer_list": [], "node_list": []}, ""),
        ({"layer_list": 3, "node_list": {}}, ""),
    ],
    ids=range(17),
)
def test_a_file_that_is_no_network_is_named(write: Callable[[Any], str], content: Any, message: str) -> None:
    path = write(content)
    with pytest.raises(UsageError, match=f"^{path}: {message}") as caught:
        load(path)
    assert len(str(caught.value)) < 1000


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"neither a file nor a seed network \(resnet50, small_residual\)"):
        load(str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        load(str(tmp_path))
    with pytest.raises(UsageError, match="cannot be read: "):
        load("x" * 5000)
    with (tmp_path / "large").open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(UsageError, match="large: larger than the limit of 67108864 bytes"):
        load(str(tmp_path / "large"))


def test_a_wrong_layer_is_named(write: Callable[[Any], str]) -> None:
    network = small_residual().to_json()
    network["layers"][3]["inputs"] = [99]
    with pytest.raises(
        NetworkError, match=r"network\.json: layer \d+ \(\w+\) reads layer 99, which does not precede it"
    ):
        load(write(network))
