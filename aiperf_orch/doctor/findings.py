"""Findings of `check`: level, subject, message, and advice."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(str, Enum):
    """Severity of a finding: a campaign can run with warnings, not with faults."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check.

    Attributes:
        level: severity.
        subject: what was checked, one word.
        message: what was found.
        advice: what to do about it; empty if nothing has to be done.
    """

    level: Level
    subject: str
    message: str
    advice: str = ""


def ok(subject: str, message: str) -> Finding:
    """Finding of a check that passed."""
    return Finding(Level.OK, subject, message)


def warning(subject: str, message: str, advice: str = "") -> Finding:
    """Finding that does not prevent a campaign, but may surprise its administrator."""
    return Finding(Level.WARNING, subject, message, advice)


def fault(subject: str, message: str, advice: str = "") -> Finding:
    """Finding that prevents a campaign, or prevents it from running as configured."""
    return Finding(Level.FAULT, subject, message, advice)
