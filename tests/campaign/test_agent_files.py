"""Files of agents that are not there yet, or not there for a while."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiperf_orch.campaign.agent_files import HeartbeatReader, HeartbeatWriter, follow_log
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.records.agents import AgentEnd
from aiperf_orch.util.errors import TransientError
from aiperf_orch.util.units import now

pytestmark = pytest.mark.unit


def test_a_log_that_was_there_is_not_empty_when_it_is_absent(tmp_path: Path) -> None:
    path = Layout(tmp_path).agent_log("n1.1")
    path.parent.mkdir(parents=True)
    log = follow_log(Layout(tmp_path), "n1.1")
    assert log.read_on() == []
    end = AgentEnd(time=now(), reason="failed")
    path.write_text(end.to_line() + "\n")
    assert log.read_on() == [end]
    aside = path.rename(tmp_path / "aside")
    with pytest.raises(TransientError, match="it was there before"):
        log.read_on()
    aside.rename(path)
    assert log.read_on() == []


def test_a_heartbeat_that_was_there_is_not_unchanged_when_it_is_absent(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat"
    reader, writer = HeartbeatReader(path), HeartbeatWriter(path)
    assert not reader.read()
    writer.beat()
    assert reader.read()
    path.unlink()
    with pytest.raises(TransientError, match="it was there before"):
        reader.read()
    writer.beat()
    assert reader.read()
