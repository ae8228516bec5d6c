"""Data of the report: every number and text that report.html shows, as one JSON object.

The page is rendered from this object alone, and contains it, so that `verify` can compare both with the records.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict
from typing import Any, Final

import aiperf_orch
from aiperf_orch.campaign.failure_policy import is_failure
from aiperf_orch.campaign.public_settings import redacted
from aiperf_orch.network import counts
from aiperf_orch.records.base import EndReason
from aiperf_orch.results.activity_series import activity_of
from aiperf_orch.results.html import templates_sha256
from aiperf_orch.results.plan_comparison import plan_comparison
from aiperf_orch.results.result import Result
from aiperf_orch.results.rules import rules_of
from aiperf_orch.results.searched import searched
from aiperf_orch.results.setting_changes import change_rows, drain_effect, format_setting
from aiperf_orch.results.tables import leaderboard_rows, result_row
from aiperf_orch.settings.base import ADVANCED, written_key
from aiperf_orch.settings.comparison import flatten
from aiperf_orch.settings.models import SiteSettings, private_keys
from aiperf_orch.util import dataset_catalogue

REPORT_TEMPLATE: Final = "report.html.j2"
_MOST_TRIALS: Final = 25
_MOST_FAILURES: Final = 25
_MOST_HOSTS: Final = 3
_MOST_NODES: Final = 25
_MOST_FAULTS: Final = 10
_MOST_CHARACTERS: Final = 200
IDLE_CAUSES: Final = {
    "start_up": "Idle: trial starting",
    "first_trial": "Idle: before the first trial",
    "no_trial": "Idle: no trial placed",
    "beyond_concurrency": "Idle: slots beyond the concurrency",
    "after_end": "Idle: after the deadline or the last trial",
    "lost": "Idle: trial or agent lost",
}
"""Cause of idle node-hours -> its name for readers."""


def report_data(result: Result) -> dict[str, Any]:
    """The data of a report, of types that JSON has; the same records give the same data."""
    rules = rules_of(result)
    missed = {miss.rule.id: _public_line(miss.why, result) for miss in rules.misses(result)}
    data = {
        "versions": writer_versions(),
        "result": result_row(result),
        "score": asdict(result.score) | {"error_is_zero": result.score.error_is_zero},
        "started": f"{result.started:%Y-%m-%d %H:%M} UTC" if result.started else None,
        "rules": [[rule.id, rule.sentence, missed.get(rule.id)] for rule in rules.rules],
        "rules_version": rules.version,
        "counting": counts.CONVENTION,
        "faults": [_public_line(fault, result) for fault in result.faults[:_MOST_FAULTS]],
        "more_faults": max(len(result.faults) - _MOST_FAULTS, 0),
        "simulated": result.simulated,
        "series": _series(result),
        "activity": _activity(result),
        "searched": searched(result),
        "node_hours": _node_hours(result),
        "machine": _machine(result),
        "plan": plan_comparison(result),
        "trials": leaderboard_rows(result, _MOST_TRIALS),
        "more_trials": max(len(result.collected.trials) - _MOST_TRIALS, 0),
        **_failures(result),
        "system": _system(result),
        "settings": _settings(result.directory.config.settings, result.directory.config.salt or ""),
        "settings_changes": [
            (f"{row.time:%Y-%m-%d %H:%M:%S} UTC", row.user, row.key, row.before, row.after)
            for row in change_rows(result)
        ],
        "drained_nodes": [
            (f"{entry.time:%Y-%m-%d %H:%M:%S} UTC", entry.user, ", ".join(entry.nodes), drain_effect(entry))
            for entry in result.state.drained.history
        ],
    }
    return dict(json.loads(json.dumps(data)))  # the types of a page's data: lists, and numbers of Python


def writer_versions() -> dict[str, str]:
    """Version of this aiperf-orch, and the hash of its templates of the report."""
    return {"aiperf-orch": aiperf_orch.__version__, "templates": templates_sha256(REPORT_TEMPLATE)}


def _series(result: Result) -> dict[str, list[float]] | None:
    """Score, error and regulated score over time; None before an epoch has ended."""
    points = [point for point in result.series if point[1].epochs]
    if not points:
        return None
    return {
        "seconds": [seconds for seconds, _ in points],
        "score": [score.score for _, score in points],
        "error": [score.error or 0.0 for _, score in points],
        "regulated": [score.regulated or 0.0 for _, score in points],
    }


def _activity(result: Result) -> dict[str, Any] | None:
    """Throughput and running trials in equal intervals, and the utilisation; None before an epoch has ended."""
    activity = activity_of(result)
    if activity is None:
        return None
    return {
        "utilisation": activity.utilisation,
        "concurrency": [list(each) for each in result.concurrency_from],
        "edges": activity.edges.tolist(),
        "ops": activity.ops.tolist(),
        "trials": activity.trials.tolist(),
    }


def _node_hours(result: Result) -> list[tuple[str, float, float]] | None:
    """Use of the nodes, node-hours, and their share of those given; None where no agent held a node."""
    hours = result.node_hours
    if hours is None or not hours.given:
        return None
    idle = [(IDLE_CAUSES[name], spent, share) for name, spent, share in hours.shares()]
    return [("Given", hours.given, 1.0), ("At work", hours.at_work, hours.at_work / hours.given), *idle]


def _machine(result: Result) -> dict[str, Any] | None:
    """The nodes, slow ones first and then by their relative speed; None before a trial has begun."""
    found = result.node_speeds
    if not found:
        return None
    order = sorted(found, key=lambda each: (not each.is_slow, each.relative_speed or math.inf, each.node))
    return {
        "nodes": [asdict(each) for each in order[:_MOST_NODES]],
        "number": len(found),
        "slow": sum(each.is_slow for each in found),
        "compared": sum(each.relative_speed is not None for each in found),
    }


def _failures(result: Result) -> dict[str, Any]:
    """Numbers of attempts by end reason, and the failed attempts, newest first."""
    ends = result.state.ends
    failed = [end for end in ends if is_failure(end.reason)]
    number, bad = Counter(end.reason for end in ends), {end.reason for end in failed}
    return {
        "attempts": sum(len(trial.attempts) for trial in result.state.trials.values()),
        "retried": sum(len(trial.attempts) > 1 for trial in result.state.trials.values()),
        "failed": len(failed),
        "reasons": [(reason.value, number[reason], reason in bad) for reason in EndReason if number[reason]],
        "failures": [
            {
                "trial": end.trial,
                "attempt": end.attempt,
                "reason": end.reason.value,
                "node": _some(end.hosts),
                "job": result.state.trials[end.trial].attempts[end.attempt - 1].latest_job,
                "log": str(result.directory.log(end.trial, end.attempt).relative_to(result.directory.path)),
                "message": _public_line(end.message, result),
                "then": "not retried" if end.final else "retried",
                "epochs": end.epochs,
            }
            for end in failed[: -_MOST_FAILURES - 1 : -1]
        ],
        "more_failures": max(len(failed) - _MOST_FAILURES, 0),
    }


def _system(result: Result) -> list[tuple[str, Any]]:
    """System and software of the trials, as their begin lines state them."""
    begins = [begin for trial in result.collected.trials for begin in trial.begins]
    settings = result.directory.settings
    versions = {f"{name} {version}" for begin in begins for name, version in begin.versions.items()}
    fields: list[tuple[str, Any]] = [
        ("System", settings.system.name),
        ("Submitter", settings.system.submitter),
        ("Contact", settings.system.contact),
        ("Scheduler", settings.scheduler.kind),
        ("Hosts of trials", len({host for begin in begins for host in begin.hosts})),
        ("Devices", _listed({begin.device for begin in begins})),
        ("CPU cores of a trial", _listed({str(begin.cores) for begin in begins})),
        ("Precision", _listed(set(result.precisions))),
        ("Trainer", _listed({begin.trainer for begin in begins})),
        ("Software of the trials", _listed(versions)),
        ("Largest clock skew", f"{result.clock_skew:.3f} s"),
    ]
    return [(name, value) for name, value in fields if value not in (None, "")]


def _settings(settings: SiteSettings, salt: str) -> list[tuple[str, list[tuple[str, str, bool]]]]:
    """Sections of the settings; for each key its name, its value, and whether the value is not the default.

    Of `data` the keys that its data set follows, and others that were set.
    """
    values, defaults = settings.model_dump(mode="json"), SiteSettings().model_dump(mode="json")
    sections = []
    for section, keys in values.items():
        for name in keys.keys() & {key for part, key in private_keys() if part == section}:
            keys[name] = redacted(keys[name], salt)
        if section == "data":
            used = dataset_catalogue.settings_used(settings.data.name)
            keys = {name: value for name, value in keys.items() if name in used or value != defaults[section][name]}
        usual, model = flatten(defaults[section]), getattr(settings, section)
        rows = [
            (written_key(model, key), format_setting(value), value != usual.get(key))
            for key, value in flatten(keys).items()
        ]
        sections.append((section, sorted(rows, key=lambda row: row[0].startswith(f"{ADVANCED}."))))
    return sections


def _public_line(text: str, result: Result) -> str:
    """A message as one line of bounded length, without the path of the campaign directory."""
    line = " ".join(text.replace(f"{result.directory.path}/", "").split())
    return line if len(line) <= _MOST_CHARACTERS else line[: _MOST_CHARACTERS - 1] + "…"


def _some(hosts: list[str]) -> str:
    """The first nodes of an attempt, and how many more there are."""
    more = len(hosts) - _MOST_HOSTS
    return " ".join(hosts[:_MOST_HOSTS]) + (f" and {more} more" if more > 0 else "")


def _listed(values: set[str]) -> str:
    return ", ".join(sorted(values)[:12]) + (f" and {len(values) - 12} more" if len(values) > 12 else "")
