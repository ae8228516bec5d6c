"""Tests of leaderboard.csv, result.csv and series.csv."""

from __future__ import annotations

import csv
import io
import math
import stat
from collections.abc import Callable
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from aiperf_orch.network.morphisms import Edit
from aiperf_orch.records.operations import OperationsPerImage
from aiperf_orch.results.result import compute_result
from aiperf_orch.results.tables import (
    LEADERBOARD_COLUMNS,
    RESULT_COLUMNS,
    SERIES_COLUMNS,
    leaderboard_rows,
    result_row,
    series_rows,
    write_tables,
)
from aiperf_orch.util.errors import AiperfError
from campaign_builder import CampaignBuilder


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


@pytest.fixture
def made(campaign: Callable[..., Any]) -> Any:
    """Four trials: errors 0.5 and 0.3; 0.2; none; 0.2 again."""
    made = campaign(system__name='Größe "1", Nürnberg', system__submitter="a, b")
    made.trial(0, [(2, 0.5), (8, 0.3)])
    made.trial(1, [(4, 0.2)], at=1)
    made.trial(2, [], at=2, reason="TRIAL_ERROR")
    made.trial(3, [(5, 0.2)], at=3)
    write_tables(compute_result(made.directory))
    return made


def test_the_leaderboard_is_sorted_by_error_with_failures_last(made: Any) -> None:
    rows = _rows(made.directory.leaderboard)
    assert [(row["rank"], row["trial"], row["error"]) for row in rows] == [
        ("1", "1", "0.2"),
        ("2", "3", "0.2"),
        ("3", "0", "0.3"),
        ("", "2", ""),
    ]
    assert [row["end_reason"] for row in rows] == ["COMPLETED", "COMPLETED", "COMPLETED", "TRIAL_ERROR"]


def test_a_row_of_the_leaderboard(made: Any) -> None:
    row = _rows(made.directory.leaderboard)[2]
    assert len(row.pop("network")) == 64
    assert row == {
        "rank": "3", "trial": "0", "error": "0.3", "parent": "", "edits": "", "round": "0", "layers": "",
        "parameters": "", "kernel_size": "3",
        "dropout": "0.0", "batch_size": "32", "best_epoch": "2", "epochs": "2", "train_images": "8", "val_images": "20",
        "operations": "440", "seconds": "8.0", "ops": "55.0", "images_per_second": "3.5",
        "data_wait": "", "predicted_error": "", "attempts": "1",
        "end_reason": "COMPLETED", "allocation": "", "agent": "", "slot": "", "simulated": "yes",
    }  # fmt: skip


def test_size_and_used_kernel_of_a_network(campaign: Callable[..., Any], tmp_path: Path) -> None:
    made = CampaignBuilder(tmp_path / "sized", campaign().directory.settings)
    edits = [[], [Edit("deeper", 3, kernel=5)], [Edit("deeper", 3, kernel=5)], [Edit("wider", 1)]]
    for trial, unknown in enumerate([{}, {}, *[{"layers": None, "parameters": None}] * 2]):
        made.propose(trial, edits=edits[trial], **unknown)
        made.trial(trial, [(5, 0.2 + trial / 10)])
    seed, deeper = made._graphs[0], made._graphs[1]
    rows = sorted(leaderboard_rows(compute_result(made.directory)), key=itemgetter("trial"))
    assert [(row["layers"], row["parameters"], row["kernel_size"]) for row in rows] == [
        (seed.depth, seed.parameters, None),
        (deeper.depth, deeper.parameters, 3),
        (None, None, 3),
        (None, None, 3),  # as tables of 0.1.0 have it
    ]


def test_a_failed_trial_keeps_its_row(made: Any) -> None:
    row = _rows(made.directory.leaderboard)[3]
    assert (row["epochs"], row["operations"], row["seconds"], row["ops"], row["attempts"]) == ("0", "0", "", "", "1")


def test_a_running_trial_is_listed(campaign: Callable[..., Any]) -> None:
    made = campaign()
    made.submit()
    made.events(made.begin(), made.epoch(1, 2, 0.5))
    write_tables(compute_result(made.directory))
    [row] = _rows(made.directory.leaderboard)
    assert (row["rank"], row["end_reason"], row["batch_size"]) == ("1", "RUNNING", "32")


