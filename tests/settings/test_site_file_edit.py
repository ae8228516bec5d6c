"""Changes of values in the text of a site file."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.settings.loading import load_site
from aiperf_orch.settings.site_file_edit import change_values, difference
from aiperf_orch.util.errors import UsageError

pytestmark = pytest.mark.unit

FIRST = "search.first_batch_size"


@pytest.mark.parametrize(
    ("before", "values", "after"),
    [
        pytest.param(
            "training:\n  precision: auto   # fast\n  epochs: 9\n",
            {"training.precision": "fp32"},
            "training:\n  precision: fp32   # fast\n  epochs: 9\n",
            id="value with a comment",
        ),
        pytest.param(
            "search:\n  batch_size: [8, 128]\n  advanced:\n    first_batch_size: 8    # at first\n",
            {FIRST: 128},
            "search:\n  batch_size: [8, 128]\n  advanced:\n    first_batch_size: 128  # at first\n",
            id="longer value: the comment keeps its column",
        ),
        pytest.param(
            "search:\n  first_batch_size: 32\n  batch_size: [8, 64]\n",
            {FIRST: 64},
            "search:\n  first_batch_size: 64\n  batch_size: [8, 64]\n",
            id="advanced key in its section",
        ),
        pytest.param(
            "training:\n  epochs: 9  # nine\n  # end of the recipe\ncampaign:\n  seed: 1\n",
            {"training.precision": "bf16"},
            "training:\n  epochs: 9  # nine\n  precision: bf16\n  # end of the recipe\ncampaign:\n  seed: 1\n",
            id="new key",
        ),
        pytest.param(
            "training:\n  advanced:\n    patience: 3\n  epochs: 9\n",
            {"training.compile": True},
            "training:\n  advanced:\n    patience: 3\n    compile: true\n  epochs: 9\n",
            id="new advanced key beside others",
        ),
        pytest.param(
            "training:\n  epochs: 9\n",
            {"training.compile": True},
            "training:\n  epochs: 9\n  advanced:\n    compile: true\n",
            id="first advanced key",
        ),
        pytest.param(
            "training: {epochs: 9}\n",
            {"training.compile": True},
            "training: {compile: true, epochs: 9}\n",
            id="section in braces",
        ),
        pytest.param(
            "training: {}\n", {"training.precision": "bf16"}, "training: {precision: bf16}\n", id="empty braces"
        ),
        pytest.param(
            "# mine\ncampaign:\n  seed: 1\n",
            {"training.precision": "bf16", "training.compile": True},
            "# mine\ncampaign:\n  seed: 1\n\ntraining:\n  precision: bf16\n  advanced:\n    compile: true\n",
            id="new section, two keys",
        ),
        pytest.param(
            "scheduler:\n  setup:\n    - |\n      a\n      b\n",
            {"scheduler.workers_per_node": 2},
            "scheduler:\n  setup:\n    - |\n      a\n      b\n  advanced:\n    workers_per_node: 2\n",
            id="after a text of several lines",
        ),
    ],
)
def test_a_value_is_changed_and_all_else_stays(tmp_path: Path, before: str, values: dict[str, Any], after: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(before)
    assert change_values(path, before, values) == after
    assert path.read_text() == before


def test_every_site_file_of_ours_can_be_changed(tmp_path: Path) -> None:
    values = {
        "training.precision": "bf16",
        "training.compile": True,
        "data.loaders": 3,
        "scheduler.workers_per_node": 1,
    }
    for item in files("aiperf_orch.site_configs").iterdir():
        if not item.name.endswith(".yaml"):
            continue
        path = tmp_path / item.name
        text = item.read_text(encoding="utf-8")
        path.write_text(text)
        batch = load_site(path).settings.search.batch_size[0]
        after = change_values(path, text, values | {FIRST: batch})
        comments = [line for line in text.splitlines() if line.lstrip().startswith("#")]
        assert [line for line in after.splitlines() if line.lstrip().startswith("#")] == comments
        path.write_text(after)
        assert load_site(path).settings.training.precision == "bf16"


def test_a_change_that_would_change_other_settings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    text = "search: {batch_size: [8, &a 64], advanced: {first_batch_size: *a, candidates: 64}}\n"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"set there yourself search\.first_batch_size: 8"):
        change_values(path, text, {FIRST: 8})


def test_the_difference_begins_with_the_reason_of_each_key() -> None:
    shown = difference(Path("s.yaml"), "a: 1\nb: 2\n", "a: 1\nb: 3\n", {"x.b": "+9%"})
    assert shown == "# x.b: +9%\n--- s.yaml\n+++ s.yaml\n@@ -1,2 +1,2 @@\n a: 1\n-b: 2\n+b: 3\n"
