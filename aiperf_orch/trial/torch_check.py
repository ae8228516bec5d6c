"""Check of PyTorch, before anything else of a process imports it: a missing or old one is reported in one line."""

from __future__ import annotations

import sys

from aiperf_orch.records.base import EndReason
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.util.text import one_line
from aiperf_orch.util.torch_extra import ADVICE, version_fault


def torch_fault() -> str:
    """Import PyTorch; return why this interpreter's trials cannot use it, empty if they can."""
    try:
        import torch

        fault = version_fault(torch.__version__)
    except ModuleNotFoundError as error:
        fault = "torch is not installed" if error.name == "torch" else _import_fault(error)
    except Exception as error:  # a broken installation may raise any exception
        fault = _import_fault(error)
    return f"{fault} ({sys.executable})" if fault else ""


def require_torch() -> None:
    """Import PyTorch.

    Raises:
        TrialFailedError: TRIAL_ERROR, if it is missing, too old, or cannot be imported.
    """
    if fault := torch_fault():
        raise TrialFailedError(EndReason.TRIAL_ERROR, f"{fault}; {ADVICE}")


def _import_fault(error: Exception) -> str:
    return f"torch cannot be imported: {type(error).__name__}: {one_line(str(error))}"
