"""Tables of a campaign: leaderboard.csv, nodes.csv, result.csv and series.csv.

Operations are written as exact decimal integers of any length. `results.columns` describes every column.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from aiperf_orch.campaign.durable_files import replace_file
from aiperf_orch.campaign.events import best_epoch
from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.network import counts
from aiperf_orch.records.events import Epoch
from aiperf_orch.records.journal import ProposalRecord
from aiperf_orch.results import columns
from aiperf_orch.results.collected_trials import TrialRecords
from aiperf_orch.results.efficiency import efficiency_of
from aiperf_orch.results.result import Result
from aiperf_orch.results.rules import rules_of
from aiperf_orch.results.setting_changes import change_rows, drained_count
from aiperf_orch.util.units import format_time


def write_tables(result: Result) -> None:
    """Write the CSV files into the campaign directory, replacing earlier ones."""
    directory = result.directory
    for path, rows, header in (
        (directory.leaderboard, _leaderboard(result), LEADERBOARD_COLUMNS),
        (directory.result, [result_row(result)], RESULT_COLUMNS),
        (directory.series, series_rows(result), SERIES_COLUMNS),
        (directory.nodes, node_rows(result), NODES_COLUMNS),
    ):
        replace_file(path, _table(rows, header))


_ROWS_AT_ONCE: Final = 2000  # all rows of many trials need more memory than their records
RESULT_COLUMNS: Final = tuple(columns.RESULT)
LEADERBOARD_COLUMNS: Final = tuple(columns.LEADERBOARD)
SERIES_COLUMNS: Final = tuple(columns.SERIES)
NODES_COLUMNS: Final = tuple(columns.NODES)
_PLACEMENT: Final = frozenset({"allocation", "agent", "slot"})
_NODE_HOURS: Final = frozenset({"node_hours_given", "node_hours_at_work", "node_hours_idle"})
_EFFICIENCY: Final = frozenset({"images_per_second", "data_wait"})
_ENERGY: Final = frozenset({"data_sha256", "energy_joules", "energy_of", "operations_per_joule"})
_SIZE: Final = frozenset({"layers", "parameters"})
_STEADINESS: Final = frozenset({"stability_mean", "stability_variation", "share_of_peak", "tensor_utilisation"})
_METER: Final = frozenset(column for column in columns.RESULT if column.startswith("meter_"))
_CHANGES: Final = frozenset({"settings_changes", "drained_nodes"})
LATER_COLUMNS: Final = {
    MEMBERS.result.name: (
        frozenset[str](),
        _METER | _STEADINESS,
        _METER | _STEADINESS | _CHANGES,
        _METER | _STEADINESS | _CHANGES | _NODE_HOURS,
        _METER | _STEADINESS | _CHANGES | _NODE_HOURS | _EFFICIENCY | _ENERGY,
    ),
    MEMBERS.leaderboard.name: (
        frozenset[str](),
        _SIZE,
        _SIZE | _PLACEMENT,
        _SIZE | _PLACEMENT | _EFFICIENCY,
    ),
    MEMBERS.series.name: (frozenset[str](),),
    MEMBERS.nodes.name: (frozenset[str](),),
}
"""Columns that tables in a package of format 1 may lack, a set for each version that wrote some, the newest first."""


def leaderboard_rows(result: Result, most: int | None = None) -> list[dict[str, Any]]:
    """One row for each trial, sorted by error; trials without an ended epoch are last and have no rank.

    Args:
        result: The result.
        most: Number of rows, at most; None for all.
    """
    return list(_leaderboard(result, most))


def _leaderboard(result: Result, most: int | None = None) -> Iterator[dict[str, Any]]:
    """The rows one after another: all of them together need more memory than the records of many trials."""
    trials = [(records, best_epoch(records.epochs)) for records in result.collected.trials]
    trials.sort(key=lambda each: (each[1] is None, each[1].error if each[1] else 0.0, each[0].trial.trial))
    for rank, (records, best) in enumerate(trials[:most], start=1):
        yield _trial_row(records, best, result) | {"rank": rank if best else None}


def result_row(result: Result) -> dict[str, Any]:
    """The row of result.csv, which a ranking committee receives."""
    settings, score, versions = result.directory.settings, result.score, result.directory.config.versions
    efficiency, hours = result.efficiency, result.node_hours
    system = settings.system
    stability, peak, meter = result.stability, result.peak_share, result.meter
    rules = rules_of(result)
    missed = rules.misses(result)
    trials = result.collected.trials
    begins = [begin for trial in trials for begin in trial.begins]
    return {
        "system": system.name,
        "submitter": system.submitter,
        "contact": system.contact,
        "system_id": system.id,
        "division": system.division,
        "number_of_nodes": system.number_of_nodes,
        "accelerators_per_node": system.accelerators_per_node,
        "accelerator_model_name": system.accelerator_model_name,
        "campaign": result.directory.config.tag,
        "score": score.score,
        "error": score.error,
        "regulated_score": score.regulated,
        "rankable": "no" if missed else "yes",
        "missed_rules": " ".join(miss.rule.id for miss in missed),
        "rules": rules.version,
        "simulated": _yes_no(result.simulated),
        "operations": score.operations,
        "seconds": score.seconds,
        "started": format_time(result.started) if result.started else None,
        "duration_limit": result.duration,
        "trials": len(trials),
        "networks": result.networks,
        "epochs": score.epochs,
        "train_images": score.train_images,
        "val_images": score.val_images,
        "images_per_second": efficiency.images_per_second,
        "data_wait": efficiency.data_wait,
        "energy_joules": efficiency.energy,
        "energy_of": efficiency.energy_of,
        "operations_per_joule": efficiency.operations_per_joule,
        "stability_mean": stability and stability.mean,
        "stability_variation": stability and stability.variation,
        "share_of_peak": peak and peak.share,
        "tensor_utilisation": peak and peak.utilisation,
        "node_hours_given": hours and hours.given,
        "node_hours_at_work": hours and hours.at_work,
        "node_hours_idle": hours and hours.idle,
        "error_is_zero": _yes_no(score.error_is_zero),
        "state": result.phase.value,
        "data": result.data,
        "data_sha256": " ".join(sorted(result.data_digests)),
        "precision": " ".join(sorted(result.precisions)),
        "scheduler": settings.scheduler.kind,
        "concurrency": result.directory.config.settings.campaign.concurrency,
        "seed": settings.campaign.seed,
        "counting": counts.CONVENTION,
        "aiperf_orch": versions.get("aiperf-orch"),
        "python": versions.get("python"),
        "torch": " ".join(sorted({begin.versions["torch"] for begin in begins if "torch" in begin.versions})),
        "settings_sha256": result.directory.settings_sha256,
        "settings_changes": "; ".join(f"{row.key}: {row.before} -> {row.after}" for row in change_rows(result)) or None,
        "drained_nodes": drained_count(result),
        "meter_joules": meter and meter.joules,
        "meter_operations_per_joule": meter and meter.operations_per_joule,
        "meter_source": meter and meter.source,
        "meter_share": meter and meter.share,
        "meter_level": meter and meter.level,
        "meter_missing": meter and ("; ".join(meter.missing) or None),
    }


def series_rows(result: Result) -> list[dict[str, Any]]:
    """One row for each point of the score over time."""
    points: Sequence[tuple[float, Any]] = result.series
    return [
        {
            "seconds": seconds,
            "operations": score.operations,
            "score": score.score,
            "error": score.error,
            "regulated_score": score.regulated,
            "epochs": score.epochs,
            "simulated": _yes_no(result.simulated),
        }
        for seconds, score in points
    ]


def node_rows(result: Result) -> list[dict[str, Any]]:
    """One row for each node on which a trial began, sorted by their names."""
    return [
        {
            "node": each.node,
            "trials": each.trials,
            "epochs": each.epochs,
            "images_per_second": each.images_per_second,
            "relative_speed": each.relative_speed,
            "failures": each.failures,
            "slow": _yes_no(each.is_slow),
            "simulated": _yes_no(result.simulated),
        }
        for each in result.node_speeds
    ]


def _trial_row(records: TrialRecords, best: Epoch | None, result: Result) -> dict[str, Any]:
    trial, epochs = records.trial, records.epochs
    operations = sum(epoch.ops for epoch in epochs)
    begins = [begin.time for begin in records.begins]
    seconds = (max(epoch.end for epoch in epochs) - min(begins)).total_seconds() if epochs and begins else None
    efficiency = efficiency_of(epochs, seconds)
    end = trial.attempts[-1].end
    placed = records.begins[-1] if records.begins and records.begins[-1].attempt == len(trial.attempts) else None
    point = trial.proposal.hyperparameters
    return {
        "trial": trial.trial,
        "error": best.error if best else None,
        "network": trial.proposal.network_hash,
        "parent": trial.proposal.parent,
        "round": trial.proposal.round,
        "edits": " ".join(str(edit["kind"]) for edit in trial.proposal.edits),
        "layers": trial.proposal.layers,
        "parameters": trial.proposal.parameters,
        "kernel_size": _kernel_size(trial.proposal),
        "dropout": point.dropout,
        "batch_size": epochs[-1].batch if epochs else point.batch_size,
        "best_epoch": best.epoch if best else None,
        "epochs": len(epochs),
        "train_images": sum(epoch.train_images for epoch in epochs),
        "val_images": sum(epoch.val_images for epoch in epochs),
        "operations": operations,
        "seconds": seconds,
        "ops": operations / seconds if seconds else None,
        "images_per_second": efficiency.images_per_second,
        "data_wait": efficiency.data_wait,
        "predicted_error": end.predicted_error if end else None,
        "attempts": len(trial.attempts),
        "end_reason": end.reason.value if end else "RUNNING",
        "allocation": placed and placed.allocation,
        "agent": placed and placed.agent,
        "slot": placed and placed.slot,
        "simulated": _yes_no(result.simulated),
    }


def _kernel_size(proposal: ProposalRecord) -> int | None:
    """The kernel size that the edits used; of a proposal of format 1 the one that was drawn, as its tables have it."""
    if proposal.layers is None:
        return proposal.hyperparameters.kernel_size
    return proposal.used_kernel_size


def _table(rows: Iterable[Mapping[str, Any]], header: Sequence[str]) -> bytes:
    """A table as CSV; of a row the columns of the header, and nothing where a value is None or missing."""
    import pandas as pd  # only commands that write tables need it

    text, remaining = io.StringIO(), iter(rows)
    part = list(islice(remaining, _ROWS_AT_ONCE))
    pd.DataFrame(part, columns=list(header), dtype=object).to_csv(text, index=False, lineterminator="\n")
    while part := list(islice(remaining, _ROWS_AT_ONCE)):
        frame = pd.DataFrame(part, columns=list(header), dtype=object)
        frame.to_csv(text, index=False, header=False, lineterminator="\n")
    return text.getvalue().encode()


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"
