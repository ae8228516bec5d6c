"""Forgeries of whole campaigns, of which a single field would be caught: by which fault each is found, or why not.

Everything derivable is made right after each of them, as for random changes.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from package.forger.records import ITEMS, Line, Records, events_name
from package.forger.times import change_times, difference, shifted


@dataclass(frozen=True)
class CampaignForgery:
    """A forgery of a kind of campaign.

    Attributes:
        kind: of the honest package.
        change: of its records.
        fault: id of the fault by which it is found; None where it passes.
        reason: why it passes, or which option of verify finds it.
        keep: whether it is made again after everything derivable was made right.
    """

    kind: str
    change: Callable[[Records], Any]
    fault: str | None
    reason: str = ""
    keep: bool = False


def _start(records: Records) -> str:
    return min(begin["time"] for begin in records.begins())


def _last_epoch(records: Records) -> str:
    return max(epoch["end"] for epoch in records.epochs())


def _compressed(factor: float, *, accounting: bool = True) -> Callable[[Records], None]:
    """All times up to the last epoch, nearer to the first begin or farther from it; the end of the campaign stays."""

    def change(records: Records) -> None:
        start, last = _start(records), _last_epoch(records)
        saved = copy.deepcopy(records.accounting)

        def moved(time: str) -> str:
            after = difference(time, start)
            return shifted(start, after * factor) if start < time <= shifted(last, 3) else time

        change_times(records, moved)
        if not accounting:
            records.accounting = saved

    return change


def _settings(**values: Any) -> Callable[[Records], None]:
    """Other settings; `campaign__duration` is a key."""

    def change(records: Records) -> None:
        for name, value in values.items():
            section, _, key = name.partition("__")
            records.config["settings"][section][key] = value

    return change


def _all(*changes: Callable[[Records], Any]) -> Callable[[Records], None]:
    def change(records: Records) -> None:
        for each in changes:
            each(records)

    return change


def _better(trial: int, images: int) -> Callable[[Records], None]:
    """Fewer wrong images in every epoch of a trial."""

    def change(records: Records) -> None:
        for epoch in records.epochs():
            if epoch["trial"] == trial:
                wrong = round(epoch["error"] * epoch["val_images"])
                epoch["error"] = (wrong - images) / epoch["val_images"]

    return change


def _without_trial(records: Records, trial: int) -> None:
    """Remove a trial; later ones are renumbered."""
    for entry in records.journal:
        for key in ITEMS:
            if key in entry:
                entry[key] = [item for item in entry[key] if item.get("trial") != trial]
    records.journal[:] = [entry for entry in records.journal if all(entry.get(key, [1]) for key in ITEMS)]
    if records.accounting is not None:
        records.accounting = [line for line in records.accounting if f"-{trial:05d}-" not in line["name"]]
    records.specs.pop(trial)
    for name in [name for name in records.events if int(name[:5]) == trial]:
        del records.events[name]
    _renumber(records, lambda number: number - (number > trial))


def _renumber(records: Records, new: Callable[[int], int]) -> None:
    """Give trials other numbers, in all records and names."""
    for line in [*_records_of_trials(records), *records.specs.values()]:
        line["trial"] = new(line["trial"])
        for holder in (line, line.get("proposal") or {}):
            if holder.get("parent") is not None:
                holder["parent"] = new(holder["parent"])
            for key in ("name", "after"):
                if holder.get(key):
                    holder[key] = _renamed(holder[key], new)
    for line in records.accounting or ():
        line["name"] = _renamed(line["name"], new)
    records.specs = {new(trial): spec for trial, spec in records.specs.items()}
    records.events = {f"{new(int(name[:5])):05d}{name[5:]}": lines for name, lines in records.events.items()}


def _renamed(name: str, new: Callable[[int], int]) -> str:
    tag, trial, attempt = name.split("-")
    return f"{tag}-{new(int(trial)):05d}-{attempt}"


def _records_of_trials(records: Records) -> list[Line]:
    own = [item for entry in records.journal for key in ITEMS for item in entry.get(key, ()) if "trial" in item]
    return own + [line for lines in records.events.values() for line in lines]


def _last_trial(records: Records) -> None:
    _without_trial(records, max(records.specs))


def _middle_trial(records: Records) -> None:
    """A trial without children, between others."""
    parents = {spec["parent"] for spec in records.specs.values()}
    _without_trial(records, max(trial for trial in records.specs if trial not in parents and trial < 14))


def _cut_off(records: Records) -> None:
    """The last trial has no epochs any more, so that the measured time ends before them."""
    trial = max(records.specs)
    for lines in (lines for name, lines in records.events.items() if int(name[:5]) == trial):
        lines[:] = [line for line in lines if line["type"] != "epoch"]
        lines[-1].update(best_error=None, best_epoch=None, weights_sha256=None)


def _again(records: Records) -> None:
    """The last trial again as another one, on its own host, of another network and with other digits of its losses."""
    trial = max(records.specs)
    new, name = trial + 1, events_name(trial, 1, 0)
    own = [
        entry
        for entry in records.journal
        if any(item.get("trial") == trial for key in ITEMS for item in entry.get(key, ()))
    ]
    entries, lines, spec = json.loads(
        json.dumps([own, records.events[name], records.specs[trial]]).replace(f"-{trial:05d}-", f"-{new:05d}-")
    )
    shift = difference(own[-1]["time"], own[0]["time"]) + 10
    change_times(records, lambda time: shifted(time, shift), entries, lines)
    for line in [*(item for entry in entries for key in ITEMS for item in entry.get(key, ())), *lines, spec]:
        line["trial"] = new
        if line.get("proposal"):
            line["proposal"]["edits"].append({"kind": "wider", "at": 1})
        if "loss" in line:
            line["loss"] += 0.003
        if "job" in line:
            line["job"] += "9"
    place = records.journal.index(own[-1]) + 1
    records.journal[place:place] = entries
    records.events[events_name(new, 1, 0)], records.specs[new] = lines, spec
    most = records.config["settings"]["campaign"]["max_trials"]
    records.config["settings"]["campaign"]["max_trials"] = None if most is None else most + 1


def _begin_lines(**fields: Any) -> Callable[[Records], None]:
    def change(records: Records) -> None:
        for begin in records.begins():
            begin.update(fields)

    return change


def _batches(factor: int) -> Callable[[Records], None]:
    """Larger batches in proposals, begin lines and epochs."""

    def change(records: Records) -> None:
        for item in records.items("submitting"):
            if item["proposal"]:
                item["proposal"]["hyperparameters"]["batch_size"] *= factor
        for line in [*records.begins(), *records.epochs()]:
            line["batch"] *= factor

    return change


def _together(records: Records) -> None:
    """The second half of the trials at the time of the first half, in settings of twice the concurrency."""
    half = len(records.specs) // 2
    first, start = (
        next(entry["time"] for entry in records.journal if _is_of(entry, "submitting", trial)) for trial in (half, 0)
    )
    moved = [
        entry
        for entry in records.journal
        if any(item.get("trial", -1) >= half for key in ITEMS for item in entry.get(key, ()))
    ]
    events = [lines for name, lines in records.events.items() if int(name[:5]) >= half]
    change_times(records, lambda time: shifted(time, difference(start, first) + 0.25), moved, events)
    records.journal[2:-1] = sorted(records.journal[2:-1], key=itemgetter("time"))
    order = [item["trial"] for item in records.items("submitting") if item["attempt"] == 1]
    _renumber(records, order.index)
    records.config["settings"]["campaign"]["concurrency"] *= 2


def _is_of(entry: Line, kind: str, trial: int) -> bool:
    return entry["type"] == kind and entry["attempts"][0]["trial"] == trial


def _stopped(records: Records) -> None:
    """A campaign that was stopped after its last trial is called finished."""
    last = records.journal[-1]
    ended = [entry for entry in records.journal if entry["type"] == "ended"][-1]
    last.update(time=shifted(ended["time"], 1), by_deadline=False)


_COMMITMENT = "found by --commitment, if the site announced it: settings and the first line are held by nothing else"
_REPLAY = "found by --replay: later proposals follow from it"
_LESS = "an attempt that did not end by itself may have any number of epochs"
_LAST = "no later proposal follows from the last trials"
_CLOCKS = "times are what the nodes and the login node say; the scheduler's own accounting, asked at the site, is not"

CAMPAIGN_FORGERIES: dict[str, CampaignForgery] = {
    "twice as fast, beyond the peak": CampaignForgery("ranked", _compressed(0.5), "speed.peak"),
    "faster, the accounting as it was": CampaignForgery(
        "ranked", _compressed(0.99, accounting=False), "accounting.time"
    ),
    "faster, with its accounting": CampaignForgery("ranked", _compressed(0.99), None, _CLOCKS),
    "faster within the peak, without accounting": CampaignForgery("jobs", _compressed(0.5), None, _CLOCKS),
    "twice as fast, in settings without a peak": CampaignForgery(
        "ranked", _all(_compressed(0.5), _settings(system__accelerator_peak_ops=None)), None, _COMMITMENT
    ),
    "slower": CampaignForgery("jobs", _compressed(1.5), None, _CLOCKS),
    "the best trial better by an image": CampaignForgery("jobs", _better(3, 1), None, _REPLAY),
    "the first trial better by nine images": CampaignForgery("searched", _better(0, 9), "proposal.replay", _REPLAY),
    "the first trial better by one image": CampaignForgery(
        "searched", _better(0, 1), None, "so small a change leaves all proposals of a small campaign as they are"
    ),
    "the last trial becomes the best one": CampaignForgery("searched", _better(15, 260), None, _LAST),
    "the last trial deleted": CampaignForgery("jobs", _last_trial, None, _LAST),
    "the last one of all trials deleted": CampaignForgery("searched", _last_trial, "campaign.finished"),
    "a trial in the middle deleted": CampaignForgery(
        "searched", _all(_middle_trial, _settings(campaign__max_trials=15)), "proposal.replay", _REPLAY
    ),
    "the end cut off": CampaignForgery("jobs", _cut_off, "attempt.epochs"),
    "the end cut off, of a trial that the deadline ended": CampaignForgery("ranked", _cut_off, None, _LESS),
    "a trial a second time": CampaignForgery("jobs", _again, None, _REPLAY),
    "a proposed trial a second time": CampaignForgery("searched", _again, "proposal.replay", _REPLAY),
    "larger batches than proposed": CampaignForgery("jobs", _begin_lines(batch=64), "trial.batch", keep=True),
    "larger batches, within the bounds": CampaignForgery("searched", _batches(2), "trial.hyperparameters"),
    "more workers than the settings": CampaignForgery("ranked", _begin_lines(workers=16), "trial.workers", keep=True),
    "trials at once": CampaignForgery("searched", _together, "network.parent"),
    "stopped, and called finished": CampaignForgery("jobs", _stopped, "campaign.finished"),
}