def test_the_batch_size_is_that_of_the_last_counted_epoch(campaign: Callable[..., Any]) -> None:
    made = campaign()
    made.submit()  # the proposals have a batch size of 32
    # halved after running out of memory; the last epoch is too late
    ends = {1: (2, 32), 2: (9, 16), 3: (20, 8), 4: (3601, 4)}
    epochs = [replace(made.epoch(number, end), batch=batch) for number, (end, batch) in ends.items()]
    made.events(made.begin(batch=64), *epochs)
    made.submit(1)
    made.events(made.begin(trial=1, batch=16), trial=1)
    write_tables(compute_result(made.directory))
    assert [row["batch_size"] for row in _rows(made.directory.leaderboard)] == ["8", "32"]


def test_rows_have_the_columns_of_their_tables(made: Any) -> None:
    result = compute_result(made.directory)
    assert tuple(result_row(result)) == RESULT_COLUMNS
    assert tuple(series_rows(result)[0]) == SERIES_COLUMNS
    assert leaderboard_rows(result)[0].keys() == set(LEADERBOARD_COLUMNS)


def test_the_result_is_one_row(made: Any) -> None:
    [row] = _rows(made.directory.result)
    assert float(row["score"]) == 880 / 8
    assert float(row["error"]) == 0.2
    assert float(row["regulated_score"]) == 110 * math.log(5)
    assert {key: row[key] for key in ("system", "submitter", "contact", "campaign", "operations", "seconds")} == {
        "system": 'Größe "1", Nürnberg',
        "submitter": "a, b",
        "contact": "",
        "campaign": made.directory.config.tag,
        "operations": "880",
        "seconds": "8.0",
    }
    assert (row["rankable"], row["rules"], row["simulated"], row["counting"]) == (
        "no",
        "aiperf-1.1",
        "yes",
        "aiperf-1.0",
    )
    assert row["missed_rules"] == "duration ended trained data"
    assert (row["trials"], row["networks"], row["epochs"], row["error_is_zero"]) == ("4", "3", "4", "no")
    assert row["settings_sha256"] == made.directory.settings_sha256
    assert {"aiperf_orch", "python", "torch"} <= set(row)


def _tables_with_efficiency(made: Any, *changes: dict[str, Any]) -> Any:
    """Rows of a trial with one epoch of two seconds for each change, and a last epoch that ends too late to count."""
    fields = {"data_wait": 0.25, "energy": 20.0, "energy_of": "accelerators"}
    epochs = [
        replace(made.epoch(number, 2 * number, start=2 * number - 2), **fields | change)
        for number, change in enumerate(changes, start=1)
    ]
    made.submit()
    made.events(made.begin(), *epochs, made.epoch(len(changes) + 1, 4000))
    write_tables(compute_result(made.directory))
    return _rows(made.directory.result)[0], _rows(made.directory.leaderboard)[0]


def test_efficiency_is_of_counted_epochs(campaign: Callable[..., Any]) -> None:
    result, trial = _tables_with_efficiency(campaign(), {}, {"data_wait": 0.75, "energy": 2.0})
    assert (result["energy_joules"], result["energy_of"], result["operations_per_joule"]) == (
        "22.0",
        "accelerators",
        "20.0",
    )
    assert (result["images_per_second"], result["data_wait"]) == ("7.0", "0.5")
    assert (trial["images_per_second"], trial["data_wait"]) == ("7.0", "0.5")


@pytest.mark.parametrize("change", [{"energy": None}, {"energy_of": "processors"}, {"energy_of": None}])
def test_energy_is_blank_unless_every_epoch_measured_the_same(
    campaign: Callable[..., Any], change: dict[str, Any]
) -> None:
    result, _ = _tables_with_efficiency(campaign(), {}, change)
    assert {result[column] for column in ("energy_joules", "energy_of", "operations_per_joule")} == {""}
    assert result["data_wait"] == "0.25"


def test_the_data_wait_is_blank_unless_every_epoch_states_it(campaign: Callable[..., Any]) -> None:
    result, trial = _tables_with_efficiency(campaign(), {}, {"data_wait": None})
    assert result["data_wait"] == trial["data_wait"] == ""


