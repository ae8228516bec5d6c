"""`bench-node`: measurement of this node, in a process that replaces this one."""

from __future__ import annotations

import sys
from typing import NoReturn

from aiperf_orch.commands.trial import become
from aiperf_orch.settings.loading import LoadedSettings


def measure_node(loaded: LoadedSettings | None, form: str) -> NoReturn:
    """Measure this node; does not return.

    Args:
        loaded: Settings of a site, which name data set, recipe and interpreter; None measures with generated images.
        form: `table` or `json`.
    """
    arguments, python = ["aiperf_orch.trial.bench", "--format", form], None
    if loaded is not None:
        python = loaded.settings.scheduler.python
        arguments += ["--settings", loaded.settings.model_dump_json(include={"data", "search", "training"})]
    become(python or sys.executable, arguments)
