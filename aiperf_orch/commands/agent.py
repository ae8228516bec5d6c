"""`agent`: an agent on this node, started by hand."""

from __future__ import annotations

import time
from pathlib import Path

from aiperf_orch.agent.__main__ import run_agent
from aiperf_orch.agent.joining import JoinOptions
from aiperf_orch.commands import messages
from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.units import parse_duration


def run_on_this_node(campaign_dir: Path, slots: int | None, time_limit: str | None) -> CommandOutput:
    """Run an agent until it ends.

    Args:
        campaign_dir: The campaign directory.
        slots: Number of slots; None for as many as fit this node.
        time_limit: Duration until the end of the allocation; None where the environment names the end, or it has none.

    Raises:
        UsageError: When the agent must not begin.
    """
    try:
        ends_at = None if time_limit is None else time.time() + parse_duration(time_limit)
    except ValueError as error:
        raise UsageError(f"--time-limit: {error}") from None
    with messages.timed_messages():
        return CommandOutput(exit_status=run_agent(JoinOptions(campaign_dir, None, slots, ends_at)))
