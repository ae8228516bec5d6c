"""Parsing and formatting of durations (`12h`, `90s`, `1-12:30:00`), UTC times and numbers, and a monotonic clock."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BeforeValidator, Field, PlainSerializer, WithJsonSchema

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PARTS: Final = re.compile(
    r"(\d{1,20}(?:\.\d+)?) ?(ms|s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:rs?|ours?)?|d(?:ays?)?)(?![a-z])", re.ASCII
)
_CLOCK: Final = re.compile(r"(?:(\d{1,9})-)?(\d{1,2}):(\d{2}):(\d{2})", re.ASCII)
_SLURM_DAYS: Final = re.compile(
    r"(\d{1,9})-(\d{1,2})(?::(\d{2}))?", re.ASCII
)  # D-HH and D-HH:MM, as sinfo and sbatch have them
_TWO_PARTS: Final = re.compile(r"(\d{1,9}):(\d{2})", re.ASCII)
_MEGA: Final = re.compile(r"[0-9] ?M(?![A-Za-z])")  # minutes, months or millions


def parse_duration(value: Any) -> float:
    """Seconds of a duration such as `90s`, `12h`, `1h30m`, `12:00:00` or `1-12:00:00` (days first).

    Units may be spelt out (`90 min`), and Slurm's days with hours (`2-00`, `1-12:30`) are read, too.

    Raises:
        ValueError: for any other text, also for a number without a unit, and for `12:00`, which is ambiguous.
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
    """Suggestions for a text that is not a duration."""
    if re.fullmatch(r"[0-9]{1,20}(\.[0-9]+)?", text):
        return f"; did you mean {text}s, {text}m or {text}h?"
    if two := _TWO_PARTS.fullmatch(text):
        first, second = two.groups()
        return f"; did you mean {first}h{second}m or {first}m{second}s?"
    return ""


def format_duration(seconds: float) -> str:
    """A finite duration with its two largest units: `4.5s`, `45s`, `2m30s`, `12h`, `1d02h`."""
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


def count(number: int, what: str) -> str:
    """A number with its noun: `1 agent`, `1,472 slots`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


class _Clock:
    """Monotonic UTC clock: when the system's clock is set back, it continues from the latest known time."""

    def __init__(self) -> None:
        self._latest, self._at = datetime.min.replace(tzinfo=timezone.utc), time.monotonic()

    def present(self) -> datetime:
        """The system's time, or the latest known time plus the time since then if that is later."""
        earliest = self._latest + timedelta(seconds=time.monotonic() - self._at)
        stated = datetime.now(timezone.utc)
        if stated < earliest:
            return earliest
        self._latest, self._at = stated, time.monotonic()
        return stated

    def ahead(self) -> float:
        """Seconds by which this clock is ahead of the system's."""
        return (self.present() - datetime.now(timezone.utc)).total_seconds()

    def not_before(self, latest: datetime) -> None:
        """Set the clock forward to this time if it is behind."""
        if self.present() < latest:
            self._latest, self._at = latest, time.monotonic()


_clock = _Clock()


def now() -> datetime:
    """The present time in UTC, to the millisecond; it never decreases, and is never before the time of `not_before`."""
    return _to_milliseconds(_clock.present())


def not_before(latest: datetime) -> None:
    """Let this process's time continue from `latest` where the system's clock is behind it.

    The times of a campaign stay in order even if a clock was set back between its controllers, or differs between
    nodes: a controller continues from the last line of its journal, a trial from the submission of its job.
    """
    _clock.not_before(latest)


def set_ahead() -> float:
    """Seconds by which this process's time is ahead of the system's clock, after `not_before` or a reset clock."""
    return round(max(_clock.ahead(), 0.0), 3)


def steady_clock() -> Callable[[], datetime]:
    """A clock that starts at the present time and is independent of later changes of the system's clock."""
    begun, origin = _clock.present(), time.monotonic()
    return lambda: _to_milliseconds(begun + timedelta(seconds=time.monotonic() - origin))


