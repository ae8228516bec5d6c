"""`python -m aiperf_orch.agent CAMPAIGN_DIR`: the agent of one node. The batch script of an allocation starts it."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Final

from aiperf_orch.agent.agent import Agent
from aiperf_orch.agent.joining import JoinOptions, join
from aiperf_orch.util.encoding import enter_utf8_mode, make_streams_lenient
from aiperf_orch.util.errors import AiperfError
from aiperf_orch.util.text import visible_lines

_log: Final = logging.getLogger(__name__)


def run_agent(options: JoinOptions) -> int:
    """Join a campaign and run until the agent ends; returns its exit status.

    An agent that was considered lost, and dismissed when it was back, joins again: its node is not to stay idle.

    Raises:
        UsageError: When the agent must not begin.
    """
    environment = dict(os.environ)
    agent = Agent(join(options, environment), environment)
    status = agent.run()
    while agent.may_join_again:
        try:
            agent = Agent(join(options, environment), environment)
        except AiperfError as error:
            _log.info("no agent joins again: %s", error)
            break
        status = agent.run()
    return status


def main(arguments: list[str] | None = None) -> int:
    """Run an agent; return the exit status."""
    options = _parse(arguments)
    make_streams_lenient()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        return run_agent(options)
    except AiperfError as error:
        print(f"error: {visible_lines(str(error))}", file=sys.stderr, flush=True)
        return error.exit_status


def _parse(arguments: list[str] | None) -> JoinOptions:
    parser = argparse.ArgumentParser(prog="python -m aiperf_orch.agent", description=__doc__)
    parser.add_argument("campaign_dir", type=Path, help="campaign directory")
    parser.add_argument("--allocation", help="name of the allocation's job")
    parser.add_argument("--slots", type=_positive, help="number of trials at once; by default as many as fit")
    parser.add_argument("--ends-at", type=float, help="end of the allocation, in seconds since 1970")
    given = parser.parse_args(arguments)
    return JoinOptions(given.campaign_dir, given.allocation, given.slots, given.ends_at)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


if __name__ == "__main__":
    enter_utf8_mode()
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # the thread of the files may hang in a file system that is gone
