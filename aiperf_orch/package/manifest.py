"""The model of manifest.json, the first file of a package."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from aiperf_orch.records.base import Name, Natural, Record, Sha256, Version


class RulesNote(Record):
    """The rules by which the campaign was evaluated, and the SHA-256 of their text."""

    version: str
    sha256: Sha256


class BestWeights(Record):
    """The trial with the lowest error, and the SHA-256 of its weights; None where no end line states it."""

    trial: Natural
    sha256: Sha256 | None


class Manifest(Record):
    """What a package contains, and how it was redacted.

    Attributes:
        format: Version of the package's format.
        versions: Version of aiperf-orch that wrote the package; absent in packages of 0.1.0.
        campaign: The campaign's tag.
        rules: The rules by which it was evaluated.
        pseudonyms: Whether names of hosts and users are pseudonyms.
        journal: Whether the journal was rewritten for the redaction, in words.
        original_journal: Salted hash of the original journal; None where it was not rewritten.
        accounting: Name of the file with the scheduler's accounting; None without one.
        best_weights: The trial with the lowest error; None without an epoch that counts.
        files: SHA-256 of every other file of the package, by its name.
    """

    format: Literal["aiperf-orch-package-1", "aiperf-orch-package-2"]
    versions: dict[Name, Version] = {}
    campaign: Annotated[str, Field(pattern="^[a-z][a-z0-9]{4}$")]
    rules: RulesNote
    pseudonyms: bool
    journal: str
    original_journal: Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")] | None
    accounting: Literal["accounting.jsonl"] | None
    best_weights: BestWeights | None
    files: dict[str, Sha256]
