"""The extra `torch` of the installation: the least version of PyTorch, and the advice where a part of it is missing."""

from __future__ import annotations

import importlib.util
import re
from typing import Final

MIN_TORCH: Final = (2, 7)
"""First release whose DistributedDataParallel has `init_sync`."""

_NEEDED: Final = ".".join(map(str, MIN_TORCH))

ADVICE: Final = (
    "install aiperf-orch with its extra [torch] in the environment of the trials, or set scheduler.python (and setup) "
    f"to one that has torch {_NEEDED} or later, and scikit-learn for the data set digits"
)


def is_torch_installed() -> bool:
    """Whether this interpreter finds a module torch; it is not imported."""
    return importlib.util.find_spec("torch") is not None


def version_fault(version: str) -> str:
    """Why trials cannot use a version of PyTorch; empty if they can. Pre-releases of the least version are accepted."""
    release = re.match(r"(\d+)\.(\d+)", version)
    if release and (int(release[1]), int(release[2])) < MIN_TORCH:
        return f"torch {version} is too old: trials need {_NEEDED} or later"
    return ""
