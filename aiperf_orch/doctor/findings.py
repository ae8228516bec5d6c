"""What a check found: a line for a person, with what to do where something is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(str, Enum):
    """How bad it is: a campaign can run with warnings, not with faults."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: what was looked at, what was found, and what to do about it (nothing when all is well)."""

    level: Level
    subject: str
    message: str
    advice: str = ""


def ok(subject: str, message: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, subject, message)


def warning(subject: str, message: str, advice: str = "") -> Finding:
    """A campaign can run, but a person should know."""
    return Finding(Level.WARNING, subject, message, advice)


def fault(subject: str, message: str, advice: str = "") -> Finding:
    """A campaign would not run, or not as the settings say."""
    return Finding(Level.FAULT, subject, message, advice)
