"""Contents of system.json and of the manifest that are computed from records, for packing and verification."""

from __future__ import annotations

from typing import Any

from aiperf_orch.results.result import Result


def system_description(result: Result) -> dict[str, Any]:
    """System description with the field names of MLPerf, and the software that trials stated."""
    system = result.directory.settings.system
    begins = [begin for trial in result.collected.trials for begin in trial.begins]
    described = system.model_dump(exclude={"id", "name"}, exclude_none=True)
    frameworks = sorted({f"PyTorch {begin.versions['torch']}" for begin in begins if "torch" in begin.versions})
    return {"system_name": system.name, "system_id": system.id, **described, "framework": ", ".join(frameworks)}


def best_weights(result: Result) -> dict[str, Any] | None:
    """The trial with the lowest error, and the SHA-256 of its best weights from its end line; None without epochs."""
    best = result.best_epoch
    if best is None:
        return None
    ends = next(trial.ends for trial in result.collected.trials if trial.trial.trial == best.trial)
    hashes = [end.weights_sha256 for end in ends if end.weights_sha256]
    return {"trial": best.trial, "sha256": hashes[-1] if hashes else None}
