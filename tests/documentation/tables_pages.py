"""Pages of columns, end reasons, rules and files of a campaign, from the tables in the code."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from aiperf_orch.campaign.failure_policy import (
    CAUSES,
    CONSEQUENCES,
    DELIBERATE,
    EXCLUDING_FAILURES,
    NODE_SUSPECTED,
    UNCOUNTED_WITH_PROGRESS,
    Consequence,
)
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.committee import ranking_rows
from aiperf_orch.records.base import EndReason
from aiperf_orch.results import columns
from aiperf_orch.results.rules import FROZEN, OF_JOURNAL_FORMAT, RULE_SETS
from aiperf_orch.settings.models import CampaignSettings
from documentation.markdown import code, page, sentence, table, words

_FOLDER: Final = "CAMPAIGN"
_ARGUMENTS: Final[Mapping[str, Any]] = {
    "trial": 42,
    "attempt": 1,
    "run": 0,
    "agent": "n17.1",
    "allocation": "TAG-a00001",
    "array": "TAG-w00001",
    "node": "n17",
    "name": "REQUEST",
}
"""Trial, attempt, agent and so on of the files that the page shows."""
_EXCEPT: Final = ("of_spec", "script_in", "read_slot")


def columns_page() -> str:
    """The page `reference/columns.md`."""
    parts = [
        "The CSV files have one line of names. Fractions are between 0 and 1; operations are exact whole numbers of "
        "any length. Private settings stand in none of them.",
    ]
    for name, text, found in (
        (
            "result.csv",
            "One row, written by `run` and `score`. [Results](../guides/results.md) explains it.",
            columns.RESULT,
        ),
        ("leaderboard.csv", "One row for each trial, in the order of the error.", columns.LEADERBOARD),
        (
            "series.csv",
            "The result over time: a row for every 6 minutes and the end; 20 rows for a short campaign.",
            columns.SERIES,
        ),
        (
            "nodes.csv",
            "One row for each node on which a trial began. [Results](../guides/results.md#the-machine) explains it.",
            columns.NODES,
        ),
        (
            "ranking.csv",
            "A row for each file that `rank` was given, and one for each announced campaign that was not sent; also "
            "`rank --format csv` and, with the same keys, `--format json`. [Rank](../guides/committee.md#rank) "
            "explains places, statuses and notes.",
            ranking_rows.COLUMNS,
        ),
    ):
        parts += [
            f"## {name}",
            text,
            table(("column", "meaning"), ((code(key), about) for key, about in found.items())),
        ]
    return page("Columns", *parts)


def end_reasons_page() -> str:
    """The page `reference/end-reasons.md`."""
    attempts = CampaignSettings.model_fields["max_attempts"].default
    pause = CampaignSettings.model_fields["pause_after_failures"].default
    reasons = sorted(EndReason, key=lambda reason: list(Consequence).index(CONSEQUENCES[reason]))
    return page(
        "End reasons",
        "Every attempt of a trial ends for one of these reasons. `status`, leaderboard.csv and the report show them.",
        table(
            ("reason", "cause", "what follows"), ((code(each.value), CAUSES[each], _follows(each)) for each in reasons)
        ),
        "- **A retry** continues from the last checkpoint, on other nodes than those on which the trial failed, at "
        f"most `campaign.max_attempts` ({attempts}) attempts in all.\n"
        f"- **A node** on which {EXCLUDING_FAILURES} trials failed since its last success, which did not fail on other"
        " nodes too, is excluded (Slurm and agents; PBS cannot keep a job off a node).\n"
        f"- **The campaign pauses** after `campaign.pause_after_failures` ({pause}) consecutive failures with the same"
        " reason, and at the first failure of a job before any trial has completed an epoch. `run` resumes it.\n"
        "- [Troubleshooting](../guides/troubleshooting.md) states what to do.",
    )


def rules_page() -> str:
    """The page `reference/rules.md`."""
    newest = max(OF_JOURNAL_FORMAT)
    parts = [
        "A result is *rankable* if it meets all rules of its version. A campaign keeps the rules under which it "
        "began. A campaign that misses a rule is scored nevertheless, and the output states which rules it misses, "
        "and why. [Rules of a rankable result](../benchmark/rules.md) explains them.",
    ]
    for journal_format, version in sorted(OF_JOURNAL_FORMAT.items(), reverse=True):
        text = files("aiperf_orch.results").joinpath(f"{version}.json").read_text(encoding="utf-8")
        now = ", the one of new campaigns" if journal_format == newest else ""
        parts += [
            f"## {version}",
            f"Of campaigns whose journal has format {journal_format}{now}. SHA-256 of the rules as canonical JSON: "
            f"`{FROZEN[version]}`",
            table(
                ("id", "rule", "limits"),
                ((code(rule["id"]), rule["sentence"], _limits(rule["limits"])) for rule in json.loads(text)["rules"]),
            ),
        ]
        assert RULE_SETS[version].version == version, "modified rules"
    return page("Rules", *parts)


def files_page() -> str:
    """The page `reference/files.md`."""
    rows = sorted(_files(), key=lambda row: (row[0].count("/") > 1, row[0]))
    return page(
        "Files of a campaign",
        f"`{_FOLDER}` is the campaign directory, `TAG` the campaign's tag of five characters. The directory has mode "
        "0700 (0750 with `campaign.group_readable`): one that others can write is refused, and a warning is printed "
        "if others could replace it. Shown are the files of trial 42 in its first attempt, of allocation 1, and of "
        "the first agent on node n17.",
        table(("file", "contents"), ((code(path), about) for path, about in rows)),
        "The controller's state is in the journal and the events only: if it is killed at any moment, no finished "
        "epoch is lost, and none counts twice. [Formats on disk](../development/formats.md) lists the JSON Schemas of"
        " these files, and which version of aiperf-orch reads what.",
    )


def _follows(reason: EndReason) -> str:
    follows = [CONSEQUENCES[reason].value]
    if reason in UNCOUNTED_WITH_PROGRESS:
        follows.append("an attempt that completed a new epoch does not count against `campaign.max_attempts`")
    if reason is EndReason.STOPPED:
        follows.append("an attempt that had not begun is submitted again when the campaign is resumed")
    if reason in NODE_SUSPECTED:
        follows.append("its nodes are suspected")
    if reason in DELIBERATE:
        follows.append("no failure")
    return "; ".join(follows)


def _limits(limits: Mapping[str, Any]) -> str:
    return ", ".join(f"`{key}`: {_value(value)}" for key, value in limits.items()) or "none"


def _value(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _files() -> Iterator[tuple[str, str]]:
    """Each path of a campaign directory, with what it holds."""
    layout = Layout(Path(_FOLDER))
    for name, member in vars(Layout).items():
        if name.startswith("_") or name in (*_EXCEPT, "path"):
            continue
        if isinstance(member, property | cached_property):
            path, about = getattr(layout, name), member.__doc__
        else:
            function = getattr(layout, name)
            path = function(**{key: _ARGUMENTS[key] for key in inspect.signature(function).parameters})
            about = function.__doc__
        folder = "/" if name.endswith("folder") else ""
        yield f"{path}{folder}", sentence(words(about))
