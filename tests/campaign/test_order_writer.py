"""Orders as a controller writes them: each on disk, numbered, and complete for whoever reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiperf_orch.campaign.agent_files import OrderWriter, follow_orders
from aiperf_orch.campaign.durable_files import AppendFile
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.records.agents import Dismiss, Stop
from aiperf_orch.util.errors import AiperfError, RecordError

pytestmark = pytest.mark.unit


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.agent_folder("n1.1").mkdir(parents=True)
    return layout


def written(layout: Layout) -> list[tuple[int, int, str]]:
    return [(order.seq, order.generation, order.type) for order in follow_orders(layout, "n1.1").read_on()]


def test_orders_are_numbered_over_all_writers_and_openings(layout: Layout) -> None:
    first = OrderWriter(layout, "n1.1", lambda: 1)
    assert written(layout) == []
    first.append(Stop, name="abc-00000-1")
    first.close()
    first.append_all([(Stop, {"name": "abc-00001-1"}), (Stop, {"name": "abc-00002-1"})])
    OrderWriter(layout, "n1.1", lambda: 2).append(Dismiss, reason="over")
    assert written(layout) == [(0, 1, "stop"), (1, 1, "stop"), (2, 1, "stop"), (3, 2, "dismiss")]


def test_a_torn_line_is_dropped_and_whole_ones_are_kept(layout: Layout) -> None:
    OrderWriter(layout, "n1.1", lambda: 1).append(Stop, name="abc-00000-1")
    with layout.agent_orders("n1.1").open("a") as file:
        file.write('{"seq":1,')
    OrderWriter(layout, "n1.1", lambda: 2).append(Stop, name="abc-00001-1")
    assert written(layout) == [(0, 1, "stop"), (1, 2, "stop")]


def test_after_a_failure_the_file_is_opened_again(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = OrderWriter(layout, "n1.1", lambda: 1)

    def half(self: AppendFile, text: str, **_: float) -> None:
        with self.path.open("a") as file:
            file.write(text[: len(text) // 2])
        raise AiperfError("the disk is full")

    with monkeypatch.context() as full:
        full.setattr(AppendFile, "append", half)
        with pytest.raises(AiperfError, match="the disk is full"):
            writer.append(Stop, name="abc-00000-1")
    writer.append(Stop, name="abc-00001-1")
    assert written(layout) == [(0, 1, "stop")]


def test_damaged_orders_are_not_continued(layout: Layout) -> None:
    layout.agent_orders("n1.1").write_text("no order\n")
    with pytest.raises(RecordError, match=r"orders\.jsonl:1"):
        OrderWriter(layout, "n1.1", lambda: 1).append(Dismiss, reason="over")
