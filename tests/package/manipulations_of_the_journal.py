"""Manipulations of the journal's order, limits and names; all that follows from it is made right again.

Each is of a simulated campaign, and has exactly one kind of fault.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from package.package_changes import Change, change_journal, repaired, shift

_Row = tuple[Change, str, str, str]


def _entry(entries: list[dict[str, Any]], kind: str, number: int = 0) -> dict[str, Any]:
    return [entry for entry in entries if entry["type"] == kind][number]


def _paused(entries: list[dict[str, Any]]) -> None:
    """The campaign is paused before the last trial, and never resumed."""
    place = entries.index(_entry(entries, "submitting", -1))
    entries.insert(place, {**_bare(entries[place - 1]), "type": "paused", "reason": "an administrator wanted it"})


def _bare(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in ("seq", "time", "generation", "prev")}


def _resumed(entries: list[dict[str, Any]]) -> None:
    place = entries.index(_entry(entries, "submitting", -1))
    entries.insert(place, {**_bare(entries[place - 1]), "type": "resumed"})


def _created_twice(entries: list[dict[str, Any]]) -> None:
    entries.insert(1, dict(entries[0]))


def _stopped_after_its_end(entries: list[dict[str, Any]]) -> None:
    entries.append({**_bare(entries[-1]), "type": "stopped"})


def _left_open(package: Any, _: Path) -> None:
    """The last trial never ends: its events count as they are."""
    package.journal(lambda entries: entries.remove(_entry(entries, "ended", -1)))


def _earlier(package: Any, _: Path) -> None:
    package.journal(lambda entries: shift(entries[-1:], -1800))


def _cut_by_the_deadline(package: Any, _: Path) -> None:
    """The last trial is said to have ended for the deadline, half an hour before it."""
    package.events("00003-1.0.jsonl", lambda lines: lines[-1].update(reason="STOPPED"))
    package.each("ended", lambda item: item.update(reason="CAMPAIGN_ENDED") if item["trial"] == 3 else None)


def _cancelled_by_the_deadline(package: Any, _: Path) -> None:
    """The last trial is said to be cancelled for the deadline, and ends as it did."""

    def change(entries: list[dict[str, Any]]) -> None:
        ended = _entry(entries, "ended", -1)
        attempts = [{"trial": 3, "attempt": 1}]
        line = {**_bare(ended), "type": "cancelling", "attempts": attempts, "reason": "CAMPAIGN_ENDED"}
        entries.insert(entries.index(ended), line)

    package.journal(change)


def _drained(entries: list[dict[str, Any]], place: int, **fields: Any) -> None:
    """Nodes are drained before the entry with this number."""
    made = {"request": "0" * 16, "user": "ann", "host": "login1", "nodes": ["n1"], "now": False, "undo": False}
    entries.insert(place, {**_bare(entries[place - 1]), "type": "drained", **made, **fields})


def _drained_after_its_end(entries: list[dict[str, Any]]) -> None:
    _drained(entries, len(entries))


def _preempted(host: str | None, **fields: Any) -> Change:
    """The last trial is cancelled as for a drained node, and ends as it did.

    Args:
        host: The node that is drained before that, `its` the one of the trial; None where none is.
        fields: Other fields of that entry.
    """

    def change(entries: list[dict[str, Any]]) -> None:
        ended = _entry(entries, "ended", -1)
        place = entries.index(ended)
        if host is not None:
            node = ended["attempts"][0]["hosts"][0] if host == "its" else host
            _drained(entries, place, nodes=[node], **fields)
        line = {**_bare(ended), "type": "cancelling", "attempts": [{"trial": 3, "attempt": 1}], "reason": "PREEMPTED"}
        entries.insert(entries.index(ended), line)

    return change_journal(change)


def _resubmitted(entries: list[dict[str, Any]]) -> None:
    """The last trial, which runs, is cancelled as RESUBMITTED although no setting was changed."""
    ended = _entry(entries, "ended", -1)
    line = {**_bare(ended), "type": "cancelling", "attempts": [{"trial": 3, "attempt": 1}], "reason": "RESUBMITTED"}
    entries.insert(entries.index(ended), line)


def _finished_before_its_deadline(package: Any, _: Path) -> None:
    package.journal(lambda entries: entries[-1].update(by_deadline=False, reason="its 4 trials have ended"))


def _finished_before_a_retry(package: Any, folder: Path) -> None:
    """The campaign has its number of trials, but the retry that was due is left out."""
    package.settings("max_trials: null", "max_trials: 4")

    def change(entries: list[dict[str, Any]]) -> None:
        items = [(entry, item) for entry in entries for item in entry.get("attempts", entry.get("jobs", ()))]
        for entry in [entry for entry, item in items if (item["trial"], item["attempt"]) == (1, 2)]:
            entries.remove(entry)

    package.journal(change)
    for name in ("events/00001-2.0.jsonl", "jobs/00001-2/job.sh"):
        package.files.pop(name)
    _finished_before_its_deadline(package, folder)


def _retried(package: Any, _: Path) -> None:
    """The trial that is over gets one more attempt, whose job was refused."""
    line = {"trial": 1, "attempt": 3, "run": 0, "type": "end", "reason": "SUBMIT_REFUSED"}

    def change(entries: list[dict[str, Any]]) -> None:
        record = {**_entry(entries, "submitting", 1)["attempts"][0], "attempt": 3, "proposal": None}
        record["name"] = record["name"][:-1] + "3"
        ended = _entry(entries, "ended", 2)
        line["time"] = ended["time"]
        end = {**ended["attempts"][0], "attempt": 3, "reason": "SUBMIT_REFUSED", "files": [], "hosts": []}
        end |= {"first_begin": None, "progressed": False}
        place = entries.index(ended) + 1
        entries[place:place] = [
            {**_bare(ended), "type": "submitting", "attempts": [record]},
            {**_bare(ended), "type": "ended", "attempts": [end]},
        ]

    package.journal(change)
    package.files["events/00001-3.0.jsonl"] = json.dumps(line).encode() + b"\n"


def _renamed(name: str) -> Change:
    def change(package: Any, _: Path) -> None:
        package.each(
            "submitting", lambda item: item.update(name=name.format(item["name"][:5])) if item["trial"] == 3 else None
        )

    return change


def _changed(key: str, before: Any, *after: Any, at_end: bool = False) -> Change:
    """A setting is changed, once for each value, before the last trial, or after the campaign's end."""

    def change(entries: list[dict[str, Any]]) -> None:
        place = len(entries) if at_end else entries.index(_entry(entries, "submitting", -1))
        changes = [{"key": key, "before": before, "after": value} for value in after]
        line = {"type": "settings-changed", "request": "0" * 16, "user": "ada", "host": "login", "changes": changes}
        entries.insert(place, {**_bare(entries[place - 1]), **line})

    return change_journal(change)


