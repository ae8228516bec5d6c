"""`python -m aiperf_orch.trial.bench`: measure a node's accelerator and data loading, in about a minute (`bench-node`).

`node_measurement` measures, `bench_report` evaluates the results.
"""

from __future__ import annotations

import argparse
import json
import sys

from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.trial.bench_report import advice, limit, table
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.trial.torch_check import require_torch
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.text import visible_lines


def main(arguments: list[str] | None = None) -> int:
    """Measure and print the results; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m aiperf_orch.trial.bench", description=__doc__)
    parser.add_argument("--settings", help="settings of a site as JSON; by default generated JPEGs are loaded")
    parser.add_argument("--format", choices=["table", "json"], default="table")
    parser.add_argument("--scale", type=float, default=1.0, help="factor for the time limit of each part")
    options = parser.parse_args(arguments)
    settings = SiteSettings.model_validate_json(options.settings) if options.settings else None
    try:
        require_torch()
    except TrialFailedError as error:
        print(f"error: {visible_lines(str(error))}", file=sys.stderr)
        return UsageError.exit_status
    from aiperf_orch.trial.node_measurement import measure

    bench = measure(settings, options.scale)
    if options.format == "json":
        print(json.dumps(bench.model_dump() | {"limit": limit(bench), "advice": advice(bench)}, indent=2))
    else:
        print(table(bench), end="")
    return 0 if bench.training else 1


if __name__ == "__main__":
    sys.exit(main())
