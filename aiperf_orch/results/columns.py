"""Columns of result.csv, leaderboard.csv, series.csv and nodes.csv in their order, with what each of them means.

The reference of the documentation is made from these texts; Markdown is allowed in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_SIMULATED: Final = "`yes` if no training took place, by the settings or any begin line"

RESULT: Final[Mapping[str, str]] = {
    "system": "name of the system, from the site file, as the next seven columns",
    "submitter": "who submits the result",
    "contact": "whom a committee asks",
    "system_id": "short name of the system",
    "division": "`closed` or `open`; empty counts as `closed`",
    "number_of_nodes": "nodes of the system",
    "accelerators_per_node": "accelerators of each node",
    "accelerator_model_name": "model of the accelerators",
    "campaign": "tag of the campaign, five characters",
    "score": "operations per second: `operations` / `seconds`",
    "error": "1 - best top-1 accuracy of any epoch's validation, a fraction",
    "regulated_score": "operations per second: `score` x -ln(`error`); for an error of 0, `error` is taken as 1 / (2 x "
    "validation images)",
    "rankable": "`yes` if all rules are met",
    "missed_rules": "ids of the rules that are missed, with blanks between them",
    "rules": "version of the rules",
    "simulated": _SIMULATED,
    "operations": "operations of all epochs that count, exact",
    "seconds": "from the first begin of any trial to the end of the last epoch that counts",
    "started": "the first begin, UTC",
    "duration_limit": "duration of the campaign in its settings, in seconds",
    "trials": "number of trials",
    "networks": "number of different networks that ended an epoch",
    "epochs": "number of epochs that count",
    "train_images": "images trained in these epochs",
    "val_images": "images validated in these epochs",
    "images_per_second": "images trained and validated / `seconds`",
    "data_wait": "share of the epochs' time in which steps waited for data, a fraction; this and the next three "
    "columns are empty unless every epoch that counts states it",
    "energy_joules": "energy of the nodes during the epochs that count, in joules",
    "energy_of": "components that it covers: `accelerators` (by their driver), `processors` (their packages, by RAPL, "
    "or by the counters of Cray, where a trial has a node to itself; not known under `local`, where trials run side by "
    "side), or `accelerators+processors`",
    "operations_per_joule": "`operations` / `energy_joules`",
    "stability_mean": "mean operations per second in 30 equal intervals of the second half of `seconds`; the "
    "operations of an epoch are spread evenly over its duration",
    "stability_variation": "coefficient of variation of these 30 values: standard deviation / mean",
    "share_of_peak": "`operations` / (`system.accelerator_peak_ops` x workers of a trial x time of all slots in "
    "`seconds`), a fraction; this and the next one are empty where the peak is not stated",
    "tensor_utilisation": "the same with the operations of convolutions and dense layers alone, 2 for each "
    "multiply-add of their forward and backward products: utilisation as in MLPerf",
    "node_hours_given": "node-hours for which the agents' nodes were present; this and the next two columns are empty "
    "where each trial is a job of its own",
    "node_hours_at_work": "node-hours in which trials ran on them",
    "node_hours_idle": "the rest of the node-hours that were given",
    "error_is_zero": "`yes` if the regulated score uses the bound above",
    "state": "`running`, `paused`, `stopped` or `finished`",
    "data": "the data set",
    "data_sha256": "SHA-256 of its listing",
    "precision": "precision of the training, from the begin lines",
    "scheduler": "kind of the scheduler: `local`, `slurm`, `pbs` or `agents`",
    "concurrency": "number of trials at once, from the settings as they were when the campaign began",
    "seed": "seed of the search",
    "counting": "version of the counting convention",
    "aiperf_orch": "version of aiperf-orch that made the campaign",
    "python": "version of its Python",
    "torch": "versions of PyTorch that trials state",
    "settings_sha256": "SHA-256 of campaign.yaml as a package shows it",
    "settings_changes": "changes of settings, as `campaign.concurrency: 2 -> 4`; empty without any",
    "drained_nodes": "number of nodes that `drain` kept trials off at any time; empty without any",
    "meter_joules": "energy of the nodes in `seconds` by a meter outside of them, in joules; where a part of the nodes "
    "was measured, divided by `meter_share`; this and the next five columns are empty unless `meter` has imported "
    "readings",
    "meter_operations_per_joule": "`operations` / `meter_joules`",
    "meter_source": "`pdu`, `bmc`, `slurm` or `facility`",
    "meter_share": "share of the campaign's nodes that was measured, a fraction",
    "meter_level": "quality level of the measurement, 1 to 3, by the power measurement methodology of the Energy "
    "Efficient HPC Working Group, version 2.0; 0 where it reaches none",
    "meter_missing": "what is missing to the next level; empty at level 3",
}
"""One row: the result of the campaign."""

LEADERBOARD: Final[Mapping[str, str]] = {
    "rank": "rank by error; empty for a trial that ended no epoch",
    "trial": "number of the trial, from 0",
    "error": "its best validation error, a fraction",
    "network": "canonical hash of its network",
    "parent": "trial whose network was edited; empty for the seed network",
    "edits": "kinds of the edits of the parent's network, with blanks between them",
    "round": "`trial` // concurrency",
    "layers": "number of layers of its network without the input; empty in campaigns of 0.1.0, as the next one",
    "parameters": "number of trainable parameters of its network",
    "kernel_size": "kernel size of the convolutions that these edits add; empty where they add none of that size",
    "dropout": "dropout rate",
    "batch_size": "batch of one accelerator that was used; smaller than proposed where that did not fit",
    "best_epoch": "epoch of its error",
    "epochs": "number of epochs that count",
    "train_images": "images trained in these epochs",
    "val_images": "images validated in these epochs",
    "operations": "operations of these epochs, exact",
    "seconds": "from its first begin to the end of its last epoch that counts",
    "ops": "operations per second: `operations` / `seconds`",
    "images_per_second": "as in result.csv, for this trial",
    "data_wait": "as in result.csv, for this trial",
    "predicted_error": "forecast for `search.forecast_epoch`, of a trial that ended before its learning rate schedule "
    "did; only the search uses it",
    "attempts": "number of attempts",
    "end_reason": "end reason of the last attempt; `RUNNING` before its end",
    "allocation": "allocation of the last attempt, empty for an agent that was started by hand; this and the next two "
    "columns are empty where each trial is a job of its own, and for an attempt that did not begin",
    "agent": "its agent: a host and a number, such as `n17.1`",
    "slot": "its slot on the agent",
    "simulated": _SIMULATED,
}
"""One row for each trial, in the order of the error."""

SERIES: Final[Mapping[str, str]] = {
    "seconds": "time since the first begin",
    "operations": "operations of the epochs that count until then, exact",
    "score": "operations per second until then",
    "error": "best validation error until then, a fraction",
    "regulated_score": "`score` x -ln(`error`)",
    "epochs": "number of epochs that count until then",
    "simulated": _SIMULATED,
}
"""The result over time: a row for every 6 minutes and the end; 20 rows for a short campaign."""

NODES: Final[Mapping[str, str]] = {
    "node": "name of the node",
    "trials": "number of trials with an epoch that counts there; a trial on several nodes counts on each",
    "epochs": "number of these epochs",
    "images_per_second": "median over these trials: images trained and validated / time of the epochs",
    "relative_speed": "median over these trials of the speed relative to trials with similar networks on other nodes; "
    "empty where there are too few",
    "failures": "number of attempts that failed after they had begun there",
    "slow": "`yes` if the node is slow by the rule in docs/guides/results.md",
    "simulated": _SIMULATED,
}
"""One row for each node on which a trial began."""
