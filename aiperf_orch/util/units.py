"""Durations and times as people write them: `12h`, `90s`, `1-12:30:00`; UTC times with milliseconds."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BeforeValidator, Field, PlainSerializer

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PARTS: Final = re.compile(
    r"(\d{1,20}(?:\.\d+)?) ?(ms|s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:rs?|ours?)?|d(?:ays?)?)(?![a-z])"
)
_CLOCK: Final = re.compile(r"(?:(\d{1,9})-)?(\d{1,2}):(\d{2}):(\d{2})")
_SLURM_DAYS: Final = re.compile(r"(\d{1,9})-(\d{1,2})(?::(\d{2}))?")  # D-HH and D-HH:MM, as sinfo and sbatch have them
_TWO_PARTS: Final = re.compile(r"(\d{1,9}):(\d{2})")
_MEGA: Final = re.compile(r"\d ?M(?![A-Za-z])")  # minutes, months or millions


def parse_duration(value: Any) -> float:
    """Seconds of a duration such as `90s`, `12h`, `1h30m`, `12:00:00` or `1-12:00:00` (days first).

    Units may be spelt out (`90 min`), and Slurm's days with hours (`2-00`, `1-12:30`) are read, too.

    Raises:
        ValueError: for anything else; for a number without a unit, and for `12:00`, whose unit is not known.
    """
    text = "" if value is None else str(value).strip()
    clock, slurm = _CLOCK.fullmatch(text), _SLURM_DAYS.fullmatch(text)
    if clock or slurm:
        given = clock.groups() if clock else (*slurm.groups(), None) if slurm else ()
        days, hours, minutes, seconds = (int(part or 0) for part in given)
        if minutes < 60 and seconds < 60:
            return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    elif text and not _MEGA.search(text) and not _PARTS.sub("", text.lower()).strip():
        return sum(float(number) * _UNITS[_unit(name)] for number, name in _PARTS.findall(text.lower()))
    raise ValueError(f"{text!r:.60} is not a duration such as 90s, 12h, 1h30m, 12:00:00 or 1-12:00:00{_hint(text)}")


def _unit(name: str) -> str:
    return name if name in _UNITS else name[0]


def _hint(text: str) -> str:
    """What may be meant by a text that is no duration."""
    if re.fullmatch(r"\d{1,20}(\.\d+)?", text):
        return f"; did you mean {text}s, {text}m or {text}h?"
    if two := _TWO_PARTS.fullmatch(text):
        first, second = two.groups()
        return f"; did you mean {first}h{second}m or {first}m{second}s?"
    return ""


def format_duration(seconds: float) -> str:
    """A finite duration for people: `4.5s`, `45s`, `2m30s`, `12h`, `1d02h`; what is below its two units is left out."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if seconds < 10 and seconds != int(seconds):
        return f"{seconds:.1f}s"
    rounded = round(seconds)
    for unit, size, lower, lower_size in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if rounded >= size:
            whole, rest = divmod(rounded, size)
            part = rest // lower_size
            return f"{whole}{unit}{part:02d}{lower}" if part else f"{whole}{unit}"
    return f"{rounded}s"


class _Clock:
    """The system's clock, made one that never goes back: when that is set back, time goes on from the latest known one."""

    def __init__(self) -> None:
        self._latest, self._at = datetime.min.replace(tzinfo=timezone.utc), time.monotonic()

    def present(self) -> datetime:
        """The present: the system's, or what has passed since the latest known time if that is later."""
        earliest = self._latest + timedelta(seconds=time.monotonic() - self._at)
        stated = datetime.now(timezone.utc)
        if stated < earliest:
            return earliest
        self._latest, self._at = stated, time.monotonic()
        return stated

    def ahead(self) -> float:
        """Seconds that the present is ahead of the system's clock."""
        return (self.present() - datetime.now(timezone.utc)).total_seconds()

    def not_before(self, latest: datetime) -> None:
        """The present is this time at the earliest."""
        if self.present() < latest:
            self._latest, self._at = latest, time.monotonic()


_clock = _Clock()


def now() -> datetime:
    """The present, in UTC, to the millisecond. It never goes back, nor behind what `not_before` was given."""
    return _to_milliseconds(_clock.present())


def not_before(latest: datetime) -> None:
    """Let this process's time go on from `latest` where the system's clock says that it is earlier.

    So the times of a campaign stay in order although a clock was set back between its controllers, or differs between its
    nodes: a controller goes on from its journal's last line, a trial from the submission of its job.
    """
    _clock.not_before(latest)


def set_ahead() -> float:
    """Seconds that this process's time is ahead of the system's clock, because that was set back or `not_before` says so."""
    return round(max(_clock.ahead(), 0.0), 3)


def steady_clock() -> Callable[[], datetime]:
    """A clock that begins with the present and then never steps, whatever is done to the system's clock meanwhile."""
    begun, origin = _clock.present(), time.monotonic()
    return lambda: _to_milliseconds(begun + timedelta(seconds=time.monotonic() - origin))


def clock_ahead(before: float, stamp: float, after: float) -> float:
    """Seconds that this machine's clock is ahead of another's, at least; negative when it is behind.

    Args:
        before: this clock, read before the other one set its stamp, in seconds since the epoch.
        stamp: the other clock's, as a file server gives it to a new file.
        after: this clock, read after that.
    """
    # the stamp was set somewhere between the two looks at our clock: only what is outside is skew
    return round(max(before - stamp, 0.0) + min(after - stamp, 0.0), 3)


def format_time(time: datetime) -> str:
    """A time as it stands on disk: `2026-01-02T03:04:05.678Z`."""
    return time.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _to_milliseconds(time: datetime) -> datetime:
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def exact_duration(seconds: float) -> str:
    """A duration as it stands on disk, in seconds with all digits: `43200s`, `0.25s`; `parse_duration` reads it back."""
    return f"{Decimal(repr(seconds)):f}".removesuffix(".0") + "s"  # never with an exponent


_OPS_PREFIXES: Final = (
    *("", "Kilo-", "Mega-", "Giga-", "Tera-", "Peta-"),
    *("Exa-", "Zetta-", "Yotta-", "Ronna-", "Quetta-"),  # SI has no larger one
)


def format_number(value: float) -> str:
    """A number for people, to four digits or to the whole: `0.1235`, `29,921`; an exponent only below 0.0001."""
    return f"{value:,.4g}" if abs(value) < 9999.5 else f"{value:,.0f}"


def format_ops(ops_per_second: float) -> str:
    """Operations per second for people, in the paper's words: `56.1 Tera-OPS`."""
    scale, unit = ops_scale(ops_per_second)
    return f"{format_number(ops_per_second / scale)} {unit}"


def ops_scale(ops_per_second: float) -> tuple[float, str]:
    """How many operations per second the unit that suits such a number is, and its name: `(1e12, "Tera-OPS")`."""
    value, prefix = ops_per_second, 0
    while float(f"{value:.4g}") >= 1000 and prefix < len(_OPS_PREFIXES) - 1:
        value, prefix = value / 1000, prefix + 1
    return 1000.0**prefix, f"{_OPS_PREFIXES[prefix]}OPS"


Seconds = Annotated[float, BeforeValidator(parse_duration), PlainSerializer(exact_duration, return_type=str)]
"""A setting that is a duration: written with its unit, held in seconds."""

_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=timezone.utc)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=timezone.utc)  # so far from the ends of time that durations can be added
Timestamp = Annotated[AwareDatetime, Field(ge=_EARLIEST, lt=_LATEST), PlainSerializer(format_time, return_type=str)]
"""A time in a record: of this age, with its zone, written in UTC to the millisecond."""
