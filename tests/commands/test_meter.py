"""Readings of an energy meter: imported, packed, verified, and what is refused."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.commands.meter import import_meter
from aiperf_orch.package.packing import write_package
from aiperf_orch.package.verify import verify
from aiperf_orch.records.journal import Finished
from aiperf_orch.results.result import compute_result
from aiperf_orch.util.errors import NotFinishedError, UsageError
from package_fixtures import TamperedPackage, build_true_campaign

Build = Callable[..., Any]
END = 189.9  # the last epoch's, in seconds after the first begin
STATED: dict[str, Any] = {
    "source": "pdu", "instrument": "PX3 of n1.example.org", "nodes": None, "subsystems": "all", "point": "upstream",
    "accuracy": 0.02, "sampling": 1.0, "idle_watts": 500.0,
}  # fmt: skip


@pytest.fixture
def made(make_true: Build) -> Any:
    """A campaign of 190 s on two nodes that has ended."""
    return make_true()


def _write(made: Any, path: Path, rows: Iterable[tuple[float, str]], columns: str = "time,watts") -> Path:
    path.write_text(
        "\n".join([columns, *(f"{made.at(at).isoformat()},{row}" for at, row in rows)]) + "\n", encoding="utf-8"
    )
    return path


@pytest.fixture
def watts(made: Any, tmp_path: Path) -> Path:
    """1,000 W from before the first submission to after the end."""
    return _write(made, tmp_path / "pdu.csv", ((at, "1000") for at in range(-20, 3700, 10)))


def _row(made: Any) -> dict[str, str]:
    [row] = csv.DictReader(io.StringIO(made.directory.result.read_text()))
    return row


def test_the_energy_stands_in_result_csv_with_its_level(made: Any, watts: Path) -> None:
    shown = import_meter(made.path, watts, STATED, replace_earlier=False).text
    row = _row(made)
    assert float(row["meter_joules"]) == pytest.approx(1000 * END, rel=1e-12)
    assert float(row["meter_operations_per_joule"]) == pytest.approx(int(row["operations"]) / (1000 * END), rel=1e-12)
    assert (row["meter_source"], row["meter_share"], row["meter_level"]) == ("pdu", "1.0", "2")
    assert "readings of an energy counter (joules); 100 samples a second or more" in row["meter_missing"]
    assert f"to level 3   {row['meter_missing']}\n" in shown
    assert "level        2 (EE HPC WG" in shown


def test_energy_of_a_part_of_the_nodes_is_scaled(made: Any, tmp_path: Path) -> None:
    file = _write(
        made, tmp_path / "one.csv", ((at, f"N1,{2000 + at * 50}") for at in range(-20, 3700, 10)), "time,node,joules"
    )
    import_meter(made.path, file, STATED | {"source": "bmc"}, replace_earlier=False)
    row = _row(made)
    assert float(row["meter_joules"]) == pytest.approx(2 * 50 * END, rel=1e-12)
    assert (row["meter_share"], row["meter_level"]) == ("0.5", "0")
    assert "15 nodes and 2 kW, or all nodes" in row["meter_missing"]


@pytest.mark.parametrize("with_pseudonyms", [False, True])
def test_a_package_has_the_readings_and_verifies(made: Any, tmp_path: Path, with_pseudonyms: bool) -> None:
    rows = ((at, f"{node},{watts}") for at in range(-20, 3700, 10) for node, watts in (("n1", 300), ("n2", 400)))
    file = _write(made, tmp_path / "nodes.csv", rows, "time,node,watts")
    import_meter(made.path, file, STATED, replace_earlier=False)
    warnings: list[str] = []
    packed = tmp_path / "p.tar.gz"
    write_package(made.directory, packed, with_pseudonyms=with_pseudonyms, warn=warnings.append)
    found = verify(packed)
    assert list(map(str, found.faults)) == []
    assert found.result_row is not None
    assert found.result_row["meter_joules"] == pytest.approx(700 * END, rel=1e-12)
    text = b"".join(TamperedPackage(packed).files[name] for name in ("meter.csv", "meter.json"))
    assert (b"n1" in text) is not with_pseudonyms
    assert len([line for line in warnings if line.startswith("meter: ")]) == with_pseudonyms


@pytest.fixture
def metered(made: Any, watts: Path, tmp_path: Path) -> TamperedPackage:
    import_meter(made.path, watts, STATED, replace_earlier=False)
    write_package(made.directory, tmp_path / "metered.tar.gz", with_pseudonyms=False)
    return TamperedPackage(tmp_path / "metered.tar.gz")


def _restated(package: TamperedPackage, data: bytes) -> None:
    """Replace the readings, and their hash."""
    facts = json.loads(package.files["meter.json"]) | {"sha256": hashlib.sha256(data).hexdigest()}
    package.files |= {"meter.csv": data, "meter.json": json.dumps(facts).encode()}


@pytest.mark.parametrize(
    ("change", "faults", "message"),
    [
        (lambda p: p.files.update({"meter.csv": p.files["meter.csv"].replace(b",1000.0", b",900.0")}),
         ["meter.readings", "table.result"], "is not the file whose SHA-256 meter.json states"),
        (lambda p: _restated(p, p.files["meter.csv"].replace(b",1000.0", b",900.0")),
         ["table.result"], "meter_joules: '189900.0' stated; by the records it is 170910.0"),
        (lambda p: _restated(p, p.files["meter.csv"] + b"\n"), ["meter.readings", "table.result"], "has 0 cells"),
        (lambda p: _restated(p, p.files["meter.csv"].replace(b".0\n", b".00\n")),
         ["meter.readings", "table.result"], "is not in the form in which `meter` writes it"),
        (lambda p: _restated(p, p.files["meter.csv"][:2000].rpartition(b"\n")[0] + b"\n"),
         ["table.result"], "meter_level: '2' stated; by the records it is 1"),
        (lambda p: _restated(p, p.files["meter.csv"][:400].rpartition(b"\n")[0] + b"\n"),
         ["meter.readings", "table.result"], "export all of that time"),
        (lambda p: p.files.pop("meter.json"), ["meter.readings", "table.result"], "is missing, and its other part"),
        (lambda p: p.files.pop("meter.csv"), ["meter.readings", "table.result"], "is missing, and its other part"),
        (lambda p: p.files.update({"meter.json": p.files["meter.json"].replace(b"PX3", b"<script>")}),
         ["meter.readings", "table.result"], "instrument: "),
        (lambda p: p.files.update({"meter.json": p.files["meter.json"].replace(b"0.02", b"0.01")}),
         ["table.result"], "meter_missing"),
        (lambda p: (p.files.pop("meter.csv"), p.files.pop("meter.json")),
         ["table.result"], "meter_joules: '189900.0' stated; by the records it is None"),
    ],
)  # fmt: skip
def test_a_manipulation_is_found(
    metered: TamperedPackage, tmp_path: Path, change: Callable[[TamperedPackage], Any], faults: list[str], message: str
) -> None:
    change(metered)
    found = verify(metered.write(tmp_path / "tampered.tar.gz"))
    kinds = {fault.id for fault in found.faults}
    assert set(faults) <= kinds <= {*faults, "report.data", "report.text"}, list(map(str, found.faults))
    assert any(message in str(fault) for fault in found.faults), list(map(str, found.faults))


def test_a_running_campaign_is_refused(campaign: Build, tmp_path: Path) -> None:
    made = campaign()
    made.submit()
    with pytest.raises(NotFinishedError):
        import_meter(made.path, _write(made, tmp_path / "m.csv", [(0, "1"), (9, "1")]), STATED, replace_earlier=False)


def test_earlier_readings_are_replaced_only_on_request(made: Any, watts: Path, tmp_path: Path) -> None:
    import_meter(made.path, watts, STATED, replace_earlier=False)
    half = _write(made, tmp_path / "half.csv", ((at, "500") for at in range(-20, 3700, 10)))
    with pytest.raises(UsageError, match="--replace"):
        import_meter(made.path, half, STATED, replace_earlier=False)
    assert float(_row(made)["meter_joules"]) == pytest.approx(1000 * END)
    import_meter(made.path, half, STATED, replace_earlier=True)
    assert float(_row(made)["meter_joules"]) == pytest.approx(500 * END)


@pytest.mark.parametrize(
    ("columns", "row", "stated", "message"),
    [
        ("time,node,watts", "n9,1000", {}, "m.csv:2: column node: no trial of the campaign ran on 'n9'"),
        ("time,node,watts", "n1,1000", {"nodes": 1}, "--nodes: "),
        ("time,watts", "1000", {"nodes": 3}, "is of 3 nodes, and trials began on 2"),
        ("time,watts", "0", {}, "all is 0"),
        ("time,watts", "1000", {"instrument": "<b>"}, "--instrument: "),
    ],
)
def test_what_cannot_be_right_is_refused_and_nothing_is_kept(
    made: Any, tmp_path: Path, columns: str, row: str, stated: dict[str, Any], message: str
) -> None:
    file = _write(made, tmp_path / "m.csv", ((at, row) for at in range(-20, 3700, 10)), columns)
    with pytest.raises(UsageError) as refused:
        import_meter(made.path, file, STATED | stated, replace_earlier=False)
    assert message in str(refused.value)
    assert not made.directory.meter_series.exists()
    assert not made.directory.meter_facts.exists()


def test_less_energy_than_counters_inside_have_is_refused(tmp_path: Path) -> None:
    made = build_true_campaign(tmp_path / "campaign")
    made.submit(0, at=-2)
    epoch = replace(made.epoch(1, 100, 0.5, start=0), energy=60_000.0, energy_of="accelerators")
    made.run(made.begin(0), [epoch], 101)
    made.write(Finished, at=200, reason="its 1 trials have ended", by_deadline=False)
    assert compute_result(made.directory).efficiency.energy == 60_000
    too_low = _write(made, tmp_path / "kw.csv", ((at, "0.7") for at in range(-20, 220, 10)))
    with pytest.raises(UsageError, match=r"counters inside of the nodes have 60,000 J .* look at the unit \(kW, Wh\)"):
        import_meter(made.path, too_low, STATED, replace_earlier=False)
    import_meter(
        made.path, _write(made, too_low, ((at, "700") for at in range(-20, 220, 10))), STATED, replace_earlier=False
    )


def test_the_command_imports_and_says_what_is_wrong(made: Any, watts: Path, aiperf: Build) -> None:
    done = aiperf("meter", made.path, watts, "--source", "pdu", "--accuracy", "1%", "--sampling", "1s")
    assert done.returncode == 0, done.stderr
    assert "energy       189,900 J" in done.stdout
    for option, value in (("--accuracy", "1"), ("--sampling", "often"), ("--accuracy", "0%")):
        refused = aiperf("meter", made.path, watts, "--source", "pdu", option, value)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert f"{option}: " in refused.stderr
    absent = aiperf("meter", made.path, "none.csv", "--source", "pdu", "--replace")
    assert "none.csv: cannot be read: No such file or directory" in absent.stderr
    assert "0.05275 kWh by a meter outside of the nodes (pdu)" in aiperf("score", made.path).stdout


def test_damaged_readings_leave_the_score_and_no_energy(made: Any, watts: Path, aiperf: Build) -> None:
    import_meter(made.path, watts, STATED, replace_earlier=False)
    made.directory.meter_series.write_text("time,watts\n")
    done = aiperf("score", made.path)
    assert done.returncode == 0, done.stderr
    assert "no energy by a meter: meter.csv: is not the file whose SHA-256 meter.json states" in done.stdout
    assert _row(made)["meter_joules"] == ""
