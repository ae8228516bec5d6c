"""Random changes of a package: a field of a record, times of several records, a line more or less."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from aiperf_orch.records.base import EndReason
from package.forger.fields import Field, fields_of
from package.forger.records import ITEMS, Records
from package.forger.times import change_times, holders, is_time, shifted

_SECONDS: Final = (0.001, 0.05, 0.5, 3.0, 9.0, 30.0, 400.0, 3600.0)
_WEIGHTS: Final = {"Epoch": 8, "Begin": 4, "End": 2, "Settings": 4, "ProposalRecord": 2, "Edit": 2}
_NO_VALUE: Final = object()


@dataclass(frozen=True)
class Change:
    """A change that was made.

    Attributes:
        record: kind of the records that it changed; `times` or `lines` for changes of several kinds.
        field: of the record.
        how: the kind of change, for a reader.
        repeat: makes it again, where what was derived has overwritten it.
    """

    record: str
    field: str
    how: str
    repeat: Callable[[], None]


def random_change(records: Records, random: Random) -> Change | None:
    """Change something; None where what was drawn cannot be changed."""
    kind = random.choices((_field, _swap, _times, _lines), (12, 2, 3, 3))[0]
    return kind(records, random)


def _field(records: Records, random: Random) -> Change | None:
    """Another value for one field, in one record or wherever the same value stands."""
    same = _same_fields(fields_of(records), random)
    field = random.choice(same)
    before = field.value
    value = _other_value(field, [other.value for other in same], random)
    if value is _NO_VALUE or (value == before and type(value) is type(before)):
        return None
    everywhere = isinstance(before, str) and random.random() < 0.4
    places = _places(records, field, before) if everywhere else [(field.holder, field.key)]

    def repeat() -> None:
        for holder, key in places:
            holder[key] = copy.deepcopy(value)

    repeat()
    where = " everywhere" if everywhere else ""
    return Change(field.record, field.name, f"{before!r:.80} -> {value!r:.80}{where}", repeat)


def _same_fields(by_name: dict[tuple[str, str], list[Field]], random: Random) -> list[Field]:
    """All instances of one field, of a kind of record and then of its fields; measurements are drawn more often."""
    kinds = sorted({record for record, _ in by_name})
    kind = random.choices(kinds, [_WEIGHTS.get(record, 1) for record in kinds])[0]
    return by_name[random.choice(sorted(name for name in by_name if name[0] == kind))]


def _places(records: Records, field: Field, before: str) -> list[tuple[Any, Any]]:
    """All places of a value; of an end reason only those of the same attempt."""
    found: list[tuple[Any, Any]] = [(field.holder, field.key)]
    for part in (records.journal, records.events, records.accounting):
        _search(part, before, field, found)
    return found


def _search(value: Any, before: str, field: Field, found: list[tuple[Any, Any]]) -> None:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        if inner == before and isinstance(inner, str):
            own = [field.holder.get(name) for name in ("trial", "attempt")]
            if field.key != "reason" or (
                isinstance(value, dict) and [value.get(n) for n in ("trial", "attempt")] == own
            ):
                found.append((value, key))
        else:
            _search(inner, before, field, found)


def _swap(records: Records, random: Random) -> Change | None:
    """The values of one field in two records, exchanged."""
    same = _same_fields({name: all_ for name, all_ in fields_of(records).items() if len(all_) > 1}, random)
    one, other = random.sample(same, 2)
    if one.value == other.value:
        return None
    values = one.value, other.value

    def repeat() -> None:
        one.holder[one.key], other.holder[other.key] = values[1], values[0]

    repeat()
    return Change(one.record, one.name, f"{values[0]!r:.80} <-> {values[1]!r:.80}", repeat)


def _other_value(field: Field, others: list[Any], random: Random) -> Any:
    """A plausible other value: near, far, at a bound, of another record, or none."""
    value = field.value
    if random.random() < 0.25:
        return random.choice([*others, None])
    if field.key == "error" and isinstance(value, float):
        images = field.holder.get("val_images") or 360
        return (
            min(max(round(value * images) + random.choice((-1, 1, -9, 9, -images // 4, -images)), 0), images) / images
        )
    match value:
        case bool():
            return not value
        case int():
            return random.choice((value + 1, value - 1, 2 * value, value // 2, value + 7, 0, 1, value * 1000))
        case float():
            return random.choice(
                (value * 1.001, value * 0.999, value * 2, value / 2, 0.0, 1.0, value - 1.0, value + 3.0)
            )
        case str() if is_time(value):
            return shifted(value, random.choice((-1, 1)) * random.choice(_SECONDS))
        case str() if field.key == "reason":
            return random.choice([reason.value for reason in EndReason])
        case str() if value[:-1].isdigit() and value.endswith("s"):
            return f"{max(int(value[:-1]) + random.choice((-1, 1, 60, -60, int(value[:-1]))), 0)}s"
        case str():
            return random.choice((f"{value}x", value[:-1], "", "other", value.upper()))
        case list():
            return random.choice((value[:-1], value + value[:1], value[::-1], []))
        case None:
            return random.choice((1, 0, 0.01, 2, 1e12, "x", "gpu"))
        case _:
            return _NO_VALUE


def _times(records: Records, random: Random) -> Change | None:
    """Times of several records, by the same seconds: all after a time, all of an attempt, or all of some events."""
    seconds = random.choice((-1, 1)) * random.choice(_SECONDS)
    which = random.choice(("later", "attempt", "events", "epochs"))
    if which == "later":
        times = sorted({holder[key] for holder, key in holders([*records.journal, *records.events.values()])})
        first = random.choice(times)
        change_times(records, lambda time: shifted(time, seconds) if time >= first else time)
    elif which == "attempt":
        trial = random.choice(sorted(records.specs))
        own = [item for entry in records.journal for key in ITEMS for item in entry.get(key, ())]
        parts = [item for item in own if item.get("trial") == trial]
        entries = [
            entry
            for entry in records.journal
            if entry["type"] in ("submitting", "submitted", "began", "ended")
            and all(item.get("trial") == trial for key in ITEMS for item in entry.get(key, ()))
        ]
        for entry in entries:
            entry["time"] = shifted(entry["time"], seconds)
        change_times(records, lambda time: shifted(time, seconds), parts, _events_of(records, trial))
    else:
        lines = random.choice([lines for lines in records.events.values() if len(lines) > 1])
        start = random.randrange(1 if which == "epochs" else 0, len(lines))
        stop = random.randint(start + 1, len(lines)) if which == "epochs" else len(lines)
        change_times(records, lambda time: shifted(time, seconds), lines[start:stop])
    return Change("times", which, f"{seconds} s", lambda: None)


def _events_of(records: Records, trial: int) -> list[Any]:
    return [lines for name, lines in records.events.items() if int(name[:5]) == trial]


def _lines(records: Records, random: Random) -> Change | None:
    """A line of the journal or of events removed, repeated, or exchanged with the next one."""
    lines = random.choice([records.journal, *records.events.values()])
    if not lines:
        return None
    number = random.randrange(len(lines))
    line = lines[number]
    how = random.choice(("removed", "repeated", "exchanged", "later ones removed"))
    if how == "removed":
        del lines[number]
    elif how == "repeated":
        lines.insert(random.randint(number, len(lines)), copy.deepcopy(line))
    elif how == "exchanged":
        lines[number : number + 2] = lines[number : number + 2][::-1]
    else:
        end = [each for each in lines[number + 1 :] if each["type"] in ("end", "finished")][:1]
        lines[number + 1 :] = end
    if not records.journal:
        return None
    return Change("lines", line["type"], how, lambda: None)
