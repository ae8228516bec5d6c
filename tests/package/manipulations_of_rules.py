"""Manipulations that make a package meet the rule of the duration, or state earlier rules; all else is made right.

Those of the duration cause no fault: they verify, and met the rule of `aiperf-1.0`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from aiperf_orch.results.rules import RULE_SETS
from package.package_changes import Change, repaired, shift
from plan_example import PLAN

_LAST = "00003-1.0.jsonl"
_PLAN = PLAN.model_dump(mode="json")


def _last_epoch_lasted(package: Any, _: Path) -> None:
    """The campaign's last epoch is said to have lasted from its third minute to its 32nd."""
    package.events(_LAST, lambda lines: shift(lines[-2:], 1730, ("time", "end")))
    package.journal(_shift_ends(1730))


def _interrupted_epoch_lasted(package: Any, folder: Path) -> None:
    """So is the last epoch of a trial that the deadline interrupted."""
    _last_epoch_lasted(package, folder)
    package.events(_LAST, lambda lines: lines[-1].update(reason="STOPPED"))
    package.events(_LAST, lambda lines: shift(lines[-1:], 1680))
    package.each("ended", lambda item: item.update(reason="CAMPAIGN_ENDED") if item["trial"] == 3 else None)
    package.journal(_shift_ends(1680))


def _idle_hour(package: Any, _: Path) -> None:
    """The last trial is trained at the end of the hour, in which nothing happens before."""
    package.events(_LAST, lambda lines: shift(lines, 3405))

    def change(entries: list[dict[str, Any]]) -> None:
        shift([entry for entry in entries if _is_of(entry, 3)], 3405)

    package.journal(change)


def _is_of(entry: dict[str, Any], trial: int) -> bool:
    return any(item["trial"] == trial for item in [*entry.get("attempts", []), *entry.get("jobs", [])])


def _shift_ends(seconds: float) -> Callable[[list[dict[str, Any]]], None]:
    """The end of the last trial is recorded later, and after it the end of the campaign."""

    def change(entries: list[dict[str, Any]]) -> None:
        shift([entry for entry in entries if entry["type"] == "ended" and _is_of(entry, 3)], seconds)
        times = [datetime.fromisoformat(entry["time"]) for entry in entries[-2:]]
        shift(entries[-1:], max((times[0] - times[1]).total_seconds(), 0))

    return change


MANIPULATIONS_OF_THE_DURATION: dict[str, tuple[Change, str]] = {
    "one epoch of 32 minutes that is said to have lasted": (
        repaired(_last_epoch_lasted), "epochs were under way for 30m38s",
    ),
    "the same in the trial that the deadline interrupted": (
        repaired(_interrupted_epoch_lasted), "epochs were under way for 40m24s",
    ),
    "an idle hour between two trials": (repaired(_idle_hour), "epochs were under way for 1m48s"),
}  # fmt: skip
"""Name -> change, and the reason why the duration is missed."""


def _journal_of_format_1(package: Any, _: Path) -> None:
    package.journal(lambda entries: entries[0].pop("format"))


def _journal_of_0_1_0(package: Any, folder: Path) -> None:
    _journal_of_format_1(package, folder)
    package.journal(lambda entries: entries[0].update(version="0.1.0"))


def _settings_of_format_1(package: Any, _: Path) -> None:
    package.settings("version: 2\n", "version: 1\n")


def _settings_of_0_1_0(package: Any, folder: Path) -> None:
    _settings_of_format_1(package, folder)
    writer = next(line for line in package.files["campaign.yaml"].decode().splitlines() if "aiperf-orch: " in line)
    package.settings(writer, "  aiperf-orch: 0.1.0")


def _without_later_keys(package: Any, _: Path) -> None:
    for key in ("retry_submit_for", "job_per_trial", "wait_for_controller"):
        line = next(each for each in package.files["campaign.yaml"].decode().splitlines() if f" {key}: " in each)
        package.settings(f"{line}\n", "")


def _all(*changes: Change) -> Change:
    def changed(package: Any, folder: Path) -> None:
        for change in changes:
            change(package, folder)

    return changed


def _of_rules_1_0(change: Change) -> Change:
    """A change after which tables and manifest state the rules that the journal's format has."""

    def changed(package: Any, folder: Path) -> None:
        repaired(change)(package, folder)
        version = package.files["result.csv"].decode().split("aiperf-1.")[1].partition(",")[0]
        rules = RULE_SETS[f"aiperf-1.{version}"]
        package.manifest["rules"] = {"version": rules.version, "sha256": rules.sha256}

    return changed


OF_0_1_0 = _of_rules_1_0(_all(_journal_of_0_1_0, _settings_of_0_1_0, _without_later_keys))
"""A campaign that is one of 0.1.0 by all that is stated of its formats and writers."""

MANIPULATIONS_OF_FORMATS: dict[str, tuple[Change, str, str, str]] = {
    "a journal of an earlier format": (
        _of_rules_1_0(_journal_of_format_1),
        "journal.version", "journal.jsonl:1", "as its writer, which writes format 2",
    ),
    "a journal of an earlier version": (
        _of_rules_1_0(_journal_of_0_1_0),
        "journal.version", "journal.jsonl:1", "version: 0.1.0 stated, which cannot read campaign.yaml in format 2",
    ),
    "a journal of an unknown version": (
        lambda package, _: package.journal(lambda entries: entries[0].update(version="mine")),
        "journal.version", "journal.jsonl:1", "as its writer, which has written none",
    ),
    "a journal of an earlier version that names a search": (
        _of_rules_1_0(
            _all(
                _journal_of_0_1_0, _settings_of_0_1_0, _without_later_keys,
                lambda package, _: package.journal(lambda entries: entries[0].update(search=1)),
            )
        ),
        "journal.version", "journal.jsonl:1", "search: no first line in format 1 names it",
    ),
    "a journal of an earlier version that has a plan": (
        _of_rules_1_0(
            _all(
                _journal_of_0_1_0, _settings_of_0_1_0, _without_later_keys,
                lambda package, _: package.journal(lambda entries: entries[0].update(plan=_PLAN)),
            )
        ),
        "journal.version", "journal.jsonl:1", "plan: no first line in format 1 has one",
    ),
    "settings of an earlier format": (
        repaired(_settings_of_format_1), "settings.version", "campaign.yaml", "as its writer, which writes format 2",
    ),
    "settings of an earlier version": (
        _of_rules_1_0(_all(_journal_of_0_1_0, _settings_of_0_1_0)),
        "settings.version", "campaign.yaml", "has scheduler.retry_submit_for, which campaign.yaml has since format 2",
    ),
    "settings of a later format without its keys": (
        repaired(_without_later_keys), "settings.version", "campaign.yaml", "has no scheduler.retry_submit_for",
    ),
}  # fmt: skip
"""Name -> change, the one kind of fault that it causes, its place, and a part of its message."""