def test_the_series_ends_with_the_result(made: Any) -> None:
    rows = _rows(made.directory.series)
    [result] = _rows(made.directory.result)
    assert len(rows) >= 20
    shared = ("seconds", "operations", "score", "error", "regulated_score", "epochs", "simulated")
    assert {key: rows[-1][key] for key in shared} == {key: result[key] for key in shared}
    assert tuple(rows[0]) == shared
    assert (rows[0]["error"], rows[0]["score"], rows[0]["operations"]) == ("", "0.0", "0")
    assert [float(row["seconds"]) for row in rows] == pytest.approx([0.4 * number for number in range(1, 21)])


def test_operations_beyond_64_bits_are_written_as_digits(campaign: Callable[..., Any]) -> None:
    made = campaign()
    made.operations = OperationsPerImage(forward=10**20 + 1, train=3 * 10**20 + 3)
    made.submit()
    epoch = made.epoch(1, 3600, 0.5, train_images=28, operations=made.operations)
    made.events(made.begin(), epoch, made.end(3600))
    made.began()
    made.ended()
    write_tables(compute_result(made.directory))
    exact = 28 * (3 * 10**20 + 3) + 10 * (10**20 + 1)
    assert exact == 9_400_000_000_000_000_000_094
    assert _rows(made.directory.result)[0]["operations"] == str(exact)
    assert _rows(made.directory.leaderboard)[0]["operations"] == str(exact)
    assert _rows(made.directory.series)[-1]["operations"] == str(exact)


def test_no_cell_is_a_formula_or_a_second_line(made: Any) -> None:
    for path in (made.directory.leaderboard, made.directory.result, made.directory.series):
        text = path.read_text()
        assert len(text.splitlines()) == len(_rows(path)) + 1
        for row in _rows(path):
            assert not any(cell.startswith(("=", "+", "-", "@")) for cell in [*row, *row.values()])


def test_software_versions_of_a_trial_cannot_replace_columns(campaign: Callable[..., Any]) -> None:
    made = campaign()
    versions = {"score": "999", "error": "0.0", "torch": "2.11.0+cpu", "aiperf-orch": "0.1.0"}
    made.trial(0, [(2, 0.5)], versions=versions)
    made.trial(1, [(2, 0.5)], versions={"torch": "2.12.0"})
    write_tables(compute_result(made.directory))
    [row] = _rows(made.directory.result)
    assert (row["score"], row["error"], row["torch"]) == ("220.0", "0.5", "2.11.0+cpu 2.12.0")


def test_a_campaign_without_trials_has_its_headers(campaign: Callable[..., Any]) -> None:
    made = campaign()
    write_tables(compute_result(made.directory))
    assert made.directory.leaderboard.read_text().startswith("rank,trial,error,network,parent,")
    assert made.directory.series.read_text() == "seconds,operations,score,error,regulated_score,epochs,simulated\n"
    [row] = _rows(made.directory.result)
    assert (row["score"], row["error"], row["regulated_score"], row["started"]) == ("0.0", "", "", "")


def test_pandas_reads_the_tables(made: Any) -> None:
    board = pd.read_csv(made.directory.leaderboard)
    assert list(board["trial"]) == [1, 3, 0, 2]
    assert math.isnan(board["error"].iloc[3])


def test_the_tables_can_be_shared_with_a_group(made: Any) -> None:
    assert stat.S_IMODE(made.directory.result.stat().st_mode) == 0o640


def test_a_full_disk_leaves_the_earlier_tables(
    campaign: Callable[..., Any], small_disk: Path, fill: Callable[[Path], None]
) -> None:
    made = campaign("disk/campaign")
    made.trial(0, [(2, 0.5)])
    write_tables(compute_result(made.directory))
    before = made.directory.leaderboard.read_bytes()
    made.trial(1, [(3, 0.4)])
    fill(small_disk)
    with pytest.raises(AiperfError, match=r"leaderboard\.csv: cannot be written: the disk is full"):
        write_tables(compute_result(made.directory))
    assert made.directory.leaderboard.read_bytes() == before