_ROWS: dict[str, _Row] = {
    "an attempt submitted again without a change": (
        change_journal(_resubmitted), "settings.resubmitted", "journal.jsonl:", "no setting of its job changed",
    ),
    "a setting changed from another value": (
        _changed("campaign.concurrency", 7, 9), "settings.before", "journal.jsonl:19", "2 was in force",
    ),
    "a setting changed from a number of another type": (
        _changed("campaign.concurrency", 2.0, 4), "settings.before", "journal.jsonl:19", "2.0 stated; 2 was in force",
    ),
    "a setting changed from what is no number": (
        _changed("campaign.concurrency", {"a": 1}, 4), "settings.before", "journal.jsonl:19", "2 was in force",
    ),
    "a number changed to a text": (
        _changed("campaign.concurrency", 2, "4"), "settings.change", "journal.jsonl:19", "must be a whole number",
    ),
    "a number changed to none": (
        _changed("campaign.concurrency", 2, None), "settings.change", "journal.jsonl:19", "must be a whole number",
    ),
    "a duration as no command writes it": (
        _changed("campaign.duration", "3600s", "59m"), "settings.change", "journal.jsonl:19", "as a setting it is",
    ),
    "a setting that the campaign lacks": (
        _changed("scheduler.account", None, "b"), "settings.change", "journal.jsonl:19", "has no such setting",
    ),
    "a setting changed twice in one line": (
        _changed("campaign.concurrency", 2, 4, 5), "settings.change", "journal.jsonl:19", "is changed 2 times",
    ),
    "a setting changed to its own value": (
        _changed("campaign.concurrency", 2, 2), "settings.change", "journal.jsonl:19", "is no change",
    ),
    "a setting changed after the end": (
        _changed("campaign.concurrency", 2, 4, at_end=True), "settings.change", "journal.jsonl:24", "is finished",
    ),
    "a seed changed": (
        _changed("campaign.seed", 1, 2), "settings.change", "journal.jsonl:19", "would change the benchmark",
    ),
    "a longer duration": (
        _changed("campaign.duration", "3600s", "2h"), "settings.change", "journal.jsonl:19", "only become shorter",
    ),
    "more trials than changed settings permit": (
        _changed("campaign.max_trials", None, 3), "campaign.max_trials", "journal.jsonl:20", "max_trials: 3",
    ),
    "a trial during a pause": (
        change_journal(_paused), "journal.phase", "journal.jsonl:20", "while the campaign is paused",
    ),
    "resumed without a pause": (change_journal(_resumed), "journal.phase", "journal.jsonl:19", "neither paused"),
    "created twice": (change_journal(_created_twice), "journal.order", "journal.jsonl:2", "was created before"),
    "stopped after its end": (
        change_journal(_stopped_after_its_end), "journal.phase", "journal.jsonl:24", "had ended before",
    ),
    "an attempt that never ends": (_left_open, "journal.open", "journal.jsonl:22", "attempt 1 of trial 3"),
    "ended before its deadline": (_earlier, "campaign.duration", "journal.jsonl:23", "finished: by its deadline at"),
    "a trial that the deadline ended before it": (
        _cut_by_the_deadline, "campaign.duration", "journal.jsonl:22", "ended: CAMPAIGN_ENDED, by the deadline at",
    ),
    "a trial cancelled by the deadline before it": (
        _cancelled_by_the_deadline, "campaign.duration", "journal.jsonl:22", "cancelling: CAMPAIGN_ENDED",
    ),
    "drained after its end": (
        change_journal(_drained_after_its_end), "journal.phase", "journal.jsonl:24", "drained: the campaign had ended",
    ),
    "a trial that leaves although no node is drained": (
        _preempted(None), "campaign.drained", "journal.jsonl:22", "and need leave no node",
    ),
    "a trial that leaves another node than the drained one": (
        _preempted("other", now=True), "campaign.drained", "journal.jsonl:23", "and need leave no node",
    ),
    "a running trial that leaves although it may go on": (
        _preempted("its"), "campaign.drained", "journal.jsonl:23", "and need leave no node",
    ),
    "a trial that leaves a node that is not drained any more": (
        _preempted("its", now=True, undo=True), "campaign.drained", "journal.jsonl:23", "and need leave no node",
    ),
    "finished before its deadline": (
        _finished_before_its_deadline, "campaign.finished", "journal.jsonl:23", "the settings have max_trials: None",
    ),
    "finished before a retry": (
        _finished_before_a_retry, "campaign.finished", "journal.jsonl:19", "and trial 1 was to be retried",
    ),
    "a retry that was not due": (
        _retried, "journal.attempts", "journal.jsonl:15", "attempt 2 was the last one of its trial",
    ),
    "more trials than the settings permit": (
        lambda package, _: package.settings("max_trials: null", "max_trials: 3"),
        "campaign.max_trials", "journal.jsonl:19", "max_trials: 3",
    ),
    "a job of another name": (_renamed("other-00003-1"), "attempt.name", "journal.jsonl:19", "other-00003-1"),
    "a job's name twice": (_renamed("{}-00002-1"), "attempt.name", "journal.jsonl:19", "attempt 1 of trial 2"),
    "another number of attempts": (
        lambda package, _: package.settings("max_attempts: 3", "max_attempts: 1"),
        "attempt.final", "journal.jsonl:10", "with max_attempts: 1 it is True",
    ),
    "begun twice": (
        change_journal(lambda entries: entries.insert(5, dict(_entry(entries, "began")))),
        "attempt.began", "journal.jsonl:6", "began before",
    ),
    "fewer operations of a failed attempt": (
        lambda package, _: package.each(
            "ended", lambda item: item.update(ops=1) if item["reason"] == "LOST" else None
        ),
        "attempt.sums", "journal.jsonl:10", "ops: 1 stated",
    ),
    "progress that there was not": (
        lambda package, _: package.each(
            "ended", lambda item: item.update(progressed=False) if item["reason"] == "LOST" else None
        ),
        "attempt.sums", "journal.jsonl:10", "progressed: False",
    ),
}  # fmt: skip

_UNREADABLE = {
    "a seed changed", "a longer duration", "a number changed to a text", "a number changed to none",
    "a setting that the campaign lacks",
}  # fmt: skip
"""Those after which there is no result to repair."""

MANIPULATIONS_OF_THE_JOURNAL: dict[str, _Row] = {
    name: (change if id_ == "attempt.sums" or name in _UNREADABLE else repaired(change), id_, where, message)
    for name, (change, id_, where, message) in _ROWS.items()
}