def clock_ahead(before: float, stamp: float, after: float) -> float:
    """Minimum number of seconds by which this machine's clock is ahead of another; negative when it is behind.

    Args:
        before: this clock's time before the stamp was set, in seconds since the Unix epoch.
        stamp: the other clock's time, as a file server sets it for a new file.
        after: this clock's time after the stamp was set.
    """
    # the stamp was set between both readings of this clock: only the part outside is skew
    return round(max(before - stamp, 0.0) + min(after - stamp, 0.0), 3)


def format_time(time: datetime) -> str:
    """A time in its format on disk: `2026-01-02T03:04:05.678Z`."""
    return time.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def format_second(time: datetime) -> str:
    """A time for readers, to the second: `2026-01-02T03:04:05Z`."""
    return time.astimezone(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def _to_milliseconds(time: datetime) -> datetime:
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def exact_duration(seconds: float) -> str:
    """A duration in its format on disk, in seconds with all digits: `43200s`, `0.25s`."""
    return f"{Decimal(repr(seconds)):f}".removesuffix(".0") + "s"  # never with an exponent


_OPS_PREFIXES: Final = (
    *("", "Kilo-", "Mega-", "Giga-", "Tera-", "Peta-"),
    *("Exa-", "Zetta-", "Yotta-", "Ronna-", "Quetta-"),  # the largest SI prefix
)


def format_number(value: float) -> str:
    """A number with four digits, or as an integer: `0.1235`, `29,921`; with an exponent only below 0.0001."""
    return f"{value:,.4g}" if abs(value) < 9999.5 else f"{value:,.0f}"


def format_bytes(size: float) -> str:
    """Format a number of bytes with a decimal unit: `1.2 GB`."""
    units = ("B", "kB", "MB", "GB", "TB", "PB")
    power = next((power for power in range(5) if size < 999.5 * 1000**power), 5)
    return f"{size / 1000**power:.3g} {units[power]}"


def format_ops(ops_per_second: float) -> str:
    """Operations per second with the paper's units: `56.1 Tera-OPS`."""
    scale, unit = ops_scale(ops_per_second)
    return f"{format_number(ops_per_second / scale)} {unit}"


def ops_scale(ops_per_second: float) -> tuple[float, str]:
    """The unit for a number of operations per second, as its size and its name: `(1e12, "Tera-OPS")`."""
    value, prefix = ops_per_second, 0
    while abs(float(f"{value:.4g}")) >= 1000 and prefix < len(_OPS_PREFIXES) - 1:
        value, prefix = value / 1000, prefix + 1
    return 1000.0**prefix, f"{_OPS_PREFIXES[prefix]}OPS"


WRITTEN_DURATION: Final = r"^(?=.*[1-9])[0-9]{1,8}(\.[0-9]+)?s$"
"""Pattern of a duration as files have it: longer than 0, and up to a few years."""


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004  pydantic collects ValueError
    return value


NumberOnly: Final = BeforeValidator(_no_truth_value)
"""Annotation of a literal number, for which pydantic also takes `true` where it is 1."""
Seconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(exact_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": WRITTEN_DURATION}),
]
"""A duration in a setting or a record: in seconds, written with its unit."""

_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=timezone.utc)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=timezone.utc)  # durations can be added without overflow
_WRITTEN_TIME: Final = (
    r"^2[01][0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
_WRITTEN: Final = re.compile(_WRITTEN_TIME.replace("$", r"\Z"))


def _parse_time(value: Any) -> datetime:
    """A time, or its text in the form of RFC 3339; pydantic alone also reads numbers and other forms of text."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not _WRITTEN.match(value):
        raise ValueError(f"must be a time with its zone, such as 2026-01-02T03:04:05.678Z, not {value!r:.60}")
    return datetime.fromisoformat(value)


Timestamp = Annotated[
    AwareDatetime,
    Field(ge=_EARLIEST, lt=_LATEST),
    BeforeValidator(_parse_time),
    PlainSerializer(format_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": _WRITTEN_TIME}),
]
"""A time in a record: between 2000 and 2200, with a time zone, written in UTC to the millisecond."""
